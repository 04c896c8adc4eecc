"""Static memory for the samples of one shape: inputs, key-value cache, outputs, and the graphs that run on them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from beingh_core.errors import BeingHError
from beingh_core.model.config import UNIFIED_WIDTH, BeingHConfig
from beingh_core.model.engine.graphs import Captured
from beingh_core.model.engine.options import Options
from beingh_core.model.engine.rows import NOWHERE, Rows

logger = logging.getLogger(__name__)

ALIGNMENT = 32
"""Cache lengths are multiples of this: masked attention kernels want aligned rows, and a softmax in bfloat16 on a CPU
takes half as long over whole vectors of 32."""


class Workspace:
    """Memory of B robots; dimension letters as in `rows`, X the cache's length.

    Attributes:
        length: L, places before the actions.
        num_state: S.
        turn: Counts what has been loaded.
        text_ids, pixels, states, positions, action_positions: The rows, on the model's device.
        images: (B, image tokens, C_und).
        keys, values: For each layer (B, K, X, D): L prompt places, H action places, filling.
        noise, directions, prev_chunk, delay, active: Inputs of the integration.
        actions: (B, H, W) its result.
        gates: (calls, B) values of MPG's gate, where they are observed.
    """

    def __init__(self, rows: Rows, config: BeingHConfig, device: torch.device, dtype: torch.dtype) -> None:
        self.config, self.device, self.dtype = config, device, dtype
        self.turn = 0
        make = functools.partial(torch.zeros, device=device)
        robots, self.length = rows.positions.shape
        self.num_state = rows.states.shape[1]
        self.text_ids = make(rows.text_ids.shape, dtype=torch.long)
        self.pixels = make(rows.pixels.shape, dtype=dtype)
        self.states = make(rows.states.shape, dtype=dtype)
        self.positions = make(rows.positions.shape, dtype=torch.long)
        self.action_positions = make(rows.action_positions.shape, dtype=torch.long)
        tokens = self.length - rows.text_ids.shape[1] - self.num_state
        self.images = make(robots, tokens, config.decoder.und.hidden_size, dtype=dtype)
        decoder, horizon = config.decoder, config.chunk_length
        total = -(-(self.length + horizon) // ALIGNMENT) * ALIGNMENT
        shape = (robots, decoder.num_kv_heads, total, decoder.head_dim)
        self.keys = [make(shape, dtype=dtype) for _ in range(decoder.num_layers)]
        self.values = [make(shape, dtype=dtype) for _ in range(decoder.num_layers)]
        self.actions = make(robots, horizon, UNIFIED_WIDTH)
        self.prev_chunk = make(robots, horizon, UNIFIED_WIDTH)
        self.delay = make(robots, dtype=torch.long)
        self.active = make(robots, 1, UNIFIED_WIDTH, dtype=torch.bool)
        self.noise = self.directions = make(0)
        self.gates = make(0, robots)
        self._kept: dict[Hashable, Tensor] = {}
        self._graphs: dict[Hashable, Captured] = {}

    def load(self, rows: Rows) -> int:
        """Takes other rows of the same shape; returns their turn."""
        for name, values in rows._asdict().items():
            getattr(self, name).copy_(values, non_blocking=True)
        self.turn += 1
        return self.turn

    def load_flow(
        self,
        options: Options,
        noise: Any,
        projections: Any,
        prev_chunk: Any,
        inference_delay: int | Sequence[int],
        active_slots: Any,
        generator: torch.Generator | None,
    ) -> None:
        """Takes the inputs of an integration; arguments as of `Engine.finish`."""
        self._load_noise(options, noise, generator)
        if options.passes > 1:
            self._load_directions(options, projections, generator)
        if options.observe_gates:
            self.gates = self._memory("gates", ((options.passes - 1) * options.steps, len(self.actions)))
        self._load_prefix(prev_chunk, inference_delay)
        if options.project_inactive:
            active = torch.as_tensor(active_slots).reshape(-1, 1, UNIFIED_WIDTH)
            self.active.copy_(active.expand_as(self.active), non_blocking=True)

    def graph(self, key: Hashable, call: Callable[[], None]) -> None:
        """Runs a call that works on this workspace only; on a GPU as a graph, captured when it is first asked for."""
        if self.device.type != "cuda":
            call()
            return
        if key not in self._graphs:
            self._graphs[key] = Captured(call)
        self._graphs[key].replay()

    def locked_steps(self) -> Tensor:
        """(B, H) bool, True on the locked prefixes."""
        return torch.arange(self.config.chunk_length, device=self.device) < self.delay.unsqueeze(-1)

    def visible_to_actions(self) -> Tensor:
        """(B, H, X) bool: which cached place each action token sees."""
        horizon, total = self.config.chunk_length, self.keys[0].shape[2]
        filling = self.positions.new_full((len(self.positions), total - self.length - horizon), NOWHERE)
        places = torch.cat((self.positions, self.action_positions, filling), dim=1)
        return places.unsqueeze(1) <= self.action_positions.unsqueeze(2)

    def _load_noise(self, options: Options, noise: Any, generator: torch.Generator | None) -> None:
        shape = (options.passes, *self.actions.shape)
        if noise is None:
            noise = self._random(shape, generator)
        noise = torch.as_tensor(noise)
        if tuple(noise.shape) != shape:
            raise BeingHError(
                f"noise has shape {tuple(noise.shape)}", allowed=str(shape), remedy="one block for each pass"
            )
        self.noise = self._input("noise", noise)

    def _load_directions(self, options: Options, projections: Any, generator: torch.Generator | None) -> None:
        calls, width = (options.passes - 1) * options.steps, self.config.decoder.und.hidden_size
        shape = (calls, options.directions, width)
        if projections is None:
            projections = self._random(shape, generator)
        projections = torch.as_tensor(projections)
        if tuple(projections.shape) != shape:
            raise BeingHError(
                f"projections have shape {tuple(projections.shape)}",
                allowed=f"({calls}, number of directions, {width})",
                remedy="give one block for each Euler step of each refinement pass",
            )
        self.directions = self._input("directions", projections)

    def _load_prefix(self, prev_chunk: Any, inference_delay: int | Sequence[int]) -> None:
        robots, length, _ = self.actions.shape
        delays = torch.as_tensor(inference_delay, dtype=torch.long).reshape(-1)
        delays = delays.expand(robots) if delays.numel() == 1 else delays
        longest = int(delays.max())
        if int(delays.min()) < 0 or longest >= length or delays.numel() != robots or (longest and prev_chunk is None):
            raise BeingHError(
                f"inference_delay {inference_delay} with {'no' if prev_chunk is None else 'a'} prev_chunk",
                allowed=f"0, or 1 to {length - 1} with a prev_chunk ({robots}, {length}, {UNIFIED_WIDTH})",
                remedy="give the locked prefix, or inference_delay 0",
            )
        self.delay.copy_(delays, non_blocking=True)
        if not longest:
            return
        chunk = torch.as_tensor(prev_chunk).float().reshape(robots, -1, UNIFIED_WIDTH)[:, :length]
        if chunk.shape[1] < longest:
            raise BeingHError(
                f"prev_chunk holds {chunk.shape[1]} steps, {longest} are to be locked", remedy="give at least that many"
            )
        if longest > self.config.trained_delay:
            _say_once(f"locking {longest} action steps; the checkpoint was trained for {self.config.trained_delay}")
        self.prev_chunk[:, : chunk.shape[1]].copy_(chunk, non_blocking=True)

    def _input(self, name: str, values: Tensor) -> Tensor:
        """Float32 memory that holds the values."""
        return self._memory(name, values.shape).copy_(values, non_blocking=True)

    def _memory(self, name: str, shape: Sequence[int]) -> Tensor:
        """Float32 memory; the same for everything of this name and shape, as graphs need it."""
        key = (name, tuple(shape))
        if key not in self._kept:
            self._kept[key] = torch.empty(tuple(shape), device=self.device)
        return self._kept[key]

    def _random(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        """Normal values; a given generator is a CPU one, without one they are drawn where they are needed."""
        if generator is not None:
            return torch.randn(shape, generator=generator)
        return torch.randn(shape, device=self.device)


@functools.cache
def _say_once(line: str) -> None:
    logger.warning(line)
