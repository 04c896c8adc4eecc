"""Rows from recordings: which sample stands in each, where it is cut, and that nothing is filled in."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from recording_support import BEGIN, BUFFER, CHARGE, CONTRACT, JOINTS, NS, SCENE, WRIST, FakeBag, Recorded, posture

from beingh_core.contract.codec import SignalCodec
from beingh_core.data import in_charge
from beingh_core.data.command_messages import command_topics
from beingh_core.data.contract_rows import ACTION, IN_CHARGE, STATE, RowEncoder
from beingh_core.data.resample import METHODS, Resampler, Resampling, from_bag
from beingh_core.errors import BeingHError
from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_core.realtime.clock import TickClock
from beingh_core.realtime.commit_buffer import Chunk, CommitBuffer
from beingh_core.realtime.limits import JointLimits

IMAGE = "observation.images."
PERIOD = NS // 20


def resample(bag, commands=(BUFFER,), contract=CONTRACT, **settings):
    topics = {JOINTS, SCENE, WRIST, CHARGE, *commands}
    names = {CHARGE: in_charge.CHARGE}
    messages = (message._replace(topic=names.get(message.topic, message.topic)) for message in from_bag(bag, topics))
    found = Resampler(contract, messages, commands, "pick", Resampling(**settings))
    return [list(piece) for piece in found.pieces()], found.findings


def numbers(piece, view="scene_view"):
    return [int(frame.images[IMAGE + view][0, 0, 0]) for frame in piece]


def ticks(piece):
    """Numbers of the ticks of the rows."""
    return [(frame.stamp_ns - BEGIN) / PERIOD for frame in piece]


def step(before_ns, after_ns):
    """The action that leads from the command of one time to that of another."""
    encoded = SignalCodec(CONTRACT).encode_commands(np.stack([posture(before_ns), posture(after_ns)]))
    return np.concatenate([encoded[signal.slot][0] for signal in CONTRACT.action])


def test_hold_takes_the_newest_at_or_before_each_tick():
    [piece], findings = resample(FakeBag())
    assert ticks(piece) == list(range(1, 40)) and findings.gaps == []  # 40 ticks; the first has no command before it
    assert numbers(piece) == [tick * 30 // 20 for tick in range(1, 40)]
    assert numbers(piece, "wrist_view") == numbers(piece)


def test_nearest_takes_the_nearest():
    [piece], _ = resample(FakeBag(), method="nearest")
    stamps = np.arange(60) * NS // 30
    assert numbers(piece) == [int(np.argmin(abs(stamps - tick * PERIOD))) for tick in range(1, 40)]


def test_states_and_actions_are_the_codecs():
    [piece], _ = resample(FakeBag())
    codec, previous = SignalCodec(CONTRACT), None
    for k, frame in enumerate(piece):
        tick = BEGIN + (k + 1) * PERIOD
        previous = codec.encode_state(dict(zip(CONTRACT.joint_names, posture(tick))), previous)
        np.testing.assert_array_equal(frame.vectors[STATE], np.concatenate([previous[s.slot] for s in CONTRACT.state]))
        np.testing.assert_array_equal(frame.vectors[ACTION], step(tick - PERIOD, tick))


def test_hold_equals_the_live_nodes_sample_for_sample():
    bag = FakeBag(seconds=1.0)
    [piece], _ = resample(bag)
    for k, frame in enumerate(piece):
        tick = BEGIN + (k + 1) * PERIOD
        live = PolicyInputs(CONTRACT)
        for message in bag.recorded:
            if message.stamp > tick or message.topic == BUFFER:
                continue
            if message.topic == JOINTS:
                live.push_joints(JOINTS, message.stamp, dict(zip(message.content.name, message.content.position)))
            else:
                name = next(f"video.{c.name}" for c in CONTRACT.cameras if c.topic == message.topic)
                pixels = np.frombuffer(message.content.data, np.uint8).reshape(48, 64, 3)
                live.push_image(name, message.stamp, pixels)
        for camera in CONTRACT.cameras:
            seen = live.streams[f"video.{camera.name}"].at(tick).value
            np.testing.assert_array_equal(frame.images[IMAGE + camera.name], seen)


@pytest.mark.parametrize("method", METHODS)
def test_a_gap_cuts_by_name_and_nothing_older_than_max_age_is_used(method):
    pieces, findings = resample(FakeBag(seconds=3.0, lost={WRIST: (1.0, 1.6)}), method=method)
    assert len(pieces) == 2 and len(findings.gaps) == 1
    assert WRIST in findings.gaps[0] and "0.25 s" in findings.gaps[0]
    # Picture n of the wrist was taken n/30 s after the begin.
    for tick, number in zip(ticks(pieces[0]), numbers(pieces[0], "wrist_view")):
        assert abs(tick / 20 - number / 30) <= 0.25 + 1e-9
    assert not set(range(30, 48)) & set(numbers(pieces[0], "wrist_view") + numbers(pieces[1], "wrist_view"))


def test_a_gap_can_be_refused_by_name():
    with pytest.raises(BeingHError, match=f"gap: {WRIST}.*--max-age"):
        resample(FakeBag(seconds=3.0, lost={WRIST: (1.0, 1.6)}), on_gap="refuse")
    [piece], _ = resample(FakeBag(seconds=3.0, lost={WRIST: (1.0, 1.6)}), on_gap="refuse", max_age_s=0.7)
    assert len(piece) == 59


def test_drop_leaves_out_what_has_nothing_new():
    [piece], findings = resample(FakeBag(lost={WRIST: (1.0, 1.2)}), method="drop")
    assert findings.dropped > 0 and len(piece) == 39 - findings.dropped
    times = [number / 30 for number in numbers(piece, "wrist_view")]
    assert times == sorted(set(times)), "a picture stands in two rows"
    for frame in piece:  # the action is of the row's tick, also where the tick before is left out
        np.testing.assert_array_equal(frame.vectors[ACTION], step(frame.stamp_ns - PERIOD, frame.stamp_ns))


def test_a_stream_that_ends_early_ends_the_rows():
    pieces, findings = resample(FakeBag(seconds=3.0, lost={JOINTS: (1.0, 99)}))
    assert len(pieces) == 1 and 18 <= len(pieces[0]) <= 25
    assert any(JOINTS in gap for gap in findings.gaps)


def test_messages_that_are_late_in_the_bag_are_used_at_their_stamp():
    wanted = resample(FakeBag())[0]
    found = resample(FakeBag(latency_ns={SCENE: 150_000_000, JOINTS: 90_000_000}))[0]
    assert [numbers(piece) for piece in found] == [numbers(piece) for piece in wanted]
    np.testing.assert_array_equal([f.vectors[STATE] for f in found[0]], [f.vectors[STATE] for f in wanted[0]])


def test_out_of_order_messages_give_the_same_rows():
    bag = FakeBag()
    for first in range(0, len(bag.recorded) - 8, 8):
        bag.recorded[first : first + 8] = bag.recorded[first : first + 8][::-1]
    assert numbers(resample(bag)[0][0]) == numbers(resample(FakeBag())[0][0])


def test_a_clock_that_goes_back_cuts():
    bag, later = FakeBag(), FakeBag(offset_ns=-60 * NS)
    for message in later.recorded:
        message.log_ns += 2 * NS
    bag.recorded += later.recorded
    pieces, findings = resample(bag)
    assert [len(piece) for piece in pieces] == [pytest.approx(38, abs=2), 39]
    assert any("went back by" in gap for gap in findings.gaps)


def test_without_stamps_log_times_are_taken_and_told():
    [piece], findings = resample(FakeBag(stamped=False))
    assert findings.without_stamp > 200 and len(piece) >= 38


def test_a_stream_that_says_nothing_is_named_and_memory_stays_small():
    bag = FakeBag(seconds=4.0, without=(WRIST,))
    found = Resampler(CONTRACT, from_bag(bag, {JOINTS, SCENE, BUFFER}), (BUFFER,), "pick", Resampling())
    assert list(found.pieces()) == [] and WRIST in found.findings.gaps[0]
    assert len(found._streams.cameras["scene_view"]._series._stamps) < 30  # of 120 pictures


def test_a_new_piece_begins_on_the_rotation_vectors_own_branch():
    rotation = replace(CONTRACT.state[0], slot="eef_rotation")
    encoder = RowEncoder(replace(CONTRACT, state=(rotation,)))
    positions = dict(zip(CONTRACT.joint_names, posture(BEGIN)))
    own = encoder.state(positions)
    other = own * (1 + 2 * np.pi / np.linalg.norm(own))
    encoder._previous = {"eef_rotation": other}
    np.testing.assert_allclose(encoder.state(positions), other)
    encoder.restart()
    np.testing.assert_allclose(encoder.state(positions), own)


def test_measured_positions_as_commands():
    """They lead from the row's own to the next tick's; the word of the row's tick says who brought that about."""
    [piece], _ = resample(FakeBag(charge=((0.0, "policy"), (1.0, "person"))), commands=())
    assert ticks(piece) == list(range(39))
    for frame in piece:
        np.testing.assert_array_equal(frame.vectors[ACTION], step(frame.stamp_ns, frame.stamp_ns + PERIOD))
    assert [in_charge.WHO[frame.vectors[IN_CHARGE][0]] for frame in piece] == ["policy"] * 20 + ["person"] * 19


def test_rows_without_the_command_before_their_own_are_left_out():
    """Commands are missing from tick 20 to 39: the last is held for 0.25 s, and row 40 has none before it."""
    pieces, findings = resample(FakeBag(seconds=3.0, lost={BUFFER: (1.0, 2.0)}))
    assert [ticks(piece) for piece in pieces] == [list(range(1, 25)), list(range(41, 60))]
    assert len(findings.gaps) == 1 and "commands: nothing for more than 0.25 s" in findings.gaps[0]
    late = FakeBag(lost={BUFFER: (0.0, 0.5)})  # the controller began after the recorder
    assert ticks(resample(late)[0][0]) == list(range(11, 40))


@pytest.mark.parametrize("only, wanted", [("policy", [(4, 20), (40, 60)]), ("person", [(20, 40)])])
def test_who_is_in_charge_of_a_row_decided_the_command_of_its_tick(only, wanted):
    bag = FakeBag(seconds=3.0, charge=((0.0, "nobody"), (0.2, "policy"), (1.0, "person"), (2.0, "policy")))
    pieces, findings = resample(bag, only=only)
    assert [ticks(piece) for piece in pieces] == [list(range(*bounds)) for bounds in wanted]
    assert findings.others == 59 - sum(len(piece) for piece in pieces)
    for frame in (frame for piece in pieces for frame in piece):
        np.testing.assert_array_equal(frame.vectors[ACTION], step(frame.stamp_ns - PERIOD, frame.stamp_ns))


def session(contract, seconds=2.0):
    """(bag, clock, (T, J) commands, actions by slot) of a robot whose controller ran chunks through its commit buffer.

    One sequence of actions is decoded chunk by chunk, as the policy node does: step i of a chunk is the command of tick
    n0 + i, behind the command of tick n0 - 1, and the first d steps repeat what runs anyway.
    """
    count, length, delay = round(seconds * contract.rate_hz), 16, 5
    home, rng = np.array(contract.home), np.random.default_rng(0)
    actions = {}
    for signal in contract.action:
        stand, steps = np.zeros(signal.width), rng.uniform(-0.002, 0.002, (count + length, signal.width))
        if signal.mode == "absolute":
            stand = SignalCodec(contract).encode_commands(np.stack([home, home]))[signal.slot][0]
            steps = 0.5 * stand + rng.uniform(0.0, 0.3, steps.shape)
        actions[signal.slot] = np.vstack([np.tile(stand, (delay, 1)), steps])
    clock, codec = TickClock(contract.rate_hz, BEGIN + 7), SignalCodec(contract)
    wide = {"lower": -1e3, "upper": 1e3, "velocity": 1e4, "acceleration": 1e7}
    buffer = CommitBuffer(
        joints=contract.joint_names, start_positions=home, dt_s=contract.dt_s, chunk_length=length, delay_steps=delay,
        limits=JointLimits(**{name: np.full(len(home), value) for name, value in wide.items()}),
        commit_margin=1, epoch="0@0",
    )  # fmt: skip
    bag = FakeBag(seconds=seconds, without=(BUFFER,))
    for tick in range(count):
        if tick % 6 == 0:
            before = buffer.log[-1].positions if tick else home
            rows = codec.decode_actions({slot: a[tick : tick + length] for slot, a in actions.items()}, before)
            chunk = Chunk(base_tick=tick, epoch="0@0", joints=buffer.joints, positions=rows, dt_s=contract.dt_s)
            assert buffer.merge(chunk).status == "merged"
        stamp, (_, planned) = clock.stamp_ns(tick), buffer.planned(2)
        point = lambda row: SimpleNamespace(positions=row.tolist(), time_from_start=SimpleNamespace(sec=0, nanosec=0))
        content = SimpleNamespace(joint_names=list(buffer.joints), points=[point(row) for row in planned[:2]])
        bag.recorded.append(Recorded(BUFFER, stamp - 20_000_000, stamp, content))
        buffer.advance()
    bag.recorded.sort(key=lambda message: message.log_ns)
    return bag, clock, np.array([command.positions for command in buffer.log]), actions


def with_joint_actions(mode):
    arm, gripper = CONTRACT.action
    joints = replace(arm, slot="arm_joint_position", mode=mode, frame=None, eef_frame=None, base_frame=None)
    return replace(CONTRACT, action=(joints, gripper))


@pytest.mark.parametrize("rate_hz", [20.0, 30.0])
@pytest.mark.parametrize("method", ["hold", "nearest"])
@pytest.mark.parametrize(
    "contract, close",
    [(with_joint_actions("delta"), 1e-9), (with_joint_actions("absolute"), 1e-9), (CONTRACT, 5e-6)],
    ids=["delta", "absolute", "pose"],
)  # poses are reached within the tolerance of the inverse kinematics
def test_a_rows_action_is_the_first_step_of_a_chunk_that_begins_at_its_tick(contract, close, method, rate_hz):
    contract = replace(contract, rate_hz=rate_hz)
    bag, clock, commands, actions = session(contract)
    [piece], findings = resample(bag, contract=contract, method=method)
    assert findings.gaps == [] and len(piece) == len(commands) - 1
    codec = SignalCodec(contract)
    for tick, frame in enumerate(piece, 1):
        assert abs(frame.stamp_ns - clock.stamp_ns(tick)) <= 1
        first, slots = 0, {}
        for signal in contract.action:
            slots[signal.slot] = frame.vectors[ACTION][None, first : first + signal.width]
            first += signal.width
            np.testing.assert_allclose(slots[signal.slot][0], actions[signal.slot][tick], atol=close)
        decoded = codec.decode_actions(slots, commands[tick - 1])
        np.testing.assert_allclose(decoded, commands[tick : tick + 1], rtol=0, atol=close)


def test_which_topic_has_the_commands():
    groups = [group.topic for group in CONTRACT.command_groups]
    assert command_topics(CONTRACT, [JOINTS, BUFFER, *groups], None) == (BUFFER,)
    assert command_topics(CONTRACT, [JOINTS, *groups], None) == tuple(groups)
    assert command_topics(CONTRACT, [JOINTS], "states") == ()
    for topics, wanted in (
        ([JOINTS], None),
        ([JOINTS], "/x"),
        (["/a/controller/buffer", "/b/controller/buffer"], None),
    ):
        with pytest.raises(BeingHError):
            command_topics(CONTRACT, topics, wanted)


def test_settings_that_cannot_work_are_refused():
    for bad in ({"method": "mean"}, {"on_gap": "fill"}, {"max_age_s": 0.0}, {"min_frames": 0}):
        with pytest.raises(BeingHError):
            Resampling(**bad)
    from beingh_core.data.contract_rows import dataset_spec
    from beingh_core.data.lerobot import VideoSettings

    chunked = replace(CONTRACT, action=(replace(CONTRACT.action[0], frame="chunk_start"), *CONTRACT.action[1:]))
    sizes = {camera.name: (48, 64) for camera in CONTRACT.cameras}
    with pytest.raises(BeingHError, match="start of a chunk"):
        dataset_spec(chunked, sizes, VideoSettings(), "v3.0")
    with pytest.raises(BeingHError, match="whole"):
        dataset_spec(replace(CONTRACT, rate_hz=12.5), sizes, VideoSettings(), "v3.0")
