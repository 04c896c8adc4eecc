"""What came of an evaluation on recordings: predictions, what the nodes did, and what the report says about how it was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from beingh_core.evaluate.openloop import Comparison


@dataclass(kw_only=True)
class NodeFigures:
    """What the nodes did with one policy.

    Attributes:
        chunks, late, useless, refused: chunks made; come after their prefix had run, or after all their steps; dropped for
            other reasons.
        observation_age_ms: from every observation to its chunk, in the recording's time [ms].
        closed: why no chunk was made -> at how many ticks.
        seam_jumps, inside_jumps: steps of the sent velocity where a chunk took over, and elsewhere [rad/s].
        jerk, recorded_jerk: size of the jerk of what was sent, and of what was recorded [rad/s^3].
        stops: states of the controller that ended an epoch.
    """

    chunks: int = 0
    late: int = 0
    useless: int = 0
    refused: int = 0
    observation_age_ms: list[float] = field(default_factory=list)
    closed: dict[str, int] = field(default_factory=dict)
    seam_jumps: list[float] = field(default_factory=list)
    inside_jumps: list[float] = field(default_factory=list)
    jerk: list[float] = field(default_factory=list)
    recorded_jerk: list[float] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class Evaluated:
    """What came of an evaluation.

    Attributes:
        comparison: predictions, and what was recorded.
        robot: name of the contract's robot.
        recordings: what was evaluated.
        checkpoints: policy -> where it came from.
        settings: how, for the report.
        delay: d, locked steps.
        grippers: slots whose numbers are a gripper's share, 0 closed to 1 open.
        gates: policy -> values of its manifold-preserving gate.
        inference_ms: policy -> duration of each chunk.
        nodes: policy -> what the nodes did; empty without nodes.
        again: policy -> the same policy from other noise, a source of the comparison that is no policy of its own.
        film: (time [s], view -> picture) of the first recording.
        notes: what people should know.
    """

    comparison: Comparison
    robot: str
    recordings: Sequence[str]
    checkpoints: Mapping[str, str]
    settings: Mapping[str, object]
    delay: int
    grippers: Sequence[str] = ()
    gates: Mapping[str, Sequence[float]] = field(default_factory=dict)
    inference_ms: Mapping[str, Sequence[float]] = field(default_factory=dict)
    nodes: Mapping[str, NodeFigures] = field(default_factory=dict)
    again: Mapping[str, str] = field(default_factory=dict)
    film: Sequence[tuple[float, Mapping[str, np.ndarray]]] = ()
    notes: Sequence[str] = ()
