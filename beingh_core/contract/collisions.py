"""Names that two things of a contract may not share: topics, and names of joints in the commands of one topic."""

from __future__ import annotations

from collections.abc import Iterator

from beingh_core.contract import schema
from beingh_core.contract.driver_options import DRIVER_KINDS
from beingh_core.contract.drivers import placed_groups
from beingh_core.contract.reader import Section
from beingh_core.contract.wire import NAMING


def check_command_names(file: Section, drivers: tuple[schema.Driver, ...]) -> None:
    """Two joints have not one name on one topic."""
    seen: dict[tuple[str, str], tuple[str, Section]] = {}
    for _, group, entry in placed_groups(file, drivers):
        for joint, name in zip(group.joints, group.joints if group.wire is None else group.wire.names):
            other, first = seen.setdefault((group.topic.lstrip("/"), name), (joint, entry))
            if other != joint:
                raise entry.error(
                    next((key for key in NAMING if key in entry), "joints"),
                    f"`{joint}` and `{other}` ({first.where('joints')}) are both called `{name}` on {group.topic}",
                    remedy="give each arm a topic of its own, or correct `names`",
                )


def check_topics(file: Section, contract: schema.RobotContract) -> None:
    """A topic carries one thing: its messages have one type, and a camera's are one view."""
    used: dict[str, tuple[str, str]] = {}
    for use, name, entry, key in _uses(file, contract):
        topic = name.lstrip("/")
        first, spelled = used.setdefault(topic, (use, name))
        if first != use:
            raise entry.error(
                key, f"`{name}` is the topic of `{first}` and of `{use}`", remedy="give each a topic of its own"
            )
        if spelled != name:
            raise entry.error(key, f"one topic is called `{spelled}` and `{name}`", remedy="keep one of the two")


def _uses(file: Section, contract: schema.RobotContract) -> Iterator[tuple[str, str, Section, str]]:
    """What a topic is for, its name, and the place and key that say so."""
    yield "estop_topic", contract.estop_topic, file, "estop_topic"
    for signal in contract.state:
        yield "state", signal.topic, file.section("state").section(signal.slot), "topic"
    for camera in contract.cameras:
        entry = file.section("cameras").section(camera.name)
        yield f"cameras.{camera.name}", camera.topic, entry, "topic"
        if camera.undistort:
            yield f"cameras.{camera.name}.undistort", camera.undistort, entry, "undistort"
    for driver, group, entry in placed_groups(file, contract.drivers):
        yield "driver", group.topic, entry, DRIVER_KINDS[driver.kind].endpoint
