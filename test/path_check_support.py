"""Any robot under a virtual clock whose controller checks chunks, and a judge of what it was sent."""

import numpy as np

from beingh_core.contract.keep_out import KeepOut
from beingh_core.contract.self_collision import collisions_of
from beingh_core.control.controller import Controller
from beingh_core.control.path_check import path_check
from beingh_core.realtime.commit_buffer import Chunk

NOW = 1_700_000_000_000_000_000
# Folded postures: robot -> joints that differ from home, and what then touches.
FOLDED = {
    "fr3": ({"fr3_joint2": 1.7, "fr3_joint4": -3.0, "fr3_joint6": 0.6}, "fr3_link"),
    "ur5e_2f85": ({"elbow_joint": 3.1}, "base_link_inertia"),
    "so101": ({"shoulder_lift": -1.74, "elbow_flex": 1.69, "wrist_flex": 1.65}, "shoulder_link"),
    "g1": ({"right_shoulder_roll_joint": 1.2, "left_shoulder_roll_joint": 0.0}, "torso_link"),
    "aloha": ({"right_waist": 1.57, "left_waist": -1.57, "right_shoulder": 0.9, "left_shoulder": 0.9, "right_elbow": -0.5, "left_elbow": -0.5}, "left_"),
}  # fmt: skip


def folded(contract):
    """The folded posture of a robot: home, but for some joints."""
    moved, _ = FOLDED[contract.path.stem]
    return np.array([moved.get(joint, value) for joint, value in zip(contract.joint_names, contract.home)])


def wall(**changes):
    """A box beside the FR3."""
    return KeepOut(
        **({"name": "wall", "frame": "fr3_link0", "center": (0.0, 0.5, 0.5), "size": (2.0, 0.1, 1.0)} | changes)
    )


def straight(contract, planned, goal_J, speed):
    """(H, J) a chunk that continues a plan and goes straight to a posture, at a part of the fastest joint's limit."""
    d, H, limits = contract.uac.delay_steps, contract.policy.chunk_length, contract.limits
    joints = ~limits.is_velocity
    way = np.where(joints, goal_J - planned[d - 1], 0.0)
    steps = np.abs(way[joints] / (speed * limits.velocity[joints] * contract.dt_s)).max()
    shares = np.minimum(np.arange(1, H - d + 1) / max(steps, 1e-9), 1.0)
    return np.vstack([planned[:d], planned[d - 1] + shares[:, None] * way])


class Driven:
    """A controller with its check; joint states follow what is sent.

    Attributes:
        rows: (J,) what was sent, tick by tick, behind the posture at the start.
        results: What became of the chunks.
    """

    def __init__(self, contract, start=None, check=...):
        self.contract, self.limits = contract, contract.limits
        self.check = path_check(contract)[0] if check is ... else check
        self.controller = Controller(contract, check=self.check)
        self.now_ns, self.dt_ns = NOW, round(1e9 / contract.rate_hz)
        self.rows, self.results = [np.array(contract.home if start is None else start)], []
        for _ in range(round(0.3e9 / self.dt_ns) + 1):
            self.now_ns += self.dt_ns
            self.controller.joint_state(self.now_ns, self.measured())
        self.plan = np.tile(self.rows[-1], (contract.policy.chunk_length, 1))
        self.first = 0  # tick of its first row

    def measured(self):
        joints = zip(self.contract.joint_names, self.rows[-1], self.limits.is_velocity)
        return {name: value for name, value, is_velocity in joints if not is_velocity}

    def run(self, ticks):
        for _ in range(ticks):
            self.now_ns = self.controller.next_tick_ns()
            self.controller.joint_state(self.now_ns, self.measured())
            output = self.controller.tick(self.now_ns)
            self.rows.append(output.points.positions[0])
            self.plan = output.plan.positions
            self.first += 1

    def towards(self, goal_J, speed=0.5):
        """Merge a chunk; see `straight`."""
        return self.merge(straight(self.contract, self.plan, goal_J, speed))

    def merge(self, rows_HJ):
        chunk = Chunk(
            base_tick=self.first,
            epoch=self.controller.status.epoch,
            joints=self.contract.joint_names,
            positions=rows_HJ,
            dt_s=self.contract.dt_s,
        )
        self.results.append(self.controller.merge(chunk))
        return self.results[-1]

    def go(self, goal_J, chunks, speed=0.5):
        """Chunks as a policy makes them, each after the steps that the contract executes of the last one."""
        for _ in range(chunks):
            self.towards(goal_J, speed)
            self.run(self.contract.uac.execution_steps)


def touching(contract, rows, between=4, margin=0.0):
    """What touches along rows that were sent, looked at between them too; None where nothing does."""
    rows = np.array(rows)[:, ~contract.limits.is_velocity]
    parts = np.arange(between)[:, None] / between
    dense = [one + parts * (other - one) for one, other in zip(rows, rows[1:])]
    return collisions_of(contract, margin=margin).first_hit(np.vstack([*dense, rows[-1:]]))
