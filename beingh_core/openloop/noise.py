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
