"""Which contract the controller of a namespace runs."""

from __future__ import annotations

from rcl_interfaces.srv import GetParameters
from rclpy.node import Node

from beingh_core.contract import RobotContract, load_contract
from beingh_core.errors import BeingHError


class WhichRobot:
    """Asks the controller for its parameter `contract`. One thread, that of the node's executor.

    Args:
        node: Asks.
        robot: Name or path of the contract, which saves the question; "" asks.
        purpose: What needs the contract, for errors.
    """

    def __init__(self, node: Node, robot: str, purpose: str) -> None:
        self._robot, self._purpose, self._answer = robot, purpose, None
        self._client = None if robot else node.create_client(GetParameters, "controller/get_parameters")

    def contract(self) -> RobotContract | None:
        """The contract, None while the controller has not answered; call it often.

        Raises:
            BeingHError: It cannot be loaded here.
        """
        if self._client is not None and not self._robot:
            if self._answer is None and self._client.service_is_ready():
                self._answer = self._client.call_async(GetParameters.Request(names=["contract"]))
            if self._answer is not None and self._answer.done():
                values = self._answer.result().values
                self._robot = values[0].string_value if values else "?"
        if not self._robot:
            return None
        try:
            return load_contract(self._robot)
        except BeingHError as error:
            raise BeingHError(
                f"{self._purpose} needs the contract of the robot: {error}", remedy="give it with --robot"
            ) from error
