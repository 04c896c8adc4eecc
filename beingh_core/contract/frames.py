"""Frames of a pose that a contract measures and commands: one of them in another frame would make the robot go elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from beingh_core.contract import schema
from beingh_core.contract.drivers import placed_groups
from beingh_core.contract.reader import Section
from beingh_core.contract.sources import TF
from beingh_core.contract.urdf import UrdfFacts

# Links that are nearer than this, and turned by less, are one frame [m, rad].
SAME = 1e-6


@dataclass(frozen=True, kw_only=True)
class _Said:
    """Who says in which frame a pose is.

    Attributes:
        where: Path of the signal, such as `state.eef_position`.
        base: Frame in whose axes it is; "" where any is accepted.
        tip: Frame whose pose it is; "" where messages do not say.
        topic: Topic whose messages name both themselves, one pair for all; "" where none does.
    """

    where: str
    base: str
    tip: str
    topic: str = ""


def check_frames(
    file: Section,
    urdf: UrdfFacts,
    drivers: tuple[schema.Driver, ...],
    state: tuple[schema.StateSignal, ...],
    action: tuple[schema.ActionSignal, ...],
) -> tuple[str, ...]:
    """Notes on frames that nobody can compare.

    Raises:
        BeingHError: position and rotation of one measured pose are in different frames, an absolute action is in another
            frame than what is measured, or a driver calls its poses' frame by the name of another link.
    """
    frames, notes = _Frames(urdf), []
    measured = {signal.slot: said for signal in state if (said := _said(signal)) is not None}
    commanded = {signal.slot: signal for signal in action if signal.base_frame is not None}
    for pair in zip(schema.POSITION_SLOTS, schema.ROTATION_SLOTS):
        there = [measured[slot] for slot in pair if slot in measured]
        if len(there) == 2:
            _refuse(file, frames, there[1], there[0], "one pose has one frame")
        doubts: list[str] = []
        for slot in pair:
            if slot not in measured or slot not in commanded:
                continue
            signal = commanded[slot]
            other = _Said(where=f"action.{slot}", base=signal.base_frame or "", tip=signal.eef_frame or "")
            if signal.mode == "absolute":
                jump = "told to stay where it is measured, the robot would go elsewhere"
                _refuse(file, frames, other, measured[slot], jump)
            doubts = doubts or list(frames.doubts(measured[slot], other))
        notes += [f"{file.path}: {doubt}" for doubt in doubts]
    for driver, _, entry in placed_groups(file, drivers):
        _check_label(frames, driver, entry)
    return tuple(notes)


def _said(signal: schema.StateSignal) -> _Said | None:
    """The frames of a measured pose of an end effector."""
    if signal.slot not in schema.POSE_SLOTS or signal.source not in ("fk", "pose"):
        return None
    base, tip = (
        (signal.base_frame, signal.eef_frame) if signal.source == "fk" else (signal.frame_id, signal.child_frame_id)
    )
    topic = signal.topic if signal.source == "pose" and signal.type != TF else ""
    return _Said(where=f"state.{signal.slot}", base=base or "", tip=tip or "", topic=topic)


def _refuse(file: Section, frames: _Frames, said: _Said, other: _Said, why: str) -> None:
    """Refuses two frames of one pose that are known and differ."""
    for kind, mine, theirs in (("base_frame", said.base, other.base), ("eef_frame", said.tip, other.tip)):
        apart = frames.apart(mine, theirs)
        if mine and theirs and mine != theirs and said.topic and said.topic == other.topic:
            apart = apart or f"on one topic, {said.topic}"
        if not apart:
            continue
        kind_of, slot = said.where.split(".")
        entry = file.section(kind_of).section(slot)
        what = "is in" if kind == "base_frame" else "is the pose of"
        raise entry.error(
            next((key for key in (kind, "frame_id", "child_frame_id") if key in entry), None),
            f"it {what} `{mine}`, but {other.where} {what} `{theirs}`, {apart}: {why}",
            remedy=f"give both the same `{kind}` (of a measured pose the frame in which it comes)",
        )


def _check_label(frames: _Frames, driver: schema.Driver, entry: Section) -> None:
    """Refuses poses under the name of a link that is not the one in whose axes they are."""
    if driver.kind != "pose_command" or not driver.options["frame_id"]:
        return
    frame_id, base = driver.options["frame_id"], driver.options["base_frame"]
    if apart := frames.apart(frame_id, base):
        raise entry.error(
            "frame_id",
            f"the poses are in `{base}`, and `{frame_id}` is another link, {apart}",
            remedy=f"write `base_frame: {frame_id}` for poses in its axes, or leave `frame_id` out",
        )


class _Frames:
    """Compares links of a URDF."""

    def __init__(self, urdf: UrdfFacts) -> None:
        self._urdf = urdf

    def apart(self, one: str, other: str) -> str:
        """How far two links are from each other, in words; "" where they are one frame or nobody knows."""
        if one == other or not {one, other} <= set(self._urdf.links):
            return ""
        if self._urdf.movers(one) != self._urdf.movers(other):
            return "which moves against it"
        if find_spec("pinocchio") is None:
            return ""
        import pinocchio as pin

        from beingh_core.contract.kinematics import load_model

        model = load_model(self._urdf.path)
        data = model.createData()
        pin.framesForwardKinematics(model, data, pin.neutral(model))
        places = [data.oMf[model.getFrameId(link, pin.BODY)] for link in (one, other)]
        between = places[0].actInv(places[1])
        shift, turn = float(np.linalg.norm(between.translation)), float(np.linalg.norm(pin.log3(between.rotation)))
        return f"{shift:.3g} m and {np.degrees(turn):.3g} deg away" if max(shift, turn) > SAME else ""

    def doubts(self, measured: _Said, commanded: _Said) -> Iterator[str]:
        """What cannot be compared, or differs where an action is counted from elsewhere."""
        for mine, theirs, key in (
            (measured.base, commanded.base, "frame_id"),
            (measured.tip, commanded.tip, "child_frame_id"),
        ):
            pair = f"{measured.where} is measured in `{mine}` and {commanded.where} commanded in `{theirs}`"
            if key == "child_frame_id":
                pair = f"{measured.where} is the pose of `{mine}` and {commanded.where} that of `{theirs}`"
            if mine and mine not in self._urdf.links:
                yield f"{pair}: the URDF has no `{mine}`, so that nobody can tell whether they are one frame"
            elif apart := self.apart(theirs, mine):
                yield f"{pair}, {apart}: the policy sees one and moves the other"
            elif not mine and key == "frame_id":
                yield f"{measured.where} is taken for a pose in `{theirs}`, whatever its messages say: write `frame_id`"
