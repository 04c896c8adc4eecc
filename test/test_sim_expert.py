"""The scripted expert for any arm and hand: postures, chunks behind a prefix, what it refuses, and picks in the simulator."""

import time

import numpy as np
import pytest

from beingh_core.colours import colour_named
from beingh_core.contract import load_contract
from beingh_core.contract.kinematics import Kinematics
from beingh_core.errors import BeingHError
from beingh_core.inference.chunk_maker import ChunkMaker, Observation
from beingh_core.sim import SimRobot
from beingh_core.sim.aim import Aim
from beingh_core.sim.expert_policy import ExpertPolicy, SeenCubes, cubes_of
from beingh_core.sim.grasp import Cube
from beingh_core.sim.hand import hands_of
from beingh_core.sim.picking import Picker
from beingh_core.sim.reference_motion import ReferenceMotion
from beingh_core.tasks import PICK

ROBOTS = (
    "fr3 fr3_inspire fr3_inspire_eef g1_dex3 g1_dex3_eef g1_inspire g1_inspire_eef so101 d1 d1_eef ur5e_2f85 ur5e_2f85_eef "
    "mobile_ur5e mobile_ur5e_eef xarm7 xarm7_eef gen3 gen3_eef vx300s vx300s_eef aloha aloha_eef"
).split()
HANDLESS = ("ur5e", "g1", "g1_eef", "adam_u", "adam_u_eef")
LONGEST_S = 30.0


def cube(x, y, z=0.02, yaw=0.0):
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
    return Cube(centre=np.array([x, y, z]), rotation=turn, size_m=0.04)


THREE = {"red": cube(0.45, 0.1), "green": cube(0.5, -0.1), "blue": cube(0.55, 0.05, yaw=0.2)}


class Run:
    """One robot in the simulator, driven by chunks without ROS: each is asked for while the one before runs on.

    Attributes:
        sent: (T, J) what was commanded, of each tick.
        asked: ticks at which a chunk was asked for.
    """

    def __init__(self, name, seed, tasks=(PICK,)):
        self.contract = contract = load_contract(name)
        self.robot = SimRobot.of(contract, tasks=tasks)
        self.robot.reset(seed)
        self.policy = ExpertPolicy(contract, inference_s=0.0)
        self.maker = ChunkMaker(contract, self.policy)
        home = np.array(contract.home) * ~np.asarray(contract.limits.is_velocity)
        self.sent, self.asked = [home] * 2, []
        self.maker.start_epoch(home)

    def chunk(self, words):
        """The next H commands, of which the first d are those that will run while the policy thinks."""
        contract, tick = self.contract, len(self.sent)
        stamp_ns = round(tick * contract.dt_s * 1e9)
        self.policy.cubes.push(stamp_ns, cubes_of(self.robot))
        begun = self.maker.begin(Observation(stamp_ns=stamp_ns, images={}, joints=self.state()), words)
        prefix = np.vstack([self.sent[-1:], self.plan[: contract.uac.delay_steps]])
        self.asked.append(tick)
        return self.maker.finish(begun, prefix, self.plan[contract.uac.delay_steps :][: contract.uac.blend_steps])

    def state(self):
        found = dict.fromkeys((name for signal in self.contract.state for name in signal.values), 0.0)
        return found | self.robot.positions()

    def drive(self, words, seconds, done):
        """Run chunk after chunk until `done` or the time is over; whether it was done."""
        contract = self.contract
        moved = [(i, n) for i, n in enumerate(contract.joint_names) if n in self.robot.positions()]
        self.plan = np.tile(self.sent[-1], (contract.policy.chunk_length, 1))
        while len(self.sent) < seconds * contract.rate_hz:
            made = self.chunk(words)
            assert np.array_equal(made.positions[: contract.uac.delay_steps], self.plan[: contract.uac.delay_steps])
            for row in made.positions[: contract.uac.execution_steps]:
                self.robot.step(contract.dt_s, {name: float(row[i]) for i, name in moved})
                self.sent.append(row)
                if done():
                    return True
            self.plan = made.positions[contract.uac.execution_steps :]
        return False


class Lifted:
    """Whether a cube has been 5 cm above its place for a second."""

    def __init__(self, run, colour):
        self.run, self.colour, self.ticks = run, colour, 0
        self.start = run.robot.objects()[colour][0][2]

    def __call__(self):
        high = self.run.robot.objects()[self.colour][0][2] - self.start
        self.ticks = self.ticks + 1 if high > 0.05 else 0
        return self.ticks >= self.run.contract.rate_hz


def check_limits(contract, sent):
    """What was commanded, by finite differences."""
    limits, rate = contract.limits, contract.rate_hz
    sent = np.array(sent)
    still = ~np.asarray(limits.is_velocity)
    assert (sent >= limits.lower - 1e-6).all() and (sent <= limits.upper + 1e-6).all()
    speed = np.abs(np.diff(sent, axis=0)) * rate
    change = np.abs(np.diff(sent, n=2, axis=0)) * rate**2
    assert (speed <= limits.velocity * (1 + 1e-6))[:, still].all()
    return (change / limits.acceleration)[:, still].max()


def test_a_told_cube_is_picked_behind_prefixes_and_within_limits():
    run = Run("vx300s", 0)
    done = Lifted(run, "green")
    assert run.drive("pick up the green cube", 15.0, done)
    assert check_limits(run.contract, run.sent) < 1.0
    jumps = np.zeros(len(run.sent))
    jumps[2:] = np.abs(np.diff(run.sent, n=2, axis=0)).max(axis=1)
    at = np.array(run.asked[1:]) + run.contract.uac.delay_steps
    at = at[at < len(jumps)]
    inside = np.setdiff1d(np.arange(len(jumps)), [*at, *(at + 1)])
    assert jumps[at].max() <= 1.05 * jumps[inside].max()


@pytest.mark.slow
@pytest.mark.parametrize("name", ROBOTS)
def test_the_expert_picks_on_every_contract(name):
    picked = []
    for seed in range(5):
        run = Run(name, seed)
        colour = list(run.robot.objects())[seed % 3]
        picked.append(run.drive(f"pick up the {colour} cube", LONGEST_S, Lifted(run, colour)))
        if not name.endswith(
            "_eef"
        ):  # of Cartesian actions inverse kinematics makes the joints, and the controller limits them
            check_limits(run.contract, run.sent)
    assert sum(picked) >= 4, picked


@pytest.mark.slow
@pytest.mark.parametrize("name", HANDLESS)
def test_a_robot_without_a_hand_follows_a_slow_path_of_all_its_arm_joints(name):
    run = Run(name, 0)
    assert not run.policy.picks and not run.drive("follow the reference path", 6.0, lambda: False)
    assert name.endswith("_eef") or check_limits(run.contract, run.sent) < 1.0
    columns = ReferenceMotion(run.contract).columns
    assert (np.ptp(np.array(run.sent)[:, columns], axis=0) > 0.05).all()


def test_fingers_are_brought_to_a_place_and_a_direction_also_by_five_joints():
    for name in ("xarm7", "so101"):
        contract = load_contract(name)
        hand = hands_of(contract)[0]
        picker = Picker(contract, hand)
        fingers, aims = picker.fingers, 0
        for lean in (0.0, 0.6):
            for x in (0.25, 0.32):
                at = fingers.at(fingers.rest).point * [0.0, 1.0, 0.0] + [x, 0.0, 0.05]
                ahead = np.array([np.sin(lean), 0.0, -np.cos(lean)])
                aim = Aim(point=at, approach=ahead, closing=np.array([0.0, 1.0, 0.0]))
                q = fingers.solve(aim, fingers.rest)
                kin = Kinematics(contract.urdf_path, hand.arm_joints, hand.link)
                place, turn = kin.fk(q)
                if fingers.reaches(q, aim):
                    aims += 1
                    assert np.linalg.norm(place + turn @ np.array(hand.point) - at) < 0.002
                    assert (turn @ np.array(hand.approach)) @ ahead > 0.995
                assert (q >= kin.lower).all() and (q <= kin.upper).all()
        assert aims, name


def test_the_jacobian_is_the_derivative_of_the_forward_kinematics():
    contract = load_contract("g1_dex3_eef")
    arm = next(signal for signal in contract.action if signal.slot == "eef_position")
    kinematics = Kinematics(contract.urdf_path, arm.joints, arm.eef_frame, arm.base_frame)
    q, small = np.random.default_rng(0).uniform(-0.5, 0.5, len(arm.joints)), 1e-6
    q = np.clip(q, kinematics.lower, kinematics.upper)
    place, turn = kinematics.fk(q)
    for joint, column in enumerate(kinematics.jacobian(q).T):
        moved, turned = kinematics.fk(q + small * np.eye(len(q))[joint])
        assert np.allclose((moved - place) / small, column[:3], atol=1e-5)
        rate = (turned @ turn.T - np.eye(3)) / small
        assert np.allclose([rate[2, 1], rate[0, 2], rate[1, 0]], column[3:], atol=1e-5)


def test_chunks_continue_one_another_whatever_the_prefix():
    """The expert is a function of commands and cubes: what it foresaw is what it does from there."""
    policy = ExpertPolicy(load_contract("fr3_joints"), inference_s=0.0)
    policy.cubes.push(0, THREE)
    start = np.array(load_contract("fr3_joints").home)
    ask = {"language.instruction": "pick up the red cube", "first_state": start, "stamp_ns": 0}
    whole = rows_of(policy.get_action(ask | {"commands": np.vstack([start, start])}))
    assert np.abs(whole[-1] - start).max() > 0.01
    for delay in (3, 6):
        later = rows_of(policy.get_action(ask | {"commands": whole[: delay + 1]}))
        count = len(later) - delay
        assert np.allclose(later[delay - 1 :][:3], whole[delay : delay + 3], atol=1e-4), count


def rows_of(chunk):
    contract = load_contract("fr3_joints")
    hand = next(signal for signal in contract.action if signal.slot == "gripper_position")
    arm, share = chunk["action.arm_joint_position"][0], chunk["action.gripper_position"][0]
    rows = np.empty((len(arm), len(contract.joint_names)))
    signals = {signal.slot: signal for signal in contract.action}
    rows[:, [contract.joint_names.index(n) for n in signals["arm_joint_position"].joints]] = arm
    rows[:, [contract.joint_names.index(n) for n in hand.joints]] = hand.closed + share * (hand.open - hand.closed)
    return rows


def test_an_answer_takes_the_time_of_a_model():
    policy = ExpertPolicy(load_contract("ur5e"), inference_s=0.2)
    start = np.array(load_contract("ur5e").home)
    begin = time.perf_counter()
    policy.get_action({"commands": np.vstack([start] * 3), "first_state": start, "stamp_ns": 0})
    assert time.perf_counter() - begin >= 0.2 and policy.last_timing_ms["total"] >= 200.0


def test_what_it_cannot_do_is_told():
    policy = ExpertPolicy(load_contract("vx300s"))
    with pytest.raises(BeingHError, match="no colour"):
        policy.check_instruction("dance")
    assert "simulation only" in policy.closed(10**9)[0][1]
    policy.cubes.push(10**9, THREE)
    assert policy.closed(10**9) == []
    far = {colour: cube(3.0, 0.0) for colour in THREE}
    policy.cubes.push(2 * 10**9, far)
    home = np.array(load_contract("vx300s").home)
    ask = {"language.instruction": "take the red cube", "first_state": home, "commands": np.vstack([home] * 2)}
    with pytest.raises(BeingHError, match="no arm of `vx300s` reaches"):
        policy.get_action(ask | {"stamp_ns": 2 * 10**9})
    with pytest.raises(BeingHError, match="nobody tells where the red cube was"):
        policy.get_action(ask | {"stamp_ns": 9 * 10**9})
    assert ExpertPolicy(load_contract("ur5e")).closed(0) == []  # nothing to see for it


def test_cubes_are_those_of_the_picture():
    seen = SeenCubes()
    assert seen.at(0) is None
    for stamp_ns in (100, 200, 300):
        seen.push(stamp_ns, {"red": cube(0.0, stamp_ns)})
    assert seen.at(250)["red"].centre[1] == 200 and seen.at(99)["red"].centre[1] == 100
    assert seen.at(10**10) is None
    seen.push(50, {"red": cube(0.0, 50)})  # the clock was set back
    assert seen.at(10**8)["red"].centre[1] == 50


def test_a_colour_is_named_by_one_word():
    assert colour_named("Pick up the Red cube.", ("red", "green")) == "red"
    with pytest.raises(BeingHError, match="red and green"):
        colour_named("put the red cube on the green cube", ("red", "green"))
