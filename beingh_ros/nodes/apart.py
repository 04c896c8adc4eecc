"""A node with a middleware participant of its own, for messages that fill what all topics of one participant share."""

from __future__ import annotations

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions


def node_apart(node: Node, name: str) -> Node:
    """A node that publishes beside another one, without services, parameters or log of its own; end it with `end_apart`.

    Fast DDS sends through half a megabyte of shared memory per participant. One raw picture of 640x480 goes around it once, and
    what was written there before and is not read yet (another camera's picture, the answer to an action's goal) is lost until
    the writer's next heartbeat, up to 3 s later.

    Args:
        node: what it stands beside; names of topics must be resolved by that one.
        name: its name, in the same namespace.
    """
    context = Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    return Node(
        name,
        context=context,
        namespace=node.get_namespace(),
        use_global_arguments=False,
        enable_rosout=False,
        start_parameter_services=False,
    )


def end_apart(node: Node) -> None:
    """Ends it with its participant."""
    node.destroy_node()
    rclpy.try_shutdown(context=node.context)
