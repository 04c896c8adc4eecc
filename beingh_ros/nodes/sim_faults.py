"""The faults of a simulated robot as parameters, which override those of its contract."""

from __future__ import annotations

from dataclasses import fields

from rclpy.node import Node

from beingh_core.contract.keys import SIM_FAULTS
from beingh_core.contract.simulated import SimFaults
from beingh_ros.nodes.runtime import declare

AS_IN_CONTRACT = -1.0


def declare_faults(node: Node, of_contract: SimFaults) -> SimFaults:
    """Declares one parameter for each fault and returns what they and the contract say.

    Raises:
        BeingHError: a value that the contract could not have either.
    """
    found = {}
    for field in fields(SimFaults):
        key = SIM_FAULTS[field.name]
        value = declare(
            node,
            field.name,
            AS_IN_CONTRACT,
            f"{key.help} [{key.unit}]; {AS_IN_CONTRACT:g}: as in the contract",
            between=(AS_IN_CONTRACT, float(key.at_most)),
        )
        found[field.name] = getattr(of_contract, field.name) if value < 0.0 else value
    return SimFaults(**found)
