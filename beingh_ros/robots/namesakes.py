"""Whether a robot of ours runs in a namespace already, seen from outside, before a second one is started there."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping

import rclpy
from rcl_interfaces.srv import ListParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from beingh_core.errors import BeingHError

# Nodes are found within a few tenths of a second; an announcement that was lost is repeated after 3 s.
LOOK_S = 3.2
# A node that was killed is seen for up to 20 s, and does not answer.
ANSWER_S = 5.0


def refuse_second(wanted: Mapping[str, Collection[str]], look_s: float = LOOK_S) -> None:
    """Refuses to start nodes whose names are taken by nodes that answer.

    Args:
        wanted: Full namespace -> names of the nodes.
        look_s: How long to look for them [s].

    Raises:
        BeingHError: One is there; it is named.
    """
    context = Context()
    rclpy.init(args=[], context=context)
    node = Node(
        f"beingh_launch_{os.getpid()}",
        context=context,
        start_parameter_services=False,
        use_global_arguments=False,
        enable_rosout=False,
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        for name in _found(node, wanted, look_s):
            if _answers(node, executor, name):
                raise BeingHError(
                    f"a robot runs in the namespace `{name.rpartition('/')[0] or '/'}` already: there is a node {name}",
                    remedy="end that one, give this one another namespace, as in `namespace:=left`, or another "
                    f"ROS_DOMAIN_ID than {os.environ.get('ROS_DOMAIN_ID') or '0'}",
                )
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def _found(node: Node, wanted: Mapping[str, Collection[str]], look_s: float) -> list[str]:
    """Full names of those that are there."""
    names = {f"{space.rstrip('/')}/{name}" for space, names in wanted.items() for name in names}
    end = time.monotonic() + look_s
    while True:
        there = {f"{space.rstrip('/')}/{name}" for name, space in node.get_node_names_and_namespaces()}
        if names & there or time.monotonic() > end:
            return sorted(names & there)
        time.sleep(0.05)


def _answers(node: Node, executor: SingleThreadedExecutor, name: str) -> bool:
    client = node.create_client(ListParameters, f"{name}/list_parameters")
    if not client.wait_for_service(ANSWER_S):
        return False
    future = client.call_async(ListParameters.Request())
    executor.spin_until_future_complete(future, ANSWER_S)
    return future.done()
