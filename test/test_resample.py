"""Rows from recordings: which sample stands in each, where it is cut, and that nothing is filled in."""

from dataclasses import replace

import numpy as np
import pytest
from recording_support import BEGIN, BUFFER, CONTRACT, JOINTS, NS, SCENE, WRIST, FakeBag, posture

from beingh_core.contract.codec import SignalCodec
from beingh_core.data.command_messages import command_topics
from beingh_core.data.contract_rows import ACTION, STATE, RowEncoder
from beingh_core.data.resample import METHODS, Resampler, Resampling, from_bag
from beingh_core.errors import BeingHError
from beingh_core.inference.policy_inputs import PolicyInputs

IMAGE = "observation.images."


def resample(bag, commands=(BUFFER,), **settings):
    topics = {JOINTS, SCENE, WRIST, *commands}
    found = Resampler(CONTRACT, from_bag(bag, topics), commands, "pick", Resampling(**settings))
    return [list(piece) for piece in found.pieces()], found.findings


def numbers(piece, view="scene_view"):
    return [int(frame.images[IMAGE + view][0, 0, 0]) for frame in piece]


def test_hold_takes_the_newest_at_or_before_each_tick():
    [piece], findings = resample(FakeBag())
    assert len(piece) == 39 and findings.gaps == []  # 40 ticks; the last has no next command
    assert numbers(piece) == [k * 30 // 20 for k in range(39)]
    assert numbers(piece, "wrist_view") == numbers(piece)


def test_nearest_takes_the_nearest():
    [piece], _ = resample(FakeBag(), method="nearest")
    stamps = np.arange(60) * NS // 30
    assert numbers(piece) == [int(np.argmin(abs(stamps - k * NS // 20))) for k in range(39)]


def test_states_and_actions_are_the_codecs():
    [piece], _ = resample(FakeBag())
    codec, previous = SignalCodec(CONTRACT), None
    for k, frame in enumerate(piece):
        tick = BEGIN + k * NS // 20
        previous = codec.encode_state(dict(zip(CONTRACT.joint_names, posture(tick))), previous)
        np.testing.assert_array_equal(frame.vectors[STATE], np.concatenate([previous[s.slot] for s in CONTRACT.state]))
        encoded = codec.encode_commands(np.stack([posture(tick), posture(tick + NS // 20)]))
        np.testing.assert_array_equal(
            frame.vectors[ACTION], np.concatenate([encoded[s.slot][0] for s in CONTRACT.action])
        )


def test_hold_equals_the_live_nodes_sample_for_sample():
    bag = FakeBag(seconds=1.0)
    [piece], _ = resample(bag)
    for k, frame in enumerate(piece):
        tick = BEGIN + k * NS // 20
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
    # Picture n of the wrist was taken n/30 s after the begin; row k of the first piece is tick k.
    if method != "drop":
        for k, number in enumerate(numbers(pieces[0], "wrist_view")):
            assert abs(k / 20 - number / 30) <= 0.25 + 1e-9
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
    [piece], _ = resample(FakeBag(), commands=())
    tick = BEGIN + 5 * NS // 20
    encoded = SignalCodec(CONTRACT).encode_commands(np.stack([posture(tick), posture(tick + NS // 20)]))
    np.testing.assert_array_equal(
        piece[5].vectors[ACTION], np.concatenate([encoded[s.slot][0] for s in CONTRACT.action])
    )


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
