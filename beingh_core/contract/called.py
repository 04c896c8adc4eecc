"""How the same joints are called where they are measured and where they are commanded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from beingh_core.contract import schema
from beingh_core.contract.driver_options import DRIVER_KINDS
from beingh_core.contract.drivers import placed_groups
from beingh_core.contract.reader import Section
from beingh_core.contract.wire import NAMING, Wire


def check_called(file: Section, drivers: tuple[schema.Driver, ...], state: tuple[schema.StateSignal, ...]) -> None:
    """Refuses a name that stands for one joint in the state and for another in commands, where both have both joints.

    Raises:
        BeingHError: at the driver, with the place in the state.
    """
    named = list(_named_state(state))
    for driver, group, entry in placed_groups(file, drivers):
        if not _has_names(driver) or group.wire is None:
            continue
        for slot, wire in named:
            for name, joint in zip(group.wire.names, group.joints):
                other = dict(zip(wire.names, wire.joints)).get(name, joint)
                if other != joint and other in group.joints and joint in wire.joints:
                    raise entry.error(
                        next((key for key in NAMING if key in entry), "joints"),
                        f"`{name}` is `{joint}` on {group.topic}, but `{other}` in state.{slot}: commands would go to the "
                        "wrong joint",
                        remedy="correct `names` on one of the two sides",
                    )


def differences(contract: schema.RobotContract) -> list[str]:
    """Joints that are called otherwise where they are commanded, where one of the two sides says nothing about names."""
    found = []
    named = list(_named_state(contract.state))
    for driver in contract.drivers:
        for group in driver.groups if _has_names(driver) else ():
            for slot, wire in named:
                if group.wire is not None and not ("names" in group.wire.counts and "names" in wire.counts):
                    found += _differences(group.wire, wire, group.topic, slot)
    return found


def _differences(sent: Wire, read: Wire, topic: str, slot: str) -> list[str]:
    both = [joint for joint in sent.joints if joint in read.joints and sent.of(joint)[0] != read.of(joint)[0]]
    if not both:
        return []
    joint, more = both[0], f" (and {len(both) - 1} more)" if both[1:] else ""
    silent, where = (read, f"state.{slot}") if "names" in sent.counts else (sent, f"the driver of {topic}")
    return [
        f"`{joint}`{more} is called `{read.of(joint)[0]}` in state.{slot} and `{sent.of(joint)[0]}` on {topic}, and only one of the "
        f"two says so. To fix: write the same in {where}, or `names: {{{silent.of(joint)[0]}: {joint}}}` (for each joint) where "
        "the robot has two names for it"
    ]


def _named_state(state: Iterable[schema.StateSignal]) -> Iterator[tuple[str, Wire]]:
    """Slot and wire of the signals whose messages have names."""
    return ((signal.slot, signal.wire) for signal in state if signal.wire is not None and not signal.fields)


def _has_names(driver: schema.Driver) -> bool:
    """Whether its messages name joints: an array does not."""
    return DRIVER_KINDS[driver.kind].has_wire and driver.kind != "forward_command"
