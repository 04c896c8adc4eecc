"""The check sums of Unitree's low-level commands and states. No ROS here.

CRC-32 with polynomial 0x04C11DB7, start 0xFFFFFFFF, nothing reflected and nothing inverted (CRC-32/MPEG-2), over the
32-bit words of the C structure, each word from its highest bit on. zlib computes the same code reflected, so the bits
of every byte and of the result are turned round.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Any

_TURNED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_HEAD, _MOTOR, _TAIL = struct.Struct("<BB2x"), struct.Struct("<B3x5fI"), struct.Struct("<4I")
_STATE_HEAD, _STATE_IMU = struct.Struct("<2I2B2xI"), struct.Struct("<13fh2x")
_STATE_MOTOR, _STATE_TAIL = struct.Struct("<B3x4f2hf7I"), struct.Struct("<40B4I")


def crc32_words(data: bytes) -> int:
    """The check sum of little-endian 32-bit words."""
    words = struct.unpack(f"<{len(data) // 4}I", data)
    turned = struct.pack(f">{len(words)}I", *words).translate(_TURNED)
    return int(f"{zlib.crc32(turned) ^ 0xFFFFFFFF:032b}"[::-1], 2)


def low_cmd_crc(mode_pr: int, mode_machine: int, motors: Iterable, reserve: Iterable[int]) -> int:
    """The `crc` of a unitree_hg/LowCmd.

    Args:
        mode_pr, mode_machine: As in the message.
        motors: The 35 motor commands (mode, q, dq, tau, kp, kd, reserve).
        reserve: The four reserved words.
    """
    parts = [_HEAD.pack(mode_pr, mode_machine)]
    parts += [_MOTOR.pack(m.mode, m.q, m.dq, m.tau, m.kp, m.kd, m.reserve) for m in motors]
    return crc32_words(b"".join([*parts, _TAIL.pack(*reserve)]))


def low_state_crc(state: Any) -> int:
    """The `crc` of a unitree_hg/LowState, which has the message's fields in their order as the C structure has them."""
    imu = state.imu_state
    parts = [_STATE_HEAD.pack(*state.version, state.mode_pr, state.mode_machine, state.tick)]
    parts += [_STATE_IMU.pack(*imu.quaternion, *imu.gyroscope, *imu.accelerometer, *imu.rpy, imu.temperature)]
    for m in state.motor_state:
        words = (*m.sensor, m.motorstate, *m.reserve)
        parts += [_STATE_MOTOR.pack(m.mode, m.q, m.dq, m.ddq, m.tau_est, *m.temperature, m.vol, *words)]
    return crc32_words(b"".join([*parts, _STATE_TAIL.pack(*state.wireless_remote, *state.reserve)]))
