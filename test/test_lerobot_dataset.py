"""Datasets that are written and read again, and the layout that LeRobot expects."""

import json
import os
import subprocess
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from lerobot_support import ACTION, DEPTH, LENGTHS, SCENE, STATE, WRIST, check_intact, contents, frames, spec, write

from beingh_core.cli import main
from beingh_core.contract import load_contract
from beingh_core.data.bag_files import ContractBag, open_bag
from beingh_core.data.command_messages import command_topics
from beingh_core.data.contract_rows import slot_names
from beingh_core.data.export import Export, export
from beingh_core.data.lerobot import Camera, Dataset, DatasetWriter, DepthScale, Frame, Subtask, VideoSettings, video
from beingh_core.data.lerobot import writer as writer_module
from beingh_core.data.lerobot.check import Checker
from beingh_core.data.recorded import Recorded
from beingh_core.data.resample import Resampler, Resampling, from_bag
from beingh_core.errors import BeingHError


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
@pytest.mark.parametrize("subtasks", [None, "language", "index"])
def test_round_trip_and_append(tmp_path, version, subtasks):
    of = spec(version, subtasks, depth=subtasks is None)
    write(tmp_path / "d", of, LENGTHS[:3])
    write(tmp_path / "d", of, LENGTHS[3:], first=3)
    dataset = Dataset(tmp_path / "d")
    check_intact(dataset, LENGTHS)
    assert dataset.info["total_frames"] == sum(LENGTHS) and dataset.info["splits"] == {"train": f"0:{len(LENGTHS)}"}
    checker = Checker(dataset)
    assert [checker.problems(episode) for episode in dataset.episodes] == [[]] * len(LENGTHS)
    if subtasks:
        for episode in dataset.episodes:
            found = dataset.subtasks_of(episode)
            assert [text for _, text in found] == ["reach", f"grasp {episode.index}"]
            assert [start for start, _ in found] == pytest.approx([0.0, 0.15], abs=1e-6)
    assert dataset.records[2].source == "s2" and not list((tmp_path / "d/.beingh").glob("episodes/*"))


def test_statistics_are_those_of_everything(tmp_path):
    dataset = Dataset(write(tmp_path / "d", spec(depth=True)))
    found = json.loads((dataset.root / "meta/stats.json").read_text())
    rows = [frame for n, count in enumerate(LENGTHS) for frame in frames(dataset.spec, n, count)]
    states = np.array([frame.vectors[STATE] for frame in rows], np.float64)
    np.testing.assert_allclose(found[STATE]["q10"], np.quantile(states, 0.1, axis=0), rtol=1e-9)
    np.testing.assert_allclose(found[STATE]["std"], states.std(axis=0), rtol=1e-9)
    pixels = np.stack([frame.images[SCENE] for frame in rows]) / 255.0  # as given, not as encoded
    for name, value in {"mean": pixels.mean((0, 1, 2)), "std": pixels.std((0, 1, 2)),
                        "q01": np.quantile(pixels, 0.01, axis=(0, 1, 2))}.items():  # fmt: skip
        np.testing.assert_allclose(np.array(found[SCENE][name]).reshape(3), value, rtol=1e-9, err_msg=name)
    assert np.shape(found[SCENE]["mean"]) == (3, 1, 1) and found[SCENE]["count"] == [sum(LENGTHS)]
    assert found["index"]["max"] == [sum(LENGTHS) - 1] and found["timestamp"]["max"] == pytest.approx([11 / 20])
    scale = dataset.camera(DEPTH).depth
    depths = np.stack([scale.depth(scale.codes(frame.images[DEPTH])) for frame in rows])
    np.testing.assert_allclose(np.ravel(found[DEPTH]["mean"]), depths.mean(dtype=np.float64), rtol=1e-6)


def test_layout_of_v3(tmp_path):
    root = write(tmp_path / "d", spec())
    info = json.loads((root / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == 20 and info["total_tasks"] == 2
    assert info["video_path"] == "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    assert info["features"][SCENE]["shape"] == [48, 64, 3] and info["features"][SCENE]["info"]["video.codec"] == "h264"
    data = pq.ParquetFile(root / "data/chunk-000/file-000.parquet")
    assert data.num_row_groups == len(LENGTHS) and data.schema_arrow.names == [
        STATE, ACTION, "timestamp", "frame_index", "episode_index", "index", "task_index",
    ]  # fmt: skip
    types = {field.name: str(field.type) for field in data.schema_arrow}
    assert types[STATE].startswith("fixed_size_list<") and types[STATE].endswith("float>[3]") or "float" in types[STATE]
    assert types[ACTION] == "float" and types["timestamp"] == "float" and types["index"] == "int64"
    tasks = pq.read_table(root / "meta/tasks.parquet")
    assert tasks.column_names == ["task_index", "__index_level_0__"]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["__index_level_0__"]
    episodes = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in episodes][:2] == [(0, 7), (7, 19)]
    assert episodes[1][f"videos/{WRIST}/from_timestamp"] == pytest.approx(7 / 20)
    assert np.shape(episodes[1][f"stats/{SCENE}/mean"]) == (3, 1, 1) and episodes[1]["length"] == 12
    assert f"stats/{ACTION}/q99" in episodes[1]


def test_layout_of_v21(tmp_path):
    root = write(tmp_path / "d", spec("v2.1", depth=True))
    lines = [json.loads(line) for line in (root / "meta/episodes.jsonl").read_text().splitlines()]
    assert lines[1] == {"episode_index": 1, "tasks": ["task 1"], "length": 12}
    stats = [json.loads(line) for line in (root / "meta/episodes_stats.jsonl").read_text().splitlines()]
    assert set(stats[0]["stats"][STATE]) == {"min", "max", "mean", "std", "count"}
    assert np.shape(stats[0]["stats"][DEPTH]["mean"]) == np.shape(stats[0]["stats"][SCENE]["mean"]) == (3, 1, 1)
    assert (root / f"videos/chunk-000/{SCENE}/episode_000003.mp4").exists()
    assert json.loads((root / "meta/info.json").read_text())["total_videos"] == 3 * len(LENGTHS)


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_joined_videos_have_rising_times_and_the_key_frames_of_lerobot(tmp_path, codec):
    root = write(tmp_path / "d", spec(codec=codec, fps=30))
    with av.open(str(root / f"videos/{WRIST}/chunk-000/file-000.mp4")) as video:
        packets = [(p.pts, p.dts, p.is_keyframe) for p in video.demux(video=0) if p.pts is not None]
        base = video.streams.video[0].time_base
    assert (base.numerator, base.denominator) == (1, 15360)
    assert [pts for pts, _, _ in packets] == [512 * i for i in range(sum(LENGTHS))]
    assert [dts for _, dts, _ in packets] == sorted({dts for _, dts, _ in packets})
    first = np.cumsum([0, *LENGTHS[:-1]])
    wanted = [i in first or (i - first[first <= i][-1]) % 2 == 0 for i in range(sum(LENGTHS))]
    assert [key for _, _, key in packets] == wanted


def test_files_end_where_they_are_large_enough_and_each_camera_has_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "VIDEO_MB", 0.004)
    dataset = Dataset(write(tmp_path / "d", spec(depth=True)))
    check_intact(dataset, LENGTHS)
    assert len({episode.data for episode in dataset.episodes}) > 1
    assert len({episode.videos[SCENE].path for episode in dataset.episodes}) > 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"vectors": {STATE: np.zeros(3)}}, "action"),
        ({"vectors": {STATE: np.zeros(2), ACTION: np.zeros(1)}}, "shape"),
        ({"vectors": {STATE: np.array([0, np.nan, 0]), ACTION: np.zeros(1)}}, "not finite"),
        ({"images": {}}, SCENE),
        ({"images": {SCENE: np.zeros((48, 60, 3), np.uint8), WRIST: np.zeros((64, 64, 3), np.uint8)}}, "(48, 60, 3)"),
        ({"images": {SCENE: np.zeros((48, 64, 3)), WRIST: np.zeros((64, 64, 3), np.uint8)}}, "float64"),
        ({"task": " "}, "task"),
    ],
)
def test_a_frame_that_does_not_fit_commits_nothing(tmp_path, change, told):
    of = spec()
    write(tmp_path / "d", of, LENGTHS[:1])
    before = contents(tmp_path / "d")
    good = list(frames(of, 1, 3))
    bad = Frame(**{"vectors": good[0].vectors, "images": good[0].images, "task": "t", **change})
    with DatasetWriter(tmp_path / "d", of) as writer:
        with pytest.raises(BeingHError, match="(?s).*") as error:
            writer.add([*good, bad])
        assert told in str(error.value)
        assert writer.episodes == 1 and not list((tmp_path / "d/.beingh/staging").glob("*"))
    assert contents(tmp_path / "d") == before


def test_what_the_writer_refuses(tmp_path):
    of = spec()
    write(tmp_path / "d", of, LENGTHS[:1])
    with DatasetWriter(tmp_path / "d", of) as writer:
        with pytest.raises(BeingHError, match="another process"):
            DatasetWriter(tmp_path / "d", of)
        with pytest.raises(BeingHError, match="source"):
            writer.add(frames(of, 0, 3), source="s0")
        with pytest.raises(BeingHError, match="without frames"):
            writer.add([])
        with pytest.raises(BeingHError, match="subtasks"):
            writer.add(frames(of, 0, 3), subtasks=[Subtask(start_s=0.0, text="x")])
    with pytest.raises(BeingHError, match="fps 20, not 30"):
        DatasetWriter(tmp_path / "d", spec(fps=30))
    with pytest.raises(BeingHError, match="video codec"):
        DatasetWriter(tmp_path / "d", spec(codec="av1"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    with pytest.raises(BeingHError, match="something else"):
        DatasetWriter(tmp_path / "other", of)
    with pytest.raises(BeingHError, match="frames per second"):
        spec(fps=12.5)
    with pytest.raises(BeingHError, match="info.json"):
        Dataset(tmp_path / "other")


def test_depth_codes_follow_the_published_formula():
    scale = DepthScale()
    codes = scale.codes(np.array([[10, 10000, 0, 65535, 1000]], np.uint16))
    low, high = np.log(0.01 + 3.5), np.log(10.0 + 3.5)
    assert codes.tolist() == [[0, 4095, 0, 4095, round((np.log(4.5) - low) / (high - low) * 4095)]]
    assert DepthScale(unit="m").codes(np.array([[np.nan, np.inf, 1.0]], np.float32)).tolist() == [[0, 0, codes[0, 4]]]
    steps = np.diff(scale.depth(np.arange(4096)))
    assert steps.min() > 0 and steps.max() < 4.5  # [mm], finest close by


def test_a_camera_that_yuv420p_cannot_hold_is_refused():
    with pytest.raises(BeingHError, match="63x48"):
        of = spec()
        type(of)(fps=20, robot="x", vectors=of.vectors, cameras=(Camera(key="c", height=48, width=63),))


needs_lerobot = pytest.mark.skipif(
    "BEINGH_LEROBOT_PYTHON" not in os.environ, reason="needs lerobot 0.4.4 in an environment of its own"
)
NMS = (
    "import sys, json, torch, numpy as np\n"
    "library = torch.library.Library('torchvision', 'DEF')\n"
    "library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
    "from lerobot.datasets.lerobot_dataset import LeRobotDataset\n"
)
WRITE = (
    "video = {'dtype': 'video', 'shape': (48, 64, 3), 'names': ['height', 'width', 'channels']}\n"
    "numbers = {'dtype': 'float32', 'shape': (3,), 'names': ['x', 'y', 'z']}\n"
    f"features = {{'{SCENE}': video, '{STATE}': numbers}}\n"
    "data = LeRobotDataset.create('a/b', 20, features, root=sys.argv[1], vcodec=sys.argv[2])\n"
    "for episode in range(2):\n"
    "    for i in range(6 + episode):\n"
    "        grey = np.full((48, 64, 3), 20 + episode * 50 + i * 10, np.uint8)\n"
    "        row = np.arange(3, dtype=np.float32) + i\n"
    f"        data.add_frame({{'{SCENE}': grey, '{STATE}': row, 'task': 'push'}})\n"
    "    data.save_episode()\n"
    "data.finalize()\n"
)
LOOK = (
    "for root in sys.argv[1:]:\n"
    "    data = LeRobotDataset('a/b', root=root, video_backend='pyav')\n"
    f"    print(json.dumps([[d['index'].item(), d['task'], d['{STATE}'].tolist(), "
    f"float(d['{SCENE}'].mean()) * 255] for d in data]))\n"
)


def run_lerobot(code, *arguments):
    python = os.environ["BEINGH_LEROBOT_PYTHON"]
    command = [python, "-c", NMS + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@needs_lerobot
@pytest.mark.slow
@pytest.mark.parametrize("codec", ["h264", "libsvtav1"])
def test_a_dataset_that_lerobot_wrote_is_read_and_continued(tmp_path, codec):
    root = tmp_path / "theirs"
    run_lerobot(WRITE, root, codec)
    dataset = Dataset(root)
    checker = Checker(dataset)
    assert [episode.frames for episode in dataset.episodes] == [6, 7] and dataset.tasks == ["push"]
    assert [checker.problems(episode) for episode in dataset.episodes] == [[], []]
    shown = [int(picture[0, 0, 0]) for picture in dataset.pictures(dataset.episodes[1], SCENE)]
    assert shown == pytest.approx([70 + 10 * i for i in range(7)], abs=3)
    with DatasetWriter(root) as writer:
        grey = np.full((48, 64, 3), 99, np.uint8)
        writer.add(Frame(vectors={STATE: np.full(3, i)}, images={SCENE: grey}, task="pull") for i in range(5))
    rows = json.loads(run_lerobot(LOOK, root)[-1])
    assert [row[1] for row in rows] == ["push"] * 13 + ["pull"] * 5
    assert rows[-1][3] == pytest.approx(99, abs=3) and rows[6][3] == pytest.approx(70, abs=3)


@needs_lerobot
def test_lerobot_itself_loads_it(tmp_path):
    roots = [
        write(tmp_path / str(n), of)
        for n, of in enumerate([spec(), spec(subtasks="index", depth=True), spec(codec="av1")])
    ]
    for line in run_lerobot(LOOK, *roots):
        rows = json.loads(line)
        source = [frame for n, count in enumerate(LENGTHS) for frame in frames(spec(), n, count)]
        assert len(rows) == len(source)
        for index, (row, frame) in enumerate(zip(rows, source)):
            assert row[:2] == [index, frame.task] and row[2] == frame.vectors[STATE].tolist()
            assert row[3] == pytest.approx(frame.images[SCENE].mean(), abs=3)


def test_an_episode_that_lacks_a_picture_is_not_committed(tmp_path, monkeypatch):
    finish = video.CameraEncoder.finish

    def losing_one(self):
        finish(self)
        if self._camera.key == WRIST:  # the file ends one picture early
            whole = video.Segment(path=self._target, start_s=0.0, frames=self.frames - 1)
            video.join([whole], tmp_path / "short.mp4", 20)
            (tmp_path / "short.mp4").replace(self._target)

    with DatasetWriter(tmp_path / "d", spec()) as writer:
        writer.add(frames(spec(), 0, 7))
        monkeypatch.setattr(video.CameraEncoder, "finish", losing_one)
        with pytest.raises(BeingHError, match=f"6 frames of {WRIST}, 7 expected"):
            writer.add(frames(spec(), 1, 7))
        assert writer.episodes == 1
    check_intact(Dataset(tmp_path / "d"), [7])


def test_a_segment_without_a_key_frame_at_its_begin_is_refused(tmp_path):
    dataset = Dataset(write(tmp_path / "d", spec()))
    whole = dataset.episodes[1].videos[SCENE]
    inner = video.Segment(path=whole.path, start_s=whole.start_s + 1 / 20, frames=4)
    with pytest.raises(BeingHError, match="key frame"):
        video.join([inner], tmp_path / "x.mp4", 20)
    with pytest.raises(BeingHError, match="holds 33 pictures where 40"):
        video.join([video.Segment(path=whole.path, start_s=0.0, frames=40)], tmp_path / "x.mp4", 20)


ALL = (
    "data = LeRobotDataset('a/b', root=sys.argv[1], video_backend='pyav')\n"
    "keys = [k for k in data[0] if k == 'action' or k.startswith('observation.')]\n"
    "rows = [data[i] for i in range(len(data))]\n"
    "found = {k: np.stack([r[k].numpy() for r in rows]) for k in keys}\n"
    "np.savez(sys.argv[2], **{k: np.round(255 * v).astype(np.uint8) if v.ndim == 4 else v for k, v in found.items()})\n"
)


@needs_lerobot
def test_lerobot_itself_gives_the_rows_of_a_recording(tmp_path):
    """Numbers to the last digit of float32; pictures as our reader decodes them, above 28 dB of what the camera gave."""
    bag = Path(__file__).parent / "data/replay/cubes.mcap"
    contract = load_contract("fr3")
    settings = Export(
        contract="fr3", out=tmp_path / "d", task="pick", video=VideoSettings(encoder="software"), workers=1
    )
    assert export([bag], settings, open_bag)[0].state == "exported"
    run_lerobot(ALL, tmp_path / "d", tmp_path / "rows.npz")
    loaded = dict(np.load(tmp_path / "rows.npz"))
    with open_bag(bag) as opened:
        named = ContractBag(opened, contract)
        commands = command_topics(contract, named.topics, None)
        topics = Recorded.topics(contract, commands) | Recorded.more_topics(contract) & set(named.topics)
        found = Resampler(contract, from_bag(named, topics), commands, "pick", Resampling())
        rows = [frame for piece in found.pieces() for frame in piece]
    assert len(rows) == len(loaded[STATE]) > 40
    dataset = Dataset(tmp_path / "d")
    shown = {key: list(dataset.pictures(dataset.episodes[0], key)) for key in rows[0].images}
    for index, frame in enumerate(rows):
        for key in (STATE, ACTION):
            np.testing.assert_array_equal(loaded[key][index], np.asarray(frame.vectors[key], np.float32))
        for key, picture in frame.images.items():
            theirs = loaded[key][index].transpose(1, 2, 0)
            np.testing.assert_array_equal(theirs, shown[key][index])
            assert 10 * np.log10(255**2 / np.mean((theirs.astype(float) - picture) ** 2)) > 28.0, (key, index)


AS_FR3 = (
    "videos, robot = sys.argv[2] == 'video', json.loads(sys.argv[3])\n"
    "features = {k: {'dtype': 'float32', 'shape': (len(n),), 'names': n} for k, n in robot.items()}\n"
    "names = ['height', 'width', 'channels']\n"
    "for view in ('front', 'hand'):\n"
    "    one = {'dtype': 'video' if videos else 'image', 'shape': (96, 96, 3), 'names': names}\n"
    "    features['observation.images.' + view] = one\n"
    "data = LeRobotDataset.create('a/b', 20, features, root=sys.argv[1], use_videos=videos)\n"
    "noise = np.random.default_rng(0)\n"
    "for i in range(40):\n"
    "    row = {k: np.zeros(len(n), np.float32) for k, n in robot.items()}\n"
    "    row['observation.state'][:] = [0.45 + 0.004 * i, 0.0, 0.2, 1.0]\n"
    "    row['action'][[0, -1]] = [0.004, 1.0]\n"
    "    views = {k: noise.integers(0, 255, (96, 96, 3), np.uint8) for k in features if 'images' in k}\n"
    "    data.add_frame({**row, **views, 'task': 'pick up the red cube'})\n"
    "data.save_episode()\n"
    "data.finalize()\n"
)


@needs_lerobot
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["video", "image"])
def test_what_lerobot_wrote_goes_through_doctor_and_evaluate(tmp_path, kind):
    signals = {STATE: load_contract("fr3").state, ACTION: load_contract("fr3").action}
    names = {key: [name for signal in those for name in slot_names(signal)] for key, those in signals.items()}
    root = tmp_path / "theirs"
    run_lerobot(AS_FR3, root, kind, json.dumps(names))
    assert main(["doctor", str(root), "--out", str(tmp_path / "page.html")]) == 0
    assert main(["dataset", "info", str(root)]) == 0
    checkpoint = Path(__file__).parent.parent / "checkpoints/fr3_cubes"
    words = [
        "evaluate",
        str(root),
        "--checkpoint",
        str(checkpoint),
        "--contract",
        "fr3",
        "--out",
        str(tmp_path / "out"),
    ]
    views = {"scene_view": "front", "wrist_view": "hand"}
    words += [w for view, key in views.items() for w in ("--view", f"{view}=observation.images.{key}")]
    assert main(words) == 0
    report = json.loads((tmp_path / "out/report.json").read_text())
    told = report["errors"]["all"]["quantities"]["hand:fr3_hand_tcp"]["errors"]
    errors = {source: by_step["1..s"]["mean"] for source, by_step in told.items()}
    assert errors["last velocity"] < 1e-3 and errors["hold"] > 5.0
