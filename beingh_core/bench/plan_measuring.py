"""Chunks of a robot that stands still before its cameras, made and timed as its policy node makes them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.schema import CameraStream
from beingh_core.contract.simulated import SimCamera
from beingh_core.inference.chunk_maker import ChunkMaker, Observation
from beingh_core.policy.steps import PolicySteps

INSTRUCTION = "pick up the red cube"
PICTURES = 4
"""Different pictures of each camera, shown in turn: nothing can be reused from the chunk before."""
WARM_UP = 2
LEAST = 3
"""Chunks that are measured whatever the time."""


@dataclass(kw_only=True)
class Times:
    """Durations of chunks [ms], and of what the policy tells of them."""

    chunk_ms: list[float] = field(default_factory=list)
    parts_ms: dict[str, list[float]] = field(default_factory=dict)

    def quantile(self, q: float) -> float:
        """Of a chunk's time [ms]."""
        return float(np.quantile(self.chunk_ms, q))

    def parts(self) -> dict[str, float]:
        """Median of each part [ms]."""
        return {name: float(np.median(values)) for name, values in self.parts_ms.items()}


class StandingRobot:
    """Asks a policy for chunks.

    Args:
        contract: Robot.
        policy: `BeingHPolicy` or `RemotePolicy`.
        seed: Of the pictures.
    """

    def __init__(self, contract: RobotContract, policy, seed: int = 0) -> None:
        self._maker, self._policy, self._count = ChunkMaker(contract, policy), policy, 0
        home, rng = np.asarray(contract.home, dtype=float), np.random.default_rng(seed)
        sizes = picture_sizes(contract)
        self._observations = [
            Observation(
                stamp_ns=0,
                images={
                    view: rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                    for view, (width, height) in sizes.items()
                },
                joints=contract.state_at_home,
            )
            for _ in range(PICTURES)
        ]
        delay = min(contract.uac.delay_steps, policy.trained_delay)
        self._prefix, self._onward = np.tile(home, (delay + 1, 1)), np.tile(home, (contract.uac.blend_steps, 1))
        self._maker.start_epoch(home)

    def chunk_ms(self) -> float:
        """Makes a chunk; how long that took, from the observation to joint commands [ms]."""
        self._count += 1
        begin = time.perf_counter()
        begun = self._maker.begin(self._observations[self._count % PICTURES], INSTRUCTION)
        self._maker.finish(begun, self._prefix, self._onward)
        return 1e3 * (time.perf_counter() - begin)

    def measure(self, seconds: float) -> Times:
        """Chunks for so long, behind some that do not count; at least `LEAST`."""
        times, end = Times(), time.perf_counter() + seconds
        for _ in range(WARM_UP):
            self.chunk_ms()
        while len(times.chunk_ms) < LEAST or time.perf_counter() < end:
            times.chunk_ms.append(self.chunk_ms())
            for name, value in self._policy.last_timing_ms.items():
                times.parts_ms.setdefault(name, []).append(value)
        return times


def picture_sizes(contract: RobotContract) -> dict[str, tuple[int, int]]:
    """View -> width and height of what the policy is shown [pixels]: as `sim.cameras` says, or the usual size; turned and cut."""
    return {
        camera.name: _size(camera, contract.sim.cameras.get(camera.name, SimCamera())) for camera in contract.cameras
    }


def _size(camera: CameraStream, said: SimCamera) -> tuple[int, int]:
    if camera.crop:
        return camera.crop[2], camera.crop[3]
    width, height = said.size
    return (height, width) if camera.rotate in (90, 270) else (width, height)


class _WithOptions:
    """An engine all of whose chunks are computed with some options of `Engine.finish`."""

    def __init__(self, engine, options: dict[str, int]) -> None:
        self._engine, self._options = engine, options

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def finish(self, started, **options: Any):
        """See `Engine.finish`."""
        return self._engine.finish(started, **(options | self._options))


@contextmanager
def changed(policy, *, views: int | None = None, **options: int) -> Iterator[None]:
    """Lets a `BeingHPolicy` compute with other options of `Engine.finish`, and see only its first `views` views."""
    engine, steps = policy.engine, policy.steps
    policy.engine = _WithOptions(engine, options)
    if views is not None:
        seen = replace(policy.data_config, views=policy.views[:views])
        policy.steps = PolicySteps(seen, policy.transform, policy.prompts)
    try:
        yield
    finally:
        policy.engine, policy.steps = engine, steps
