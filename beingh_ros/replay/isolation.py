"""A ROS graph of its own: nothing that is replayed reaches a robot, and nothing of a robot reaches the replay.

Three walls, each enough by itself: a ROS domain in which nobody else is; discovery on this computer only, without peers or
servers that the environment names; and nodes that cannot publish anything but what this room needs (`nodes`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import rclpy
from rclpy.signals import SignalHandlerOptions

from beingh_core.errors import BeingHError

# Domains whose ports lie below those that Linux gives to outgoing connections, away from the ones that people choose.
DOMAINS = range(61, 101)
TRIES = 5
# Participants on the same computer find each other within this, a lost first announcement included: Fast DDS repeats it
# every 3 s [s].
DISCOVERY_S = 3.5
# What could lead discovery elsewhere, or set another transport.
_LEADS_ELSEWHERE = (
    "ROS_DISCOVERY_SERVER", "ROS_STATIC_PEERS", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE",
    "CYCLONEDDS_URI", "ROS_SUPER_CLIENT", "ZENOH_SESSION_CONFIG_URI", "ZENOH_ROUTER_CONFIG_URI", "ZENOH_CONFIG_OVERRIDE",
)  # fmt: skip


def begin_alone(arguments: Sequence[str], domain: int | None = None) -> int:
    """Initialises rclpy in a domain in which nobody is; returns the domain.

    Args:
        arguments: ROS arguments of the nodes to come.
        domain: None picks one.

    Raises:
        BeingHError: Somebody is in the given domain, or in all that were tried.
    """
    for name in _LEADS_ELSEWHERE:
        os.environ.pop(name, None)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if os.environ.get("ROS_DISTRO") == "humble":  # which knows only this; later ones warn about it
        os.environ["ROS_LOCALHOST_ONLY"] = "1"
    else:
        os.environ.pop("ROS_LOCALHOST_ONLY", None)
    robots = os.environ.get("ROS_DOMAIN_ID", "0")
    first = os.getpid() % len(DOMAINS)
    candidates = [DOMAINS[(first + 7 * k) % len(DOMAINS)] for k in range(TRIES)] if domain is None else [domain]
    found: list[str] = []
    for candidate in candidates:
        if domain is None and str(candidate) == robots:
            continue
        rclpy.init(args=list(arguments), domain_id=candidate, signal_handler_options=SignalHandlerOptions.NO)
        found = _others()
        if not found:
            os.environ["ROS_DOMAIN_ID"] = str(candidate)
            return candidate
        rclpy.shutdown()
    raise BeingHError(
        f"other nodes are in the ROS domain {candidates[-1]}: {', '.join(found[:6])}",
        where="a replay publishes recorded cameras and joint states, which a robot's nodes must not take for their own",
        remedy="leave --domain out, or give one in which nothing runs",
    )


def _others() -> list[str]:
    """Full names of the nodes that are in this domain beside a probe of ours."""
    probe = rclpy.create_node("replay_probe", use_global_arguments=False, start_parameter_services=False)
    try:
        until = time.monotonic() + DISCOVERY_S
        while time.monotonic() < until:
            time.sleep(0.1)
            names = [
                f"{namespace.rstrip('/')}/{name}"
                for name, namespace in probe.get_node_names_and_namespaces()
                if name != "replay_probe"
            ]
            if names:
                return names
        return []
    finally:
        probe.destroy_node()
