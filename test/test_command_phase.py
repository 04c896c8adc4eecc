"""Which command is a tick's: with jitter, without stamps, and in epochs whose ticks stand elsewhere."""

from types import SimpleNamespace as Message

import numpy as np
import pytest
from recording_support import BEGIN, BUFFER, CONTRACT, NS, SCENE, WRIST, FakeBag, Recorded, joint_state, plan
from test_resample import numbers, resample, step

from beingh_core.contract.codec import SignalCodec
from beingh_core.data.contract_rows import ACTION
from beingh_core.data.phase import ROUNDING_NS, phase_of
from beingh_core.errors import BeingHError

PERIOD = NS // 20
SENT = "/commands"


def offset(phase_ns, wanted_ns):
    """How far two times are apart as phases of a period [periods]."""
    return abs((phase_ns - wanted_ns + PERIOD // 2) % PERIOD - PERIOD // 2) / PERIOD


def test_the_phase_is_the_controllers_own_where_most_commands_agree():
    stamps = BEGIN + 1234 + PERIOD * np.arange(40)
    assert phase_of(stamps, PERIOD) == stamps[0]
    stamps[7] += 11_000_000  # one that was late
    assert phase_of(stamps, PERIOD) == stamps[0]
    thirds = BEGIN + np.round(np.arange(90) * NS / 30).astype(np.int64)  # stamps are rounded
    assert phase_of(thirds, NS / 30) == thirds[0]
    assert phase_of(BEGIN + 10_000_000 * np.arange(50), PERIOD) == BEGIN + 490_000_000  # five commands a tick
    assert phase_of([BEGIN], PERIOD) == BEGIN


def test_the_phase_of_commands_with_jitter_is_their_middle():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        wanted = BEGIN + int(rng.integers(PERIOD))
        stamps = wanted + PERIOD * np.arange(40) + np.round(rng.uniform(-0.3, 0.3, 40) * PERIOD).astype(np.int64)
        assert offset(phase_of(stamps, PERIOD), wanted) < 0.12


def with_commands(stamped, jitter, seed, seconds=4.0):
    """A bag whose commands come up to `jitter` periods away from their ticks; what they say is of the tick."""
    rng, bag = np.random.default_rng(seed), FakeBag(seconds=seconds, without=(BUFFER,))
    for tick in range(round(20 * seconds)):
        due = BEGIN + tick * PERIOD
        off = due + round(rng.uniform(-jitter, jitter) * PERIOD)
        bag.recorded.append(Recorded(SENT, off + 2_000_000, off if stamped else 0, joint_state(due)))
    bag.recorded.sort(key=lambda message: message.log_ns)
    bag.topics[SENT] = Message(type="", count=0)
    return bag


def check_actions(pieces, least):
    """Every row has the step to its own tick's command; the rows are ticks in a row."""
    [piece] = pieces
    numbers = [round((frame.stamp_ns - BEGIN) / PERIOD) for frame in piece]
    assert numbers == list(range(numbers[0], numbers[0] + len(piece))) and len(piece) >= least
    for number, frame in zip(numbers, piece):
        due = BEGIN + number * PERIOD
        np.testing.assert_array_equal(frame.vectors[ACTION], step(due - PERIOD, due))


@pytest.mark.parametrize("method", ["hold", "nearest"])
@pytest.mark.parametrize("stamped", [True, False], ids=["stamped", "log time"])
@pytest.mark.parametrize("seed", range(4))
def test_jitter_of_a_third_of_a_period_makes_no_action_a_tick_wrong(stamped, method, seed):
    pieces, findings = resample(with_commands(stamped, 0.3, seed), commands=(SENT,), method=method)
    check_actions(pieces, 78)
    assert findings.gaps == []
    assert (findings.without_stamp == 0) == stamped


def test_commands_that_come_more_rarely_are_held():
    """Of two ticks with one command the second has the one before it, and none that comes later."""
    bag = with_commands(True, 0.0, 0)
    bag.recorded = [m for m in bag.recorded if m.topic != SENT or (m.stamp - BEGIN) // PERIOD % 2 == 0]
    [piece], _ = resample(bag, commands=(SENT,), method="nearest")
    for frame in piece:
        tick = (frame.stamp_ns - BEGIN) // PERIOD
        at = [BEGIN + PERIOD * (number - number % 2) for number in (tick - 1, tick)]
        np.testing.assert_array_equal(frame.vectors[ACTION], step(*at))


def with_epochs(*begins):
    """A bag whose controller begins epochs at times [s]; each lasts until 0.1 s before the next, the last 1.5 s."""
    bag = FakeBag(seconds=begins[-1] + 1.5, without=(BUFFER,))
    for number, (begin_s, end_s) in enumerate(zip(begins, (*(b - 0.1 for b in begins[1:]), begins[-1] + 1.5))):
        first = BEGIN + round(begin_s * NS)
        for tick in range(int((end_s - begin_s) * 20)):
            content = plan(first + tick * PERIOD)
            content.header = Message(frame_id=f"{number}@{first}")
            bag.recorded.append(Recorded(BUFFER, first + tick * PERIOD - 20_000_000, first + tick * PERIOD, content))
    bag.recorded.sort(key=lambda message: message.log_ns)
    bag.topics[BUFFER] = Message(type="", count=0)
    return bag


@pytest.mark.parametrize("shift_s", [0.0, 0.02, 0.031])
def test_each_epoch_has_rows_on_its_own_ticks(shift_s):
    begins = (0.0, 2.0 + shift_s, 4.0 + 2 * shift_s)
    pieces, findings = resample(with_epochs(*begins))
    assert len(pieces) == 3 and len(findings.gaps) == 2
    assert all("a new epoch of the controller at" in gap for gap in findings.gaps)
    for begin_s, piece in zip(begins, pieces):
        first = BEGIN + round(begin_s * NS)
        ticks = [(frame.stamp_ns - first) / PERIOD for frame in piece]
        assert ticks == list(range(1, len(piece) + 1)) and len(piece) >= 27
        for frame in piece:
            np.testing.assert_array_equal(frame.vectors[ACTION], step(frame.stamp_ns - PERIOD, frame.stamp_ns))


def test_an_epoch_that_was_over_before_the_cameras_came_is_no_cut():
    bag = with_epochs(0.0, 1.02)
    bag.recorded = [m for m in bag.recorded if m.topic not in (SCENE, WRIST) or m.stamp >= BEGIN + 1.1 * NS]
    [piece], findings = resample(bag)
    assert findings.gaps == [] and (piece[0].stamp_ns - BEGIN - 1.02 * NS) % PERIOD == 0


def test_a_new_epoch_can_be_refused():
    with pytest.raises(BeingHError, match="gap: a new epoch of the controller"):
        resample(with_epochs(0.0, 2.02), on_gap="refuse")


def test_a_replay_compares_with_the_command_of_the_tick(tmp_path):
    """The same of what a replay calls commanded at its ticks."""
    pytest.importorskip("mcap")
    from fr3_bag import KINDS, data, messages, write
    from recording_support import posture

    from beingh_core.openloop.recording import recordings_of

    rng, found = np.random.default_rng(3), [m for m in messages(4.0) if m[1] != BUFFER]
    for tick in range(80):
        due = BEGIN + tick * PERIOD
        log_ns = due + round(rng.uniform(-0.3, 0.3) * PERIOD)
        content = data(BUFFER, due)
        found.append((log_ns, SENT, content[:4] + bytes(8) + content[12:]))  # without stamp
    path = write(tmp_path / "bag", sorted(found, key=lambda m: m[0]), kinds=KINDS | {SENT: KINDS[BUFFER]})
    [recording], _ = recordings_of(path, CONTRACT, commands=SENT)
    first = recording.tick_at_or_after(recording.begin_ns)
    stamps = np.array([recording.tick_ns(tick) for tick in range(first, first + 70)])
    rows = recording.commanded(stamps)
    due = BEGIN + np.round((stamps - BEGIN) / PERIOD) * PERIOD
    assert np.ptp(stamps - due) <= ROUNDING_NS
    np.testing.assert_array_equal(rows, [posture(int(when)) for when in due])


def with_a_late_tick(wait_s, step_rad=0.0, seconds=4.0):
    """(bag, when each command is due) of a controller that is held up after 1.5 s and goes on from its last command."""
    bag = FakeBag(seconds=seconds, without=(BUFFER,))
    begin, due, said = BEGIN + 7_000_000, [], []
    for number in range(30):
        due.append(begin + number * PERIOD)
        said.append(("0", begin, plan(begin + number * PERIOD)))
    again = due[-1] + round(wait_s * NS)
    for number in range(round((seconds - 1.6 - wait_s) * 20)):
        due.append(again + number * PERIOD)
        said.append(("1", again, plan(begin + (29 + number) * PERIOD)))
        said[-1][2].points[0].positions = np.array(said[-1][2].points[0].positions) + step_rad
    for due_ns, (epoch, start, content) in zip(due, said):
        content.header = Message(frame_id=f"{epoch}@{start}")
        bag.recorded.append(Recorded(BUFFER, due_ns - 20_000_000, due_ns, content))
    bag.recorded.sort(key=lambda message: message.log_ns)
    bag.topics[BUFFER] = Message(type="", count=0)
    return bag, np.array(due), [np.array(content.points[0].positions) for _, _, content in said]


@pytest.mark.parametrize("wait_s", [0.06, 0.151, 0.187, 0.31, 0.999])
def test_a_late_tick_cuts_nothing_where_the_last_command_was_held(wait_s):
    bag, due, commands = with_a_late_tick(wait_s)
    [piece], findings = resample(bag)
    assert findings.gaps == [] and [text[:4] for text in findings.held] == [f"{wait_s:.2f}"]
    stamps = np.array([frame.stamp_ns for frame in piece])
    between = np.diff(stamps) / PERIOD
    seam = int(np.argmax(abs(between - 1)))
    assert 0.5 <= between[seam] < 1.5 and np.all(abs(np.delete(between, seam) - 1) < 1e-6)
    assert set(due[1:]) <= set(stamps), "a command has no row"
    codec = SignalCodec(CONTRACT)
    for frame in piece:
        place = int(np.searchsorted(due, frame.stamp_ns, "right")) - 1  # held where it is older than the row
        before = place - (due[place] == frame.stamp_ns)
        encoded = codec.encode_commands(np.stack([commands[before], commands[place]]))
        np.testing.assert_array_equal(
            frame.vectors[ACTION], np.concatenate([encoded[signal.slot][0] for signal in CONTRACT.action])
        )
        assert numbers([frame]) == [int((frame.stamp_ns - BEGIN) * 30 // NS)]


@pytest.mark.parametrize(
    "wait_s, step_rad, told",
    [(0.2, 1e-3, "a new epoch"), (1.15, 0.0, "commands: nothing for"), (1.5, 0.0, "commands: nothing for")],
    ids=["jump", "held for too long", "stop"],
)
def test_what_was_not_held_is_cut(wait_s, step_rad, told):
    bag, _, _ = with_a_late_tick(wait_s, step_rad)
    pieces, findings = resample(bag)
    assert len(pieces) == 2 and findings.held == [] and len(findings.gaps) == 1 and told in findings.gaps[0]


def test_a_picture_that_is_missing_while_a_command_is_held_cuts_as_anywhere():
    bag, _, _ = with_a_late_tick(0.6)
    bag.recorded = [m for m in bag.recorded if m.topic != SCENE or not 1.5 < (m.stamp - BEGIN) / NS < 2.1]
    pieces, findings = resample(bag)
    assert len(pieces) == 2 and SCENE in findings.gaps[0]
