"""The monitor's recording: finds out which robot there is, then logs everything."""

from __future__ import annotations

from pathlib import Path

from beingh_ros.monitor.node import MonitorNode
from beingh_ros.monitor.rerun_log import rerun_sdk
from beingh_ros.monitor.viewer import RerunViewer
from beingh_ros.monitor.which_robot import WhichRobot


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
        self._robot = WhichRobot(node, robot, "the recording")
        self.poll()

    @property
    def words(self) -> str:
        """What the page says about it."""
        return str(self._path) if self._viewer else f"{self._path} begins when a controller reports"

    def poll(self) -> None:
        """Look for the controller's answer; call it often until it has begun."""
        if self._viewer is None:
            contract = self._robot.contract()
            self._viewer = contract and RerunViewer(self._node, contract, path=self._path)

    def close(self) -> None:
        """Finish the file."""
        if self._viewer is not None:
            self._viewer.close()
