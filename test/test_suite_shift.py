"""`beingh suite shift`: what each shift does and to what, variants of the policy, gates, how it goes on, what it refuses."""

import json

import numpy as np
import pytest

from beingh_core.cli import main
from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.suite import shift
from beingh_core.suite.journal import ROWS
from beingh_core.suite.shift_effects import shift_effects
from beingh_core.suite.shift_points import shift_points
from beingh_core.suite.shifts import Shift

CHECKPOINT = "checkpoints/fr3_cubes"


@pytest.fixture(scope="module")
def player():
    from beingh_core.suite.episode import Player

    made = Player(load_contract("fr3"))
    yield made
    made.close()


def looks(player, text, seed=3, names=(), times=(0.0,)):
    """What is seen of the scene of seed 3 at some times, in which the arm moves."""
    player.robot.reset(3)
    player.cameras.begin(Shift.read(text), seed, names)
    seen, joints = [], player.contract.joint_names
    for time_s in np.arange(0.0, max(times) + 0.01, 0.05):
        player.cameras.wait(time_s)
        if any(abs(time_s - wanted) < 1e-6 for wanted in times):
            seen.append(player.cameras.look(time_s))
        player.robot.step(0.05, {joints[0]: 0.2 * time_s})
    return seen, player.robot.data.qpos.copy()


def test_each_shift_changes_what_is_seen_and_nothing_that_moves(player):
    times = (0.0, 4.5)
    plain, still = looks(player, "none", times=times)
    for text in ("brightness:0.5", "brightness:1.5", "noise:20", "occlusion:0.2", "offset:0.05", "frozen:5"):
        seen, moved = looks(player, text, times=times)
        again, _ = looks(player, text, times=times)
        assert np.array_equal(moved, still), text
        for view in plain[0]:
            assert not np.array_equal(seen[1][view], plain[1][view]), (text, view)
            assert np.array_equal(seen[1][view], again[1][view])
    for view in plain[0]:
        assert not np.array_equal(plain[0][view], plain[1][view])


def test_how_much_each_shift_changes(player):
    [plain], _ = looks(player, "none")
    for view, pixels in plain.items():
        values = pixels.astype(float)
        [dark], _ = looks(player, "brightness:0.5")
        assert np.abs(dark[view] - values / 2).max() <= 0.5
        [noisy], _ = looks(player, "noise:20")
        inner = (values > 70) & (values < 185)
        assert (noisy[view] - values)[inner].std() == pytest.approx(20.0, rel=0.1)
        [hidden], _ = looks(player, "occlusion:0.2")
        changed = (hidden[view] != pixels).any(axis=2)
        assert (hidden[view][changed] == 128).all() and changed.mean() == pytest.approx(0.2, abs=0.03)


def test_only_the_named_cameras_are_shifted(player):
    [plain], _ = looks(player, "none")
    for text in ("brightness:0.5", "offset:0.05"):
        [seen], _ = looks(player, text, names=("wrist_view",))
        assert np.array_equal(seen["scene_view"], plain["scene_view"]), text
        assert not np.array_equal(seen["wrist_view"], plain["wrist_view"]), text


def test_a_moved_camera_is_so_far_aside_for_its_picture_and_back_afterwards(player):
    from beingh_core.sim.moved_camera import moved_camera

    robot = player.robot
    robot.reset(0)
    model, data, camera = robot.model, robot.data, robot.views["scene_view"].camera
    before, place, axes = model.cam_pos.copy(), data.cam(camera).xpos.copy(), data.cam(camera).xmat.reshape(3, 3).copy()
    with pytest.raises(KeyError), moved_camera(model, data, camera, 0.03, -0.04):
        offset = axes.T @ (data.cam(camera).xpos - place)
        assert offset == pytest.approx([0.03, -0.04, 0.0], abs=1e-9)
        assert np.array_equal(data.cam(camera).xmat.reshape(3, 3), axes)
        raise KeyError
    assert np.array_equal(model.cam_pos, before) and np.array_equal(data.cam(camera).xpos, place)
    looks(player, "offset:0.05")
    assert np.array_equal(model.cam_pos, before)
    asides = [Shift("offset", 0.05).aside(seed, "scene_view") for seed in range(20)]
    assert all(np.hypot(*aside) == pytest.approx(0.05) for aside in asides) and len(set(asides)) == 20


def test_a_frozen_camera_keeps_the_picture_of_the_drawn_moment_for_so_long(player):
    [(begin, end)] = set(Shift("frozen", 1.0).disturbance(3, ("a", "b")).frozen.values())
    assert 0.0 <= begin <= 4.0 and end == begin + 1.0
    first = np.ceil(begin / 0.05) * 0.05  # the first tick in it: nothing else is asked for then
    times = (first, first + 0.5, first + 1.5)
    plain, _ = looks(player, "none", times=times)
    seen, _ = looks(player, "frozen:1", times=times[1:])
    assert np.array_equal(seen[0]["scene_view"], plain[0]["scene_view"])
    assert not np.array_equal(plain[1]["scene_view"], plain[0]["scene_view"])
    assert np.array_equal(seen[1]["scene_view"], plain[2]["scene_view"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("brightnes:2", "did you mean `brightness`"),
        ("brightness", "is no shift"),
        ("none:1", "is no shift"),
        ("noise:x", "is no shift"),
        ("brightness:1", "impossible or none"),
        ("noise:0", "impossible or none"),
        ("noise:nan", "impossible or none"),
        ("noise:300", "allowed"),
        ("occlusion:1.5", "allowed"),
        ("offset:-0.1", "impossible or none"),
        ("offset:30", "at most 1"),
        ("frozen:inf", "at most 3600"),
    ],
)
def test_impossible_shifts_are_refused(text, told):
    with pytest.raises(BeingHError) as error:
        Shift.read(text)
    assert told.lower() in str(error.value).lower()


def test_without_the_gate_is_exactly_no_refinement_pass_and_gates_come_with_the_chunk():
    import torch

    from beingh_core.policy.loading import load_for_contract
    from beingh_core.policy.observations import named_observation
    from beingh_core.suite.shift_plan import variant

    contract = load_contract("fr3")
    load = lambda **settings: load_for_contract(contract, CHECKPOINT, threads=1, **settings)

    def chunk(policy):
        torch.manual_seed(0)
        size = policy.image_size
        images = {view: np.full((1, size, size, 3), 90, np.uint8) for view in policy.views}
        neutral = policy.transform.state_from_unified(np.zeros((1, 200), dtype=np.float32))
        return policy.get_action(named_observation(images, neutral, "pick up the red cube"))["action_unified"]

    off, none, two = (
        load(**variant("off", 2)),
        load(mpg_refinement_iters=0, num_inference_timesteps=2),
        load(**variant("2", 2)),
    )
    two.observe_gates = True
    assert np.array_equal(chunk(off), chunk(none)) and not np.array_equal(chunk(off), chunk(two))
    assert (
        off.last_gates.size == 0
        and two.last_gates.shape == (4, 1)
        and ((two.last_gates > 0) & (two.last_gates <= 1)).all()
    )
    assert two.model_facts["mpg_passes"] == 2 and not off.model_facts["mpg"]


def row(text="none", seed=0, success=True, mpg="off", steps=4, **other):
    told = {"checkpoint": "fr3_cubes", "mpg": mpg, "steps": steps, "shift": text, "seed": seed, "lock": 5}
    figures = dict(success=success, time_s=4.0, jerk=10.0, held=2, ticks=20, late=0, refused=0, broken=0)
    gates = dict.fromkeys(("gate_mean", "gate_min")) if mpg == "off" else {"gate_mean": 0.25, "gate_min": 0.1}
    return told | figures | gates | {"seam": [0.1], "inside": [0.2], "wanted_seam": [], "wanted_inside": []} | other


def test_points_and_effects_by_hand():
    rows = [row(seed=s, success=s < 2) for s in range(8)] + [row(seed=s, mpg="1", gate_mean=0.1 * s) for s in range(8)]
    off, on = shift_points(rows, [("fr3_cubes", mpg, 4, "none") for mpg in ("off", "1", "2")])
    assert (off.successes, on.successes, off.gate_mean, on.gate_min) == (2, 8, None, 0.1)
    assert on.gate_mean == pytest.approx(0.35)
    [effect] = shift_effects(rows)
    told = (
        "MPG 1, 4 steps against MPG off, 4 steps, over 8 pairs of episodes without a shift: share of picks +0.75 (+0."
    )
    assert told in effect.told and (effect.scenes, effect.shifted) == (8, False)
    assert shift_effects(rows[:8]) == shift_effects(rows[8:]) == []


def test_effects_are_of_passes_against_none_and_the_fewest_and_of_steps_against_the_most():
    rows = [
        row(text, seed, mpg=mpg, steps=steps, success=(mpg, text) == ("3", "noise:20"))
        for text in ("none", "noise:20", "noise:40")
        for seed in range(9)
        for mpg in ("off", "3", "2")
        for steps in (4, 8)
    ]
    found = shift_effects([*rows, row("noise:60", mpg="3")])  # without a partner
    pairs = lambda shifted: {
        ((one.mpg, one.steps), (one.against_mpg, one.against_steps)): one for one in found if one.shifted is shifted
    }
    passes = [((mpg, n), (base, n)) for n in (4, 8) for mpg, base in (("3", "off"), ("2", "off"), ("3", "2"))]
    steps = [((mpg, 4), (mpg, 8)) for mpg in ("off", "2", "3")]
    assert pairs(False).keys() == pairs(True).keys() == {*passes, *steps} and len(found) == 2 * 9
    shifted = pairs(True)[("3", 4), ("2", 4)]
    assert (shifted.pairs, shifted.scenes, shifted.more, shifted.low, shifted.high) == (18, 9, 0.5, 0.5, 0.5)
    assert "under shifts: share of picks +0.50 (the same in every scene;" in shifted.told
    assert pairs(False)[("3", 4), ("2", 4)].more == 0.0 and pairs(True)[("3", 4), ("3", 8)].more == 0.0
    [alone] = shift_effects([row(mpg="off", success=False), row(mpg="1")])  # one pair has a difference, and no interval
    assert (alone.more, alone.low, alone.high) == (1.0, None, None) and "too few scenes" in alone.told


def run(out, *words):
    return main(["suite", "shift", "--robot", "fr3", "--checkpoint", CHECKPOINT, "--out", str(out), *map(str, words)])


def test_a_run_plays_what_is_missing_and_reports_all(tmp_path, monkeypatch, capsys):
    played = []

    def play(given, checkpoint, mpg, steps, text, seed):
        played.append((mpg, text, seed))
        if len(played) == 3:
            raise KeyboardInterrupt
        return row(text, seed, mpg=mpg, steps=steps)

    monkeypatch.setattr(shift, "play", play)
    short = ("--shifts", "none,noise:20", "--mpg", "off,1", "--episodes", 1)
    assert run(tmp_path, *short) == 130
    assert run(tmp_path, *short) == 0 and len(played) == 5
    assert sorted(played[3:]) == [("1", "noise:20", 0), ("1", "none", 0)]
    assert run(tmp_path, *short[:-1], 2, "--steps", "4,8") == 0 and len(played) == 5 + 12
    text = (tmp_path / "report.md").read_text()
    assert (
        "| fr3_cubes | MPG 1, 4 steps | noise:20 | 2 of 2 | 1.00 (0.34 to 1.00) | 4.0 | 10 | 0.100 | 0.200 | 0.250 | 0.100 | 0 |"
        in text
    )
    assert (tmp_path / "report.html").read_text().count("data:image/png") == 2
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["points"]) == 8 and len(figures["effects"]) == 2 * 4
    assert run(tmp_path, *short, "--cameras", "wrist_view") == 2
    assert "cameras [], not ['wrist_view']" in capsys.readouterr().err and len(played) == 17


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--shifts", ""), "each once, and one at least"),
        (("--shifts", "noise:20,noise:20.0"), "each once"),
        (("--shifts", "noise:20,noise:20.0000001"), "each once"),  # rows hold both as noise:20
        (("--shifts", "brightness:1.0000001"), "impossible or none"),
        (("--mpg", "0"), "`0` is no number of passes"),
        (("--mpg", "17"), "mpg_refinement_iters"),
        (("--mpg", "off,off"), "each once"),
        (("--steps", "0"), "num_inference_timesteps"),
        (("--steps", "60"), "more than 100 evaluations"),
        (("--steps", "x"), "no list of numbers"),
        (("--cameras", "nose"), "no view `nose`"),
        (("--delay", 17), "0 to 16 steps"),
        (("--episodes", 0), "0 episodes"),
        (("--checkpoint", "other=nowhere"), "no such directory"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_loaded(words, told, tmp_path, capsys):
    assert run(tmp_path / "out", *words) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [({"mpg_lambda": 0.0}, "whose mpg_lambda is 0"), ({"use_mpg": False}, "trained without MPG")],
)
def test_passes_that_a_checkpoint_does_not_have_are_refused(change, told, tmp_path, capsys):
    import shutil
    from pathlib import Path

    copy = shutil.copytree(CHECKPOINT, tmp_path / "copy")
    config = json.loads((Path(copy) / "config.json").read_text())
    (Path(copy) / "config.json").write_text(json.dumps(config | change))
    words = [
        "suite",
        "shift",
        "--robot",
        "fr3",
        "--checkpoint",
        str(copy),
        "--out",
        str(tmp_path / "out"),
        "--mpg",
        "off,1",
    ]
    assert main(words) == 2 and told in capsys.readouterr().err


@pytest.mark.slow
def test_real_episodes_have_gates_and_come_out_the_same_again(tmp_path):
    words = ("--shifts", "none,offset:0.03,frozen:1", "--mpg", "1,2", "--episodes", 1, "--seed", 1, "--seconds", 10)
    rows = []
    for name in ("a", "b"):
        assert run(tmp_path / name, *words, "--workers", 1 + (name == "b")) == 0
        rows.append([json.loads(line) for line in (tmp_path / name / ROWS).read_text().splitlines()])
    assert rows[0] == rows[1] and all(
        one["broken"] == 0 and 0 < one["gate_min"] < one["gate_mean"] < 1 for one in rows[0]
    )
    plain = next(one for one in rows[0] if (one["mpg"], one["shift"]) == ("1", "none"))
    assert plain["success"] and plain["lock"] == 5
