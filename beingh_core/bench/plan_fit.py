"""Whether chunks that take so long fit a robot's contract and checkpoint: the rules of `realtime.uac`, asked in advance."""

from __future__ import annotations

from dataclasses import dataclass

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.realtime.uac import check_plan, delay_steps

_ROUND_S = 0.01  # budgets are proposed in whole hundredths of a second


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What follows from a latency.

    Attributes:
        latency_s: L, from the picture to the merged chunk [s].
        delay: d that L gives, margin included [steps].
        locked: d that the policy node would lock: never below what the contract's budget gives [steps].
        execution_steps: s, the contract's or the nearest that this d allows; None where none does.
        problems: what does not fit, a sentence each.
    """

    latency_s: float
    delay: int
    locked: int
    execution_steps: int | None
    problems: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether contract and checkpoint can be used as they are."""
        return not self.problems


def fit(contract: RobotContract, latency_s: float, trained_delay: int | None = None) -> Fit:
    """Judges a latency L [s]; `trained_delay` is the longest prefix that the checkpoint continues, None for no checkpoint."""
    uac, length = contract.uac, contract.policy.chunk_length
    delay = delay_steps(latency_s, contract.dt_s, uac.margin_steps)
    locked = max(delay, uac.delay_steps)
    problems = []
    if latency_s > uac.latency_budget_s + 1e-9:
        problems.append(
            f"{1e3 * latency_s:.0f} ms from the picture to the chunk are more than uac.latency_budget_s, "
            f"{1e3 * uac.latency_budget_s:.0f} ms"
        )
    for steps in dict.fromkeys((uac.delay_steps, locked)):  # what the node asks when it starts, and what it comes to
        try:
            check_plan(steps, uac.execution_steps, length, trained_delay)
        except BeingHError as error:
            problems.append(error.what)
    within = 2 * locked <= length
    return Fit(
        latency_s=latency_s,
        delay=delay,
        locked=locked,
        execution_steps=min(max(uac.execution_steps, locked), length - locked) if within else None,
        problems=tuple(problems),
    )


def change_of_contract(contract: RobotContract, found: Fit, trained_delay: int | None) -> dict[str, float] | None:
    """The keys of `uac` that would make a latency fit, and their values; None where no such change does.

    They are no part of a contract's hash: the checkpoint stays usable.
    """
    if found.fits:
        return None
    uac, length = contract.uac, contract.policy.chunk_length
    budget_s = -(-found.latency_s // _ROUND_S) * _ROUND_S
    delay = delay_steps(budget_s, contract.dt_s, uac.margin_steps)
    steps = min(max(uac.execution_steps, delay), length - delay)
    try:
        check_plan(delay, steps, length, trained_delay)
    except BeingHError:
        return None
    # What stands behind the prefix must hold these, too, as the contract's loader asks.
    if max(uac.commit_margin + 1, uac.blend_steps) > length - delay:
        return None
    change: dict[str, float] = {"latency_budget_s": round(budget_s, 2)}
    return change | ({"execution_steps": steps} if steps != uac.execution_steps else {})


def longest_chunk_s(contract: RobotContract, picture_age_s: float, trained_delay: int | None) -> float | None:
    """How long a chunk may take for the contract to fit as it is [s]; None where no time is short enough."""
    longest = contract.uac.latency_budget_s - picture_age_s
    return longest if longest > 0 and fit(contract, contract.uac.latency_budget_s, trained_delay).fits else None
