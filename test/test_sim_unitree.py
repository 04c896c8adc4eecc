"""The simulator in the part of a G1: the arm_sdk driver commands it over DDS, in simulated time."""

import numpy as np
import pytest
from driver_support import T0_NS, setpoints, two_nodes
from interface_builder import provide
from ros_support import Recorder, wait_until
from test_drivers_unitree import crc_bit_by_bit

pytest.importorskip("mujoco")
from beingh_core.contract import load_contract
from beingh_core.sim import SimRobot
from beingh_core.sim.arm_sdk import ArmSdkFollower, MotorCommand
from beingh_ros.drivers import make_drivers
from beingh_ros.drivers.unitree_g1_arm_sdk import UPPER_BODY
from beingh_ros.nodes.sim_drivers import SimDrivers
from beingh_ros.nodes.sim_unitree import MODE_MACHINE, low_states
from beingh_ros.nodes.unitree_joint_states import JOINTS

STEP_NS = 10_000_000
TICK_NS = 50_000_000
WAIST = UPPER_BODY[:3]


@pytest.fixture(scope="module", autouse=True)
def interfaces():
    provide("unitree_hg")


@pytest.fixture
def follower():
    return ArmSdkFollower(("a", "b"), np.array([0.0, 1.0]), np.array([300.0, 300.0]), np.array([10.0, 10.0]))


def test_the_torque_is_blended_by_the_weight(follower):
    assert follower.sample(0).tolist() == [0.0, 1.0]
    for weight in (0.25, 1.0):
        assert follower.accept(weight, {"a": MotorCommand(0.5, 100.0, 2.0)}) is None
        stiffness, damping = follower.gains()["a"]
        assert (stiffness, damping) == pytest.approx((300 - 200 * weight, 10 - 8 * weight))
        for position, speed in ((0.3, 0.0), (-0.2, 0.7)):
            torque = stiffness * (follower.sample(0)[0] - position) - damping * speed
            own, sent = -300.0 * position - 10.0 * speed, 100.0 * (0.5 - position) - 2.0 * speed
            assert torque == pytest.approx((1 - weight) * own + weight * sent, abs=1e-3)
    assert follower.gains()["b"] == (0.0, 0.0), "limp: nobody commands it, and the weight is 1"
    follower.reset(np.array([0.1, 0.2]))
    assert follower.weight == 0.0 and follower.sample(0).tolist() == [0.1, 0.2]


@pytest.mark.parametrize(
    ("weight", "command"), [(np.nan, (0.0, 1.0, 1.0)), (1.0, (np.inf, 1.0, 1.0)), (1.0, (0.0, -1.0, 1.0))]
)
def test_numbers_that_are_none_are_dropped(follower, weight, command):
    assert "that is none" in follower.accept(weight, {"a": MotorCommand(*command)})
    assert follower.weight == 0.0 and follower.sample(0).tolist() == [0.0, 1.0]


class G1:
    """The simulated drivers of a G1 in `server`, and what its contract's driver sends from `client`."""

    def __init__(self, server, client, contract):
        self.told, self.now_ns = [], T0_NS
        self.robot = SimRobot.of(contract)
        self.drivers = SimDrivers(server, contract, self.robot, self.told.append)
        ((_, self._publish),) = low_states(server, contract, self.robot).items()
        self.driver = next(driver for driver in make_drivers(client, contract) if hasattr(driver, "_hold"))
        wait_until(lambda: all(self.driver.subscribers().values()), what="the robot")
        wait_until(lambda: self._publish(self.now_ns) or self.driver._state, what="its state")
        self.driver.wait_until = lambda _: self.step()

    def step(self, steps=1):
        for _ in range(steps):
            self.drivers.take(self.now_ns)
            self.robot.step(STEP_NS / 1e9, self.drivers.references(self.now_ns + STEP_NS))
            self.now_ns += STEP_NS

    def send(self, row):
        """One tick; returns when it has come."""
        self.driver.send(setpoints(row, stamp_ns=self.now_ns, times_s=[0.0]))
        wait_until(lambda: self.drivers._inbox or self.told, what="the command")
        self.step(TICK_NS // STEP_NS)

    @property
    def weight(self):
        return self.drivers._arm_sdks[0].weight


@pytest.fixture
def g1(tmp_path):
    from beingh_core.contract.paths import find_in_package

    text = find_in_package("config/robots/g1.yaml").read_text().replace("ramp_in_s: 5.0", "ramp_in_s: 0.5")
    text = text.replace("ramp_out_s: 2.0", "ramp_out_s: 0.2").replace(
        "urdf: ", f"urdf: {find_in_package('urdf').parent}/"
    )
    (tmp_path / "g1.yaml").write_text(text)
    contract = load_contract(tmp_path / "g1.yaml")
    with two_nodes() as (server, client):
        yield G1(server, client, contract), contract, client


def test_both_arms_follow_as_the_weight_rises_and_return_as_it_falls_while_the_waist_is_held(g1):
    robot, contract, _ = g1
    before = robot.robot.positions()
    goal = np.array(contract.home) + 0.15
    weights = []
    for share in np.linspace(0.0, 1.0, 30):
        robot.send(np.array(contract.home) + share * (goal - contract.home))
        weights.append(robot.weight)
    assert weights[0] == 0.0 and 0.0 < weights[5] < 1.0 and weights[-1] == 1.0 and np.all(np.diff(weights) >= 0.0)
    robot.step(50)
    after = robot.robot.positions()
    reached = np.array([after[joint] for joint in contract.joint_names])
    np.testing.assert_allclose(reached, goal, atol=0.03)
    assert max(abs(after[joint] - before[joint]) for joint in WAIST) < 0.02
    robot.driver.release()
    robot.step(200)
    assert robot.weight == 0.0 and robot.told == []
    own = robot.robot.positions()
    assert max(abs(own[joint] - before[joint]) for joint in contract.joint_names) < 0.02, (
        "its own controller has it again"
    )


def test_a_wrong_check_sum_and_the_command_of_another_robot_are_dropped_and_said(g1):
    from unitree_hg.msg import LowCmd

    robot, contract, client = g1
    publisher = client.create_publisher(LowCmd, contract.drivers[0].groups[0].topic, 10)
    wait_until(publisher.get_subscription_count, what="the robot")
    for mode_machine, what in ((MODE_MACHINE, "check sum 0x00000007"), (4, "mode_machine 4")):
        message = LowCmd(mode_machine=mode_machine, crc=7)
        message.motor_cmd[29].q = 1.0
        if mode_machine == 4:
            from beingh_ros.drivers.unitree_crc import low_cmd_crc

            message.crc = low_cmd_crc(0, 4, message.motor_cmd, message.reserve)
        publisher.publish(message)
        wait_until(lambda: any(what in str(told) for told in robot.told), what=lambda: str(robot.told))
    assert not robot.drivers._inbox and robot.weight == 0.0


def test_the_state_has_every_motor_in_its_place_and_a_check_sum(g1):
    from unitree_hg.msg import LowState

    robot, contract, client = g1
    received = Recorder(client, LowState, "lf/lowstate")
    wait_until(lambda: robot._publish(T0_NS) or received.messages, what="a state")
    state, measured = received.messages[-1], robot.robot.positions()
    for index, joint in enumerate(JOINTS):
        assert state.motor_state[index].q == pytest.approx(measured.get(joint, 0.0), abs=1e-6), joint
    assert state.tick == T0_NS // 1_000_000 and state.mode_machine == MODE_MACHINE
    assert state.crc == _crc_of(state)


def _crc_of(state) -> int:
    """From the layout of numpy's aligned structures, which is C's."""
    fields = lambda kind: [(n, k, s) for n, k, s in kind]
    imu = fields([("quaternion", "<f4", 4), ("gyroscope", "<f4", 3), ("accelerometer", "<f4", 3), ("rpy", "<f4", 3),
                  ("temperature", "<i2", 1)])  # fmt: skip
    motor = fields([("mode", "u1", 1), ("q", "<f4", 1), ("dq", "<f4", 1), ("ddq", "<f4", 1), ("tau_est", "<f4", 1),
                    ("temperature", "<i2", 2), ("vol", "<f4", 1), ("sensor", "<u4", 2), ("motorstate", "<u4", 1),
                    ("reserve", "<u4", 4)])  # fmt: skip
    imu, motor = np.dtype(imu, align=True), np.dtype(motor, align=True)
    kind = np.dtype([("version", "<u4", 2), ("mode_pr", "u1"), ("mode_machine", "u1"), ("tick", "<u4"), ("imu_state", imu),
                     ("motor_state", motor, 35), ("wireless_remote", "u1", 40), ("reserve", "<u4", 4), ("crc", "<u4")],
                    align=True)  # fmt: skip
    record = np.zeros((), kind)

    def fill(into, message):
        for name in into.dtype.names:
            value = getattr(message, name)
            if into.dtype[name].subdtype and into.dtype[name].subdtype[0].names:
                for place, part in zip(into[name], value):
                    fill(place, part)
            elif into.dtype[name].names:
                fill(into[name], value)
            else:
                into[name] = value

    fill(record, state)
    words = record.tobytes()[:-4]
    return crc_bit_by_bit(b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4)))
