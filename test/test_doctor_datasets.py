"""What `beingh doctor` finds in LeRobot datasets, ours and others'."""

import io
import json
import shutil

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("av")
import pyarrow.parquet as pq
from PIL import Image

from beingh_core.cli import main
from beingh_core.contract import load_contract
from beingh_core.data.doctor.examine import examine
from beingh_core.data.doctor.facts import BAD, FAULT, FLAW, GOOD, NOTE, USABLE
from beingh_core.data.doctor.sources import find_sources
from beingh_core.data.lerobot import Camera, Dataset, DatasetSpec, DatasetWriter, Frame, Subtask, Vector, VideoSettings
from beingh_core.data.lerobot.columns import read_names, write_names

SCENE, WRIST, STATE, ACTION = "observation.images.scene", "observation.images.wrist", "observation.state", "action"
FPS, ROWS = 20, 60
NAMES = ("shoulder.pos", "elbow.pos", "gripper.pos")


def row(index):
    """A posture, in degrees; the gripper closes at 1.5 s."""
    return np.array([40 * np.sin(index / 8), 20 * np.cos(index / 8), 80 if index < 30 else 10], np.float32)


def pixels(index, camera):
    """A square that wanders over a slope."""
    picture = np.tile(np.linspace(40, 160, 64).astype(np.uint8)[:, None], (48, 1, 3))
    x, y = (3 * index + 20 * camera) % 48, (2 * index) % 32
    picture[y : y + 14, x : x + 14] = (210, 60, 40)
    return picture


def frames(change=lambda index, frame: frame, rows=ROWS, task="put <b>it</b> & go"):
    for index in range(rows):
        vectors = {STATE: row(index), ACTION: row(index + 1)}
        yield change(
            index, Frame(vectors=vectors, images={SCENE: pixels(index, 0), WRIST: pixels(index, 1)}, task=task)
        )


def made(root, changes=(lambda index, frame: frame,), version="v3.0", gop=2, subtasks=None, names=NAMES, rows=ROWS):
    cameras = tuple(Camera(key=key, height=48, width=64) for key in (SCENE, WRIST))
    vectors = tuple(Vector(key=key, names=names) for key in (STATE, ACTION))
    spec = DatasetSpec(fps=FPS, robot="toy", vectors=vectors, cameras=cameras, version=version, subtasks=subtasks,
                       video=VideoSettings(encoder="software", gop=gop))  # fmt: skip
    with DatasetWriter(root, spec) as writer:
        for number, change in enumerate(changes):
            texts = [Subtask(start_s=0.0, text="reach"), Subtask(start_s=1.0, text="grasp")] if subtasks else ()
            writer.add(frames(change, rows), source=str(number), subtasks=texts)
    return root


def shows(picture, first, last, key=SCENE):
    """A change that shows this picture from one row to another."""

    def change(index, frame):
        inside = first <= index < last
        return Frame(vectors=frame.vectors, task=frame.task, images=frame.images | ({key: picture} if inside else {}))

    return change


def looked_at(root, contract=None):
    return list(examine(find_sources([root]), contract, "", lambda name, share: None))


def kinds(facts):
    return {(f.kind, f.weight, f.topic) for f in facts.findings}


def rewritten(root, change):
    """The rows of a dataset, changed in every file."""
    for path in sorted(root.glob("data/*/*.parquet")):
        table = pq.read_table(path)
        columns = {name: table.column(name) for name in table.column_names}
        pq.write_table(pa.table(change(columns)), path)


@pytest.mark.parametrize(("version", "gop"), [("v3.0", 2), ("v2.1", 2), ("v3.0", 50)])
def test_a_healthy_dataset_has_no_finding(tmp_path, version, gop):
    episodes = looked_at(made(tmp_path / "set", [lambda index, frame: frame] * 2, version, gop))
    assert [(e.name, e.verdict, [str(f) for f in e.findings]) for e in episodes] == [
        ("set #0", GOOD, []),
        ("set #1", GOOD, []),
    ]
    first, second = episodes
    assert first.duration_s == 3.0 and first.task == "put <b>it</b> & go" and first.robot == "toy"
    assert [(m.name, m.time_s) for m in first.marks] == [("gripper moves", 1.5)]
    for view in first.views:
        assert [round(look.time_s, 1) for look in view.looks] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    seen = np.asarray(Image.open(io.BytesIO(second.views[0].looks[2].jpeg)))
    assert np.abs(seen.astype(int) - pixels(20, 0)).mean() < 8  # the picture of the row that it is said to be
    [curve] = [c for c in first.curves if (c.group, c.name) == (STATE, "elbow.pos")]
    np.testing.assert_allclose(curve.values, [row(index)[1] for index in range(ROWS)], rtol=1e-6)


@pytest.mark.parametrize("gop", [2, 50])
def test_frozen_and_black_cameras_are_found(tmp_path, gop):
    black = np.zeros((48, 64, 3), np.uint8)
    changes = [shows(pixels(20, 0), 20, 80), shows(black, 20, 32, WRIST), shows(pixels(20, 0), 20, 26)]
    frozen, dark, short = looked_at(made(tmp_path / "set", changes, gop=gop, rows=100))
    assert frozen.verdict == BAD and kinds(frozen) == {("frozen", FLAW, SCENE), ("frozen", FAULT, SCENE)}
    [run] = [f for f in frozen.findings if f.start_s is not None]
    assert run.start_s == pytest.approx(1.0, abs=1.01) and run.end_s == pytest.approx(4.0, abs=0.51)
    assert kinds(dark) == {("black", FLAW, WRIST)}
    assert [f.start_s for f in dark.findings if f.start_s is not None] == [1.0]
    assert short.verdict == GOOD  # 0.3 s lie between two looks


def test_subtasks_and_the_contract_that_it_brings_along(tmp_path):
    root = made(tmp_path / "set", subtasks="index", names=("a", "b", "c"))
    contract = load_contract("fr3")
    (root / "meta/contract.yaml").write_text(contract.path.read_text("utf-8"), "utf-8")
    [facts] = looked_at(root)
    assert [m.name for m in facts.marks][:2] == ["reach", "grasp"] and facts.judged_by == "fr3"
    limited = {(c.group, c.name): (c.lower, c.upper) for c in facts.curves if np.isfinite(c.lower)}
    assert limited == {}  # its columns are not called as the contract's export calls them
    (root / "meta/contract.yaml").write_text("robot: [")
    [facts] = looked_at(root)
    assert kinds(facts) == {("contract", NOTE, "")} and facts.verdict == GOOD


def test_values_outside_of_the_contracts_range(tmp_path):
    names = ("x", "y", "z", "gripper_position")
    spec = DatasetSpec(fps=FPS, robot="fr3", vectors=(Vector(key=STATE, names=names), Vector(key=ACTION, names=names)))
    with DatasetWriter(tmp_path / "set", spec) as writer:
        rows = [np.array([np.sin(i / 9), 0, 0, 0.5 if i < 40 else 1.3], np.float32) for i in range(ROWS)]
        writer.add(
            (Frame(vectors={STATE: r, ACTION: r * [1, 1, 1, 0.5]}, images={}, task="t") for r in rows), source="0"
        )
    [facts] = looked_at(tmp_path / "set", load_contract("fr3"))
    [finding] = facts.findings
    assert (finding.kind, finding.topic, finding.start_s) == ("limits", f"{STATE} gripper_position", 2.0)
    assert "20 values outside of 0 to 1, the worst one 1.3" in finding.text


def test_damaged_rows_and_files_are_found(tmp_path):
    whole = made(tmp_path / "whole")

    def broken(name, change):
        root = shutil.copytree(whole, tmp_path / name)
        change(root)
        return looked_at(root)[0]

    def nan(columns):
        values = np.array(columns[STATE].to_pylist(), np.float32)
        values[30, 1] = np.nan
        return columns | {STATE: pa.array(values.tolist(), pa.list_(pa.float32(), 3))}

    facts = broken("nan", lambda root: rewritten(root, nan))
    assert ("nan", FAULT, f"{STATE} elbow.pos") in kinds(facts) and facts.findings[0].start_s == 1.5

    def late(columns):
        times = np.array(columns["timestamp"].to_pylist(), np.float32)
        times[30:] += 2.0
        return columns | {"timestamp": pa.array(times)}

    facts = broken("late", lambda root: rewritten(root, late))
    assert ("gap", FLAW, "rows") in kinds(facts) and ("rows", FAULT, "") in kinds(facts)
    assert next(f for f in facts.findings if f.kind == "gap" and f.start_s).start_s == pytest.approx(1.45)
    for name, stamp in (("huge", 1e30), ("none", np.nan)):
        facts = broken(name, lambda root, stamp=stamp: rewritten(
            root, lambda columns: columns | {"timestamp": pa.array(np.full(ROWS, stamp, np.float32))}))  # fmt: skip
        assert facts.verdict == BAD
    facts = broken("video", lambda root: next(root.glob(f"videos/{SCENE}/*/*.mp4")).unlink())
    assert ("video", FAULT, SCENE) in kinds(facts) and len(facts.views[1].looks) == 6
    facts = broken(
        "cut", lambda root: (p := next(root.glob(f"videos/{SCENE}/*/*.mp4"))).write_bytes(p.read_bytes()[:900])
    )
    assert ("video", FAULT, SCENE) in kinds(facts)
    facts = broken("rows", lambda root: next(root.glob("data/*/*.parquet")).write_bytes(b"PAR1"))
    assert not facts.readable and "no parquet file" in facts.findings[0].text
    facts = broken("meta", lambda root: next(root.glob("meta/episodes/*/*.parquet")).unlink())
    assert not facts.readable and "no episode" in facts.findings[0].text
    for name, text in (("json", "{"), ("version", '{"codebase_version": "v1.6"}'), ("list", "[]"), ("features", "{}")):
        facts = broken(name, lambda root, text=text: (root / "meta/info.json").write_text(text))
        assert not facts.readable and facts.verdict == BAD and "Error" not in facts.findings[0].text


def test_pictures_inside_of_rows_and_odd_columns_as_older_datasets_have_them(tmp_path):
    """v2.1 by hand, as LeRobot lays it out: PNG files in parquet, a task's number, texts beside."""
    root, count = tmp_path / "old", 40

    def png(index):
        buffer = io.BytesIO()
        Image.fromarray(pixels(12 if 12 <= index < 22 else index, 0)).save(buffer, "PNG")
        return {"bytes": buffer.getvalue() if index != 35 else None, "path": f"frame_{index:06d}.png"}

    features = {
        "observation.images.front": {"dtype": "image", "shape": [48, 64, 3], "names": ["height", "width", "channels"]},
        STATE: {"dtype": "float32", "shape": [3], "names": {"motors": list(NAMES)}},
        "note": {"dtype": "string", "shape": [1], "names": None},
    }  # fmt: skip
    info = {"codebase_version": "v2.1", "robot_type": "so100", "fps": FPS, "features": features, "chunks_size": 1000,
            "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet", "video_path": None}  # fmt: skip
    (root / "meta").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    (root / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "stack"}\n')
    (root / "meta/episodes.jsonl").write_text(
        json.dumps({"episode_index": 0, "tasks": ["stack"], "length": count}) + "\n"
    )
    numbers = np.arange(count)
    table = pa.table({
        "observation.images.front": [png(index) for index in numbers], STATE: [row(index).tolist() for index in numbers],
        "timestamp": pa.array(numbers / FPS, pa.float32()), "frame_index": numbers, "episode_index": numbers * 0,
        "index": numbers, "task_index": numbers * 0, "note": ["x"] * count,
    })  # fmt: skip
    pq.write_table(table, root / "data/chunk-000/episode_000000.parquet")
    [facts] = looked_at(root)
    assert kinds(facts) == {
        ("frozen", FAULT, "observation.images.front"), ("frozen", FLAW, "observation.images.front"),
        ("pictures", FAULT, "observation.images.front"), ("column", NOTE, ""),
    }  # fmt: skip
    assert "10 equal pictures" in str(facts.findings) and "1 rows have no picture" in str(facts.findings)
    assert "`note` is string" in str(facts.findings) and facts.views[0].label == "front"


def test_rows_that_are_kept_in_memory_are_those_of_the_file_as_it_is(tmp_path):
    root = made(tmp_path / "set", [lambda index, frame: frame] * 2)
    dataset = Dataset(root)
    before = [dataset.values(episode, STATE) for episode in dataset.episodes]
    rewritten(root, lambda columns: columns | {STATE: columns[ACTION]})
    for episode, values in zip(dataset.episodes, before):
        np.testing.assert_array_equal(values, [row(index) for index in range(ROWS)])
        np.testing.assert_array_equal(dataset.values(episode, STATE), dataset.values(episode, ACTION))
        assert not np.array_equal(dataset.values(episode, STATE), values)


def test_a_person_in_charge_is_known_by_lerobots_column(tmp_path):
    key = "complementary_info.is_intervention"
    spec = DatasetSpec(fps=FPS, robot="toy", vectors=(Vector(key=STATE, names=NAMES), Vector(key=key, names=("x",))))
    with DatasetWriter(tmp_path / "set", spec) as writer:
        rows = [{STATE: row(index), key: np.array([20 <= index < 40], np.float32)} for index in range(ROWS)]
        writer.add((Frame(vectors=r, images={}, task="t") for r in rows), source="0")
    [facts] = looked_at(tmp_path / "set")
    assert [(c.who, c.start_s, c.end_s) for c in facts.in_charge] == [
        ("policy", 0, 1),
        ("person", 1, 2),
        ("policy", 2, 3),
    ]
    assert facts.verdict == GOOD


def test_rows_and_tasks_that_training_refuses(tmp_path, capsys):
    spec = DatasetSpec(fps=FPS, robot="toy", vectors=tuple(Vector(key=key, names=NAMES) for key in (STATE, ACTION)))
    with DatasetWriter(tmp_path / "whole", spec) as writer:
        for task in ("a", "b"):
            writer.add(Frame(vectors={STATE: row(i), ACTION: row(i)}, images={}, task=task) for i in range(30))

    def told(name, change):
        root = shutil.copytree(tmp_path / "whole", tmp_path / name)
        change(root)
        assert main(["dataset", "info", str(root), "--json"]) == 1
        problems = json.loads(capsys.readouterr().out)["problems"]
        verdicts = [facts.verdict for facts in looked_at(root)]
        return verdicts, problems, [str(f) for facts in looked_at(root) for f in facts.findings if f.weight == FAULT]

    rows = lambda widths: pa.array([[0.5] * width for width in widths], pa.list_(pa.float32()))
    say = "`action` has rows of 2 numbers, not 3"
    narrow = told("narrow", lambda root: rewritten(root, lambda c: c | {ACTION: rows([2] * 60)}))
    assert narrow == ([BAD] * 2, [f"episode 0: {say}", f"episode 1: {say}"], [say] * 2)
    _, problems, faults = told(
        "odd", lambda root: rewritten(root, lambda c: c | {ACTION: rows([2, 4] + [3] * 58)})
    )  # as many numbers as there should be
    assert problems == ["episode 0: rows of `action` are of different widths"]
    assert len(faults) == 1 and "different widths" in faults[0]

    def unnamed(root):
        path = root / "meta/tasks.parquet"
        write_names(path, ["" if text == "a" else text for text in read_names(path, "task_index")], "task_index")

    assert told("task", unnamed) == ([BAD, GOOD], ["episode 0: it has no task"], ["it has no task"])
    lacking = told("lacking", lambda root: rewritten(root, lambda c: {n: v for n, v in c.items() if n != ACTION}))
    assert lacking[1][0] == "episode 0: it has no column `action`" and len(lacking[2]) == 2


def test_a_short_episode_is_usable(tmp_path):
    spec = DatasetSpec(fps=FPS, robot="toy", vectors=(Vector(key=STATE, names=NAMES),))
    with DatasetWriter(tmp_path / "set", spec) as writer:
        writer.add((Frame(vectors={STATE: row(i)}, images={}, task="t") for i in range(8)), source="0")
    [facts] = looked_at(tmp_path / "set")
    assert facts.verdict == USABLE and kinds(facts) == {("short", FLAW, "")}
