"""Human hands as an embodiment: frames, representations, gaps, mirror images and units, against scipy's own transforms."""

import json
import shutil

import numpy as np
import pytest
import torch
from hands_support import FPS, KEYS, LENGTHS, SIDES, is_seen, picture, truth, write_hands
from scipy.spatial.transform import Rotation
from train_support import H, config_of, opened, write
from words_support import write_words

from beingh_core.errors import BeingHError
from beingh_core.policy import BeingHPolicy
from beingh_core.slots import ACTION_SLOTS, STATE_SLOTS
from beingh_core.train import checks
from beingh_core.train.doctor import examine
from beingh_core.train.doctor_page import page
from beingh_core.train.hands import Hands, mentions_a_side
from beingh_core.train.plan import Pack, Plan
from beingh_core.train.run import Run
from beingh_core.train.samples import SampleMaker
from beingh_core.train.sources import open_sources

X = np.diag([-1.0, 1.0, 1.0, 1.0])  # a mirror image: what is at x is at -x


def config(root, name="human_hands", **more):
    return config_of("x", data={"datasets": [{"path": str(root), "data_config": name, **more}]})


def made(root, cache, samples, name="human_hands", **more):
    """State (B, 200), actions and mask (B, H, 200), pictures of rows (0, row), and the sources."""
    settings = config(root, name, **more)
    sources, prompts = opened(settings, cache)
    maker = SampleMaker(sources, prompts, settings.data, 0)
    batch = maker.make(Pack(number=0, samples=tuple((0, row) for row in samples))).batch
    shape = (len(samples), H, 200)
    return (
        batch["padded_state"].double().numpy(), batch["padded_action"].double().numpy().reshape(shape),
        batch["padded_action_mask"].numpy().reshape(shape), batch["packed_vit_tokens"], sources[0],
    )  # fmt: skip


def expected(episode, row, name, mirrored=False):
    """State and actions with their masks, (200,) and (H, 200), of a row: 4x4 matrices in the frame that is taught."""
    camera = truth(episode, row)[0]
    base = np.linalg.inv(camera) if name == "human_hands_camera" else np.eye(4)
    state, action, mask = np.zeros(200), np.zeros((H, 200)), np.zeros((H, 200), bool)
    for side in SIDES:
        shown = {"right": "left", "left": "right"}[side] if mirrored else side
        seen = [is_seen(episode, k, side) for k in range(LENGTHS[episode])]
        hands = [truth(episode, k)[1][side] for k in range(LENGTHS[episode])]
        poses = [base @ wrist for wrist, _, _ in hands]
        thetas = np.array([theta for _, theta, _ in hands])
        if mirrored:
            poses = [X @ pose @ X for pose in poses]
            turned = X[:3, :3] @ Rotation.from_rotvec(thetas.reshape(-1, 3)).as_matrix() @ X[:3, :3]
            thetas = Rotation.from_matrix(turned).as_rotvec().reshape(len(thetas), 45)
        place, turn = (ACTION_SLOTS[key] for key in KEYS[shown])
        theta_slot = ACTION_SLOTS[f"{shown}_theta"]
        if seen[row]:
            state[place], state[turn] = poses[row][:3, 3], Rotation.from_matrix(poses[row][:3, :3]).as_rotvec()
            state[theta_slot], state[STATE_SLOTS[f"{shown}_beta"]] = thetas[row], hands[row][2]
        for k in range(H):
            now, later = min(row + k, len(poses) - 1), min(row + k + 1, len(poses) - 1)
            step = poses[later][:3, :3] @ poses[now][:3, :3].T
            if seen[now] and seen[later]:
                action[k, place] = poses[later][:3, 3] - poses[now][:3, 3]
                action[k, turn] = Rotation.from_matrix(step).as_rotvec()
                mask[k, place] = mask[k, turn] = True
            if seen[later]:
                action[k, theta_slot] = thetas[later]
                mask[k, theta_slot] = True
    return state, action, mask


ROWS = ((0, 0), (0, 3), (0, 5), (0, 11), (1, 2), (1, 19), (1, 24))


def check(found, name="human_hands", mirrored=False, atol=2e-5):
    state, action, mask, *_ = found
    for place, (episode, row) in enumerate(ROWS):
        want = expected(episode, row, name, mirrored)
        np.testing.assert_allclose(state[place], want[0], atol=atol, err_msg=f"{episode} {row}")
        np.testing.assert_array_equal(mask[place], want[2], err_msg=f"{episode} {row}")
        np.testing.assert_allclose(action[place], want[1], atol=atol, err_msg=f"{episode} {row}")


def rows_of():
    return [row + sum(LENGTHS[:episode]) for episode, row in ROWS]


@pytest.fixture(scope="module")
def hands(tmp_path_factory):
    return write_hands(tmp_path_factory.mktemp("hands") / "pour")


@pytest.mark.parametrize("name", ("human_hands", "human_hands_camera"))
def test_hands_before_a_moving_camera_are_taught_in_the_frame_that_is_asked_for(hands, tmp_path, name):
    check(made(hands, tmp_path, rows_of(), name), name)


@pytest.mark.parametrize(
    ("frame", "kind", "camera", "hidden", "own"),
    (
        pytest.param("world", "matrix", "", "zero", (), marks=pytest.mark.slow),
        ("world", "rotation_6d", "camera_pose", "flag", ("right_theta",)),
        ("camera", "quaternion_wxyz", "camera_extrinsics", "zero", ("camera_extrinsics", "left_seen")),
        pytest.param("camera", "quaternion_xyzw", "short", "flag", (), marks=pytest.mark.slow),
    ),
)
def test_every_way_to_write_them_down_means_the_same(tmp_path, frame, kind, camera, hidden, own):
    own = tuple(name for name in own if hidden == "flag" or not name.endswith("seen"))
    root = write_hands(tmp_path / "d", frame, kind, camera, hidden, own_column=own, version="v2.1")
    check(made(root, tmp_path / "cache", rows_of()))
    if camera:
        check(made(root, tmp_path / "cache", rows_of(), "human_hands_camera"), "human_hands_camera")


def test_nan_is_a_hand_that_is_not_seen_and_infinity_a_bad_episode(tmp_path):
    from test_train_data import spoil

    root = write_hands(tmp_path / "d", version="v2.1", lengths=(*LENGTHS, 5, 5))
    at = json.loads((root / "meta/modality.json").read_text())["state"]["left_theta"]["start"]

    def put(row, value):
        def change(columns):
            columns["observation.state"][row][at + 3] = value

        return change

    spoil(root, 0, put(1, float("nan")))
    spoil(root, 2, put(1, float("inf")))
    spoil(root, 3, lambda columns: columns["observation.state"][2].__setitem__(-1, 7.0))
    settings = config_of("x", data={**config(root).data.model_dump(), "most_bad": 0.6})
    [source] = open_sources(settings.data, tmp_path / "cache", H)
    assert "infinity in 1 rows, first in row 1" in source.table.bad[2]
    assert "`camera_pose` is no 4x4 matrix" in source.table.bad[3]
    numbers = source.modality.numbers(source.table, 0, H)
    assert numbers.known["left_eef_position"][:4].tolist() == [False, False, True, False]
    assert numbers.known["left_theta"][:4].tolist() == [False, True, True, False]
    assert numbers.known["eef_position"].all() and not np.any(list(numbers.absent.values()))
    absent = source.modality.numbers(source.table, 1, H).absent
    assert [key for key, rows in absent.items() if rows.all()] == [
        "left_eef_position", "left_eef_rotation", "left_theta", "left_beta",
    ]  # fmt: skip


def test_one_hand_alone_leaves_the_other_masked(tmp_path):
    root = write_hands(tmp_path / "d", sides=("left",))
    state, action, mask, _, source = made(root, tmp_path / "cache", [0, 15])
    right = [*range(0, 6), *range(110, 155)]
    assert not mask[..., right].any() and not action[..., right].any() and not state[:, right].any()
    assert mask[1][:, 155:].all() and not state[:, 90:100].any() and state[:, 100:110].any()
    assert source.notes[0].startswith("d: hands without eef_position, eef_rotation, right_theta, right_beta")
    assert "right_theta" not in source.statistics["action"] and "left_theta" in source.statistics["action"]


def test_rows_in_which_no_hand_is_seen_are_not_taught(tmp_path):
    def away(values):
        return values | {"right_seen": np.zeros(1)}

    root = write_hands(tmp_path / "d", sides=("right",), scale=away, lengths=(30,))
    with pytest.raises(BeingHError, match="no sample for train"):
        settings = config(root)
        Plan(opened(settings, tmp_path / "cache")[0], settings.data, settings.packing, 0)
    root = write_hands(tmp_path / "e", sides=("right",), lengths=(5, 45))  # the second: not from row 20 on
    settings = config(root)
    sources, _ = opened(settings, tmp_path / "cache")
    plan = Plan(sources, settings.data, settings.packing, 0)
    drawn = {row for _ in range(60) for _, row in plan.next().samples}
    assert drawn == set(range(5 + 19)) and plan.account()[0]["left_out"] == 26
    assert any("26 rows are left out: no hand is seen in their chunk" in note for note in sources[0].notes)


def test_statistics_are_those_of_what_is_seen(hands, tmp_path):
    [source] = open_sources(config(hands).data, tmp_path, H)
    steps, theta = [], []
    for episode, count in enumerate(LENGTHS):
        for row in range(count):
            later = min(row + 1, count - 1)
            if is_seen(episode, row, "left") and is_seen(episode, later, "left"):
                steps.append(truth(episode, later)[1]["left"][0][:3, 3] - truth(episode, row)[1]["left"][0][:3, 3])
            if is_seen(episode, row, "left"):
                theta.append(truth(episode, row)[1]["left"][1])
    found = source.statistics
    np.testing.assert_allclose(found["action"]["left_eef_position"]["q99"], np.quantile(steps, 0.99, axis=0), atol=1e-5)
    np.testing.assert_allclose(found["state"]["left_theta"]["mean"], np.mean(theta, axis=0), atol=1e-5)


@pytest.mark.parametrize("name", ("human_hands", "human_hands_camera"))
def test_a_mirrored_sample_is_the_mirror_image_with_its_picture(hands, tmp_path, name):
    plain, mirrored = (made(hands, tmp_path, rows_of(), name, mirror=share) for share in (0.0, 1.0))
    check(mirrored, name, mirrored=True)
    for seen, sign in ((plain, 1), (mirrored, -1)):
        red = seen[3][:, 0].float().mean(1)
        assert (sign * (red[:, -1] - red[:, 0]) > 60).all()
    blue = mirrored[3][:, 2].float().mean((1, 2))
    assert len(blue) == len(ROWS) and (blue > 0).all() and picture(0, 0).shape[2] == 3


def test_mirrored_twice_is_what_it_was():
    rng = np.random.default_rng(0)
    hands = Hands(
        position=rng.normal(size=(9, 2, 3)), rotation=rng.normal(size=(9, 2, 3)), theta=rng.normal(size=(9, 2, 45)),
        beta=rng.normal(size=(9, 2, 10)), known=rng.random((9, 2, 3)) < 0.5,
    )  # fmt: skip
    once, twice = hands.mirrored(), hands.mirrored().mirrored()
    for name in ("position", "rotation", "theta", "beta", "known"):
        np.testing.assert_array_equal(getattr(twice, name), getattr(hands, name))
        assert not np.array_equal(getattr(once, name), getattr(hands, name)), name


def test_what_the_mirror_would_make_untrue_is_not_mirrored(tmp_path):
    assert all(map(mentions_a_side, ("take it with the LEFT hand", "turn it clockwise", "用右手拿")))
    assert not mentions_a_side("pour water")
    tasks = ("move the cup to the right", "move the cup")
    root = write_hands(tmp_path / "d", task=lambda episode: tasks[episode])
    pictures = made(root, tmp_path / "cache", [0, 1, 20, 21], mirror=1.0)[3]
    red = pictures[:, 0].float().mean(1)
    assert ((red[:, -1] - red[:, 0]) > 60).tolist() == [True, True, False, False]
    settings = config(root, mirror=0.5)
    sources, prompts = opened(settings, tmp_path / "cache")
    pack = Pack(number=0, samples=tuple((0, 12 + k % 25) for k in range(40)))
    red = SampleMaker(sources, prompts, settings.data, 0).make(pack).batch["packed_vit_tokens"][:, 0].float().mean(1)
    assert 8 <= (red[:, -1] < red[:, 0]).sum() <= 32
    plain = SampleMaker(sources, prompts, settings.data, 0, plain=True).make(pack).batch["packed_vit_tokens"]
    red = plain[:, 0].float().mean(1)
    assert (red[:, -1] > red[:, 0]).all() and torch.is_tensor(plain)


def changing(names, factor):
    return lambda values: {n: v * factor if n.endswith(names) else v for n, v in values.items()}


def pose_in_mm(values):
    pose = values["camera_pose"].copy()
    pose[[3, 7, 11]] *= 1000
    return values | {"camera_pose": pose}


@pytest.mark.parametrize(
    ("scale", "frame", "said"),
    (
        (changing(("theta",), 57.29578), "camera", ("state.right_theta", "degrees")),
        (changing(("eef_rotation",), 57.29578), "camera", ("state.eef_rotation", "degrees")),
        (changing(("position",), 1000.0), "camera", ("the distance of state.eef_position", "millimetres")),
        (changing(("position",), 100.0), "camera", ("the distance of state.left_eef_position", "centimetres")),
        (changing(("position",), 1000.0), "world", ("the speed of state.eef_position", "millimetres")),
        (pose_in_mm, "camera", ("the speed of state.eef_position",)),
    ),
)
def test_other_units_are_told_with_their_cause(tmp_path, scale, frame, said):
    camera = "camera_pose" if frame == "camera" else ""
    root = write_hands(tmp_path / "d", frame=frame, scale=scale, camera=camera, lengths=(8,))
    [source] = open_sources(config(root).data, tmp_path / "cache", H)
    found = checks.findings(source, H)
    assert {one.kind for one in found} == {"units"}
    assert any(all(word in one.text for word in said) for one in found), [one.text for one in found]
    with pytest.raises(BeingHError, match="accept: .units."):
        checks.refuse([source], H)


def test_a_dataset_that_agrees_has_no_findings(hands, tmp_path):
    for name in ("human_hands", "human_hands_camera"):
        [source] = open_sources(config(hands, name).data, tmp_path, H)
        assert checks.findings(source, H) == [] and source.fps == FPS


def without_frame(told):
    del told["hands"]


@pytest.mark.parametrize(
    ("change", "said"),
    (
        (without_frame, "`hands.frame` is None"),
        (lambda told: told["hands"].update(frame="head"), "`hands.frame` is 'head'"),
        (lambda told: told["state"].pop("camera_pose"), "neither camera_pose nor camera_extrinsics"),
        (lambda told: told["state"].pop("eef_rotation"), "only one of eef_position and eef_rotation"),
        (lambda told: told["state"].update(right_teta=told["state"].pop("right_theta")), "did you mean `right_theta`"),
        (lambda told: told["state"]["right_theta"].update(end=40), "40? numbers for 15 rotations|numbers for 15 rotations"),
        (lambda told: told["state"]["right_beta"].update(start=0, end=3), "`state.right_beta` has 3 numbers"),
        (lambda told: told["state"]["right_beta"].update(end=10_000), "to 10000 of `observation.state`"),
        (lambda told: told["state"]["right_beta"].update(original_key="beta"), "which is no column"),
        (lambda told: told["state"]["eef_rotation"].update(rotation_type="quaternion"), "`rotation_type` is 'quaternion'"),
        (lambda told: told.update(state=[]), "no part of a hand"),
    ),
)  # fmt: skip
def test_a_modality_file_that_does_not_say_enough_is_told(hands, tmp_path, change, said):
    root = shutil.copytree(hands, tmp_path / "d")
    path = root / "meta/modality.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))
    with pytest.raises(BeingHError, match=said):
        open_sources(config(root).data, tmp_path / "cache", H)


def test_hands_robots_and_words_share_a_run_its_page_and_its_checkpoint(hands, tmp_path):
    words, cubes = write_words(tmp_path / "w", 6), write(tmp_path / "cubes", lengths=(6, 5))
    entries = [
        {"path": str(hands), "data_config": "human_hands", "mirror": 0.5}, {"path": str(cubes), "robot": "fr3"},
        {"path": str(words), "group": "words"},
    ]  # fmt: skip
    settings = config_of(
        out=str(tmp_path / "out"), data={"datasets": entries, "workers": 0}, training={"steps": 2, "precision": "fp32"},
        log={"tensorboard": False}, model={"state_history": {"rows": 2, "every": 3}},
    )  # fmt: skip
    report = examine(settings, gpus=(1,), say=lambda _: None)
    shown = next(one for one in report.samples if one.dataset == "pour" and not one.mask[:, 160].all())
    assert np.isnan(shown.taught["left_theta"][~shown.mask[:, 160]]).all() and shown.recorded == {}
    text = page(report)
    assert report.refused == [] and "nan" not in text and "state.left_theta 155:200" in text
    assert (
        "left_theta[2]" in text and "right_theta[3]" not in text and "[picture 1]" in text and "&lt;image" not in text
    )
    assert "has 2 states, of 3, 0 steps ago. Taught in the mirror, picture and hands: pour 50% of" in text
    Run(settings).train()
    policy = BeingHPolicy(
        model_path=str(tmp_path / "out/last"), data_config_name="human_hands", dataset_name="human_hands",
        embodiment_tag="human_hands", device="cpu", dtype=torch.float32,
    )  # fmt: skip
    seen = {"video.head_view": picture(0, 0)[None], "language.instruction": ["pour water"]}
    seen |= {f"state.{spec.key}": np.zeros((1, 2, spec.data_width("state"))) for spec in policy.data_config.state}
    assert policy.get_action(seen)["action.left_theta"].shape == (1, H, 45)
