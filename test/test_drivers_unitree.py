"""The G1's arm_sdk driver: motors, gains, weight and check sum, as a robot would receive them.

The interfaces are real ones (installed, or built from their fields by `interface_builder`) and travel over DDS. How the
robot blends by the weight, and whether it checks the sum, only the robot can show.
"""

import binascii
import struct
import time
import zlib

import numpy as np
import pytest
from driver_support import T0_NS, setpoints, two_nodes
from interface_builder import for_children, provide
from ros_support import NodeProcess, Recorder, ros_graph, wait_matched, wait_until

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_ros.drivers import make_drivers
from beingh_ros.drivers.unitree_crc import crc32_words

RATE_HZ = 50.0
PERIOD_NS = round(1e9 / RATE_HZ)
RIGHT = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll", "wrist_pitch", "wrist_yaw")
URDF = """<robot name="arms"><link name="torso_link"/>{}</robot>"""
JOINT = """<joint name="{0}" type="revolute"><parent link="torso_link"/><child link="{0}_link"/>
<limit lower="-2" upper="2" velocity="3" effort="1"/></joint><link name="{0}_link"/>"""
ARM = [f"right_{part}_joint" for part in RIGHT]
CONTRACT = """
robot: g1
urdf: arm.urdf
base_frame: torso_link
eef_frame: right_wrist_yaw_joint_link
rate_hz: 20
cameras: {{head: {{topic: /camera, type: sensor_msgs/msg/Image, encoding: rgb8, max_age_s: 0.3}}}}
state: {{arm_joint_position: {{topic: /joint_states, source: position, joints: {joints}, max_age_s: 0.3}}}}
action: {{arm_joint_position: {{mode: absolute, joints: {joints}}}}}
limits: {{acceleration: {accelerations}}}
driver:
  kind: unitree_g1_arm_sdk
  topic: /arm_sdk
  joints: {joints}
  rate_hz: 50
  ramp_in_s: 1.0
  ramp_out_s: 0.4
  kp: {{right_elbow_joint: 40, waist_yaw_joint: 240}}
  kd: {{right_elbow_joint: 1.5, waist_yaw_joint: 6}}
  hold: [waist_yaw_joint]
uac: {{latency_budget_s: 0.1, margin_steps: 1, commit_margin: 1, execution_steps: 6}}
policy: {{chunk_length: 16, dataset_name: g1, normalization: {{state.arm_joint_position: q99, action.arm_joint_position: q99}}}}
home: {home}
estop_topic: /estop
"""


@pytest.fixture(scope="module", autouse=True)
def interfaces():
    provide("unitree_hg")


@pytest.fixture
def contract(tmp_path):
    (tmp_path / "arm.urdf").write_text(URDF.format("".join(JOINT.format(joint) for joint in ARM)))
    zeros, ones = dict.fromkeys(ARM, 0.0), dict.fromkeys(ARM, 5.0)
    (tmp_path / "g1.yaml").write_text(CONTRACT.format(joints=ARM, home=zeros, accelerations=ones))
    return load_contract(tmp_path / "g1.yaml")


def state(mode_machine=5, waist=0.25):
    from unitree_hg.msg import LowState

    message = LowState(mode_machine=mode_machine)
    message.motor_state[12].q = waist
    return message


def crc_bit_by_bit(data: bytes) -> int:
    """The polynomial division itself, most significant bit first."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = ((register << 1) ^ (0x04C11DB7 if register & 0x80000000 else 0)) & 0xFFFFFFFF
    return register


def crc_of(message) -> int:
    """Check sum of a received LowCmd, from its layout in C."""
    packed = struct.pack("<BBxx", message.mode_pr, message.mode_machine)
    for motor in message.motor_cmd:
        packed += struct.pack("<Bxxx", motor.mode)
        packed += struct.pack("<fffff", motor.q, motor.dq, motor.tau, motor.kp, motor.kd)
        packed += struct.pack("<I", motor.reserve)
    packed += struct.pack("<4I", *message.reserve)
    assert len(packed) == 4 + 35 * 28 + 16
    words = [packed[i : i + 4][::-1] for i in range(0, len(packed), 4)]  # each word from its highest byte
    return crc_bit_by_bit(b"".join(words))


def test_the_check_sum_is_crc32_mpeg2():
    assert crc_bit_by_bit(b"123456789") == 0x0376E6E7, "the published check value"
    data = bytes(range(16)) * 3
    swapped = b"".join(data[i : i + 4][::-1] for i in range(0, len(data), 4))
    assert crc32_words(data) == crc_bit_by_bit(swapped)
    assert crc32_words(data) not in (zlib.crc32(data), binascii.crc_hqx(data, 0))


def started(observer, owner, contract):
    """A driver that has received the state of the robot, and what it sends."""
    from unitree_hg.msg import LowCmd, LowState

    received = Recorder(observer, LowCmd, "/arm_sdk")
    publisher = observer.create_publisher(LowState, "/lf/lowstate", 1)
    (driver,) = make_drivers(owner, contract)
    wait_until(lambda: publisher.get_subscription_count() and driver._groups[0][0].get_subscription_count(), what="DDS")
    publisher.publish(state())
    wait_until(lambda: driver._state is not None, what="the robot's state")
    return driver, received


def send(driver, received, tick, row):
    count = len(received.messages)
    driver.send(setpoints(row, times_s=[0.0], stamp_ns=T0_NS + tick * PERIOD_NS))
    return received.wait_for(count + 1)[-1]


def test_a_command_reaches_its_motors_with_gains_and_check_sum(contract):
    with two_nodes() as (observer, owner):
        driver, received = started(observer, owner, contract)
        assert driver.command_rate_hz == RATE_HZ
        row = np.arange(1, 8) / 10
        message = send(driver, received, 0, row)
        motors = message.motor_cmd
        assert [motors[22 + i].q for i in range(7)] == pytest.approx(row.tolist())
        assert [motors[22 + i].kp for i in range(7)] == [80, 80, 80, 40, 80, 80, 80]
        assert [motors[22 + i].kd for i in range(7)] == [3, 3, 3, 1.5, 3, 3, 3]
        assert (motors[12].q, motors[12].kp, motors[12].kd) == (0.25, 240, 6), "held where it is"
        used = {12, *range(22, 29)}
        assert {i for i, motor in enumerate(motors) if motor.mode == 1} == used
        for index in set(range(35)) - used - {29}:
            assert (motors[index].q, motors[index].kp, motors[index].kd) == (0, 0, 0)
        assert message.mode_machine == 5, "echoed"
        assert message.crc == crc_of(message) and message.crc != 0


def test_the_weight_rises_after_the_first_command_and_falls_after_the_braking(contract):
    with two_nodes() as (observer, owner):
        driver, received = started(observer, owner, contract)
        weights = [send(driver, received, tick, np.zeros(7)).motor_cmd[29].q for tick in range(61)]
        expected = np.clip(np.arange(61) / 50, 0, 1) ** 2
        np.testing.assert_allclose(weights, expected, atol=1e-6)
        count = len(received.messages)
        waits = []
        driver.wait_until = lambda time_s: (received.wait_for(count + len(waits)), waits.append(time_s))
        brake = np.array([[0.02] * 7, [0.03] * 7])
        driver.stop(setpoints(brake, stamp_ns=T0_NS + 60 * PERIOD_NS))
        last = received.wait_for(count + 25)[count:]  # 0.1 s of braking and 0.4 s of ramp at 50 Hz
        for part in (waits[:5], waits[5:]):
            np.testing.assert_allclose(np.diff(part), 1 / RATE_HZ, atol=1e-9)
        weights = np.array([message.motor_cmd[29].q for message in last])
        np.testing.assert_allclose(weights[:5], 1.0)
        np.testing.assert_allclose(weights[4:], 1.0 - np.arange(21) / 20, atol=1e-6)
        assert weights[-1] == 0.0 and np.diff(weights).min() > -0.06
        for message in last[4:]:
            assert message.motor_cmd[25].q == pytest.approx(0.03), "the posture is held while the weight falls"
            assert message.crc == crc_of(message)
        assert send(driver, received, 100, np.zeros(7)).motor_cmd[29].q == 0.0, "the next start ramps again"


def test_a_pause_is_no_time_in_which_the_weight_rises_and_nothing_follows_until_it_is_up(contract):
    with two_nodes() as (observer, owner):
        driver, received = started(observer, owner, contract)
        assert "weight of arm_sdk 0.00" in driver.taking_over()
        for tick in range(26):
            weight = send(driver, received, tick, np.zeros(7)).motor_cmd[29].q
        assert weight == pytest.approx(0.25, abs=1e-6) and "weight of arm_sdk 0.25" in driver.taking_over()
        after = send(driver, received, 1000, np.zeros(7)).motor_cmd[29].q  # a stop, and its reset a while later
        assert weight <= after <= 0.6**2 + 1e-6
        for tick in range(1001, 1030):
            send(driver, received, tick, np.zeros(7))
        assert received.messages[-1].motor_cmd[29].q == 1.0 and driver.taking_over() is None
        driver.wait_until = lambda _time_s: None
        driver.release()
        assert driver.taking_over() is not None


def test_a_stop_before_the_weight_is_up_goes_down_from_where_it_is(contract):
    with two_nodes() as (observer, owner):
        driver, received = started(observer, owner, contract)
        for tick in range(26):
            send(driver, received, tick, np.zeros(7))
        driver.wait_until = lambda _time_s: None
        driver.stop(setpoints(np.zeros((1, 7)), stamp_ns=T0_NS + 25 * PERIOD_NS))
        wait_until(lambda: received.messages[-1].motor_cmd[29].q == 0.0, what="weight 0")
        weights = [message.motor_cmd[29].q for message in received.messages[26:]]
        assert max(weights) <= 0.25 + 1e-6


def test_a_robot_that_rests_already_is_given_back_too(contract):
    """After an emergency stop nothing is sent any more; when the controller ends then, the weight still falls."""
    with two_nodes() as (observer, owner):
        driver, received = started(observer, owner, contract)
        for tick in range(61):
            send(driver, received, tick, np.full(7, 0.1))
        waits = []
        driver.wait_until = lambda time_s: (received.wait_for(61 + len(waits)), waits.append(time_s))
        driver.release()
        last = received.wait_for(61 + 20)[61:]
        np.testing.assert_allclose([m.motor_cmd[29].q for m in last], 1.0 - np.arange(1, 21) / 20, atol=1e-6)
        assert {round(m.motor_cmd[25].q, 6) for m in last} == {0.1}
        driver.release()
        driver.stop(setpoints(np.zeros(7)))
        assert len(waits) == 20, "once is enough"


def test_nothing_is_sent_to_a_robot_that_is_silent(contract):
    from unitree_hg.msg import LowCmd

    with two_nodes() as (observer, owner):
        received = Recorder(observer, LowCmd, "/arm_sdk")
        (driver,) = make_drivers(owner, contract)
        wait_until(lambda: driver._groups[0][0].get_subscription_count() > 0, what="DDS")
        driver.send(setpoints(np.zeros(7), times_s=[0.0]))
        assert "nothing has come on /lf/lowstate" in wait_until(driver.problem, what="a problem")
        driver.stop(setpoints(np.zeros(7)))
        driver._groups[0][0].publish(LowCmd(mode_pr=1))  # sentinel
        assert [message.mode_pr for message in received.wait_for(1)] == [1]


def test_joints_that_arm_sdk_does_not_have(contract, tmp_path):
    document = contract.path.read_text().replace("hold: [waist_yaw_joint]", "hold: [waist_joint]")
    document = document.replace(", waist_yaw_joint: 240", "").replace(", waist_yaw_joint: 6", "")
    contract.path.write_text(document)
    with two_nodes() as (_, owner), pytest.raises(BeingHError, match="arm_sdk has no joint `waist_joint`"):
        make_drivers(owner, load_contract(contract.path))


def test_joint_states_of_a_robot_that_publishes_none(tmp_path):
    """The bridge as a process: names, order of the motors, and no more than 100 Hz of 500."""
    from sensor_msgs.msg import JointState
    from unitree_hg.msg import LowState

    with ros_graph() as graph:
        for_children(graph.environment, "unitree_hg")
        received = Recorder(graph, JointState, "/joint_states")
        publisher = graph.create_publisher(LowState, "/lowstate", 1)
        message = LowState()
        for index, motor in enumerate(message.motor_state):
            motor.q, motor.dq, motor.tau_est = index / 10, index / 100, float(index)
        with NodeProcess(graph, "unitree_joint_states", {}, tmp_path / "log"):
            wait_matched(graph, publisher)
            begin_s, sent = time.monotonic(), 0
            while len(received.messages) < 20 and time.monotonic() < begin_s + 20.0:
                publisher.publish(message)
                sent += 1
                time.sleep(0.002)
        states = received.messages
        assert len(states) >= 20 and sent > 2 * len(states)
        # A message that comes late is near to the next one, so it is the rate that counts.
        assert np.mean(np.diff(received.times_s)) > 0.009
        position = dict(zip(states[0].name, states[0].position))
        assert len(position) == 29 and position["left_hip_pitch_joint"] == 0.0
        for joint, motor in (
            ("right_ankle_roll_joint", 11),
            ("waist_yaw_joint", 12),
            ("left_elbow_joint", 18),
            ("right_wrist_yaw_joint", 28),
        ):
            assert position[joint] == pytest.approx(motor / 10)
        assert list(states[0].velocity) == pytest.approx([i / 100 for i in range(29)])
