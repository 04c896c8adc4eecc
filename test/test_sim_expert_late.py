"""What a late chunk of the expert does to the sent velocity, and that the report tells it from the seams of chunks in time."""

from types import SimpleNamespace

import numpy as np
import pytest
from test_sim_expert import Run

from beingh_core.evaluate.figures import RunData, figures
from beingh_core.evaluate.wire import WireLog
from beingh_core.inference.chunk_maker import Observation
from beingh_core.realtime.commit_buffer import Chunk, CommitBuffer
from beingh_core.sim.expert_policy import cubes_of

EPOCH, BEGIN, TICKS = "0@0", 2, 40


def driven(run, late):
    """The figures of a robot that is told to pick, its first chunk so many ticks too late for its first step behind the prefix."""
    contract = run.contract
    names, delay, dt_ns = contract.joint_names, contract.uac.delay_steps, round(contract.dt_s * 1e9)
    wire = WireLog(joints=names, groups=[names], rate_hz=contract.rate_hz)
    buffer = CommitBuffer(
        joints=names,
        start_positions=run.sent[0],
        limits=contract.limits,
        dt_s=contract.dt_s,
        chunk_length=contract.policy.chunk_length,
        delay_steps=delay,
        commit_margin=contract.uac.commit_margin,
        epoch=EPOCH,
    )
    run.robot.reset(1)
    run.maker.start_epoch(run.sent[0])
    run.policy.cubes.push(0, cubes_of(run.robot))
    last, due, base = run.sent[0], None, -contract.uac.execution_steps
    wire.buffer(EPOCH, 0, names, buffer.planned()[1])
    for tick in range(TICKS):
        if due is None and tick >= max(BEGIN, base + contract.uac.execution_steps):
            base, seen = tick, Observation(stamp_ns=tick * dt_ns, images={}, joints=run.state())
            run.policy.cubes.push(seen.stamp_ns, cubes_of(run.robot))
            prefix = np.vstack([last, buffer.planned(delay)[1][:delay]])
            chunk = run.maker.finish(run.maker.begin(seen, "pick up the green cube"), prefix).positions
            due = tick + delay - 1 + (late if base == BEGIN else 0)
        if due == tick:
            merged = buffer.merge(Chunk(base_tick=base, epoch=EPOCH, joints=names, positions=chunk, dt_s=contract.dt_s))
            assert merged.status == ("late" if late > 1 and base == BEGIN else "merged")
            wire.chunk(EPOCH, base * dt_ns, names, chunk)
            wire.accepted(EPOCH, base * dt_ns)
            due = None
        last = buffer.advance().positions
        wire.command(0, tick * dt_ns, names, last[None], tick * dt_ns)
        wire.buffer(EPOCH, (tick + 1) * dt_ns, names, buffer.planned()[1])
        run.robot.step(contract.dt_s, dict(zip(names, last.tolist())))
    return figures(
        RunData(
            results=(),
            wire=wire,
            commit_margin=contract.uac.commit_margin,
            delay_steps=delay,
            revolute=np.array(["proximal" not in name for name in names]),
            inference_ms=(),
            latency_ms=(),
            controller={},
            image_frames_lost=0,
            checkpoint="expert",
            limits=contract.limits,
        )
    )[0]


@pytest.fixture(scope="module")
def run():
    run = Run("fr3_inspire", 1)
    yield run
    run.robot.close()


def test_seams_of_chunks_in_time_jump_no_more_than_chunks_do_inside(run):
    found = SimpleNamespace(**driven(run, 0))
    assert found.prefix_violations == found.limit_violations == 0
    assert 0 < found.seam_velocity_jump_rad_s["max"] <= 1.001 * found.inside_velocity_jump_rad_s["max"]
    assert found.late_seam_velocity_jump_rad_s["max"] is None


@pytest.mark.parametrize("late", [1, 2])
def test_a_late_chunk_that_begins_a_motion_is_caught_up_with_at_the_limit_and_told_apart(run, late):
    found, limits = SimpleNamespace(**driven(run, late)), run.contract.limits
    assert found.prefix_violations == found.limit_violations == 0
    assert found.late_seam_velocity_jump_rad_s["max"] == pytest.approx(
        limits.acceleration[0] * run.contract.dt_s, abs=1e-3
    )
    assert found.seam_velocity_jump_rad_s["max"] <= 1.001 * found.inside_velocity_jump_rad_s["max"]
