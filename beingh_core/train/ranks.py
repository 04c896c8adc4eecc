"""The processes of a run (torchrun's ranks), and what they tell each other; one process needs no library for it."""

from __future__ import annotations

import datetime
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from beingh_core.errors import BeingHError

_BUCKET = 1 << 24  # numbers that are sent together
_PATIENCE = datetime.timedelta(minutes=30)  # rank 0 may read a large dataset while the others wait


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Who we are.

    Attributes:
        rank, count: of all hosts together.
        device: this rank's.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")

    @classmethod
    def join(cls, device: str) -> Ranks:
        """The ranks that torchrun has started, by its environment variables; else one.

        Args:
            device: "cpu", "cuda", or "auto" for a GPU where there is one.

        Raises:
            BeingHError: A GPU is asked for and there is none for this rank.
        """
        local, count = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda":
            if local >= torch.cuda.device_count():
                raise BeingHError(
                    f"rank {local} of this host wants a GPU, and PyTorch sees {torch.cuda.device_count()}",
                    remedy="start as many ranks a host as it has GPUs, or use --device cpu",
                )
            torch.cuda.set_device(local)
        if count > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
        where = torch.device(device, local) if device == "cuda" else torch.device(device)
        return cls(rank=int(os.environ.get("RANK", 0)), count=count, device=where)

    @property
    def is_first(self) -> bool:
        """Whether this rank writes and prints."""
        return self.rank == 0

    def leave(self) -> None:
        """Ends what `join` began."""
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def wait(self) -> None:
        """Returns when all ranks are here."""
        if self.count > 1:
            dist.barrier()

    def sums(self, values: Sequence[float]) -> list[float]:
        """The sum over all ranks of each number."""
        if self.count == 1:
            return [float(value) for value in values]
        total = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        return self.sums([float(flag)])[0] > 0

    def together(self, counted: Counter) -> Counter:
        """The counts of all ranks; all ranks ask together."""
        if self.count == 1:
            return counted
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, dict(counted))
        return sum((Counter(one) for one in found), Counter())

    def from_first(self, value: Any) -> Any:
        """What rank 0 has."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, device=self.device if self.device.type == "cuda" else None)
        return box[0]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces gradients by their mean over all ranks; a parameter that has none on any rank keeps none."""
        if self.count == 1:
            return
        parameters = list(parameters)
        there = torch.tensor([float(p.grad is not None) for p in parameters], device=self.device)
        dist.all_reduce(there)
        bucket: list[Tensor] = []
        for parameter, ranks in zip(parameters, there.tolist()):
            if ranks:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                bucket.append(parameter.grad)
                if sum(one.numel() for one in bucket) >= _BUCKET:
                    self._average(bucket)
                    bucket = []
        if bucket:
            self._average(bucket)

    def _average(self, gradients: list[Tensor]) -> None:
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(part.view_as(gradient))
