"""The judges of streams to a G1 and to a base: of good ones nothing, of each kind of broken ones one thing."""

from types import SimpleNamespace

import numpy as np
import pytest
from interface_builder import provide

pytest.importorskip("rclpy")
from rclpy.serialization import serialize_message
from test_drivers_unitree import crc_of

from beingh_core.contract import load_contract
from beingh_core.evaluate.arm_sdk import LowCommands, judge_arm_sdk, read_low_commands
from beingh_core.evaluate.base import BaseRecord, judge_base
from beingh_core.evaluate.stream_figures import ahead, stretches
from beingh_ros.soak import streams
from beingh_ros.soak.onlooker import Onlooker, StateNote

NS = 1_000_000_000
ARRAYS = ("sent_ns", "weight", "positions", "modes", "right")
RATE_HZ, RAMP_IN_S, RAMP_OUT_S = 250.0, 5.0, 2.0
ARMS, HELD = {"right_elbow_joint": (25, 1.5), "left_elbow_joint": (18, 1.5)}, {"waist_yaw_joint": 12}


def test_messages_are_read_as_they_lie_on_the_wire():
    provide("unitree_hg")
    from unitree_hg.msg import LowCmd

    message = LowCmd(mode_pr=1, mode_machine=5)
    rng = np.random.default_rng(0)
    for motor in message.motor_cmd:
        motor.mode, motor.reserve = int(rng.integers(2)), int(rng.integers(2**32))
        motor.q, motor.dq, motor.tau, motor.kp, motor.kd = rng.normal(size=5).tolist()
    message.reserve = [7, 8, 9, 2**32 - 1]
    message.crc = crc_of(message)
    data = [(3, bytes(serialize_message(message)))]
    message.crc ^= 1
    read = read_low_commands([*data, (4, bytes(serialize_message(message)))])
    assert read.right.tolist() == [True, False] and read.sent_ns.tolist() == [3, 4]
    np.testing.assert_array_equal(read.positions[0], np.float32([motor.q for motor in message.motor_cmd]))
    np.testing.assert_array_equal(read.modes[1], [motor.mode for motor in message.motor_cmd])
    assert read.weight[0] == pytest.approx(message.motor_cmd[29].q, abs=1e-6)
    assert len(read_low_commands([]).sent_ns) == 0


def test_an_onlooker_keeps_what_is_judged_and_no_message(monkeypatch):
    provide("unitree_hg")
    from unitree_hg.msg import LowCmd

    monkeypatch.setattr(streams, "MOST_UNREAD", 20)
    contract = load_contract("g1")
    subscribed = SimpleNamespace(create_subscription=lambda *_, **__: None)
    stream = streams.ArmSdkStream(subscribed, contract, contract.drivers[0])
    good, data = g1_stream(), []
    for number in range(50):
        message = LowCmd()
        for motor, position in zip(message.motor_cmd, good.positions[number]):
            motor.mode, motor.q = 1, float(position)
        message.motor_cmd[29].q = float(good.weight[number])
        message.crc = crc_of(message) ^ (number == 7)
        data.append((int(good.sent_ns[number]), bytes(serialize_message(message))))
        stream._take(data[-1][1], {"source_timestamp": data[-1][0]})
    assert len(stream._messages) == 10
    kept = sum(getattr(part, name).nbytes for part in stream._read for name in ARRAYS)
    assert kept < 0.2 * sum(len(message) for _, message in data[:40])
    options = contract.drivers[0].options
    ramps = {key: options[key] for key in ("ramp_in_s", "ramp_out_s")}
    whole = judge_arm_sdk(read_low_commands(data), arms=stream._arms, held=stream._held, **ramps)
    assert stream.judged([], []) == whole
    assert whole.figures["arm_sdk_messages"] == 50 and whole.figures["arm_sdk_wrong_check_sums"] == 1


def g1_stream(*, rise_s=RAMP_IN_S, fall_s=RAMP_OUT_S, hold_s=1.0):
    """A stream as the robot asks for it: weight up, held, and down."""
    up = np.clip(np.arange(0, rise_s + hold_s, 1 / RATE_HZ) / rise_s, 0.0, 1.0) ** 2
    weight = np.append(up, 1.0 - np.arange(1, round(fall_s * RATE_HZ) + 1) / (fall_s * RATE_HZ))
    weight[-1] = 0.0
    times_s = np.arange(len(weight)) / RATE_HZ
    positions, modes = np.zeros((len(weight), 35)), np.zeros((len(weight), 35), np.uint8)
    positions[:, 12] = 0.25
    positions[:, 25] = 0.4 * np.sin(2.0 * times_s)
    modes[:, [12, 18, 25]] = 1
    right = np.ones(len(weight), bool)
    return LowCommands(
        sent_ns=NS + (times_s * NS).astype(np.int64), weight=weight, positions=positions, modes=modes, right=right
    )


def g1_problems(stream, halts=()):
    judged = judge_arm_sdk(stream, arms=ARMS, held=HELD, ramp_in_s=RAMP_IN_S, ramp_out_s=RAMP_OUT_S, halts=halts)
    return judged.figures, judged.problems


def test_a_good_stream_to_a_g1_has_no_problem():
    figures, problems = g1_problems(g1_stream())
    assert problems == () and figures["arm_sdk_weight_ramps"] == 1 and figures["arm_sdk_weight_max"] == 1.0


def one_after_another(first, second, pause_s):
    later_ns = first.sent_ns[-1] - second.sent_ns[0] + round(pause_s * NS)
    return LowCommands(
        sent_ns=np.append(first.sent_ns, second.sent_ns + later_ns),
        **{
            name: np.concatenate([getattr(first, name), getattr(second, name)])
            for name in ("weight", "positions", "modes", "right")
        },
    )


def part(stream, rows):
    names = ("sent_ns", "weight", "positions", "modes", "right")
    return LowCommands(**{name: getattr(stream, name)[rows] for name in names})


def test_a_stream_in_two_parts_may_hold_the_waist_elsewhere():
    first, second = g1_stream(), g1_stream()
    second.positions[:, 12] = 0.3
    for pause_s in (2.0, 0.02):
        figures, problems = g1_problems(one_after_another(first, second, pause_s))
        assert problems == () and figures["arm_sdk_weight_ramps"] == 2


def paused(pause_s):
    """A stream that ceases at the weight 1, at rest, and goes on there."""
    whole, at = g1_stream(), round((RAMP_IN_S + 0.5) * RATE_HZ)
    whole.positions[:, 25] = 0.0
    return one_after_another(part(whole, slice(at)), part(whole, slice(at, None)), pause_s), whole.sent_ns[at - 1]


def test_commands_that_pause_with_the_weight_up_are_told_unless_a_stop_was():
    told = ("commands on arm_sdk paused for 4.0 s with the weight 1.000, and no stop",)
    for pause_s, halt_s, problems in (
        (0.5, None, ()),
        (4.0, None, told),
        (4.0, (-3.0, -1.0), told),
        (4.0, (4.5, 9.0), told),
        (4.0, (3.5, 9.0), told),
        (4.0, (-0.2, 3.0), ()),
    ):
        stream, since_ns = paused(pause_s)
        halts = [] if halt_s is None else [tuple(since_ns + round(at_s * NS) for at_s in halt_s)]
        assert g1_problems(stream, halts)[1] == problems, (pause_s, halt_s)


def test_commands_that_end_with_the_weight_up_are_told():
    whole = g1_stream()
    cut = part(whole, slice(0, round((RAMP_IN_S + 0.5) * RATE_HZ)))
    assert g1_problems(cut, [(0, 10**18)])[1] == ("commands on arm_sdk ended with the weight 1.000",)
    (problem,) = g1_problems(one_after_another(cut, whole, 3.0), [(0, 10**18)])[1]
    assert problem == "commands on arm_sdk ended with the weight 1.000; others began 3.0 s later"


def test_a_weight_that_rises_in_a_pause_is_told():
    whole, at = g1_stream(), round(0.5 * RAMP_IN_S * RATE_HZ)
    later = part(whole, slice(round((RAMP_IN_S + 0.5) * RATE_HZ), None))
    whole.positions[:, 25] = later.positions[:, 25] = 0.0
    (problem,) = g1_problems(one_after_another(part(whole, slice(at)), later, 4.0), [(0, 10**18)])[1]
    assert problem.startswith("the weight of arm_sdk rose from 0.2") and "to 1.000 in a pause of 4.0 s" in problem


def _jump(stream):
    stream.positions[700:, 25] += 0.5


BROKEN = {
    "1 messages on arm_sdk have a wrong check sum": lambda s: s.right.__setitem__(5, False),
    "1 messages on arm_sdk lack some": lambda s: s.modes.__setitem__((9, 18), 0),
    "waist_yaw_joint, which is held, was sent through 0.0500": lambda s: s.positions.__setitem__((9, 12), 0.3),
    "right_elbow_joint was sent 0.": _jump,
    "the weight of arm_sdk begins with 0.500": lambda s: s.weight.__setitem__(slice(0, 900), 0.5),
    "the weight of arm_sdk goes from 0.000 to 1.500": lambda s: s.weight.__setitem__(slice(1400, 1410), 1.5),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_a_g1_does_not_want_is_told(what):
    stream = g1_stream()
    BROKEN[what](stream)
    assert any(what in problem for problem in g1_problems(stream)[1]), g1_problems(stream)[1]


@pytest.mark.parametrize(("ramp", "word"), [({"rise_s": 2.0}, "rises by"), ({"fall_s": 0.5}, "falls by")])
def test_a_weight_that_goes_too_fast_is_told(ramp, word):
    (problem,) = g1_problems(g1_stream(**ramp))[1]
    assert word in problem


def test_a_sender_that_was_held_up_may_catch_up_a_little():
    stream = g1_stream()
    late = stream.sent_ns.copy()
    late[600:625] = late[625]  # 0.1 s of messages at once
    stream.sent_ns[:] = late
    assert g1_problems(stream)[1] == ()


def test_a_controller_halts_from_each_report_that_it_does_not_run_to_the_next_that_it_does():
    states = ["waiting", "running", "running", "stopping", "stopped", "waiting", "running", "stopped"]
    notes = [
        StateNote(state=state, cause="", reason="", epoch="", stamp_ns=0, received_ns=0, sent_ns=at)
        for at, state in enumerate(states)
    ]
    halts = Onlooker.halts(SimpleNamespace(states=notes))
    assert halts[:2] == [(0, 1), (3, 6)] and halts[2][0] == 7 and halts[2][1] > 10**18
    assert Onlooker.halts(SimpleNamespace(states=[])) == []


def test_nothing_for_a_g1_is_told():
    assert "nothing was sent to arm_sdk" in g1_problems(read_low_commands([]))[1]


def base_record(*, acceleration=0.5, ends=0.0, measured_end=0.0, most=0.3):
    """A base that speeds up, drives for a second and stops; then nothing for a second, and the same again."""
    up = np.minimum(np.arange(0, most + 1e-9, acceleration / 20), most)
    once = np.concatenate([up, np.full(20, most), np.maximum(up[::-1] - acceleration / 20, ends)])
    times_s = np.concatenate([np.arange(len(once)) / 20, 5.0 + np.arange(len(once)) / 20])
    velocities = np.concatenate([once, once])[:, None]
    odometry_s = np.arange(0.0, 12.0, 0.02)
    measured = np.interp(odometry_s - 0.05, times_s, velocities[:, 0])[:, None]
    measured[(odometry_s > 3.0) & (odometry_s < 5.0) | (odometry_s > 8.0)] = measured_end
    return BaseRecord(
        joints=("base_x",),
        sent_ns=NS + (times_s * NS).astype(np.int64),
        velocities=velocities,
        odometry_ns=NS + (odometry_s * NS).astype(np.int64),
        measured=measured,
        rate_hz=20.0,
        lower=np.array([-0.3]),
        upper=np.array([0.3]),
        acceleration=np.array([0.5]),
    )


STOP_NS = NS + round(1.6 * NS)


def test_a_base_within_its_limits_has_no_problem():
    judged = judge_base(base_record(), [STOP_NS])
    assert judged.problems == ()
    assert judged.figures["base_stops_in_motion"] == 1 and judged.figures["base_stop_s_max"] == pytest.approx(
        0.6, abs=0.06
    )
    assert judged.figures["base_speed_max"] == judged.figures["base_measured_max"] == [0.3]


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        ({"most": 0.4}, "base_x was sent 0.000 to 0.400"),
        ({"acceleration": 1.0}, "base_x was sent a change of 0.050 in 50 ms"),
        ({"ends": 0.1}, "the commands of the base end at 0.100"),
        ({"measured_end": 0.2}, "the base still moved at 0.200"),
    ],
)
def test_what_a_base_must_not_do_is_told(broken, what):
    assert any(what in problem for problem in judge_base(base_record(**broken), [STOP_NS]).problems)


def test_a_base_that_goes_on_through_a_stop_is_told():
    record = base_record()
    record.velocities[10:, 0] = 0.3
    record.measured[:] = 0.3
    judged = judge_base(record, [STOP_NS])
    assert judged.figures["base_stops_in_motion"] == 1
    told = " ".join(judged.problems)
    assert "a stop did not bring the commands of the base to zero" in told and "the base still moved at 0.300" in told


def test_what_is_no_number_is_told():
    record, stream = base_record(), g1_stream()
    record.velocities[12, 0] = np.nan
    assert judge_base(record).problems == ("1 values that were sent to the base are no finite numbers",)
    stream.weight[900], stream.positions[800, 25] = np.nan, np.inf
    assert g1_problems(stream)[1] == ("2 values that were sent to arm_sdk are no finite numbers",)


def test_parts_of_a_stream_and_its_speed():
    times_ns = np.array([0, 1, 2, 10, 11]) * NS // 10
    assert stretches(times_ns) == [slice(0, 3), slice(3, 5)]
    assert stretches(times_ns, np.array([0.0, 1.0, 0.0, 0.0, 1.0])) == [slice(0, 3), slice(3, 5)]
    assert stretches(times_ns, np.ones(5)) == [slice(0, 5)], "a pause with the weight at 1 ends nothing"
    assert stretches(times_ns[:0]) == []
    assert ahead(np.arange(5.0), np.array([0.0, 1.0, 2.0, 5.0, 5.5]), 1.0) == pytest.approx(2.0)
    assert ahead(np.arange(5.0), np.array([9.0, 1.0, 2.0, 3.0, 4.0]), 1.0) == 0.0
