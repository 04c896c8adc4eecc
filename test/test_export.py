"""Bags to a dataset: order, refusals by name, the journal, resuming."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from lerobot_support import contents
from recording_support import BAGS, CONTRACT, JOINTS, SCENE, open_and_die, open_fake

from beingh_core.cli import main
from beingh_core.data import export as export_module
from beingh_core.data.bag_files import ContractBag
from beingh_core.data.bags.message import RawMessage
from beingh_core.data.export import Export, Outcome, export
from beingh_core.data.export_command import Bar
from beingh_core.data.in_charge import WHO
from beingh_core.data.lerobot import Dataset, VideoSettings
from beingh_core.data.lerobot.describe import contract_hash
from beingh_core.data.lerobot.writer import DatasetWriter
from beingh_core.data.resample import Resampling
from beingh_core.errors import BeingHError


def settings(out, **more):
    video = VideoSettings(encoder="software")
    return Export(**{"contract": "fr3", "out": out, "video": video, "workers": 1, **more})


def paths(*names):
    return [Path("/bags") / name for name in names]


def test_bags_become_episodes_and_bad_ones_are_refused_by_name(tmp_path):
    outcomes = export(paths(*BAGS, "absent"), settings(tmp_path / "d", only_successes=True), open_fake)
    found = {outcome.bag.name: outcome for outcome in outcomes}
    assert [outcome.bag.name for outcome in outcomes] == [*BAGS, "absent"]
    assert {name: o.state for name, o in found.items()} == {
        "whole": "exported", "long": "exported", "gap": "salvaged", "no_wrist": "refused", "other_encoding": "refused",
        "no_task": "refused", "no_commands": "refused", "short": "refused", "cut_off": "salvaged", "failed": "refused",
        "corrected": "exported", "taught": "exported", "other_contract": "salvaged", "absent": "refused",
    }  # fmt: skip
    reasons = {name: " ".join(outcome.findings) for name, outcome in found.items()}
    wanted = {
        "gap": "wrist_camera",
        "no_wrist": "lacks wrist",
        "other_encoding": "rgb8",
        "no_task": "--task",
        "no_commands": "states",
        "short": "less than 10 frames",
        "cut_off": "byte 1000",
        "failed": "it failed",
        "other_contract": "another contract",
        "absent": "no such bag",
    }
    for name, told in wanted.items():
        assert told in reasons[name], reasons[name]
    dataset = Dataset(tmp_path / "d")
    assert [dataset.records[e.index].source for e in dataset.episodes] == [
        "whole#0",
        "long#0",
        "gap#0",
        "gap#1",
        "cut_off#0",
        "corrected#0",
        "taught#0",
        "other_contract#0",
    ]
    assert dataset.tasks == ["pick up the red cube"] and dataset.spec.fps == 20
    assert sum(o.frames for o in outcomes) == dataset.frames
    for episode in dataset.episodes:
        assert dataset.values(episode, "observation.state").shape == (episode.frames, 4)
        assert len(list(dataset.pictures(episode, "observation.images.wrist_view"))) == episode.frames


def test_contract_hash_and_modality_travel_with_the_dataset(tmp_path):
    export(paths("whole"), settings(tmp_path / "d"), open_fake)
    assert contract_hash(tmp_path / "d") == CONTRACT.hash
    assert (tmp_path / "d/meta/contract.yaml").read_bytes() == CONTRACT.path.read_bytes()
    modality = json.loads((tmp_path / "d/meta/modality.json").read_text())
    assert modality["state"]["gripper_position"] == {"start": 3, "end": 4, "original_key": "observation.state"}
    assert modality["video"]["wrist_view"]["original_key"] == "observation.images.wrist_view"
    vectors = Dataset(tmp_path / "d").spec.vectors
    assert vectors[0].names == ("eef_position.x", "eef_position.y", "eef_position.z", "gripper_position")


def test_exporting_again_adds_only_what_is_new(tmp_path):
    export(paths("whole", "gap"), settings(tmp_path / "d"), open_fake)
    outcomes = export(paths("whole", "gap", "long"), settings(tmp_path / "d"), open_fake)
    assert [o.state for o in outcomes] == ["there already", "there already", "exported"]
    assert [e.frames for e in Dataset(tmp_path / "d").episodes] == [39, 24, 28, 59]
    again = export(paths("whole"), settings(tmp_path / "d"), open_fake)
    assert again[0].state == "there already"


def test_an_end_between_the_pieces_of_a_bag(tmp_path, monkeypatch):
    export(paths("gap", "whole"), settings(tmp_path / "whole"), open_fake)
    commit, calls = DatasetWriter.commit, []

    def dying(self, staged):
        calls.append(staged)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return commit(self, staged)

    monkeypatch.setattr(export_module.DatasetWriter, "commit", dying)
    with pytest.raises(KeyboardInterrupt):
        export(paths("gap", "whole"), settings(tmp_path / "d"), open_fake)
    monkeypatch.undo()
    outcomes = export(paths("gap", "whole"), settings(tmp_path / "d"), open_fake)
    assert [o.state for o in outcomes] == ["salvaged", "exported"]
    assert contents(tmp_path / "d") == contents(tmp_path / "whole")


def test_two_processes_give_the_same_dataset(tmp_path):
    names = ["whole", "gap", "no_wrist", "long"]
    export(paths(*names), settings(tmp_path / "one"), open_fake)
    outcomes = export(paths(*names), settings(tmp_path / "two", workers=2), open_fake)
    assert [o.state for o in outcomes] == ["exported", "salvaged", "refused", "exported"]
    one, two = Dataset(tmp_path / "one"), Dataset(tmp_path / "two")
    assert (
        contents(tmp_path / "one")["data/chunk-000/file-000.parquet"]
        == contents(tmp_path / "two")["data/chunk-000/file-000.parquet"]
    )
    assert [e.tasks for e in one.episodes] == [e.tasks for e in two.episodes]


def test_a_worker_that_is_killed_is_one_error_and_loses_nothing(tmp_path):
    export(paths("whole"), settings(tmp_path / "d"), open_fake)
    with pytest.raises(BeingHError, match="worker process was killed.*--workers"):
        export(paths("whole", "gap", "long"), settings(tmp_path / "d", workers=2), open_and_die)
    assert [o.state for o in export(paths("whole", "long"), settings(tmp_path / "d"), open_fake)][0] == "there already"


def test_what_concerns_all_bags_is_one_error(tmp_path):
    with pytest.raises(BeingHError, match="no such|fr9|unknown|not"):
        export(paths("whole"), settings(tmp_path / "d", contract="fr9"), open_fake)
    export(paths("whole"), settings(tmp_path / "d"), open_fake)
    with pytest.raises(BeingHError, match="is v3.0, and v2.1 is asked for.*--version v3.0"):
        export(paths("whole"), settings(tmp_path / "d", version="v2.1"), open_fake)
    outcomes = export(paths("no_wrist"), settings(tmp_path / "new"), open_fake)
    assert outcomes[0].state == "refused" and not (tmp_path / "new/meta").exists()
    np.testing.assert_equal(len(Dataset(tmp_path / "d").episodes), 1)


def test_command_line(tmp_path, capsys, monkeypatch):
    from beingh_core.data import bag_files

    monkeypatch.setattr(bag_files, "open_bag", open_fake)
    for name in ("whole", "gap"):
        (tmp_path / "bags" / name).mkdir(parents=True)
        (tmp_path / "bags" / name / "metadata.yaml").write_text("x")
    arguments = ["--contract", "fr3", "--out", str(tmp_path / "d"), "--workers", "1", "--encoder", "software"]
    assert main(["export", str(tmp_path / "bags/whole"), *arguments]) == 0
    assert main(["export", str(tmp_path / "bags"), *arguments]) == 1
    told = capsys.readouterr().out
    assert "there already" in told and "salvaged" in told and "cut: wrist_camera" in told
    assert len(Dataset(tmp_path / "d").episodes) == 3
    (tmp_path / "empty").mkdir()
    shutil.copytree(tmp_path / "bags/gap", tmp_path / "other/gap")
    mistakes = {
        "no bag in this folder": [str(tmp_path / "empty"), *arguments],
        "no such bag": [str(tmp_path / "nothing"), *arguments],
        "two bags are called": [str(tmp_path / "bags"), str(tmp_path / "other/gap"), *arguments],
        "h264, av1": [str(tmp_path / "bags/gap"), *arguments, "--codec", "vp9"],
        "hold, nearest, drop": [str(tmp_path / "bags/gap"), *arguments, "--method", "mean"],
        "encoder 'h264_x'": [
            str(tmp_path / "bags/gap"),
            *arguments,
            "--out",
            str(tmp_path / "e"),
            "--encoder",
            "h264_x",
        ],
    }
    for text, line in mistakes.items():
        assert main(["export", *line]) == 2, text
        error = capsys.readouterr().err
        assert text in error and "Traceback" not in error


@pytest.mark.parametrize("namespace, prefix", [("", "/"), ("left", "/left/"), ("/left/", "/left/")])
def test_topics_of_a_bag_are_found_by_their_names_in_the_contract(namespace, prefix):
    """Bags have full names; a contract's names are relative to the namespace."""
    recorded = [RawMessage(prefix + topic, n, n, n, b"") for n, topic in enumerate((JOINTS, SCENE, "other"))]
    bag = SimpleNamespace(
        topics=[m.topic for m in recorded],
        messages=lambda topics: (m for m in recorded if m.topic in topics),
        deserialise=lambda message: message.sequence,
    )
    named = ContractBag(bag, CONTRACT, namespace)
    assert named.topics == [JOINTS, SCENE, prefix + "other"]
    messages = list(named.messages([SCENE, JOINTS]))
    assert [(m.topic, named.deserialise(m)) for m in messages] == [(JOINTS, 0), (SCENE, 1)]
    elsewhere = ContractBag(bag, CONTRACT, "right")
    assert elsewhere.topics == bag.topics and not list(elsewhere.messages([JOINTS]))


def columns_of(dataset, episode=0):
    one = dataset.episodes[episode]
    who = [WHO[number] for number in dataset.values(one, "in_charge")[:, 0]]
    return who, dataset.values(one, "intervention")[:, 0].tolist()


def test_rows_say_who_was_in_charge_and_what_is_an_intervention(tmp_path):
    """Row k is of tick k + 1, as the first tick has no command before it."""
    export(paths("corrected", "taught", "whole"), settings(tmp_path / "d"), open_fake)
    dataset = Dataset(tmp_path / "d")
    who, intervention = columns_of(dataset)
    ticks = [tick / 20 for tick in range(1, 60)]
    assert who == ["nobody" if t < 0.2 else "person" if 1.0 <= t < 2.0 else "policy" for t in ticks]
    assert intervention == [1.0 <= t < 2.0 for t in ticks]
    assert columns_of(dataset, 1) == (["person"] * 39, [False] * 39), "nobody was corrected"
    assert columns_of(dataset, 2) == (["unknown"] * 39, [False] * 39)
    assert json.loads((tmp_path / "d/meta/modality.json").read_text())["in_charge"] == list(WHO)
    assert json.loads((tmp_path / "d/meta/info.json").read_text())["features"]["intervention"]["dtype"] == "bool"


def test_marks_success_and_operator_stand_beside_the_episode(tmp_path):
    export(paths("corrected", "whole"), settings(tmp_path / "d"), open_fake)
    extra = [record.extra for record in Dataset(tmp_path / "d").records.values()]
    assert extra[0]["success"] is True and extra[0]["operator"] == "Ada"
    told = [(event["frame"], event["event"], event.get("name")) for event in extra[0]["events"]]
    assert told == [(9, "mark", "contact"), (19, "in_charge", None), (31, "mark", "release")]
    assert extra[1]["success"] is None and extra[1]["operator"] == "" and extra[1]["events"] == []


@pytest.mark.parametrize("only, frames", [("policy", [16, 20]), ("person", [20, 39]), ("intervention", [20])])
def test_rows_of_one_alone(tmp_path, only, frames):
    """Each run of them is an episode; a bag without any is no fault."""
    chosen = settings(tmp_path / "d", resampling=Resampling(only=only))
    outcomes = export(paths("corrected", "taught", "whole"), chosen, open_fake)
    dataset = Dataset(tmp_path / "d")
    assert [episode.frames for episode in dataset.episodes] == frames
    assert outcomes[0].state == "exported" and "left out" in outcomes[0].notes[0]
    assert outcomes[1].state == ("exported" if only == "person" else "left out")
    assert outcomes[2].state == "refused" and "does not say who was in charge" in outcomes[2].findings[0]
    for episode in range(len(frames)):
        who, intervention = columns_of(dataset, episode)
        assert set(who) == {"policy" if only == "policy" else "person"} and (
            only != "intervention" or all(intervention)
        )
    assert export(paths("taught"), chosen, open_fake)[0].state == "there already"


def test_an_older_dataset_without_these_columns_is_continued_without_them(tmp_path, monkeypatch):
    made = export_module.contract_rows.dataset_spec
    monkeypatch.setattr(
        export_module.contract_rows, "dataset_spec", lambda *given, **more: made(*given, **{**more, "in_charge": False})
    )
    export(paths("whole"), settings(tmp_path / "d"), open_fake)
    monkeypatch.undo()
    export(paths("corrected"), settings(tmp_path / "d"), open_fake)
    dataset = Dataset(tmp_path / "d")
    assert len(dataset.episodes) == 2 and "in_charge" not in dataset.spec.columns


def test_the_bar_says_how_much_is_left(tmp_path, monkeypatch, capsys):
    for name, size in (("a", 1000), ("b", 3000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a_0.mcap").write_bytes(bytes(size))
    bar = Bar([tmp_path / "a", tmp_path / "b"])
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    bar(Outcome(bag=tmp_path / "a", state="exported"), 1, 2)
    assert bar.text(Outcome(bag=tmp_path / "a", state="exported"), 1, 2, 30.0) == (
        "[###############...............] 1/2, 1:30 left, a: exported"
    )
    bar(Outcome(bag=tmp_path / "b", state="refused"), 2, 2)
    assert capsys.readouterr().err.endswith("2/2, 0:00 left, b: refused\x1b[K\n")


def test_an_export_with_other_settings_says_which_and_what_to_give(tmp_path):
    export(paths("whole"), settings(tmp_path / "d", subtasks="index"), open_fake)
    export(paths("whole"), settings(tmp_path / "plain"), open_fake)
    for out, more, told in (
        ("d", {}, "keeps subtasks as `index`, and none are asked for. To fix: give --subtasks index, or"),
        ("d", {"subtasks": "language"}, "`language` is asked for. To fix: give --subtasks index, or"),
        (
            "plain",
            {"subtasks": "index"},
            "keeps no subtasks, and `index` is asked for. To fix: leave --subtasks out, or",
        ),
        ("plain", {"success": True}, "that only the new episodes have: next.success"),
    ):
        with pytest.raises(BeingHError) as caught:
            export(paths("long"), settings(tmp_path / out, **more), open_fake)
        assert told in str(caught.value), caught.value
