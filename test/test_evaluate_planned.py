"""Plans in the place of commands, around a clock that is set: in virtual time, with the real controller."""

import numpy as np
import pytest
from control_support import DT_NS, FR3, Robot

from beingh_core.evaluate.commitment import audit
from beingh_core.evaluate.ticks import count_ticks
from beingh_core.evaluate.wire import WireLog

NAMES = FR3.joint_names
WAY_NS = 1_000_000  # from a tick to its plan on the wire


class Onlooker:
    """Hears the plans of a controller at the times given, which no setting of the controller's clock moves."""

    def __init__(self):
        self.wire = WireLog(joints=NAMES, groups=[NAMES], rate_hz=FR3.rate_hz, planned=True)
        self.count, self.plans = 0, []

    def hear(self, plan, sent_ns, stamp_ns=None):
        self.count += 1
        stamp_ns = plan.stamp_ns if stamp_ns is None else stamp_ns
        self.plans.append((plan.epoch, stamp_ns))
        self.wire.buffer(plan.epoch, stamp_ns, NAMES, plan.positions, sent_ns=sent_ns, sequence=self.count)

    def problems(self):
        logs = self.wire.epochs()
        found = audit(
            logs, NAMES, [NAMES], commit_margin=FR3.uac.commit_margin, delay_steps=FR3.uac.delay_steps
        ).violations
        ticks = count_ticks(logs)
        return [v.what for v in found if v.rule != "order" or v.tick < 0] + list(ticks.notes)


def set_clock(step_ns, last_way_ns, between=lambda onlooker: None):
    """Plans around a step of the clock that the tick thread sees when it wakes for its next tick; the last one before it is
    `last_way_ns` on its way, the announcement of the new epoch no time."""
    robot, onlooker = Robot(), Onlooker()
    controller = robot.controller
    onlooker.hear(controller.announcement(), robot.now_ns)
    robot.run(1)
    robot.controller.merge(robot.chunk(0.01))
    onlooker.hear(robot.sent[-1].plan, robot.now_ns + WAY_NS)
    for way_ns in [*[WAY_NS] * 5, last_way_ns]:
        robot.run(1)
        onlooker.hear(robot.sent[-1].plan, robot.now_ns + way_ns)
    between(onlooker)
    due_ns = controller.next_tick_ns()
    controller.clock_set(due_ns + step_ns, step_ns, "the clock was set")
    onlooker.hear(controller.announcement(), due_ns)
    while (now_ns := controller.next_tick_ns()) is not None:
        controller.joint_state(now_ns, robot.measured)
        output = controller.tick(now_ns)
        if output is not None:
            onlooker.hear(output.plan, now_ns - step_ns + WAY_NS)
    return onlooker


@pytest.mark.parametrize("step_ns", [300_084_000, -300_000_000, 5_000_000_500, -4_999_916_000])
@pytest.mark.parametrize("last_way_ns", [0, WAY_NS, DT_NS // 2])
def test_a_plan_that_a_clock_set_has_overtaken_is_no_command(step_ns, last_way_ns):
    onlooker = set_clock(step_ns, last_way_ns)
    assert len({epoch for epoch, _ in onlooker.plans}) == 2
    for epoch, stamp_ns in onlooker.plans:
        assert (stamp_ns - int(epoch.split("@")[1])) % DT_NS == 0, "the controller keeps to each epoch's grid"
    assert onlooker.problems() == []


def test_a_plan_off_the_grid_of_its_epoch_is_told():
    def tampered(onlooker):
        epoch, stamp_ns = onlooker.plans[-1]
        rows = np.tile(np.array(FR3.home), (4, 1))
        onlooker.wire.buffer(epoch, stamp_ns + 84_000, NAMES, rows, sent_ns=stamp_ns - DT_NS - WAY_NS)

    assert any("is no tick's time" in problem for problem in set_clock(300_000_000, WAY_NS, tampered).problems())


def test_a_plan_of_an_epoch_that_is_over_is_told():
    onlooker = set_clock(300_084_000, WAY_NS)
    (old, stamp_ns), last_ns = onlooker.plans[0], onlooker.plans[-1][1]
    onlooker.wire.buffer(
        old, stamp_ns + 40 * DT_NS, NAMES, np.tile(np.array(FR3.home), (4, 1)), sent_ns=last_ns - 300_084_000 + DT_NS
    )
    assert any("is no tick's time" in problem for problem in onlooker.problems())
