"""Upper body of the Unitree G1 through arm_sdk, while the built-in controller keeps walking or standing.

The unused motor 29 carries a weight: 0 leaves the upper body to the built-in controller, 1 gives it to these commands,
between them they are blended. The weight rises slowly after the first command and falls slowly after the last one. While it
rises the arms do not follow, so no chunk is taken.
"""

from __future__ import annotations

import time

import numpy as np
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data

from beingh_core.contract import Driver as DriverSettings
from beingh_core.contract import RobotContract
from beingh_core.contract.places import driver_place
from beingh_core.control.setpoints import Setpoints, sample_to_rest
from beingh_core.errors import BeingHError, did_you_mean
from beingh_ros.drivers.action_goals import DISCOVERY_S
from beingh_ros.drivers.interfaces import interface
from beingh_ros.drivers.streaming import StreamingDriver
from beingh_ros.drivers.unitree_crc import low_cmd_crc

_ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll", "wrist_pitch", "wrist_yaw")
FIRST_MOTOR = 12
UPPER_BODY = (
    *("waist_yaw_joint", "waist_roll_joint", "waist_pitch_joint"),
    *(f"{side}_{part}_joint" for side in ("left", "right") for part in _ARM),
)
MOTOR = {name: FIRST_MOTOR + index for index, name in enumerate(UPPER_BODY)}
WEIGHT_MOTOR = 29
ENABLE = 1
# Commands that are further apart have paused [s].
LONGEST_S = 0.1


class UnitreeG1ArmSdkDriver(StreamingDriver):
    """Publishes unitree_hg/LowCmd with gains, weight and check sum.

    The joints under `hold` are kept where they are when the first command is sent: with the weight at 1 a motor
    without gains would be limp. `mode_machine` is echoed from the robot's state, as it asks.

    Args:
        node: Owner of publisher and subscription.
        contract: Order of the columns.
        settings: Topic and joints, `kp`, `kd`, `hold`, `ramp_in_s`, `ramp_out_s`, `state_topic`.
    """

    def __init__(self, node: Node, contract: RobotContract, settings: DriverSettings) -> None:
        options = settings.options
        self._type = interface("unitree_hg.msg", "LowCmd", settings.kind)
        super().__init__(node, contract, settings, self._type)
        self._hold = options["hold"]
        for joint in (*settings.joints, *self._hold):
            if joint not in MOTOR:
                raise BeingHError(
                    f"arm_sdk has no joint `{joint}`",
                    where=driver_place(contract, settings, "hold" if joint in self._hold else "joints"),
                    allowed=UPPER_BODY,
                    remedy=did_you_mean(joint, UPPER_BODY),
                )
        if both := set(settings.joints) & set(self._hold):
            raise BeingHError(
                f"`{min(both)}` is commanded and held",
                where=driver_place(contract, settings, "hold"),
                remedy="remove it from `hold`",
            )
        self._gains = {joint: (options["kp"][joint], options["kd"][joint]) for joint in options["kp"]}
        self._ramp_in_s, self._ramp_out_s = options["ramp_in_s"], options["ramp_out_s"]
        self._start_ns: int | None = None  # stamp of the first command
        self._ramped_s, self._ramped_ns = 0.0, 0  # how far the weight has risen, and the newest command that says so
        self._brake_ns: int | None = None  # stamp of the stop
        self._rest_ns = 0  # when it has come to rest
        self._held: dict[str, float] = {}
        self._patience_s = time.monotonic() + DISCOVERY_S
        self._state = None
        self._subscription = node.create_subscription(
            interface("unitree_hg.msg", "LowState", settings.kind),
            options["state_topic"],
            self._on_state,
            qos_profile_sensor_data,
        )

    def send(self, points: Setpoints) -> None:
        """Send the last row; nothing before the robot's state is known."""
        if self._state is None:
            return
        if self._start_ns is None:
            self._start_ns = self._ramped_ns = points.stamp_ns
            self._ramped_s = 0.0
            self._held = {joint: float(self._state.motor_state[MOTOR[joint]].q) for joint in self._hold}
        super().send(points)

    def stop(self, points: Setpoints) -> None:
        """Brake, then give the upper body back."""
        if self._start_ns is None:
            return
        path = sample_to_rest(points, self.command_rate_hz, self._sent)
        self._brake_ns = points.stamp_ns
        self._rest_ns = points.stamp_ns + round(path.times_s[-1] * 1e9)
        self._play(path)
        self._sent = path
        self.release()

    def release(self) -> None:
        """Let the weight fall to 0 in `ramp_out_s` while the last posture is held."""
        if self._start_ns is None:
            return
        if self._brake_ns is None:
            self._brake_ns = self._rest_ns = self._sent.stamp_ns + round(self._sent.times_s[-1] * 1e9)
        steps = max(1, round(self._ramp_out_s * self.command_rate_hz))
        rest = self._sent.positions[-1:]
        self._play(
            Setpoints(
                stamp_ns=self._rest_ns,
                times_s=np.arange(1, steps + 1) * self._ramp_out_s / steps,
                positions=np.repeat(rest, steps, axis=0),
                velocities=np.zeros((steps, rest.shape[1])),
            )
        )
        self._flush()
        self._sent = self._start_ns = self._brake_ns = None

    def taking_over(self) -> str | None:
        """That the weight has not risen yet."""
        if self._start_ns is not None and self._ramped_s >= self._ramp_in_s:
            return None
        share = 0.0 if self._start_ns is None else self._ramped_s / self._ramp_in_s
        return f"the robot's own controller still has the arms (weight of arm_sdk {share**2:.2f})"

    def problem(self) -> str | None:
        """That the robot's state was never received."""
        if self._state is None and time.monotonic() > self._patience_s:
            topic = self._subscription.topic_name
            return f"nothing has come on {topic}, without which nothing is sent to arm_sdk: is the robot on?"
        return None

    def _on_state(self, message) -> None:
        self._state = message

    def _message(self, joints: tuple[str, ...], stamp_ns: int, positions: np.ndarray, velocities: np.ndarray):
        message = self._type()
        message.mode_machine = self._state.mode_machine
        for joint, position in [*zip(joints, positions.tolist()), *self._held.items()]:
            motor = message.motor_cmd[MOTOR[joint]]
            motor.mode, motor.q = ENABLE, position
            motor.kp, motor.kd = self._gains[joint]
        message.motor_cmd[WEIGHT_MOTOR].q = self._weight(stamp_ns)
        message.crc = low_cmd_crc(message.mode_pr, message.mode_machine, message.motor_cmd, message.reserve)
        return message

    def _weight(self, stamp_ns: int) -> float:
        """The square of a straight ramp after the first command, so that it begins gently; straight down at the end.

        A pause in the commands, such as a stop until its reset, is no time in which it rises.
        """
        until_ns = stamp_ns if self._brake_ns is None else min(stamp_ns, self._brake_ns)
        if until_ns > self._ramped_ns:
            self._ramped_s += min((until_ns - self._ramped_ns) / 1e9, LONGEST_S)
            self._ramped_ns = until_ns
        weight = min(self._ramped_s / self._ramp_in_s, 1.0) ** 2
        if self._brake_ns is None or stamp_ns <= self._rest_ns:
            return weight
        return weight * max(0.0, 1.0 - (stamp_ns - self._rest_ns) / 1e9 / self._ramp_out_s)
