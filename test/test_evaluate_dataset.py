"""`beingh evaluate`: a checkpoint on LeRobot datasets, ours and others'."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from beingh_core.cli import main
from beingh_core.contract import load_contract
from beingh_core.data.bag_files import open_bag
from beingh_core.data.dataset_columns import find_columns
from beingh_core.data.disturb import Disturbance
from beingh_core.data.export import Export, export
from beingh_core.data.lerobot import Camera, Dataset, DatasetSpec, DatasetWriter, Frame, Vector, VideoSettings
from beingh_core.errors import BeingHError
from beingh_core.openloop.command import contract_named
from beingh_core.openloop.dataset_run import DatasetRun, evaluate_dataset
from beingh_core.policy.loading import load_for_contract
from beingh_core.policy.observations import check_observation, named_observation

ROOT = Path(__file__).resolve().parent.parent
BAG, CHECKPOINT = ROOT / "test/data/replay/cubes.mcap", str(ROOT / "test/data/replay/fr3_cubes")
CONTRACT = load_contract("fr3")
SOFTWARE = VideoSettings(encoder="software")
STATE = ("eef_position.x", "eef_position.y", "eef_position.z", "gripper_position")


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """The recorded bag as a dataset of ours."""
    out = tmp_path_factory.mktemp("ours") / "cubes"
    [outcome] = export(
        [BAG], Export(contract="fr3", out=out, task="pick up the green cube", video=SOFTWARE, workers=1), open_bag
    )
    assert outcome.state == "exported", outcome.findings
    return out


def evaluate(dataset, out, *more):
    status = main(["evaluate", str(dataset), "--checkpoint", CHECKPOINT, "--threads", "1", "--out", str(out), *more])
    return status, json.loads((out / "report.json").read_text()) if (out / "report.json").exists() else None


def test_a_checkpoint_on_a_dataset_of_its_own_robot(ours, tmp_path, capsys):
    status, report = evaluate(ours, tmp_path / "one", "--spread")
    decided = CONTRACT.policy.chunk_length - report["steps"]["locked"]
    assert report["steps"]["locked"] > 0 and f"K = {decided} " in capsys.readouterr().out
    hand = report["errors"]["all"]["quantities"]["hand:fr3_hand_tcp"]
    executed = {source: errors["1..s"]["mean"] for source, errors in hand["errors"].items()}
    assert status == 0 and executed["fr3_cubes"] < 4.0
    assert all(executed[name] > 2.5 * executed["fr3_cubes"] for name in ("hold", "last velocity", "mean")), executed
    assert 0.0 < report["noise_spread"]["fr3_cubes"]["1..s"] < 4.0
    assert "<img" in (tmp_path / "one/report.html").read_text()


def test_a_run_can_be_repeated_and_darkness_costs_accuracy(ours):
    policies, dataset = {"demo": load_for_contract(CONTRACT, CHECKPOINT, threads=1)}, Dataset(ours)
    run = lambda **settings: evaluate_dataset(
        dataset, CONTRACT, policies, {}, DatasetRun(stride=12, **settings)
    ).comparison.main  # fmt: skip
    first, again, other, dark = run(), run(), run(seed=1), run(disturbance=Disturbance(brightness=0.05))
    assert np.array_equal(first.predicted["demo"], again.predicted["demo"])
    assert not np.array_equal(first.predicted["demo"], other.predicted["demo"])
    assert np.nanmean(dark.errors("demo")) > 2 * np.nanmean(first.errors("demo"))


def test_a_dataset_gives_the_policy_the_tensors_of_the_recording(ours):
    """Pictures went through video: everything else is equal to the last digit, pictures within a stated PSNR."""
    from beingh_core.data.bag_files import ContractBag
    from beingh_core.data.command_messages import command_topics
    from beingh_core.data.resample import Resampler, Resampling, from_bag

    policy = load_for_contract(CONTRACT, CHECKPOINT, threads=1)
    dataset = Dataset(ours)
    [episode] = dataset.episodes
    columns = find_columns(dataset, CONTRACT)
    states = dataset.values(episode, "observation.state")[:, columns.state]
    videos = {view: list(dataset.pictures(episode, key)) for view, key in columns.views.items()}
    with open_bag(BAG) as bag:
        named = ContractBag(bag, CONTRACT)
        commands = command_topics(CONTRACT, named.topics, None)
        topics = {camera.topic for camera in CONTRACT.cameras} | {"joint_states"} | set(commands)
        [rows] = [
            list(piece) for piece in Resampler(CONTRACT, from_bag(named, topics), commands, "x", Resampling()).pieces()
        ]
    assert len(rows) == episode.frames

    def tensors(images, state):
        slots = {"eef_position": state[:3], "gripper_position": state[3:]}
        return policy.encode(
            check_observation(named_observation(images, slots, "pick up the green cube"), policy.data_config, 16)
        )

    for index in range(0, episode.frames, 12):
        raw = {view: rows[index].images[f"observation.images.{view}"] for view in videos}
        seen = {view: pictures[index] for view, pictures in videos.items()}
        live = tensors(raw, np.asarray(rows[index].vectors["observation.state"], np.float32))
        read = tensors(seen, states[index])
        assert live.keys() == read.keys()
        for key in live.keys() - {"packed_vit_tokens"}:
            same = torch.equal(live[key], read[key]) if torch.is_tensor(live[key]) else live[key] == read[key]
            assert same, key
        for view in videos:
            error = np.mean((raw[view].astype(float) - seen[view]) ** 2)
            assert 10 * np.log10(255**2 / error) > 30.0, (view, index)


def foreign(root, fps=20, names=STATE, action=STATE, views=("front", "hand"), frames=24, version="v3.0", scale=1.0):
    """A dataset that somebody else has written, of a robot like ours that moves along x."""
    spec = DatasetSpec(
        fps=fps, robot="theirs", version=version, video=SOFTWARE,
        vectors=(Vector(key="observation.state", names=names), Vector(key="action", names=action)),
        cameras=tuple(Camera(key=f"observation.images.{view}", height=96, width=96) for view in views),
    )  # fmt: skip

    def rows():
        for index in range(frames):
            place = {"eef_position.x": 0.45 + 0.004 * index, "eef_position.z": 0.2, "gripper_position": 1.0}
            step = {"eef_position.x": 0.004, "gripper_position": 1.0}
            yield Frame(
                vectors={
                    "observation.state": scale * np.array([place.get(n, 0.0) for n in names], np.float32),
                    "action": np.array([step.get(n, 0.0) for n in action], np.float32),
                },
                images={c.key: np.full((96, 96, 3), 120, np.uint8) for c in spec.cameras},
                task="pick up the red cube",
            )

    with DatasetWriter(root, spec) as writer:
        writer.add(rows(), source="a")
        writer.add(list(rows())[:4], source="short")
    return root


VIEWS = ["--view", "scene_view=observation.images.front", "--view", "wrist_view=observation.images.hand"]


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_a_strangers_dataset(tmp_path, version):
    shuffled = (STATE[3], *STATE[:3])  # by name, in another order
    root = foreign(tmp_path / "d", names=shuffled, version=version)
    status, report = evaluate(root, tmp_path / "out", "--contract", "fr3", *VIEWS)
    assert status == 0 and "fewer rows" in " ".join(report["notes"])
    errors = report["errors"]["all"]["quantities"]["hand:fr3_hand_tcp"]["errors"]
    # A steady motion: whoever goes on as before is right, and whoever stays is off by 4 mm more with every step.
    assert errors["last velocity"]["H"]["mean"] == pytest.approx(0.0, abs=1e-3)
    assert [errors["hold"][label]["mean"] for label in ("1", "s", "H")] == pytest.approx([4.0, 24.0, 44.0], rel=1e-3)
    assert errors["mean"]["H"]["mean"] == pytest.approx(0.0, abs=1e-3)
    assert report["gripper"]["gripper_position"]["hold"]["recorded"] == 0


def with_columns_of_other_kinds(root):
    """As LeRobot's writer stores a matrix and pictures that are no videos, beside what the policy needs."""
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.matrix"] = {"dtype": "float32", "shape": [3, 3], "names": None}
    info["features"]["observation.images.flat"] = {"dtype": "image", "shape": [8, 8, 3], "names": None}
    (root / "meta/info.json").write_text(json.dumps(info))
    for path in root.glob("data/*/*.parquet"):
        table = pq.read_table(path)
        matrices = pa.array([np.eye(3, dtype=np.float32).tolist()] * len(table), pa.list_(pa.list_(pa.float32())))
        pictures = pa.array([{"bytes": b"png", "path": "a.png"}] * len(table))
        table = table.append_column("observation.matrix", matrices).append_column("observation.images.flat", pictures)
        pq.write_table(table, path)
    return root


def test_columns_that_nobody_needs_keep_nothing_from_being_evaluated(tmp_path, capsys):
    root = with_columns_of_other_kinds(foreign(tmp_path / "d"))
    status, report = evaluate(root, tmp_path / "out", "--contract", "fr3", *VIEWS)
    told = capsys.readouterr().err
    assert status == 0 and report and told.count("is not looked at") == 1 and "observation.matrix" in told
    assert main(["dataset", "info", str(root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["not_looked_at"]) == 1 and list(found["vectors"]) == ["observation.state", "action"]
    assert found["cameras"]["observation.images.flat"] == "8x8 in rows" and found["problems"] == []


def with_pictures_in_rows(root, lost=()):
    """The same dataset with PNG files in its rows in place of videos, as LeRobot writes it with use_videos=False."""
    info = json.loads((root / "meta/info.json").read_text())
    keys = [key for key, feature in info["features"].items() if feature["dtype"] == "video"]
    dataset = Dataset(root)
    shown = {key: [png for e in dataset.episodes for png in map(png_of, dataset.pictures(e, key))] for key in keys}
    for key in keys:
        info["features"][key] = {
            "dtype": "image",
            "shape": info["features"][key]["shape"],
            "names": ["height", "width", "channels"],
        }
    (root / "meta/info.json").write_text(json.dumps(info | {"video_path": None}))
    [path] = root.glob("data/*/*.parquet")
    table = pq.read_table(path)
    for key in keys:
        files = [{"bytes": None if row in lost else png, "path": f"{row}.png"} for row, png in enumerate(shown[key])]
        table = table.append_column(key, pa.array(files))
    pq.write_table(table, path, row_group_size=7)
    shutil.rmtree(root / "videos")
    return shown


def png_of(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def test_pictures_that_stand_in_the_rows(tmp_path, capsys):
    reports = []
    for name in ("video", "rows"):
        root = foreign(tmp_path / name)
        if name == "rows":
            shown = with_pictures_in_rows(root)
        status, report = evaluate(root, tmp_path / f"{name}_out", "--contract", "fr3", *VIEWS)
        reports.append(report["errors"])
        assert status == 0
    assert reports[0] == reports[1]
    dataset = Dataset(root, skip_unknown=True)
    for episode in dataset.episodes:
        for key, files in shown.items():
            first = episode.first_row
            assert [png_of(p) for p in dataset.pictures(episode, key)] == files[first : first + episode.frames]
    assert main(["dataset", "info", str(root)]) == 0 and "96x96 in rows" in capsys.readouterr().out
    with pytest.raises(BeingHError, match="turn images into video"):
        Dataset(root)  # to write


def test_a_row_without_its_picture_is_named(tmp_path, capsys):
    root = foreign(tmp_path / "d")
    with_pictures_in_rows(root, lost=(5,))
    assert evaluate(root, tmp_path / "out", "--contract", "fr3", *VIEWS)[0] == 2
    assert "episode 0, row 5 of `observation.images.front`: no picture" in capsys.readouterr().err
    assert main(["dataset", "info", str(root)]) == 1 and "1 rows have no picture" in capsys.readouterr().out


def test_columns_without_names_are_taken_in_order_and_told(tmp_path):
    root = foreign(tmp_path / "d", names=("a", "b", "c", "d"))
    columns = find_columns(Dataset(root), CONTRACT, dict(view.split("=") for view in VIEWS[1::2]))
    assert columns.state.tolist() == [0, 1, 2, 3] and "order of the contract" in columns.notes[0]
    swapped = find_columns(
        Dataset(foreign(tmp_path / "e", action=STATE[::-1])), CONTRACT, dict(v.split("=") for v in VIEWS[1::2])
    )
    assert swapped.action.tolist() == [3, 2, 1, 0] and swapped.notes == ()


def test_names_of_lerobot_are_the_contracts_joints(tmp_path):
    joints = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")

    def found(state, action):
        vectors = (Vector(key="observation.state", names=state), Vector(key="action", names=action))
        views = tuple(Camera(key=f"observation.images.{view}", height=96, width=96) for view in ("front", "wrist"))
        info = DatasetSpec(fps=30, robot="so101_follower", vectors=vectors, cameras=views).info()
        (tmp_path / "meta").mkdir(exist_ok=True)
        (tmp_path / "meta/info.json").write_text(json.dumps(info))
        return find_columns(Dataset(tmp_path), load_contract("so101"))

    theirs = tuple(f"{joint}.pos" for joint in joints)
    columns = found(theirs, (*theirs[1:], theirs[0]))
    assert columns.state.tolist() == [0, 1, 2, 3, 4, 5] and columns.action.tolist() == [5, 0, 1, 2, 3, 4]
    assert columns.notes == () and found(joints, theirs[::-1]).action.tolist() == [5, 4, 3, 2, 1, 0]
    [note] = found(theirs, (*theirs[:5], "jaw")).notes
    assert note.startswith("action: taken in the order of") and note.endswith("which does not know ['jaw']")


@pytest.mark.parametrize(
    "made, more, told",
    [
        ({}, ["--contract", "fr3"], "--view scene_view=KEY"),
        ({}, [*VIEWS, "--checkpoint", str(ROOT / "test/data/set_a")], "robocasa"),
        ({"fps": 10}, ["--contract", "fr3", *VIEWS], "rows per second"),
        ({"names": STATE[:3]}, ["--contract", "fr3", *VIEWS], "3 numbers"),
        ({"scale": 1000.0}, ["--contract", "fr3", *VIEWS], "--allow-outside"),
        ({"frames": 5}, ["--contract", "fr3", *VIEWS], "fewer rows"),
        ({}, ["--contract", "fr3", *VIEWS, "--episodes", "7"], "no episode 7"),
        ({}, ["--contract", "fr3", *VIEWS, "--delay", "30"], "0 to"),
        ({}, ["--contract", "fr3", *VIEWS, "--stride", "-1"], "at least 0"),
        ({}, ["--contract", "ur5e", *VIEWS], "fr3"),
        ({}, ["--contract", "fr3", "--view", "nose=x"], "no view"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(tmp_path, capsys, made, more, told):
    root = foreign(tmp_path / "d", **made)
    status, report = evaluate(root, tmp_path / "out", *more)
    error = capsys.readouterr().err
    assert (status, report) == (2, None) and told in error and "Traceback" not in error, error


def test_a_damaged_dataset_is_refused(tmp_path, capsys):
    root = foreign(tmp_path / "d")
    for video in root.rglob("*.mp4"):
        video.write_bytes(b"x")
    assert evaluate(root, tmp_path / "out", "--contract", "fr3", *VIEWS)[0] == 2
    assert "video" in capsys.readouterr().err
    with pytest.raises(BeingHError, match="info.json"):
        Dataset(tmp_path / "nothing")


def test_the_contract_is_that_of_whoever_says_it(ours, tmp_path):
    assert contract_named("ur5e", CHECKPOINT, ours) == "ur5e"
    assert contract_named("", CHECKPOINT, ours) == ours / "meta/contract.yaml"
    assert contract_named("", CHECKPOINT, tmp_path) == contract_named("", CHECKPOINT) == "fr3"
    with pytest.raises(BeingHError, match="--contract"):
        contract_named("", str(ROOT / "test/data/set_a"))
