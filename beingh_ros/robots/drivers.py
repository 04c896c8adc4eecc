"""The drivers of a contract, made as the controller makes them, where nobody can be commanded by them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import rclpy
from rclpy.action import get_action_client_names_and_types_by_node
from rclpy.context import Context
from rclpy.node import Node

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_ros.drivers import make_drivers

# Two domains that work everywhere; the one that is not the robot's is taken.
SPARE_DOMAINS = (100, 101)
# Humble knows the second one only; where it is set, later distributions ignore the first. None: not set.
_ALONE = {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF",
    "ROS_LOCALHOST_ONLY": "1" if os.environ.get("ROS_DISTRO") == "humble" else None,
}
_OF_EVERY_NODE = ("/parameter_events", "/rosout")


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """What the drivers need on the robot's side, by resolved name.

    Attributes:
        commands: Topic -> message type that is published.
        actions: Action -> type of its server.
        states: Topic -> message type that the drivers subscribe to.
    """

    commands: dict[str, str]
    actions: dict[str, str]
    states: dict[str, str]


def driver_endpoints(contract: RobotContract, namespace: str) -> Endpoints:
    """Makes every driver of a contract and ends it again.

    Args:
        contract: Robot.
        namespace: Of the controller, "" for the root.

    Raises:
        BeingHError: A driver cannot be made: messages that are not installed, or settings that do not fit.
    """
    commands: dict[str, str] = {}
    actions: dict[str, str] = {}
    states: dict[str, str] = {}
    with _alone() as context:
        node = Node("controller", context=context, namespace=f"/{namespace}", use_global_arguments=False)
        make_drivers(node, contract)
        for name, space in node.get_node_names_and_namespaces():
            commands |= _first_types(node.get_publisher_names_and_types_by_node(name, space))
            states |= _first_types(node.get_subscriber_names_and_types_by_node(name, space))
            actions |= _first_types(get_action_client_names_and_types_by_node(node, name, space))
        node.destroy_node()
    return Endpoints(commands=commands, actions=actions, states=states)


def _first_types(found: list[tuple[str, list[str]]]) -> dict[str, str]:
    """Name -> type, without what every node has and what actions are made of."""
    return {name: types[0] for name, types in found if name not in _OF_EVERY_NODE and "/_action/" not in name}


@contextmanager
def _alone() -> Iterator[Context]:
    """A context that meets no other process: a second commander would stop a robot that runs."""
    before = {name: os.environ.get(name) for name in _ALONE}
    domain = next(number for number in SPARE_DOMAINS if str(number) != os.environ.get("ROS_DOMAIN_ID"))
    _set_environment(_ALONE)
    context = Context()
    try:
        rclpy.init(args=[], context=context, domain_id=domain)
        yield context
    except RuntimeError as error:
        raise BeingHError(f"the drivers cannot be made: {error}") from error
    finally:
        rclpy.try_shutdown(context=context)
        _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
