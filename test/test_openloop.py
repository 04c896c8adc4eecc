"""Metrics of predicted against recorded actions, on numbers that are known; what is done to pictures."""

from pathlib import Path

import numpy as np
import pytest

from beingh_core.contract import load_contract
from beingh_core.data.disturb import Disturbance
from beingh_core.errors import BeingHError
from beingh_core.evaluate import grips
from beingh_core.evaluate.openloop import (
    PERSON,
    POLICY,
    Comparison,
    Quantity,
    chunk_seams,
    executed_errors,
    joined,
    roughness,
    skill,
    stitched,
    summary,
)
from beingh_core.evaluate.paired import paired_interval
from beingh_core.evaluate.trivial import HOLD, LAST_VELOCITY, MEAN, trivial_actions
from beingh_core.openloop import quantities
from beingh_core.openloop.command import labelled
from beingh_core.openloop.noise import noise_seed
from beingh_core.openloop.recording import base_velocities

ROBOTS = Path(__file__).resolve().parent / "data/robots"
N, K = 4, 6


def comparison(offset=1.0, person_from=None, episode="one"):
    """A hand that moves 1 mm a step along x; the policy is off by (0, offset k, 0) at step k, the trivial one stays."""
    ticks = 10 + 3 * np.arange(N)
    at = ticks[:, None] + np.arange(K)
    recorded = np.stack([at, np.zeros((N, K)), np.zeros((N, K))], axis=2).astype(float)
    recorded[-1, 4:] = np.nan  # the recording ends
    wanted = np.stack([at, offset * np.broadcast_to(np.arange(1, K + 1), (N, K)), np.zeros((N, K))], axis=2)
    stays = np.stack([np.broadcast_to(ticks[:, None] - 1, (N, K)), np.zeros((N, K)), np.zeros((N, K))], axis=2)
    charge = np.full((N, K), POLICY, dtype="<U8")
    if person_from is not None:
        charge[at >= person_from] = PERSON
    hand = Quantity(
        name="tcp", kind="hand", unit="mm", recorded=recorded, predicted={"a": wanted * 1.0, HOLD: stays * 1.0}
    )
    return Comparison(episodes=np.full(N, episode), ticks=ticks, in_charge=charge, executed=3, rate_hz=20.0,
                      policies=("a",), trivial=(HOLD,), quantities=(hand,))  # fmt: skip


def test_errors_by_step_and_by_who_was_in_charge():
    found = summary(comparison(offset=2.0, person_from=16))
    errors = found["all"]["quantities"]["hand:tcp"]["errors"]
    assert [errors["a"][label]["mean"] for label in ("1", "s", "H", "1..s")] == [2.0, 6.0, 12.0, 4.0]
    assert [errors[HOLD][label]["mean"] for label in ("1", "s", "H")] == [1.0, 3.0, 6.0]
    assert found["all"]["steps"] == N * K - 2
    # Ticks 10..15 are the policy's: all steps of the first chunk, three of the second, none of the others.
    assert found[POLICY]["steps"] == 9 and found[PERSON]["steps"] == N * K - 2 - 9
    assert found[POLICY]["quantities"]["hand:tcp"]["errors"]["a"]["H"] == {"mean": 12.0, "p95": 12.0}
    moved = found["all"]["quantities"]["hand:tcp"]["moved"]
    assert (moved["1"]["mean"], moved["H"]["mean"]) == (0.0, K - 1.0)


def test_skill_is_measured_against_the_best_policy_that_sees_nothing():
    assert executed_errors(comparison(0.5), "a").tolist() == [1.0] * N
    assert skill(comparison(0.5), "a") == (0.5, HOLD)  # mean error 1 against 2
    assert skill(comparison(0.0), "a")[0] == 1.0
    assert skill(comparison(2.0), "a")[0] == -1.0


def test_stitched_chunks_and_their_gaps():
    found = comparison(offset=2.0)
    ticks, values = stitched(found.ticks, found.main.predicted["a"])
    assert ticks.tolist() == list(range(10, 10 + 3 * (N - 1) + K))
    assert values[:4, 1].tolist() == [2.0, 4.0, 6.0, 2.0]  # the fourth is the first step of the second chunk
    # Where the second chunk begins the first one is at its fourth step.
    assert chunk_seams(found, "a") == pytest.approx([6.0] * (N - 1))
    assert stitched(np.empty(0, dtype=int), np.empty((0, K, 3)))[0].size == 0
    overlapping = stitched(np.array([0, 9]), np.arange(2.0 * K).reshape(2, K, 1))
    assert overlapping[0].tolist() == [*range(K), *range(9, 9 + K)]  # ticks that nobody decides are left out


def test_roughness_is_the_third_derivative():
    t = np.arange(20) / 10.0
    assert roughness(np.stack([2.0 * t**3, t**2], axis=1), 10.0) == pytest.approx(np.full(17, 12.0))


def test_several_recordings_together():
    both = joined([comparison(1.0), comparison(3.0, episode="two")])
    assert executed_errors(both, "a").tolist() == [2.0] * N + [6.0] * N
    assert len(chunk_seams(both, "a")) == 2 * (N - 1)  # none across recordings
    with pytest.raises(BeingHError, match="one robot contract"):
        other = comparison()
        joined([other, Comparison(**{**vars(other), "rate_hz": 10.0})])
    with pytest.raises(BeingHError, match="nothing to compare"):
        Comparison(**{**vars(comparison()), "episodes": np.empty(0)})


def test_policies_that_see_nothing():
    last, before = np.array([[1.0, 0.2]]), np.array([[0.5, 0.3]])
    found = trivial_actions(last, before, np.array([9.0, 8.0]), np.array([False, True]), 3)
    assert found[HOLD][0].tolist() == [[1.0, 0.0]] * 3  # where to go stays, how far to go is nothing
    assert found[LAST_VELOCITY][0].tolist() == [[1.5, 0.2], [2.0, 0.2], [2.5, 0.2]]
    assert found[MEAN][0].tolist() == [[9.0, 8.0]] * 3


@pytest.mark.parametrize("episodes", [1, 12])
def test_paired_interval(episodes):
    rng = np.random.default_rng(1)
    names = np.repeat([f"e{i}" for i in range(episodes)], 96 // episodes)
    shared = rng.normal(10.0, 5.0, len(names))  # what makes an observation hard is the same for both
    noise = rng.normal(0.0, 0.5, len(names))
    same = paired_interval(shared, shared + noise - noise.mean(), names)
    assert same.low < 0.0 < same.high and same.verdict == "no difference can be told"
    better = paired_interval(shared, shared + noise + 1.0, names)
    assert better.high < 0.0 and better.verdict == "A is better"
    assert better.low < better.difference < better.high and better.difference == pytest.approx(-1.0 - noise.mean())
    assert paired_interval(shared + 1.0, shared, names).verdict == "B is better"
    assert better.units == (12 if episodes == 1 else episodes) and better.pairs == len(names)
    # Its width is that of the standard error of the mean difference.
    assert better.high - better.low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(len(names)), rel=0.5)


def test_paired_interval_of_too_little():
    few = paired_interval(np.array([1.0, np.nan]), np.array([2.0, 3.0]), np.array(["e", "e"]))
    assert (few.pairs, few.low, few.verdict) == (1, None, "too few to tell")
    none = paired_interval(np.array([np.nan]), np.array([2.0]), np.array(["e"]))
    assert none.pairs == 0 and none.first_mean is None


def test_gripper_timing():
    ticks = np.arange(60)
    recorded = np.where(ticks < 20, 1.0, np.where(ticks < 40, 0.0, 1.0))
    assert grips.changes(ticks, recorded) == [(20, False), (40, True)]
    late = np.where(ticks < 24, 1.0, 0.0)
    told = grips.timing(grips.changes(ticks, recorded), grips.changes(ticks, late), 20.0)
    assert told == grips.GripTiming(recorded=2, offsets_s=(0.2,), missed=1, extra=0)
    flutter = np.where(ticks % 10 < 5, 1.0, 0.0)
    assert grips.timing([], grips.changes(ticks, flutter), 20.0).extra == 11
    assert grips.changes(ticks, np.full(60, 0.5)) == []  # neither open nor closed
    assert grips.changes(ticks, np.where(ticks < 20, 1.0, 0.5)) == []  # half closed is not closed
    both = grips.together([told, told])
    assert both.recorded == 4 and both.offsets_s == (0.2, 0.2)


def test_joint_commands_become_hands_and_slots():
    """A command that lifts nothing but the first joint turns the hand about the base: known by geometry."""
    contract = load_contract("fr3")
    home = np.array(contract.home)
    recorded = np.tile(home, (1, 3, 1))
    turned = recorded.copy()
    turned[0, :, 0] += [0.0, 0.01, 0.02]
    found = {
        (q.kind, q.name): q for q in quantities.of_joints(contract, home[None], recorded, {"a": turned, "b": recorded})
    }
    hand = found["hand", "fr3_hand_tcp"]
    radius = np.linalg.norm(hand.recorded[0, 0, :2])
    assert hand.errors("a")[0] == pytest.approx(2 * radius * np.sin(np.array([0.0, 0.005, 0.01])), abs=1e-6)
    assert hand.errors("b")[0] == pytest.approx(np.zeros(3))
    assert found["joint", "fr3_joint1"].errors("a")[0] == pytest.approx([0.0, 10.0, 20.0])
    assert found["joint", "fr3_joint1"].unit == "mrad" and found["joint", "fr3_finger_joint1"].unit == "mm"
    steps = found["slot", "eef_position"]
    assert steps.unit == "mm/step" and steps.errors("a")[0, 1:] == pytest.approx(2 * radius * np.sin(0.005), rel=1e-3)
    assert found["slot", "gripper_position"].recorded[0, 0, 0] == 1.0


def test_slots_and_joint_commands_agree_about_the_hand():
    """The offline path sums up steps, the replay uses kinematics: the same path must give the same errors."""
    contract = load_contract("fr3")
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(0.0, 0.004, (2, 8, 3)), rng.uniform(0.2, 0.8, (2, 8, 1))], axis=2)
    other = rows + rng.normal(0.0, 0.001, rows.shape) * [1, 1, 1, 0]
    anchor = np.tile(contract.home, (2, 1))
    by_slots = quantities.of_slots(contract, rows, {"a": other}, np.zeros((2, 4)))
    joints = [quantities.decoded(contract, values, anchor) for values in (rows, other)]
    by_joints = quantities.of_joints(contract, anchor, joints[0], {"a": joints[1]})
    first, second = (next(q for q in found if q.kind == "hand") for found in (by_slots, by_joints))
    assert first.errors("a") == pytest.approx(second.errors("a"), abs=1e-3)


def test_disturbances_are_the_same_in_every_run():
    settings = Disturbance(
        brightness=0.5, noise=5.0, occlusion=0.25, drop=0.3, frozen={"wrist": (0.2, 0.4)}, views=("scene",)
    )
    pictures = [np.full((40, 60, 3), 20 * index, np.uint8) for index in range(10)]
    runs = []
    for _ in range(2):
        disturbed = settings.start(7, "bag")
        runs.append([disturbed.picture("scene", index / 10, image) for index, image in enumerate(pictures)])
        assert all(disturbed.pixels("wrist", image) is image for image in pictures)  # only the scene is disturbed
        held = [disturbed.held("wrist", index / 10, image) for index, image in enumerate(pictures)]
        assert [next(i for i, image in enumerate(pictures) if image is one) for one in held] == [
            0, 1, 2, 2, 4, 5, 6, 7, 8, 9,
        ]  # fmt: skip
    assert all(np.array_equal(a, b) for a, b in zip(*runs))
    other = settings.start(8, "bag").picture("scene", 0.0, pictures[9])
    assert not np.array_equal(other, settings.start(7, "bag").picture("scene", 0.0, pictures[9]))


def test_what_each_disturbance_does():
    grey = np.full((50, 50, 3), 100, np.uint8)
    assert (Disturbance(brightness=1.5).start(0, 0).pixels("v", grey) == 150).all()
    assert (Disturbance(brightness=9.0).start(0, 0).pixels("v", grey) == 255).all()
    covered = Disturbance(occlusion=0.25).start(0, 0).pixels("v", grey)
    assert (covered == 128).all(axis=2).mean() == pytest.approx(0.25, abs=0.02) and (grey == 100).all()
    noisy = Disturbance(noise=6.0).start(0, 0).pixels("v", grey).astype(float)
    assert noisy.std() == pytest.approx(6.0, rel=0.1) and noisy.mean() == pytest.approx(100.0, abs=0.5)
    lost = Disturbance(drop=0.4).start(0, 0)
    assert np.mean([lost.is_lost("v") for _ in range(2000)]) == pytest.approx(0.4, abs=0.05)
    assert Disturbance().start(0, 0).pixels("v", grey) is grey and Disturbance().text == ""


@pytest.mark.parametrize(
    "wrong", [{"brightness": -1.0}, {"noise": 300.0}, {"occlusion": 1.5}, {"drop": float("nan")}, {"frozen": {"v": (2.0, 1.0)}}]
)  # fmt: skip
def test_impossible_disturbances_are_refused(wrong):
    with pytest.raises(BeingHError, match="to"):
        Disturbance(**wrong)
    with pytest.raises(BeingHError, match="no view `nose`"):
        Disturbance(views=("nose",)).check(("scene",))


def test_noise_depends_on_the_place_and_not_on_the_order():
    seeds = [noise_seed(seed, bag, tick) for seed in (0, 1) for bag in ("a", "b") for tick in range(50)]
    assert len(set(seeds)) == len(seeds) and noise_seed(0, "a", 3) == seeds[3]


def test_velocities_of_a_base_are_found_by_their_axes():
    from types import SimpleNamespace as Message

    contract = load_contract(str(ROBOTS / "mobile_base.yaml"))
    twist = Message(linear=Message(x=0.3, y=0.0, z=0.0), angular=Message(x=0.0, y=0.0, z=-0.7))
    message = Message(points=[Message(velocities=[twist]), Message(velocities=[])])
    assert base_velocities(message, contract) == {"base_x": 0.3, "base_yaw": -0.7}
    assert base_velocities(Message(points=[]), contract) == {}


CONTRACTS = [*sorted((ROBOTS.parents[2] / "config/robots").glob("*.yaml")), *sorted(ROBOTS.glob("*.yaml"))]


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: path.stem)
def test_every_robot_can_be_compared(path):
    """Near its home every robot's commands become quantities; going there by slots gives the same joints."""
    contract = load_contract(str(path))
    home, rng = np.array(contract.home), np.random.default_rng(0)
    room = np.minimum(contract.limits.upper - home, home - contract.limits.lower)
    step = np.clip(np.where(np.isfinite(room), room, 1.0), 0.0, 0.02)
    for signal in contract.action:
        for coupling in signal.coupling:  # follows another joint
            step[contract.joint_names.index(coupling.joint)] = 0.0
    recorded = home + step * rng.uniform(-0.4, 0.4, (2, 5, len(home)))
    recorded[1, 3:] = np.nan
    before = np.tile(home, (2, 1))
    found = quantities.of_joints(contract, before, recorded, {"same": recorded, "home": np.tile(home, (2, 5, 1))})
    slots = [q for q in found if q.kind == "slot"]
    assert [q.name for q in slots] == [signal.slot for signal in contract.action]
    assert [q.name for q in found if q.kind == "joint"] == list(contract.joint_names)
    for quantity in found:
        assert np.nanmax(quantity.errors("same")) == 0.0 and np.isnan(quantity.recorded[1, 3:]).all()
        assert np.isfinite(quantity.predicted["home"]).all()
    width = sum(signal.width for signal in contract.action)
    rows = np.concatenate([q.predicted["home"] for q in slots], axis=2)
    scale = np.concatenate([np.full(s.recorded.shape[2], 1.0 if "share" in s.unit else 1e-3) for s in slots])
    back = quantities.decoded(contract, rows * scale, before)
    assert rows.shape == (2, 5, width) and back == pytest.approx(np.tile(home, (2, 5, 1)), abs=5e-3)
    everyone = quantities.with_trivial(contract, {"a": rows}, rows[:, 0], rows[:, 0], rows[0, 0])
    assert {values.shape for values in everyone.values()} == {rows.shape}
    assert all(
        q.recorded.shape[:2] == (2, 5) for q in quantities.of_slots(contract, rows, everyone, np.zeros((2, width)))
    )


def test_checkpoints_are_told_apart():
    assert list(labelled(["a/one", "b/two"])) == ["one", "two"]
    assert list(labelled(["a/one", "b/one"])) == ["one (A)", "one (B)"]
    assert list(labelled(["runs/hold"])) == ["checkpoint hold"]
    with pytest.raises(BeingHError, match="one, or two"):
        labelled(["a", "b", "c"])
