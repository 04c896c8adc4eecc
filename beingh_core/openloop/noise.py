"""Seeds of the policy's noise: flow matching starts every chunk from fresh noise, which must be the same in every run."""

from __future__ import annotations

import zlib


def noise_seed(seed: int, *place: object) -> int:
    """Seed of the noise of one chunk: of its place in the recording, not of what was inferred before.

    So a chunk comes out the same whichever others were made, and two checkpoints begin from the same noise.

    Args:
        seed: of the evaluation.
        place: what names the chunk, such as recording and tick.
    """
    return zlib.crc32("|".join(map(str, (seed, *place))).encode())


def again_name(policy: str) -> str:
    """Name of a policy's second predictions, from other noise."""
    return f"{policy}, other noise"


class GateTap:
    """Collects the values of a policy's manifold-preserving gate; none where the model has no gate.

    Nor on a GPU: to read a value there while a CUDA graph is recorded would break it, and a replayed graph does not pass
    through Python.

    Args:
        policy: A `BeingHPolicy`.
    """

    def __init__(self, policy) -> None:
        self._values: list[float] = []
        engine = getattr(policy, "engine", None)
        module = getattr(engine, "mpg", None)
        if module is not None and engine.device.type == "cpu":
            gate = module.gate

            def tapped(*arguments):
                result = gate(*arguments)
                self._values += result.detach().float().flatten().tolist()
                return result

            module.gate = tapped

    def take(self) -> list[float]:
        """The values since the last call."""
        values, self._values = self._values, []
        return values
