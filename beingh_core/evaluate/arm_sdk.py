"""Whether what was sent to a Unitree G1 keeps what its arm_sdk asks: check sum, weight ramps, both arms in one message, a held waist.

Judged from the messages alone, with no code of the controller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from beingh_core.evaluate.stream_figures import StreamFigures, ahead, not_numbers, stretches

MOTORS, WEIGHT, ENABLE = 35, 29, 1
_BYTES = 28 * MOTORS + 20
# A weight is the square of a straight ramp as it rises, so it rises at most twice as fast as the ramp.
_RISE, _FALL = 2.0, 1.0
# A sender that was held up for so long may catch up [s]; a float's last place at the size of a joint's position [rad].
_HELD_UP_S, _ROUNDING = 0.15, 1e-6
# Commands further apart than this have paused: a controller whose ticks are held up for so long stops [s].
_PAUSE_S = 1.0
# A weight that is no more than this is given back.
_GIVEN_BACK = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class LowCommands:
    """Messages on arm_sdk: `sent_ns` (N,), `weight` (N,), and of the M motors `motors` `positions` (N, M), `modes` (N, M);
    `right` (N,) whether the check sum is that of the message.
    """

    sent_ns: np.ndarray
    weight: np.ndarray
    positions: np.ndarray
    modes: np.ndarray
    right: np.ndarray
    motors: tuple[int, ...] = tuple(range(MOTORS))

    def of(self, motors: Sequence[int]) -> LowCommands:
        """What they say to these motors, in as few bytes as they have on the wire."""
        columns = [self.motors.index(motor) for motor in motors]
        positions = self.positions[:, columns].astype(np.float32)
        return replace(self, positions=positions, modes=self.modes[:, columns], motors=tuple(motors))

    def path(self, motor: int) -> np.ndarray:
        """(N,) positions of a motor [rad]."""
        return self.positions[:, self.motors.index(motor)].astype(float)


def joined(parts: Sequence[LowCommands]) -> LowCommands:
    """All messages of one part or several about the same motors, one after another."""
    arrays = ("sent_ns", "weight", "positions", "modes", "right")
    return replace(parts[0], **{name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays})


def used_motors(arms: Mapping[str, tuple[int, float]], held: Mapping[str, int]) -> list[int]:
    """The motors that are judged; see `judge_arm_sdk`."""
    return sorted({motor for motor, _ in arms.values()} | set(held.values()))


def read_low_commands(messages: Sequence[tuple[int, bytes]]) -> LowCommands:
    """From (time sent [ns], serialised unitree_hg/LowCmd): the fields as CDR lays them out, little end first."""
    data = np.frombuffer(b"".join(message[4:] for _, message in messages), np.uint8).reshape(len(messages), _BYTES)
    # The first motor begins behind two bytes, every other one at a multiple of 28.
    motors = np.zeros((len(data), MOTORS, 28), np.uint8)
    motors[:, 0, 0], motors[:, 0, 4:] = data[:, 2], data[:, 4:28]
    motors[:, 1:] = data[:, 28 : 28 * MOTORS].reshape(len(data), MOTORS - 1, 28)
    modes = motors[:, :, 0].copy()
    motors[:, :, 1:4] = 0
    # In C the motors begin behind four bytes; the first two are the message's.
    head = np.zeros((len(data), 4), np.uint8)
    head[:, :2] = data[:, :2]
    tail = data[:, 28 * MOTORS : 28 * MOTORS + 16]
    flat = motors.reshape(len(data), 28 * MOTORS)
    words = np.hstack([head, flat, tail]).view("<u4")
    sums = data[:, 28 * MOTORS + 16 : 28 * MOTORS + 20].copy().view("<u4")[:, 0]
    positions = flat.view("<f4").reshape(len(data), MOTORS, 7)[:, :, 1]
    return LowCommands(
        sent_ns=np.array([sent_ns for sent_ns, _ in messages], np.int64),
        weight=positions[:, WEIGHT].astype(float),
        positions=positions.astype(float),
        modes=modes,
        right=sums == _check_sums(words),
    )


def _check_sums(words: np.ndarray) -> np.ndarray:
    """CRC-32/MPEG-2 of rows of words, bit by bit from the highest."""
    register = np.full(len(words), 0xFFFFFFFF, np.uint32)
    for column in words.T:
        register = register ^ column
        for _ in range(32):
            register = np.where(
                register >> 31, (register << np.uint32(1)) ^ np.uint32(0x04C11DB7), register << np.uint32(1)
            )
    return register


def judge_arm_sdk(
    commands: LowCommands,
    *,
    arms: Mapping[str, tuple[int, float]],
    held: Mapping[str, int],
    ramp_in_s: float,
    ramp_out_s: float,
    halts: Sequence[tuple[int, int]] = (),
) -> StreamFigures:
    """Everything that can be said of the messages.

    A robot that was given a weight above 0 keeps it when the commands cease. So they end with 0, whether others follow or
    none, and pause above it only while the controller says that it does not run: until its reset the posture is held.

    Args:
        commands: the messages, in order.
        arms: commanded joint -> its motor and its velocity limit [rad/s].
        held: joint that is kept where it is -> its motor.
        ramp_in_s, ramp_out_s: the contract's.
        halts: (from, to) times in which the controller has said that it does not run [ns].
    """
    used = commands.of(used_motors(arms, held))
    if unclear := not_numbers("arm_sdk", commands.weight, used.positions):
        return StreamFigures(figures={"arm_sdk_messages": len(commands.sent_ns)}, problems=tuple(unclear))
    wrong = int((~commands.right).sum())
    apart = int((used.modes != ENABLE).any(axis=1).sum())
    ramps = _ramps(commands, ramp_in_s, ramp_out_s)
    problems = [
        *([f"{wrong} messages on arm_sdk have a wrong check sum"] if wrong else []),
        *([f"{apart} messages on arm_sdk lack some of the joints that are commanded"] if apart else []),
        *ramps,
        *_pauses(commands, halts, ramp_in_s),
        *_waist(commands, held),
        *_speeds(commands, arms),
    ]
    if not len(commands.sent_ns):
        problems.append("nothing was sent to arm_sdk")
    began = sum(1 for rows in _owned(commands) if commands.weight[rows].max(initial=0.0) > 0.0)
    figures = {
        "arm_sdk_messages": len(commands.sent_ns),
        "arm_sdk_wrong_check_sums": wrong,
        "arm_sdk_weight_ramps": began,
        "arm_sdk_weight_max": round(float(commands.weight.max(initial=0.0)), 3),
    }
    return StreamFigures(figures=figures, problems=tuple(problems))


def _owned(commands: LowCommands) -> list[slice]:
    """The times in which somebody commands: each begins and ends with weight 0."""
    return stretches(commands.sent_ns, commands.weight)


def _ramps(commands: LowCommands, ramp_in_s: float, ramp_out_s: float) -> list[str]:
    problems = []
    for rows in _owned(commands):
        times_s, weight = commands.sent_ns[rows] / 1e9, commands.weight[rows]
        if weight[0] > _GIVEN_BACK:
            problems.append(f"the weight of arm_sdk begins with {weight[0]:.3f}")
        if weight.min() < 0.0 or weight.max() > 1.0:
            problems.append(f"the weight of arm_sdk goes from {weight.min():.3f} to {weight.max():.3f}")
        for what, values, most in (("rises", weight, _RISE / ramp_in_s), ("falls", -weight, _FALL / ramp_out_s)):
            too_far = ahead(times_s, values, most)
            if too_far > most * _HELD_UP_S:
                problems.append(
                    f"the weight of arm_sdk {what} by {too_far:.3f} more than {most:.2f} a second, which are right"
                )
    return problems


def _pauses(commands: LowCommands, halts: Sequence[tuple[int, int]], ramp_in_s: float) -> list[str]:
    """Where commands have ceased with the weight above 0, and what it was when they went on."""
    times_ns, weight, problems = commands.sent_ns, commands.weight, []
    for at in np.flatnonzero(np.diff(times_ns) > _PAUSE_S * 1e9):
        before, after, pause_s = weight[at], weight[at + 1], (times_ns[at + 1] - times_ns[at]) / 1e9
        if before <= _GIVEN_BACK:
            continue
        if after <= _GIVEN_BACK:
            problems.append(
                f"commands on arm_sdk ended with the weight {before:.3f}; others began {pause_s:.1f} s later"
            )
        elif not any(begin <= times_ns[at] + _PAUSE_S * 1e9 and end > times_ns[at] for begin, end in halts):
            problems.append(f"commands on arm_sdk paused for {pause_s:.1f} s with the weight {before:.3f}, and no stop")
        if after - before > _RISE / ramp_in_s * _HELD_UP_S:
            problems.append(
                f"the weight of arm_sdk rose from {before:.3f} to {after:.3f} in a pause of {pause_s:.1f} s"
            )
    if len(weight) and weight[-1] > _GIVEN_BACK:
        problems.append(f"commands on arm_sdk ended with the weight {weight[-1]:.3f}")
    return problems


def _waist(commands: LowCommands, held: Mapping[str, int]) -> list[str]:
    return [
        f"{joint}, which is held, was sent through {moved:.4f} rad"
        for rows in _owned(commands)
        for joint, motor in held.items()
        if (moved := float(np.ptp(commands.path(motor)[rows]))) > 1e-6
    ]


def _speeds(commands: LowCommands, arms: Mapping[str, tuple[int, float]]) -> list[str]:
    problems = []
    for rows in _owned(commands):
        times_s = commands.sent_ns[rows] / 1e9
        for joint, (motor, limit) in arms.items():
            path = commands.path(motor)[rows]
            too_far = max(ahead(times_s, path, limit), ahead(times_s, -path, limit))
            if too_far > limit * _HELD_UP_S + _ROUNDING:
                problems.append(f"{joint} was sent {too_far:.3f} rad further to arm_sdk than {limit:.3f} rad/s allow")
    return problems
