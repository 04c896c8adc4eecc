"""The onlooker's check of the append-only promise: silent on a healthy stream, loud on every kind of tampering."""

import numpy as np
import pytest
from wire_support import CHUNK, DELAY, EPOCH, GROUPS, JOINTS, MARGIN, RATE_HZ, SENT_A, healthy, rows, stamp

from beingh_core.contract import load_contract
from beingh_core.evaluate.commitment import audit
from beingh_core.evaluate.seams import seams, sent_positions, velocity_jumps
from beingh_core.realtime.chunk import Chunk
from beingh_core.realtime.commit_buffer import CommitBuffer


def check(stream):
    return audit(stream.log().epochs(), JOINTS, GROUPS, commit_margin=MARGIN, delay_steps=DELAY)


def rules(stream):
    return sorted({violation.rule for violation in check(stream).violations})


def test_a_healthy_stream_has_no_violation_and_was_really_compared():
    found = check(healthy())
    assert found.violations == () and found.ticks == 8
    # Arm (2 joints) and gripper (1): 8 commands of 2 rows whose second is sent except the last: 15 rows of 3 values.
    # 8 buffer publications whose first row was sent, 3 values; one prefix of 2 points, 3 values.
    assert found.comparisons == 15 * 3 + 8 * 3 + 2 * 3


def test_a_skipped_tick():
    stream = healthy()
    del stream.commands[0][5]
    assert rules(stream) == ["order"]
    assert "1 ticks were not sent before tick 6" in str(check(stream).violations[0])


def test_a_tick_sent_twice():
    stream = healthy()
    stream.commands[0].insert(6, stream.commands[0][5])
    assert rules(stream) == ["order"]


def test_ticks_out_of_order():
    stream = healthy()
    commands = stream.commands[1]
    commands[3], commands[4] = commands[4], commands[3]
    assert "order" in rules(stream)


def test_the_first_tick_missing():
    stream = healthy()
    del stream.commands[0][0]
    assert rules(stream) == ["order"]


def test_ticks_reported_as_sent_that_never_came():
    stream = healthy()
    del stream.commands[0][-1]
    assert rules(stream) == ["order"]


def test_joining_late_is_no_violation():
    stream = healthy()
    for topic in (*stream.commands, stream.buffers):
        del topic[:2]
    assert check(stream).violations == ()


def test_a_command_off_the_tick_grid():
    stream = healthy()
    log = stream.log()
    log.command(0, stamp(8) + 3_000_000, GROUPS[0], rows([0.3])[:, :2], received_ns=0)
    found = audit(log.epochs(), JOINTS, GROUPS, commit_margin=MARGIN, delay_steps=DELAY)
    assert [violation.rule for violation in found.violations] == ["order"]


def test_a_committed_row_of_a_command_that_is_sent_otherwise():
    stream = healthy()
    tick, positions = stream.commands[0][4]
    changed = positions.copy()
    changed[1, 0] += 2e-9
    stream.commands[0][4] = (tick, changed)
    assert rules(stream) == ["command"]
    assert check(stream).violations[0].tick == 5


def test_a_difference_below_the_tolerance_is_none():
    stream = healthy()
    tick, positions = stream.commands[0][4]
    stream.commands[0][4] = (tick, positions + 5e-10)
    assert check(stream).violations == ()


def test_a_sent_value_that_is_no_number():
    stream = healthy()
    tick, positions = stream.commands[0][7]
    stream.commands[0][7] = (tick, np.full_like(positions, np.nan))
    assert "command" in rules(stream)


def test_a_published_committed_tick_that_is_sent_otherwise():
    stream = healthy()
    first, positions = stream.buffers[6]
    stream.buffers[6] = (first, positions + np.eye(CHUNK, 3) * 0.01)
    assert rules(stream) == ["buffer"]


def test_a_publication_that_changes_what_was_sent():
    stream = healthy()
    stream.buffers.append(
        (4, rows([9.0] * CHUNK))
    )  # goes back to ticks 4..8, of which 4..7 were sent and 8 is committed
    assert [v.tick for v in check(stream).violations if "differs from what was sent" in v.what] == [4, 5, 6, 7]
    assert 8 in [v.tick for v in check(stream).violations if "changes a committed tick" in v.what]


def test_a_publication_repeated_unchanged_is_no_violation():
    stream = healthy()
    stream.buffers.append(stream.buffers[-2])
    assert check(stream).violations == ()


def test_a_prefix_that_is_not_what_runs():
    stream = healthy()
    base, positions = stream.chunks[0]
    stream.chunks[0] = (base, positions + np.eye(CHUNK, 3, k=-1) * 1e-6)  # point 1, inside the prefix
    assert rules(stream) == ["prefix"]
    stream.accepted.clear()  # a refused chunk promises nothing
    assert check(stream).violations == ()


def test_the_postfix_of_a_chunk_may_differ_from_what_runs():
    stream = healthy()
    base, positions = stream.chunks[0]
    stream.chunks[0] = (base, positions + np.eye(CHUNK, 3, k=-DELAY) * 0.5)
    assert check(stream).violations == ()


def test_columns_are_matched_by_name_and_foreign_messages_counted():
    stream = healthy()
    log = stream.log()
    log.command(0, stamp(8), ("b", "a"), rows([0.3])[:, [1, 0]], received_ns=0)
    log.command(0, stamp(9), ("x", "y"), rows([7.0])[:, :2], received_ns=0)
    log.buffer("no epoch", stamp(9), JOINTS, rows([7.0]))
    assert log.unreadable == 2
    first, sent = sent_positions(log.epochs()[0], JOINTS, GROUPS)
    assert first == 0 and sent[:, 0].tolist() == SENT_A
    assert sent[8, :2].tolist() == [0.3, 0.15] and np.isnan(sent[8, 2])


def test_a_new_epoch_begins_its_own_count():
    log = healthy().log()
    other = stamp(40)
    for tick in range(3):
        log.command(0, other + tick * 100_000_000, GROUPS[0], rows([1.0])[:, :2], received_ns=0)
        log.command(1, other + tick * 100_000_000, GROUPS[1], rows([1.0])[:, 2:], received_ns=0)
        log.buffer(f"1@{other}", other + tick * 100_000_000, JOINTS, rows([1.0] * CHUNK))
    epochs = log.epochs()
    assert [epoch.name for epoch in epochs] == [EPOCH, f"1@{other}"]
    found = audit(epochs, JOINTS, GROUPS, commit_margin=MARGIN, delay_steps=DELAY)
    assert found.violations == () and found.ticks == 11


def test_seam_and_velocity_jump_by_hand():
    log = healthy().log().epochs()[0]
    assert seams(log) == [4]
    # Joint a: 0 rad/s before tick 4, (0.1 - 0) * 10 = 1 rad/s at it; joint b half of that.
    assert velocity_jumps(log, JOINTS, GROUPS, RATE_HZ) == pytest.approx(np.array([[1.0, 0.5, 0.0]]))


def test_control_period_from_the_times_of_receipt():
    # Ticks 0.1 s apart, each received 1 us later after its stamp than the one before it.
    assert healthy().log().periods_ms() == pytest.approx([100.001] * 7)


@pytest.mark.parametrize("patient", [True, False])
def test_the_real_commit_buffer_under_late_chunks(patient):
    """A policy that reads the plan before its last chunk is in it locks a prefix that will not run: caught too."""
    contract = load_contract("fr3")
    names, rng = contract.joint_names, np.random.default_rng(0)
    buffer = CommitBuffer(
        joints=names,
        start_positions=np.array(contract.home),
        limits=contract.limits,
        dt_s=contract.dt_s,
        chunk_length=16,
        delay_steps=5,
        commit_margin=1,
        epoch=EPOCH,
    )
    log = WireOf(names, contract)
    log.publish(buffer)
    plans = {}
    for tick in range(120):
        if tick % 6 == 2 and not (patient and plans):  # a policy reads the plan ...
            first, planned = buffer.planned()
            plans[tick] = first, planned[:5]
        for asked in [t for t in plans if t + (9 if t % 4 == 0 else 3) == tick]:  # ... and answers in time, or late
            base, prefix = plans.pop(asked)
            chunk = np.vstack([prefix, prefix[-1] + np.cumsum(rng.normal(0, 0.01, (11, len(names))), axis=0)])
            log.chunk(buffer, base, chunk)
        log.tick(buffer)
    found = audit(log.wire.epochs(), names, log.groups, commit_margin=1, delay_steps=5)
    assert {violation.rule for violation in found.violations} == (set() if patient else {"prefix"})
    assert buffer.counters["late"] > 2 and found.ticks == 120 and found.comparisons > 2000
    assert len(seams(log.wire.epochs()[0])) >= 10


class WireOf:
    """Publishes what a controller around a commit buffer would."""

    def __init__(self, names, contract):
        from beingh_core.evaluate.wire import WireLog

        self.names, self.groups = names, tuple(group.joints for group in contract.driver.groups)
        self.rate_hz = contract.rate_hz
        self.wire = WireLog(joints=names, groups=self.groups, rate_hz=contract.rate_hz)

    def stamp(self, tick):
        return int(EPOCH.split("@")[1]) + round(tick * 1e9 / self.rate_hz)

    def publish(self, buffer):
        first, planned = buffer.planned()
        self.wire.buffer(EPOCH, self.stamp(first), self.names, planned)

    def tick(self, buffer):
        command = buffer.advance()
        rows_TJ = np.vstack([command.positions, buffer.planned()[1][:1]])
        column = 0
        for index, group in enumerate(self.groups):
            self.wire.command(
                index, self.stamp(command.tick), group, rows_TJ[:, column : column + len(group)], received_ns=0
            )
            column += len(group)
        self.publish(buffer)

    def chunk(self, buffer, base, positions):
        result = buffer.merge(
            Chunk(base_tick=base, epoch=EPOCH, joints=self.names, positions=positions, dt_s=1 / self.rate_hz)
        )
        self.wire.chunk(EPOCH, self.stamp(base), self.names, positions)
        if result.accepted:
            self.wire.accepted(EPOCH, self.stamp(base))
