"""How every node of this package starts, takes parameters, and ends."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

import rclpy
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.clock import JumpHandle, JumpThreshold
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from rosgraph_msgs.msg import Clock as ClockMessage

from beingh_core.errors import BeingHError, misspelled
from beingh_core.interrupts import was_interrupted
from beingh_ros.nodes.graph import QUIET
from beingh_ros.nodes.usage import answer_to

EXIT_USER_ERROR = 2
OF_RCLPY = ("start_type_description_service",)


def declare(
    node: Node,
    name: str,
    default: object,
    description: str,
    *,
    between: tuple[float, float] | None = None,
    read_only: bool = True,
):
    """Declare a documented parameter and return its value.

    Args:
        node: Owner.
        name: Parameter name.
        default: Default; its type is the parameter's type.
        description: What it does, with its unit.
        between: Smallest and largest value, for numbers.
        read_only: Whether it is fixed once the node runs.

    Raises:
        BeingHError: When the given value has another type or is out of range.
    """
    descriptor = ParameterDescriptor(description=description, read_only=read_only)
    if between is not None and isinstance(default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=between[0], to_value=between[1])]
    elif between is not None:
        descriptor.integer_range = [IntegerRange(from_value=between[0], to_value=between[1], step=1)]
    try:
        return node.declare_parameter(name, default, descriptor).value
    except (rclpy.exceptions.InvalidParameterTypeException, rclpy.exceptions.InvalidParameterValueException) as error:
        remedy = f"give a {type(default).__name__}, such as {default!r}; it is: {description}"
        raise BeingHError(str(error), where=f"parameter {name}", remedy=remedy) from error


def rename(node: Node, old: str, new: str) -> None:
    """Takes what is given for a parameter under its old name as given under the new one, and says so; before it is declared."""
    given = node._parameter_overrides
    if old in given:
        node.get_logger().warning(f"parameter `{old}` is called `{new}` now: write that in its place")
        given.setdefault(new, given.pop(old))


def refuse_misspelled(node: Node) -> None:
    """Refuses a given parameter that the node does not have and that looks like one of its own.

    Raises:
        BeingHError: naming the one that is meant.
    """
    given = [name for name in node._parameter_overrides if not node.has_parameter(name)]
    own = [name for name in node._parameters if "." not in name and name not in OF_RCLPY]
    for name in given:
        meant = misspelled(name, own)
        if meant is not None:
            raise BeingHError(f"there is no parameter `{name}`", allowed=own, remedy=f"did you mean `{meant}`?")


def on_time_going_back(node: Node, react: Callable[[], None]) -> JumpHandle:
    """Call `react` in the executor's thread whenever simulated time jumps back.

    Returns:
        A handle that must live as long as the node: rclpy keeps a bare pointer to it.
    """
    threshold = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False)
    return node.get_clock().create_jump_callback(threshold, post_callback=lambda _jump: react())


def subscribe_latched_clock(node: Node) -> None:
    """In simulated time: also receive a paused simulation, whose latched clock has spoken before this node came."""
    if not node.get_parameter("use_sim_time").value:
        return

    def take(message: ClockMessage) -> None:
        if node.get_clock().now().nanoseconds == 0:  # later than that, it could only set the time back
            node.get_clock().set_ros_time_override(Time.from_msg(message.clock))

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_subscription(ClockMessage, "/clock", take, latched, event_callbacks=QUIET)


def raise_priority(niceness: int = -10) -> None:
    """Ask the scheduler to prefer this process; without the right to ask, it stays as it is."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)


def run_node(make_node: Callable[[], Node], name: str, args: Sequence[str] | None = None) -> int:
    """Run a node until SIGINT, SIGTERM or its own end, and return the exit status.

    rclpy's own signal handlers invalidate the context at once, after which no safe command could be sent.
    Here a signal only ends the loop; `node.close()` then runs with everything still connected. While the node
    is being built (which may load a large model) a signal breaks that off.

    Args:
        make_node: Builds the node, which moves nothing before it is spun. It has `close()`, may have
            `failed(error)`, called before that when a callback raises, and may set `exit_status` (int) to end by itself
            and `loading` (bool) while a signal may break off a callback.
        name: Logger name for errors before the node exists.
        args: Command line; None takes the process's own.
    """
    status = _begin(make_node, name, args)
    if status is not None:
        return status
    node, stopping, received, running = None, threading.Event(), [], True

    def on_signal(number: int, _frame: object) -> None:
        again = stopping.is_set()
        received.append(signal.Signals(number).name)
        stopping.set()
        if (node is None or getattr(node, "loading", False)) and not again:
            sys.unraisablehook = lambda _: None  # an import may drop the exception, and would print it
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        node = make_node()
        refuse_misspelled(node)
        gc.freeze()  # modules and model stay: no collection while it runs need look at them
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stopping.is_set() and getattr(node, "exit_status", None) is None:
            executor.spin_once(timeout_sec=0.1)
        return getattr(node, "exit_status", None) or 0
    except KeyboardInterrupt:
        running = False
        get_logger(name).info("ended by a signal while it was starting")
        return 0
    except Exception as error:
        status = _status_of(error, node, name)
        if status is None:
            raise
        return status
    finally:
        stopping.set()  # a signal from here on changes nothing
        if node is not None:
            _end(node, name, received[0] if received else "", told=running)
        rclpy.try_shutdown()
        gc.freeze()  # and none at the end, which would take seconds with torch
        # ros2 launch may repeat the signal; while the interpreter ends, that must not kill it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _begin(make_node: Callable[[], Node], name: str, args: Sequence[str] | None) -> int | None:
    """Begin with a command line; the exit status where it asks for the usage, or cannot be read, which is told."""
    try:
        told = answer_to(sys.argv[1:] if args is None else args, make_node)
    except BeingHError as error:
        get_logger(name).error(str(error))
        return EXIT_USER_ERROR
    if told is not None:
        with contextlib.suppress(BrokenPipeError):  # of `... --help | head`
            os.write(sys.stdout.fileno(), f"{told}\n".encode())
        return 0
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # noqa: BLE001 - rclpy has no public class for these
        what, allowed = (
            str(error).partition(", at /")[0],
            "`-p name:=value`, names with `_` as in `dry_run`, files that exist",
        )
        get_logger(name).error(f"the command line cannot be read: {what}. Allowed: {allowed}.")
        return EXIT_USER_ERROR
    return None


def _status_of(error: Exception, node: Node | None, name: str) -> int | None:
    """Tell an error that has ended a node, and give the exit status; None for a defect, which wants its traceback."""
    if node is None and was_interrupted(error):
        return 0
    if isinstance(error, BeingHError):
        get_logger(name).error(str(error))
        return EXIT_USER_ERROR
    if node is None and type(error).__name__ == "RCLError":
        get_logger(name).error(f"it cannot be connected: {error}. To fix: use each topic and service for one thing.")
        return EXIT_USER_ERROR
    if hasattr(node, "failed"):
        node.failed(error)
    return None


def _end(node: Node, name: str, signal_name: str, *, told: bool) -> None:
    """Close a node, and say what has ended it; a node that has `ended_by` gets the signal's name before that."""
    if hasattr(node, "ended_by"):
        node.ended_by = signal_name
    node.close()
    status = getattr(node, "exit_status", None)
    if told and (signal_name or status):
        get_logger(name).info(f"ended by {signal_name or f'an error, with status {status}'}")
    node.destroy_node()
