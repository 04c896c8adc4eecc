"""What `beingh plan` is asked to measure, checked, and the policy that this names."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from beingh_core.bench.inference import InferenceBench
from beingh_core.bench.plan_measuring import INSTRUCTION
from beingh_core.bench.untrained import UntrainedPolicy
from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.policy.loading import load_for_contract
from beingh_core.policy.remote.client import RemotePolicy
from beingh_core.policy.remote.protocol import read_token

LEAST_MINUTES, MOST_MINUTES = 0.001, 60.0
SERVER_DEADLINE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class PlanBench:
    """What to measure; checked on construction.

    Attributes:
        robot: Contract, by name or path.
        checkpoint: Checkpoint directory; "" with a shape or a server.
        shape: Name in `SHAPES` of a model with random weights.
        server: URL of a policy server.
        dataset_name: Whose statistics to use; "" takes the contract's.
        token_file: With the server's token; "" for none.
        device, dtype: Where and in what precision the model runs; "" takes cpu and float32, as the policy node does.
        threads: CPU threads of torch; 0 for its default.
        picture_age_ms: How old a picture is when the policy takes it [ms].
        minutes: How long to measure.
        seed: Of pictures, and of weights of a shape.
    """

    robot: str
    checkpoint: str = ""
    shape: str = ""
    server: str = ""
    dataset_name: str = ""
    token_file: str = ""
    device: str = ""
    dtype: str = ""
    threads: int = 0
    picture_age_ms: float = 40.0
    minutes: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        given = [f"--{name}" for name in ("checkpoint", "shape", "server") if getattr(self, name)]
        if len(given) != 1:
            raise BeingHError(
                f"more than one thing to measure: {', '.join(given)}" if given else "nothing to measure",
                allowed="one of --checkpoint DIR, --shape NAME (random weights) and --server URL",
            )
        bounds = (
            ("minutes", LEAST_MINUTES, MOST_MINUTES), ("picture_age_ms", 0, 1000), ("threads", 0, 1024),
            ("seed", 0, 2**31),
        )  # fmt: skip
        for name, low, high in bounds:
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                option = f"--{name.replace('_', '-')}"
                raise BeingHError(f"{name} is {value:g}", where=option, allowed=f"{low:g} to {high:g}")
        self._check_belonging()
        InferenceBench(shape=self.shape or "tiny", device=self.own_device, dtype=self.own_dtype)  # refuses unknown ones

    def _check_belonging(self) -> None:
        """Refuses what says something of another source of chunks."""
        foreign = {"token_file": not self.server, "dataset_name": not self.checkpoint}
        foreign |= dict.fromkeys(("device", "dtype", "threads"), bool(self.server))
        given = [f"--{name.replace('_', '-')}" for name in foreign if foreign[name] and getattr(self, name)]
        if given:
            source = next(f"--{name}" for name in ("checkpoint", "shape", "server") if getattr(self, name))
            raise BeingHError(
                f"{', '.join(given)} says nothing of that", where=source,
                remedy="leave it out" + "; what a server computes with are options of `beingh serve`" * bool(self.server),
            )  # fmt: skip

    @property
    def own_device(self) -> str:
        """Where a model of this process runs."""
        return self.device or "cpu"

    @property
    def own_dtype(self) -> str:
        """In what precision."""
        return self.dtype or "float32"


def load(bench: PlanBench, contract: RobotContract, *, dtype: str = "", jpeg_quality: int = 0):
    """The policy that is measured, warm; `dtype` or `jpeg_quality` in place of its own.

    Raises:
        BeingHError: A checkpoint or server that cannot be used, or not for this robot.
    """
    if bench.server:
        token = read_token(bench.token_file) if bench.token_file else None
        policy = RemotePolicy(
            bench.server, contract, token=token, deadline_s=SERVER_DEADLINE_S, jpeg_quality=jpeg_quality
        )
        policy.check_contract(contract)
        return policy
    dtype = dtype or bench.own_dtype
    if bench.checkpoint:
        return load_for_contract(
            contract, bench.checkpoint, dataset_name=bench.dataset_name, device=bench.own_device, dtype=dtype,
            threads=bench.threads,
        )  # fmt: skip
    if bench.threads:
        torch.set_num_threads(bench.threads)
    policy = UntrainedPolicy(
        contract, bench.shape, device=bench.own_device, dtype=getattr(torch, dtype), instruction=INSTRUCTION,
        seed=bench.seed,
    )  # fmt: skip
    policy.warm_up()
    return policy
