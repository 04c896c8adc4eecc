"""Real bags through `beingh annotate` and `beingh export`."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image

pytest.importorskip("rosbags")
from annotate_support import BEGIN, CLOSE, CONTRACT, GO, HELD, MARK, NS, REST, TASK, UP, write_bag
from ros_support import ROOT
from test_annotate_labeller import GOOD, KEY, reply, says, server

from beingh_core.cli import main
from beingh_core.data.annotate import labels as files
from beingh_core.data.annotate.recording import Closed, Pictures, read
from beingh_core.data.annotate.workbench import Changed, Workbench
from beingh_core.data.bag_files import open_bag
from beingh_core.data.lerobot import Dataset
from beingh_core.errors import BeingHError

TEXTS = ["wait", "reach for the red cube", "grasp the red cube", "lift the red cube", "hold the red cube"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A bag that no test changes."""
    return write_bag(tmp_path_factory.mktemp("bags") / "pick")


@pytest.fixture
def bags(tmp_path, recorded):
    """A folder with two bags of a test's own."""
    shutil.copytree(recorded, tmp_path / "bags" / "one")
    write_bag(tmp_path / "bags" / "two", success="", seconds=4.0, marks=())
    return tmp_path / "bags"


def annotate(*words):
    return main(["annotate", *map(str, words), "--contract", "fr3"])


def accept(path, *numbers, **more):
    data = yaml.safe_load(path.read_text())
    for number in numbers:
        data["segments"][number]["state"] = "accepted"
    path.write_text(yaml.safe_dump(data | more, sort_keys=False))


def test_what_is_read_of_a_bag(recorded):
    recording = read(recorded, CONTRACT, open_bag)
    signals = recording.signals
    assert recording.origin_ns == BEGIN and signals.task == TASK and signals.success is True
    assert [(round(mark.time_s, 3), mark.name) for mark in signals.marks] == [(MARK, "contact")]
    assert [(view.name, len(view.times_s)) for view in recording.views] == [("scene_view", 70), ("wrist_view", 70)]
    np.testing.assert_allclose(recording.views[1].times_s[:2], [0.05, 0.15])
    assert set(signals.joints) == set(CONTRACT.joint_names) and signals.tools["right"].shape == (350, 3)
    closed = signals.grippers["right"][np.searchsorted(signals.times_s, HELD + 0.1)]
    assert abs(closed - 0.5) < 1e-3 and signals.tools["right"][0, 2] > signals.tools["right"][160, 2] + 0.05


def test_clocks_that_jump_are_refused_and_a_camera_with_its_own_is_not(tmp_path):
    jumps = lambda topic, stamp_ns: -2 * NS if topic == "/joint_states" and stamp_ns > BEGIN + NS else 0
    with pytest.raises(BeingHError, match="joint_states: its clock went back by 1.980 s"):
        read(write_bag(tmp_path / "jump", seconds=2.0, shift=jumps), CONTRACT, open_bag)
    apart = lambda topic, _: 3600 * NS if "scene" in topic else 0
    recording = read(write_bag(tmp_path / "apart", seconds=1.0, shift=apart), CONTRACT, open_bag)
    np.testing.assert_allclose([view.times_s[0] for view in recording.views], [3600, 0.05])


def test_seconds_count_from_the_first_message_of_the_bag(tmp_path):
    """As doctor and export count them, whatever clock the stamps are of, and however late the joints begin."""
    other = lambda *_: -1000 * NS
    recording = read(write_bag(tmp_path / "late", seconds=3.0, shift=other, joints_from_s=0.6), CONTRACT, open_bag)
    assert recording.origin_ns == BEGIN - 1000 * NS and recording.signals.times_s[0] == pytest.approx(0.6)
    assert recording.views[0].times_s[0] == pytest.approx(0.0) and recording.signals.duration_s == pytest.approx(2.98)


def shade(jpeg):
    return int(np.asarray(Image.open(io.BytesIO(jpeg))).mean())


def test_pictures_that_were_recorded_at_one_time_are_told_apart(tmp_path):
    """As with simulated time, whose clock ticks slowly."""
    recording = read(write_bag(tmp_path / "slow", seconds=2.0, clock_s=0.5), CONTRACT, open_bag)
    pictures = Pictures(recording, CONTRACT, open_bag)
    assert [shade(pictures.jpeg("scene_view", index)) for index in range(5, 10)] == [10, 12, 14, 16, 18]
    pictures.close()


def test_pictures_of_a_time(recorded):
    recording = read(recorded, CONTRACT, open_bag)
    pictures = Pictures(recording, CONTRACT, open_bag)
    assert abs(shade(pictures.jpeg("scene_view", 30)) - 60) <= 2  # 20 a second
    assert abs(shade(pictures.at("scene_view", 4.049)) - 80) <= 2 and abs(shade(pictures.at("scene_view", -1)) - 0) <= 2
    for view, index, told in (("side", 0, "no view"), ("scene_view", 70, "no picture"), ("scene_view", -1, "0 to 69")):
        with pytest.raises(BeingHError, match=told):
            pictures.jpeg(view, index)
    pictures.close()
    pictures.close()
    with pytest.raises(Closed):
        pictures.jpeg("scene_view", 0)
    turned = replace(CONTRACT, cameras=(replace(CONTRACT.cameras[0], encoding="bgr8"), CONTRACT.cameras[1]))
    other = Pictures(recording, turned, open_bag)
    with pytest.raises(BeingHError, match="bgr8"):
        other.jpeg("scene_view", 0)
    other.close()


def test_proposals_for_a_folder_of_bags(bags, capsys):
    assert annotate(bags) == 0
    labels = files.load(bags / "one.labels.yaml")
    assert [segment.text for segment in labels.segments] == [*TEXTS, TEXTS[-1]]
    np.testing.assert_allclose([s.start_s for s in labels.segments], [0, GO, CLOSE, UP, REST, MARK], atol=0.35)
    assert labels.count("proposed") == 6 and labels.success.value is True and labels.task == TASK
    assert labels.segments[-1].because == ("mark contact",)
    assert (
        files.load(bags / "two.labels.yaml").success.because == "at the end the gripper holds something (opening 0.50)"
    )
    told = capsys.readouterr().out
    assert re.search(r"^one +proposed +6 +0$", told, re.M) and re.search(r"^two +proposed +\d+ +0$", told, re.M)
    assert annotate(bags / "one", "--out", bags / "elsewhere") == 0
    assert (bags / "elsewhere" / "one.labels.yaml").read_bytes() == (bags / "one.labels.yaml").read_bytes()


def test_an_edit_is_never_overwritten_and_another_bags_labels_are_refused(bags, capsys):
    annotate(bags)
    path = bags / "one.labels.yaml"
    accept(path, 2)
    before = path.read_bytes()
    assert annotate(bags) == 0 and path.read_bytes() == before
    assert re.search(r"^one +kept +6 +1$", capsys.readouterr().out, re.M)
    shutil.rmtree(bags / "one")
    write_bag(bags / "one", seconds=3.0)
    assert annotate(bags) == 1 and path.read_bytes() == before
    assert "another recording" in capsys.readouterr().out


def test_bags_that_cannot_be_annotated_are_refused_by_name(bags, capsys):
    (bags / "broken").mkdir()
    (bags / "broken" / "broken_0.mcap").write_bytes(b"no bag")
    (bags / "two.labels.yaml").write_text("[")
    assert annotate(bags) == 1
    told = capsys.readouterr().out
    assert re.search(r"^broken +refused", told, re.M) and re.search(r"^two +refused", told, re.M) and "not YAML" in told
    assert re.search(r"^one +proposed", told, re.M) and (bags / "two.labels.yaml").read_text() == "["
    assert main(["annotate", str(bags / "one"), "--contract", "ur5e"]) == 1
    assert "no joint states of this robot" in capsys.readouterr().out
    (bags / "dataset" / "meta").mkdir(parents=True)
    (bags / "dataset" / "meta" / "info.json").write_text("{}")
    assert annotate(bags / "dataset") == 2 and "LeRobot dataset" in capsys.readouterr().err
    (bags / "two").rename(bags / "two.recording")
    assert annotate(bags / "two.recording") == 1 and "bags finish" in capsys.readouterr().out
    assert annotate(bags / "nothing") == 2 and "no such bag" in capsys.readouterr().err
    (bags / "file").write_text("")
    assert annotate(bags / "one", "--out", bags / "file") == 1 and "cannot be written" in capsys.readouterr().out


def test_a_labeller_gives_texts_and_a_failing_one_leaves_the_proposal(bags, capsys, monkeypatch):
    monkeypatch.setenv("LABEL_KEY", KEY)
    with server(says(reply(GOOD))) as (url, requests):
        options = ("--labeller-url", url, "--labeller-model", "m", "--labeller-key-env", "LABEL_KEY")
        assert annotate(bags / "two", *options) == 0
    labels = files.load(bags / "two.labels.yaml")
    assert [(s.text, s.by, s.state) for s in labels.segments[:2]] == [
        ("go there", "labeller", "proposed"), ("take it", "labeller", "proposed"),
    ]  # fmt: skip
    assert labels.segments[2].by == "signals"
    parts = requests[0][2]["messages"][1]["content"]
    assert sum(part["type"] == "image_url" for part in parts) >= 2 * len(labels.segments)
    with server(says(b"busy", 503)) as (url, requests):
        assert annotate(bags, "--labeller-url", url, "--labeller-model", "m", "--labeller-key-env", "LABEL_KEY") == 0
    assert len(requests) == 2 and [s.by for s in files.load(bags / "one.labels.yaml").segments] == ["signals"] * 6
    told = capsys.readouterr()
    assert told.out.count("without the labeller: labeller 127.0.0.1") == 2 and "status 503" in told.out
    assert KEY not in told.out + told.err
    assert annotate(bags / "one", "--labeller-url", url) == 2 and "--labeller-model" in capsys.readouterr().err


def test_a_dead_labeller_is_not_asked_for_every_bag(bags, capsys):
    for name in ("three", "four"):
        write_bag(bags / name, seconds=1.0, marks=())
    with server(says(b"", 500)) as (url, requests):
        assert annotate(bags, "--labeller-url", url, "--labeller-model", "m") == 0
    assert len(requests) == 2 and "not asked any more" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["language", "index"])
def test_only_accepted_subtasks_and_success_are_exported(bags, tmp_path, capsys, form):
    annotate(bags)
    accept(bags / "one.labels.yaml", 1, 2, 4, success={"value": False, "state": "accepted"})
    labels = files.load(bags / "one.labels.yaml")
    arguments = ["--contract", "fr3", "--out", str(tmp_path / "d"), "--workers", "1", "--encoder", "software"]
    assert main(["export", str(bags), *arguments, "--subtasks", form]) == 0
    assert "1 of 2 bags have accepted subtasks" in capsys.readouterr().out
    dataset = Dataset(tmp_path / "d")
    one, two = dataset.episodes
    # The first row stands where every stream has said something: at 0.05 s, the wrist camera's first picture.
    starts = {s.text: s.start_s - 0.05 for s in labels.segments[:5]}
    found = dataset.subtasks_of(one)
    expected = [
        (1, starts[TEXTS[1]]),
        (2, starts[TEXTS[2]]),
        (None, starts[TEXTS[3]]),
        (4, starts[TEXTS[4]]),
        (None, MARK - 0.05),
    ]
    expected = [(TEXTS[number] if number else "", time_s) for number, time_s in expected]
    if form == "index":
        assert found.pop(0) == (0.0, "")
    assert [text for _, text in found] == [text for text, _ in expected]
    np.testing.assert_allclose([start for start, _ in found], [time_s for _, time_s in expected], atol=0.051)
    assert dataset.subtasks_of(two) == []
    assert [dataset.records[e.index].extra["success"] for e in (one, two)] == [False, None]
    arguments[3] = str(tmp_path / "good")
    assert main(["export", str(bags), *arguments, "--only-successes"]) == 1
    assert re.search(r"^one +refused", capsys.readouterr().out, re.M)


def test_success_becomes_the_column_that_lerobot_has_for_it(bags, tmp_path, capsys):
    annotate(bags)
    write_bag(bags / "failed", success="false", seconds=3.0, marks=())
    arguments = [
        "--contract",
        "fr3",
        "--out",
        str(tmp_path / "d"),
        "--workers",
        "1",
        "--encoder",
        "software",
        "--success",
    ]
    assert main(["export", str(bags), *arguments]) == 1
    told = capsys.readouterr().out
    assert re.search(r"^two +refused", told, re.M) and "nobody has said" in told, "a proposal is nobody's word"
    accept(bags / "two.labels.yaml", success={"value": True, "state": "accepted"})
    assert main(["export", str(bags), *arguments]) == 0
    dataset = Dataset(tmp_path / "d")
    values = [dataset.values(episode, "next.success")[:, 0].tolist() for episode in dataset.episodes]
    lengths = [episode.frames for episode in dataset.episodes]
    last = lambda count: [False] * (count - 1) + [True]
    assert values == [[False] * lengths[0], last(lengths[1]), last(lengths[2])]
    assert dataset.info["features"]["next.success"]["dtype"] == "bool" and min(lengths) > 50


def test_the_export_refuses_labels_of_another_recording(bags, tmp_path, capsys):
    annotate(bags, "--out", tmp_path / "labels")
    (tmp_path / "labels" / "one.labels.yaml").replace(tmp_path / "labels" / "two.labels.yaml")
    arguments = ["--contract", "fr3", "--out", str(tmp_path / "d"), "--workers", "1", "--encoder", "software"]
    assert main(["export", str(bags), *arguments, "--labels", str(tmp_path / "labels"), "--subtasks", "index"]) == 1
    told = capsys.readouterr().out
    assert re.search(r"^one +exported", told, re.M) and re.search(r"^two +refused", told, re.M)
    assert "another recording" in told


def test_a_workbench_saves_only_for_whoever_has_seen_the_newest(bags):
    bench = Workbench([bags / "one"], CONTRACT, open_bag)
    assert bench.propose("one")
    seen = bench.load("one")
    mine = seen.labels.model_copy(update={"task": "mine"})
    mark = bench.save("one", mine, seen.mark)
    assert bench.load("one").mark == mark and bench.load("one").labels.task == "mine"
    with pytest.raises(Changed) as caught:
        bench.save("one", seen.labels, seen.mark)
    assert caught.value.mark == mark and bench.load("one").labels.task == "mine"
    bench.save("one", seen.labels, seen.mark, keep_both=True)
    assert files.load(bags / "one.labels.replaced-1.yaml").task == "mine" and bench.load("one").labels == seen.labels
    bench.path("one").unlink()
    assert bench.mark("one") == ""
    bench.save("one", mine, mark)  # nothing of anybody's is lost
    assert bench.load("one").labels == mine
    with pytest.raises(BeingHError, match="another recording"):
        bench.save("one", mine.model_copy(update={"fingerprint": "x"}), bench.mark("one"))
    with pytest.raises(BeingHError, match="no bag"):
        bench.load("../one")
    bench.close()


def test_events_of_others_are_left_out(tmp_path):
    from beingh_core.data.annotate.recording import _Read, _take_event

    found = _Read()
    for text in (
        "", "no json", "[]", "3", "{}", '{"event": "mark"}', '{"event": "mark", "stamp_ns": 1}', "[" * 10**5,
        '{"event": "mark", "stamp_ns": "1", "name": "a\\u0000b"}', '{"event": "task", "stamp_ns": 1, "task": 3}',
        '{"event": "mark", "name": "huge", "stamp_ns": 1' + 400 * "0" + "}",
        '{"event": "end", "stamp_ns": 1, "success": "yes"}', json.dumps({"event": "in_charge", "stamp_ns": 5, "who": "person"}),
    ):  # fmt: skip
        _take_event(found, text, 7)
    assert (found.task, found.success, found.charge) == ("", None, [(5, "person")])
    assert [time for time, _ in found.marks] == [1, 7, 7] and all(name.isprintable() for _, name in found.marks)


def test_the_command_serves_the_page_until_a_signal(bags):
    command = [sys.executable, "-m", "beingh_core.cli", "annotate", str(bags / "two"), "--contract", "fr3", "--serve"]
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        lines = []
        while not lines or not lines[-1].startswith("Ctrl-C"):
            lines.append(running.stdout.readline())
            assert lines[-1], running.stderr.read()
        url = re.match(r"open (http://127\.0\.0\.1:\d+/\?token=[\w-]{32})$", lines[-2])[1]
        assert b"<title>annotate</title>" in urllib.request.urlopen(url, timeout=10).read()
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 0 and running.stderr.read() == ""
    finally:
        running.kill()
        running.communicate()
