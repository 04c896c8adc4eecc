"""Datasets made from others, and the command line `beingh dataset`."""

import json
import shutil

import numpy as np
import pytest
from lerobot_support import LENGTHS, SCENE, STATE, check_intact, contents, frames, spec, write

from beingh_core.cli import main
from beingh_core.data.commands import parse_numbers, parse_parts
from beingh_core.data.lerobot import Dataset, DatasetWriter
from beingh_core.data.lerobot.edit import merge
from beingh_core.errors import BeingHError


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "all", spec(subtasks="language", depth=True))


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_merged_is_what_writing_it_at_once_gives(tmp_path, version):
    of = spec(version, "index")
    whole = write(tmp_path / "whole", of)
    write(tmp_path / "a", of, LENGTHS[:2])
    write(tmp_path / "b", of, LENGTHS[2:], first=2)
    assert main(["dataset", "merge", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "ab")]) == 0
    assert contents(tmp_path / "ab") == contents(whole)


def test_delete_split_and_rename(tmp_path, source, capsys):
    before = contents(source)
    assert main(["dataset", "delete", str(source), "--episodes", "0+2", "--out", str(tmp_path / "less")]) == 0
    less = Dataset(tmp_path / "less")
    assert [e.frames for e in less.episodes] == [LENGTHS[1], LENGTHS[3]]
    np.testing.assert_array_equal(
        less.values(less.episodes[1], STATE), [f.vectors[STATE] for f in frames(spec(), 3, 9)]
    )
    assert [text for _, text in less.subtasks_of(less.episodes[1])] == ["reach", "grasp 3"]
    assert less.tasks == ["task 1"]
    parts = ["--parts", "train=0.5,val=2-3", "--out", str(tmp_path / "parts")]
    assert main(["dataset", "split", str(source), *parts]) == 0
    check_intact(Dataset(tmp_path / "parts/train"), LENGTHS[:2])
    check_intact(Dataset(tmp_path / "parts/val"), LENGTHS[2:], first=2)
    rename = ["--old", "task 0", "--new", "task 1", "--out", str(tmp_path / "one")]
    assert main(["dataset", "rename-task", str(source), *rename]) == 0
    assert Dataset(tmp_path / "one").tasks == ["task 1"]
    assert contents(source) == before
    assert main(["dataset", "info", str(tmp_path / "one"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.split("\n{", 1)[-1].join(["{", ""]))
    assert told["problems"] == [] and told["episodes"] == len(LENGTHS)


def test_edits_of_somebody_elses_dataset_count_its_pictures(tmp_path):
    other = write(tmp_path / "other", spec(cameras=1), LENGTHS[:2])
    shutil.rmtree(other / "meta/beingh")
    (other / "meta/stats.json").unlink()
    assert main(["dataset", "stats", str(other)]) == 0
    found = json.loads((other / "meta/stats.json").read_text())[SCENE]
    shown = np.stack([p for e in Dataset(other).episodes for p in Dataset(other).pictures(e, SCENE)]) / 255.0
    np.testing.assert_allclose(np.ravel(found["mean"]), shown.mean((0, 1, 2)), rtol=1e-9)
    merge([other], tmp_path / "copy")
    check_intact(Dataset(tmp_path / "copy"), LENGTHS[:2])
    with DatasetWriter(other) as writer:  # appended to, with the columns that its files have
        writer.add(frames(writer.spec, 2, 5), source="s2")
    check_intact(Dataset(other), LENGTHS[:3])


def test_repair_finishes_what_was_committed(tmp_path, capsys):
    of = spec(cameras=1)
    writer = DatasetWriter(tmp_path / "d", of)
    writer.add(frames(of, 0, 4), source="s0")
    writer._lock.release()  # as when the process ends
    assert Dataset(tmp_path / "d").episodes == []
    assert main(["dataset", "info", str(tmp_path / "d")]) == 1
    assert main(["dataset", "repair", str(tmp_path / "d")]) == 0
    assert "1 episodes, 1 of them published" in capsys.readouterr().out
    check_intact(Dataset(tmp_path / "d"), [4])


def test_repair_keeps_the_intact_episodes_of_a_damaged_dataset(tmp_path, capsys):
    of = spec("v2.1", cameras=1)
    root = write(tmp_path / "d", of)
    video = root / f"videos/chunk-000/{SCENE}/episode_000001.mp4"
    video.write_bytes(video.read_bytes()[:300])
    data = root / "data/chunk-000/episode_000002.parquet"
    data.write_bytes(data.read_bytes()[:-20])  # no footer
    assert main(["dataset", "repair", str(root)]) == 1
    assert main(["dataset", "repair", str(root), "--out", str(tmp_path / "good")]) == 1
    told = capsys.readouterr().out
    assert "episode 1:" in told and "episode 2:" in told and "2 intact episodes" in told
    good = Dataset(tmp_path / "good")
    assert [e.frames for e in good.episodes] == [LENGTHS[0], LENGTHS[3]]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["delete", "{d}", "--episodes", "9", "--out", "{n}"], "no episode 9"),
        (["delete", "{d}", "--episodes", "x", "--out", "{n}"], "0-9+12"),
        (["delete", "{d}", "--episodes", "0-3", "--out", "{n}"], "no episode is left"),
        (["merge", "{d}", "{d}", "--out", "{n}"], "same source"),
        (["merge", "{d}", "--out", "{d}"], "a dataset already"),
        (["rename-task", "{d}", "--old", "task 9", "--new", "y", "--out", "{n}"], "did you mean"),
        (["split", "{d}", "--parts", "a=0.8,b=0.4", "--out", "{n}"], "shares"),
        (["split", "{d}", "--parts", "a=0,b=0-1", "--out", "{n}"], "shares episodes"),
        (["info", "{n}"], "info.json"),
    ],
)
def test_mistakes_are_one_clear_error(tmp_path, source, capsys, arguments, told):
    before = contents(source)
    assert main(["dataset", *(a.format(d=source, n=tmp_path / "new") for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
    assert contents(source) == before


def test_numbers_and_parts():
    assert parse_numbers("0-2+5,7") == [0, 1, 2, 5, 7]
    assert parse_parts("train=0.8,val=0.2", 10) == {"train": list(range(8)), "val": [8, 9]}
    assert parse_parts("train=0-3,val=7+9", 10) == {"train": [0, 1, 2, 3], "val": [7, 9]}
    for bad in ("3-1", "", "a-b"):
        with pytest.raises(BeingHError):
            parse_numbers(bad)
