"""What training reads of LeRobot datasets: numbers, pictures, chunks, statistics, and what it leaves out."""

import colorsys
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageEnhance
from train_support import CONTRACT, LENGTHS, H, config_of, contract_with, numbers, picture, task_of, write

from beingh_core.contract.codec import SignalCodec
from beingh_core.data.lerobot import Dataset
from beingh_core.errors import BeingHError
from beingh_core.policy.pictures import resize_crop
from beingh_core.train import augment
from beingh_core.train.frames import Decoders
from beingh_core.train.modality import Modality
from beingh_core.train.settings import DatasetSection, PicturesSection
from beingh_core.train.sources import open_source, open_sources
from beingh_core.train.statistics import statistics_of


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "cubes", gop=6)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return write(tmp_path_factory.mktemp("old") / "cubes", version="v2.1")


def section(root, **more):
    return DatasetSection(path=str(root), robot="fr3", **more)


@pytest.mark.parametrize("which", ("root", "old"))
def test_the_table_holds_every_row_and_its_task(request, tmp_path, which):
    source = open_source(section(request.getfixturevalue(which)), tmp_path)
    table, rows = source.table, [(e, i) for e, count in enumerate(LENGTHS) for i in range(count)]
    assert table.starts.tolist() == np.cumsum([0, *LENGTHS]).tolist() and table.episodes == (0, 1, 2, 3)
    expected = [numbers(e, i) for e, i in rows]
    np.testing.assert_array_equal(table.state, [state for state, _ in expected])
    np.testing.assert_array_equal(table.action, [action for _, action in expected])
    assert [table.tasks[n] for n in table.task] == [task_of(e) for e, _ in rows]


def test_a_table_is_read_once_and_survives_the_way_to_another_process(root, tmp_path):
    first = open_source(section(root), tmp_path).table
    stamp = (first.folder / "state.npy").stat().st_mtime_ns
    again = open_source(section(root), tmp_path).table
    assert again.folder == first.folder and (first.folder / "state.npy").stat().st_mtime_ns == stamp
    assert first.state is first.state and len(pickle.dumps(first)) < 2000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(first)).state, first.state)
    assert open_source(section(root, task="wait"), tmp_path).table.folder != first.folder
    assert not list(tmp_path.glob("*.partial"))


def test_pictures_of_any_rows_are_those_of_the_whole_video(root):
    dataset = Dataset(root)
    key, decoders = dataset.spec.cameras[1].key, Decoders(most=1)
    rng = np.random.default_rng(0)
    for episode in dataset.episodes:
        whole = list(dataset.pictures(episode, key))
        for _ in range(3):
            rows = rng.integers(0, episode.frames, 5).tolist()
            for row, seen in zip(rows, decoders.pictures(episode.videos[key], rows, dataset.spec.fps)):
                np.testing.assert_array_equal(seen, whole[row])
                assert abs(seen[..., 2].mean() - picture(1, episode.index, row)[0, 0, 2]) <= 5
    decoders.close()


def test_a_video_that_cannot_be_read_is_told(tmp_path):
    dataset = Dataset(write(tmp_path / "d", lengths=(8, 8, 8, 8, 3), version="v2.1"))
    segments = [episode.videos["observation.images.scene_view"] for episode in dataset.episodes]
    data = segments[0].path.read_bytes()
    segments[0].path.unlink()
    segments[1].path.write_bytes(data[: len(data) // 3])
    segments[2].path.write_bytes(b"\x00noise" * 500)
    segments[3].path.write_bytes(segments[4].path.read_bytes())  # of three pictures
    decoders = Decoders(2)
    for segment in segments[:4]:
        with pytest.raises(BeingHError, match=str(segment.path)):
            decoders.pictures(segment, [7], 20)
    assert len(decoders.pictures(segments[4], [2, 0], 20)) == 2


def test_bytes_that_flip_in_a_video_are_a_reason_and_never_anything_else(tmp_path):
    """The library has faults of its own beside those of the system, by what the flipped bytes mean."""
    dataset = Dataset(write(tmp_path / "d", lengths=(8,), version="v2.1"))
    segment = dataset.episodes[0].videos["observation.images.scene_view"]
    good, rng, told = segment.path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(150):
        data = bytearray(good)
        for place in rng.integers(0, len(data), 20):
            data[place] = rng.integers(256)
        segment.path.write_bytes(data)
        decoders = Decoders(2)
        try:
            decoders.pictures(segment, [7], 20)
        except BeingHError:
            told += 1
        decoders.close()
    assert told > 20


def spoil(root, episode, change):
    """Writes an episode's parquet file of a v2.1 dataset anew, with columns changed."""
    path = root / f"data/chunk-000/episode_{episode:06d}.parquet"
    table = pq.read_table(path, partitioning=None)
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    change(columns)
    types = {f.name: f.type for f in table.schema}
    lists = [n for n, kind in types.items() if pa.types.is_fixed_size_list(kind)]
    arrays = {n: pa.array(v, pa.list_(pa.float32()) if n in lists else types[n]) for n, v in columns.items()}
    pq.write_table(pa.table(arrays), path)


def put(key, row, value):
    def change(columns):
        columns[key][row] = value

    return change


def cut(columns):
    for name in columns:
        columns[name] = columns[name][:-1]


BAD = (
    (put("observation.state", 3, [0.1, float("nan"), 0.0, 0.0]), "holds NaN or infinity in 1 rows, first in row 3"),
    (put("action", 0, [0.0, 0.0, 1e8, 0.0]), "values beyond 1e6"),
    (put("action", 2, [0.0, 0.0]), "different widths"),
    (put("task_index", 1, 77), "names no task"),
    (cut, "4 rows where 5 should be"),
)


def test_episodes_that_cannot_be_taught_are_left_out_by_name(tmp_path):
    root = write(tmp_path / "d", (5,) * 5 + (6, 7, 8, 9), version="v2.1", task=lambda episode: f"task {episode}")
    for episode, (change, _) in enumerate(BAD):
        spoil(root, episode, change)
    (root / "data/chunk-000/episode_000005.parquet").write_bytes(b"PAR1 cut off")
    tasks, episodes = root / "meta/tasks.jsonl", root / "meta/episodes.jsonl"
    tasks.write_text(tasks.read_text().replace('"task 6"', '" "'))
    episodes.write_text(episodes.read_text().replace('"length": 8', '"length": 0'))
    source = open_source(section(root), tmp_path / "cache")
    said = [*(text for _, text in BAD), "no parquet file that can be read", "no task", "no rows"]
    assert source.table.episodes == (8,) and sorted(source.table.bad) == list(range(8))
    for episode, text in enumerate(said):
        assert text in source.table.bad[episode]
        assert any(f"episode {episode} is left out" in note and text in note for note in source.notes)
    np.testing.assert_array_equal(source.table.state, [numbers(8, i)[0] for i in range(9)])
    with pytest.raises(BeingHError, match="8 of 9 episodes cannot be taught, such as episode 0"):
        open_sources(config_of(root).data, tmp_path / "cache", H)
    allowed = config_of(root, data={**config_of(root).data.model_dump(), "most_bad": 0.9})
    assert len(open_sources(allowed.data, tmp_path / "cache", H)) == 1


def test_an_episode_without_the_column_of_tasks_is_left_out_by_name(tmp_path):
    root = write(tmp_path / "d", (5, 6), version="v2.1")
    spoil(root, 0, lambda columns: columns.pop("task_index"))
    source = open_source(section(root), tmp_path / "cache")
    assert source.table.episodes == (1,) and "task_index" in source.table.bad[0]


def test_a_dataset_without_a_usable_episode_is_refused(tmp_path):
    root = write(tmp_path / "d", lengths=(5,), version="v2.1")
    spoil(root, 0, put("action", 0, [float("inf")] * 4))
    with pytest.raises(BeingHError, match="no episode that can be taught.*episode 0"):
        open_source(section(root), tmp_path / "cache")


def another_view(raw):
    """A contract whose camera has another name than the dataset's."""
    raw["cameras"]["top_view"] = raw["cameras"].pop("scene_view")
    raw["sim"]["cameras"].pop("scene_view")


@pytest.mark.parametrize(
    ("change", "said"),
    (
        (lambda raw: raw.update(rate_hz=10), "20 rows per second"),
        (lambda raw: raw["policy"].update(chunk_length=20), "chunks of 20 steps, the model makes 16"),
        (another_view, "no pictures"),
    ),
)
def test_a_contract_that_does_not_fit_is_refused(root, tmp_path, change, said):
    contract = contract_with(tmp_path, change)
    data = config_of(root, data={"datasets": [{"path": str(root), "robot": str(contract.path)}]}).data
    with pytest.raises(BeingHError, match=said):
        open_sources(data, tmp_path, H)


def test_datasets_of_one_name_must_agree(root, tmp_path):
    contract = contract_with(
        tmp_path, lambda raw: raw["policy"]["normalization"].update({"action.eef_position": "none"})
    )
    entries = [{"path": str(root), "robot": "fr3"}, {"path": str(root), "name": "b", "robot": str(contract.path)}]
    with pytest.raises(BeingHError, match="`b` and `cubes` are both of the embodiment `fr3`, and their action differ"):
        open_sources(config_of(root, data={"datasets": entries}).data, tmp_path, H)
    entries[1]["embodiment_tag"] = "fr3_raw"
    assert len(open_sources(config_of(root, data={"datasets": entries}).data, tmp_path, H)) == 2


def test_statistics_are_exact_and_shared_by_an_embodiment(root, old, tmp_path):
    entries = [{"path": str(root), "robot": "fr3"}, {"path": str(old), "robot": "fr3", "name": "b", "episodes": "1"}]
    first, second = open_sources(config_of(root, data={"datasets": entries}).data, tmp_path, H)
    assert first.statistics == second.statistics
    rows = np.concatenate([first.table.action, second.table.action]).astype(float)
    assert len(rows) == sum(LENGTHS) + LENGTHS[1]
    found = first.statistics["action"]["eef_position"]
    np.testing.assert_allclose(found["q99"], np.quantile(rows[:, :3], 0.99, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found["std"], rows[:, :3].std(axis=0), rtol=1e-6)
    alone = open_sources(config_of(root, data={"datasets": entries, "statistics": "dataset"}).data, tmp_path, H)
    assert alone[0].statistics != alone[1].statistics


def test_a_chunk_beyond_the_end_holds_places_and_rests_steps():
    modality = Modality.of(DatasetSection(path="x", robot="fr3"))
    rows = np.array([[0.1, 0.2, 0.3, 1.0], [0.4, 0.5, 0.6, 0.5]])
    chunk = modality.chunk(np.zeros(4), None, rows, H)
    np.testing.assert_array_equal(chunk["eef_position"][:2], rows[:, :3])
    assert not chunk["eef_position"][2:].any() and (chunk["gripper_position"][1:] == 0.5).all()
    robocasa = Modality.of(DatasetSection(path="x", data_config="robocasa_human"))
    chunk = robocasa.chunk(np.zeros(robocasa.width("state")), None, np.ones((1, robocasa.width("action"))), 3)
    last = {key: float(values[-1, 0]) for key, values in chunk.items()}
    assert last == {
        "eef_position": 0, "eef_rotation": 0, "gripper_position": 1, "base_motion": 0, "control_mode": 1,
    }  # fmt: skip


def test_chunks_that_count_from_their_start_are_those_of_the_codec(tmp_path):
    def poses(mode):
        def change(raw):
            arm = raw["action"]["eef_position"]["joints"]
            raw["action"] = {slot: {**mode, "joints": arm} for slot in ("eef_position", "eef_rotation")}
            raw["state"]["eef_rotation"] = dict(raw["state"]["eef_position"])
            raw["action"]["gripper_position"] = {
                "mode": "absolute",
                "joints": ["fr3_finger_joint1"],
                "closed": 0.0,
                "open": 0.04,
            }
            keys = [f"{kind}.{slot}" for kind in ("state", "action") for slot in raw[kind]]
            raw["policy"]["normalization"] = dict.fromkeys(keys, "none")

        return change

    absolute = contract_with(tmp_path, poses({"mode": "absolute"}), "absolute.yaml")
    path = np.array(absolute.home) + np.cumsum(np.random.default_rng(0).normal(size=(6, 8)) * 0.03, axis=0)
    flat = lambda values: np.concatenate(list(values.values()), axis=-1)
    rows = flat(SignalCodec(absolute).encode_commands(path))
    state = flat(SignalCodec(absolute).encode_state(dict(zip(absolute.joint_names, path[1]))))
    for mode in ({"mode": "delta", "frame": "chunk_start"}, {"mode": "relative"}):
        contract = contract_with(tmp_path, poses(mode), f"{mode['mode']}.yaml")
        modality = Modality.of(DatasetSection(path="x", robot=str(contract.path)))
        found = modality.chunk(state, rows[0], rows[1:], 5)  # action k leads from row k to row k + 1 of the path
        expected = SignalCodec(contract).encode_commands(path[1:], first_state=path[1])
        for key, values in expected.items():
            np.testing.assert_allclose(found[key][:4], values, atol=1e-9)
            np.testing.assert_allclose(found[key][4], values[3], atol=1e-9)  # an absolute pose is held


def test_counting_from_a_start_needs_the_whole_pose(tmp_path):
    contract = contract_with(tmp_path, lambda raw: raw["action"]["eef_position"].update(frame="chunk_start"))
    with pytest.raises(BeingHError, match="needs `state.eef_rotation`"):
        Modality.of(DatasetSection(path="x", robot=str(contract.path)))


def test_statistics_of_chunks_that_count_from_their_start(root, tmp_path):
    def change(raw):
        raw["action"]["gripper_position"]["mode"] = "relative"

    contract = contract_with(tmp_path, change)
    source = open_source(DatasetSection(path=str(root), robot=str(contract.path)), tmp_path / "cache")
    found = statistics_of([(source.modality, source.table)], H)["action"]["gripper_position"]
    every = []
    for first, last in zip(source.table.starts, source.table.starts[1:]):
        for row in range(first, last):
            at = np.minimum(np.arange(row, row + H), last - 1)
            every.append(source.table.action[at, 3].astype(float) - source.table.state[row, 3])
    assert found["q01"][0] == pytest.approx(np.quantile(np.concatenate(every), 0.01), rel=1e-9)


def test_without_a_crop_a_picture_is_that_of_inference():
    image, rng = picture(0, 1, 2, (60, 90)), np.random.default_rng(0)
    np.testing.assert_array_equal(augment.cropped(image, 32, 1.0, rng), resize_crop(image, 32))
    for _ in range(20):  # inside the middle square, of nearly its size
        seen = augment.cropped(image, 32, 0.81, rng).astype(float)
        assert seen[..., 0].min() >= 255 * 14 / 90 and seen[..., 0].max() <= 255 * 76 / 90
        assert 0.86 <= (seen[-1, :, 1].mean() - seen[0, :, 1].mean()) / 255 <= 1.0


def test_jitter_is_that_of_pillow_and_of_the_colour_circle():
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    pixels, shown = image.astype(np.float32) / 255, Image.fromarray(image)
    for change, enhance in (
        (augment.brightened, ImageEnhance.Brightness),
        (augment.contrasted, ImageEnhance.Contrast),
        (augment.saturated, ImageEnhance.Color),
    ):
        for factor in (0.6, 1.0, 1.3):
            expected = np.asarray(enhance(shown).enhance(factor)).astype(float)
            found = 255 * change(pixels, factor)
            assert abs(found - expected).max() <= 1.5
    turned = augment.turned(pixels, 0.07)
    for place in np.ndindex(6, 6):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[place] / 255))
        np.testing.assert_allclose(turned[place], colorsys.hsv_to_rgb((hue + 0.07) % 1, saturation, value), atol=1e-5)


def test_jitter_stays_within_its_strength_and_can_be_left_out():
    grey = torch.full((2, 3, 8, 8), 100, dtype=torch.uint8)
    off = PicturesSection(brightness=0, contrast=0, saturation=0, hue=0)
    assert augment.jittered(grey, off, np.random.default_rng(0)) is grey
    seen = [augment.jittered(grey, PicturesSection(), np.random.default_rng(seed)) for seed in range(30)]
    values = torch.stack(seen)[:, :, 0, 0, 0].float()  # grey has no saturation or hue, and is its own mean
    assert values.min() >= 69 and values.max() <= 131 and values.std() > 8
    assert (values[:, 0] != values[:, 1]).any()  # each view for itself


def test_the_delay_and_rate_of_a_modality_are_the_contracts():
    modality = Modality.of(DatasetSection(path="x", robot="fr3"))
    assert (modality.delay_steps, modality.rate_hz) == (CONTRACT.uac.delay_steps, 20)
