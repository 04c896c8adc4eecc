"""The monitor's recording: finds out which robot there is, then logs everything."""

from __future__ import annotations

from pathlib import Path

from rcl_interfaces.srv import GetParameters

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_ros.monitor.node import MonitorNode
from beingh_ros.monitor.rerun_log import rerun_sdk
from beingh_ros.monitor.viewer import RerunViewer


class Recording:
    """Begins as soon as the robot is known. One thread, that of the node's executor.

    Args:
        node: The monitor's node.
        path: File to write.
        robot: Name or path of the robot contract; "" asks the controller for its parameter `contract`.

    Raises:
        BeingHError: When rerun-sdk is not installed, or the contract or the file does not do.
    """

    def __init__(self, node: MonitorNode, path: Path, robot: str) -> None:
        rerun_sdk()
        self._node, self._path = node, path
        self._viewer: RerunViewer | None = None
        self._answer = None
        self._client = None if robot else node.create_client(GetParameters, "controller/get_parameters")
        if robot:
            self._begin(robot)

    @property
    def words(self) -> str:
        """What the page says about it."""
        return str(self._path) if self._viewer else f"{self._path} begins when a controller reports"

    def poll(self) -> None:
        """Look for the controller's answer; call it often until it has begun."""
        if self._viewer is not None:
            return
        if self._answer is None and self._client.service_is_ready():
            self._answer = self._client.call_async(GetParameters.Request(names=["contract"]))
        if self._answer is not None and self._answer.done():
            values = self._answer.result().values
            self._begin(values[0].string_value if values else "")

    def close(self) -> None:
        """Finish the file."""
        if self._viewer is not None:
            self._viewer.close()

    def _begin(self, robot: str) -> None:
        try:
            contract = load_contract(robot)
        except BeingHError as error:
            raise BeingHError(
                f"the recording needs the contract of the robot: {error}", remedy="give it with --robot"
            ) from error
        self._viewer = RerunViewer(self._node, contract, path=self._path)
