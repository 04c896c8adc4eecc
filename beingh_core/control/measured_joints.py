"""What the joint states tell about the joints that are commanded."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.joint_names import ForeignNames
from beingh_core.contract.schema import POSITION
from beingh_core.contract.turns import endless_joints, nearest_turn
from beingh_core.contract.urdf import read_urdf
from beingh_core.control.joint_continuity import NOISE_SLIDING, NOISE_TURNING, JointContinuity
from beingh_core.control.stop_causes import JOINT_STATES_INVALID, JOINT_STATES_SILENT

# At rest: for REST_S, each joint stays within what REST_SPEED would travel; one that reports at most that speed may
# vary by the noise of its sensor to both sides.
REST_S = 0.2
REST_SPEED = 0.05  # [rad/s or m/s]

NOT_AT_REST = "waiting for the robot to be at rest"

# Stamps that differ from this computer's clock by more are told: ahead, and behind (late messages count as that) [s].
CLOCK_AHEAD_S, CLOCK_BEHIND_S = 0.03, 0.2
# These move at their own speed: the limits of the contract do not reach them.
GOAL_DRIVERS = ("gripper_command", "parallel_gripper", "franka_gripper")

Problem = tuple[str, str]  # cause, reason


def start_position(contract: RobotContract, measured_J: np.ndarray) -> tuple[np.ndarray, str]:
    """Where to start from a measured posture (J,), and why that is impossible ("" when it is not).

    A joint without limits starts at the very angle that the robot reports, not whole turns away, within what a contract
    may hold.
    """
    limits = contract.limits
    lower, upper = np.maximum(limits.lower, POSITION["at_least"]), np.minimum(limits.upper, POSITION["at_most"])
    start = np.clip(measured_J, lower, upper)
    with np.errstate(over="ignore"):
        beyond = np.where(limits.is_velocity, 0.0, np.abs(start - measured_J))
    far = beyond > contract.start_tolerance
    if not far.any():
        return start, ""
    joint = int(np.argmax(np.where(far, beyond, -1.0)))
    more = f" (and {far.sum() - 1} more joints outside theirs)" if far.sum() > 1 else ""
    return start, (
        f"{contract.joint_names[joint]} is at {measured_J[joint]:.4g}, {beyond[joint]:.4g} outside its limits "
        f"{lower[joint]:.4g} to {upper[joint]:.4g}{more}, and a start may be at most "
        f"{contract.start_tolerance[joint]:g} outside: move it back by hand or with the robot's own program, slowly; "
        "if it stands where it may, correct its calibration, `limits.position` or `start_tolerance` in the contract"
    )


def measured_joints(
    contract: RobotContract, max_age_s: float, topics: str, publishers: Callable[[], str]
) -> MeasuredJoints:
    """The commanded joints of a robot; see `MeasuredJoints`. The velocities of a base are not measured."""
    is_joint = ~contract.limits.is_velocity
    names = tuple(name for name, measured in zip(contract.joint_names, is_joint) if measured)
    urdf = read_urdf(contract.urdf_path).joints
    own_speed = {joint for driver in contract.drivers if driver.kind in GOAL_DRIVERS for joint in driver.joints}
    limit = dict(zip(contract.joint_names, contract.limits.velocity))
    speed = {name: max(limit[name], urdf[name].velocity if name in own_speed else 0.0) for name in names}
    noise = {name: NOISE_SLIDING if urdf[name].type == "prismatic" else NOISE_TURNING for name in names}
    endless = {name for name, is_endless in zip(contract.joint_names, endless_joints(contract)) if is_endless}
    continuity = JointContinuity({name: (speed[name], noise[name]) for name in names}, endless)
    return MeasuredJoints(names, is_joint, max_age_s, topics, continuity, publishers)


class MeasuredJoints:
    """The newest position of each wanted joint. Not thread-safe.

    Args:
        joints: Wanted joint names.
        is_joint: (A,) which of the commanded columns they are.
        max_age_s: A joint not received for longer is missing [s].
        topics: Where they come from, for messages.
        continuity: The watch over their samples.
        publishers: Gives who publishes on the topics, for messages; "" when that is not known.
    """

    def __init__(
        self,
        joints: tuple[str, ...],
        is_joint: np.ndarray,
        max_age_s: float,
        topics: str,
        continuity: JointContinuity,
        publishers: Callable[[], str],
    ) -> None:
        self._is_joint = is_joint
        self._joints, self._max_age_ns, self._topics = joints, max_age_s * 1e9, topics
        self._newest: dict[str, tuple[int, float]] = {}
        self._velocity: dict[str, float] = {}
        self._recent: deque[tuple[int, np.ndarray, np.ndarray]] = deque()
        self._foreign = ForeignNames(joints)
        self._continuity, self._publishers = continuity, publishers
        self._endless = np.array([continuity.is_endless(name) for name in joints], dtype=bool)
        self._twice_noise = np.array([2 * continuity.noise(name) for name in joints])
        self._contradicted: tuple[str, str] | None = None  # what, with who publishes

    def update(
        self,
        now_ns: int,
        positions: Mapping[str, float],
        velocities: Mapping[str, float] | None = None,
        stamp_ns: int = 0,
    ) -> None:
        """Note one message that came now and has this header stamp; it may hold any joints, and velocities or none."""
        received = [name for name in self._joints if name in positions]
        self._newest.update((name, (now_ns, positions[name])) for name in received)
        if velocities:
            self._velocity.update((name, velocities[name]) for name in received if name in velocities)
        for name in received:
            if math.isfinite(positions[name]):
                self._continuity.add(name, now_ns, stamp_ns, positions[name])
            else:
                self._recent.clear()  # nobody knows where it is: it must be seen to rest from then on
        if len(received) < len(positions):
            self._foreign.add(positions)

    def forget(self) -> None:
        """Drop every position, so that only later messages count; contradictions are remembered."""
        self._newest.clear()
        self._velocity.clear()
        self._recent.clear()

    def settle(self) -> None:
        """A start: jumps before it count no more."""
        self._continuity.settle()

    def shift(self, step_ns: int) -> None:
        """Move all times with a clock that was set by `step_ns` [ns]."""
        self._newest = {name: (stamp_ns + step_ns, value) for name, (stamp_ns, value) in self._newest.items()}
        self._recent.clear()
        self._continuity.forget()

    def invalid(self, now_ns: int) -> Problem | None:
        """(cause, reason) when a position is no number, or when samples contradict each other."""
        bad = [name for name, (_, value) in self._newest.items() if not math.isfinite(value)]
        if bad:
            text = f"joint states on {self._topics} hold {self._newest[bad[0]][1]} for {', '.join(bad)}"
            return JOINT_STATES_INVALID, text
        contradiction = self._continuity.contradiction(now_ns)
        if contradiction is None:
            return None
        if self._contradicted is None or self._contradicted[0] != contradiction or not self._contradicted[1]:
            self._contradicted = (contradiction, self._published_by())
        text = f"joint states on {self._topics} contradict each other: {contradiction} and back{self._contradicted[1]}"
        return JOINT_STATES_INVALID, text

    def jumped(self, now_ns: int) -> Problem | None:
        """(cause, reason) when a joint has jumped since `settle`."""
        jump = self._continuity.jump(now_ns)
        if jump is None:
            return None
        text = f"joint states on {self._topics} jump: {jump}, faster than this joint can{self._published_by()}"
        return JOINT_STATES_INVALID, text

    def problem(self, now_ns: int) -> Problem | None:
        """(cause, reason) why the positions cannot be used now, None when they can."""
        invalid = self.invalid(now_ns)
        if invalid:
            return invalid
        late = [n for n in self._joints if n not in self._newest or now_ns - self._newest[n][0] > self._max_age_ns]
        if not late:
            return None
        never = [name for name in late if name not in self._newest]
        text = f"no fresh joint states on {self._topics} of {', '.join(late)}{self._foreign.told(never)}"
        return JOINT_STATES_SILENT, text

    def clock_difference(self) -> tuple[float, str]:
        """How far the stamps of joint states are ahead of this computer's clock, at most [s]; behind is negative.

        Returns:
            The difference, and what it means; 0 and "" when it is small.
        """
        leads = self._continuity.clock_leads_s()
        wrong = {name: lead for name, lead in leads.items() if not -CLOCK_BEHIND_S <= lead <= CLOCK_AHEAD_S}
        if not wrong:
            return 0.0, ""
        joint, lead = max(wrong.items(), key=lambda pair: abs(pair[1]))
        where = f"joint states of {joint} are stamped {abs(lead):.3f} s"
        if lead > 0.0:
            return lead, (
                f"{where} ahead of this computer's clock, so the robot may find every command over: synchronise the "
                "clocks (chrony or PTP)"
            )
        return lead, (
            f"{where} behind this computer's clock: they come late, or the clocks differ (chrony or PTP; in simulated "
            "time every node needs use_sim_time)"
        )

    def oldest_ns(self) -> int:
        """When the joint whose newest position is the oldest was measured [ns]."""
        return min(stamp_ns for stamp_ns, _ in self._newest.values())

    def positions(self) -> np.ndarray:
        """(J,) newest positions [rad or m]."""
        return np.array([self._newest[name][1] for name in self._joints])

    def row(self) -> np.ndarray:
        """(A,) newest positions of all commanded columns, 0 for the velocities of a base."""
        row = np.zeros(len(self._is_joint))
        row[self._is_joint] = self.positions()
        return row

    def moving(self, now_ns: int) -> str | None:
        """Why the robot does not count as being at rest, None when it does; call it after every message."""
        velocities = np.array([self._velocity.get(name, math.inf) for name in self._joints])
        if self._recent and self._recent[-1][0] > now_ns:
            self._recent.clear()
        positions = self.positions()
        if self._recent:
            positions = nearest_turn(positions, self._recent[-1][1], self._endless)
        self._recent.append((now_ns, positions, np.abs(velocities)))
        while len(self._recent) > 2 and self._recent[1][0] <= now_ns - REST_S * 1e9:
            self._recent.popleft()
        if now_ns - self._recent[0][0] < REST_S * 1e9:
            return NOT_AT_REST
        reported = np.array([speeds for _, _, speeds in self._recent]).max(axis=0)
        with np.errstate(over="ignore"):
            span = np.ptp(np.array([positions for _, positions, _ in self._recent]), axis=0)
        speed = span / ((now_ns - self._recent[0][0]) / 1e9)
        noise = (reported <= REST_SPEED) & (span <= self._twice_noise)
        joint = int(np.argmax(np.where(noise, 0.0, speed)))
        if speed[joint] > REST_SPEED and not noise[joint]:
            return f"{NOT_AT_REST}: {self._joints[joint]} moves at {speed[joint]:.3g} per second"
        return None

    def _published_by(self) -> str:
        names = self._publishers()
        return f"; published by {names}" if names else ""
