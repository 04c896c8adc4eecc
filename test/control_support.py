"""The FR3 under a virtual clock: times, its home, and a controller that is measured, ticked and told."""

import numpy as np

from beingh_core.contract import load_contract
from beingh_core.control.controller import Controller
from beingh_core.realtime.commit_buffer import Chunk

FR3 = load_contract("fr3")
DT_NS = 50_000_000
NOW = 1_700_000_000_000_000_000
H, J = FR3.policy.chunk_length, len(FR3.joint_names)
HOME = dict(zip(FR3.joint_names, FR3.home))


def controller(check=None):
    return Controller(FR3, joint_state_timeout_s=1.0, max_late_ticks=2.0, check=check)


def measure_at_rest(target, now_ns, positions):
    """Joint states of a robot at rest, for as long as it takes to count as that."""
    for k in range(6):
        target.joint_state(now_ns + k * DT_NS, positions)
    return now_ns + 5 * DT_NS


class Robot:
    """Drives a controller tick by tick, with joint states that follow what is sent."""

    def __init__(self, check=None):
        self.controller = controller(check)
        self.now_ns, self.sent = NOW, []
        self.measured = dict(HOME)
        self.now_ns = measure_at_rest(self.controller, self.now_ns, self.measured)

    def run(self, ticks):
        for _ in range(ticks):
            due = self.controller.next_tick_ns()
            if due is None:
                return
            self.now_ns = due
            self.controller.joint_state(self.now_ns, self.measured)
            output = self.controller.tick(self.now_ns)
            if output is not None:
                self.sent.append(output)
                self.measured = dict(zip(FR3.joint_names, output.points.positions[0]))

    def chunk(self, speed, base=None):
        """A chunk that moves joint 1 by `speed` [rad/tick] from the planned position at its base."""
        epoch = self.controller.status.epoch
        base = len(self.sent) if base is None else base
        start = self.sent[-1].points.positions[0] if self.sent else np.array(FR3.home)
        rows = np.tile(start, (H, 1))
        rows[:, 0] += speed * np.arange(1, H + 1)
        return Chunk(base_tick=base, epoch=epoch, joints=FR3.joint_names, positions=rows, dt_s=FR3.dt_s)
