"""Memory of this process, or of PyTorch on a GPU: what is held, and the peak of a block."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(kw_only=True)
class Peak:
    """Highest memory in a block and what was held before it [MB], and which counter said so."""

    peak_mb: float = 0.0
    before_mb: float = 0.0
    counter: str = ""

    @property
    def own_mb(self) -> float:
        """What the block added."""
        return self.peak_mb - self.before_mb


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Peak memory of a block: allocated on the GPU, or resident in this process on a CPU."""
    peak = Peak(before_mb=held_mb(device))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.peak_mb, peak.counter = torch.cuda.max_memory_allocated(device) / 2**20, "max_memory_allocated"
        return
    resettable = _reset_peak_resident()
    yield peak
    peak.peak_mb = _peak_resident_mb(resettable)
    peak.counter = "VmHWM" if resettable else "ru_maxrss"


def held_mb(device: torch.device) -> float:
    """Memory in use: of PyTorch on the GPU, or resident in this process."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.memory_allocated(device) / 2**20
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _reset_peak_resident() -> bool:
    """Whether Linux let us forget the process's earlier peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_resident_mb(since_reset: bool) -> float:
    if since_reset:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
