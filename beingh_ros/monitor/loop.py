"""Listens and draws: one page, or a page that is redrawn until Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rich.console import Console
from rich.live import Live

from beingh_core.errors import BeingHError
from beingh_ros.monitor.node import MonitorNode
from beingh_ros.monitor.page import Surroundings, page

REDRAW_S = 0.25
# Without a terminal, a page now and then.
PLAIN_S = 5.0
# Every node reports once a second: long enough to receive all of those that run.
SETTLE_S = 1.5
SPIN_S = 0.05


class Monitor:
    """One run of the monitor, in one thread. Use as a context manager.

    Args:
        namespace: Of the robot's nodes, without slashes.
        record: File of a Rerun recording, None for none.
        robot: Contract for the recording; "" asks the controller.
        console: Where to draw; None is standard output.

    Raises:
        BeingHError: When a recording cannot be made.
    """

    def __init__(
        self, namespace: str = "", *, record: Path | None = None, robot: str = "", console: Console | None = None
    ) -> None:
        self._console = console or Console()
        self._ending = False
        # SIGTERM is as good a wish to end as Ctrl-C. An exception in the middle of rclpy's wait could be lost, or leave it
        # locked; so a signal is only noted, and a second one ends whatever does not look at the note.
        self._before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self.node = MonitorNode(namespace)
        self._recording, self._robot = None, robot
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        try:
            self._recording = _recording(self.node, record, robot)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def close(self) -> None:
        """Finish the recording and leave the graph."""
        if self._recording is not None:
            self._recording.close()
        self._executor.shutdown(timeout_sec=1.0)
        self.node.destroy_node()
        rclpy.try_shutdown()
        for number, before in self._before.items():
            signal.signal(number, before)

    def _on_signal(self, *_) -> None:
        if self._ending:
            raise KeyboardInterrupt
        self._ending = True

    def once(self, wait_s: float) -> int:
        """Listen, print one page, return 0, 1 or 2: fine, warning or no controller, error."""
        begun_s = time.monotonic()
        complete_s = None
        try:
            while time.monotonic() - begun_s < wait_s and not self._ending:
                self._executor.spin_once(timeout_sec=SPIN_S)
                if self.node.expects_more():
                    complete_s = None
                elif complete_s is None:
                    complete_s = time.monotonic()
                elif time.monotonic() - complete_s > SETTLE_S:
                    break
        except KeyboardInterrupt:
            pass
        self._console.print(self._page())
        return self.node.state.verdict(time.monotonic())[0]

    def snapshot(self, path: Path, wait_s: float) -> int:
        """Listen until everything has come, or for `wait_s`, write a picture, return 0, 1 or 2 as `once` does.

        Raises:
            BeingHError: Nobody tells which robot it is, or nothing can be drawn or written.
        """
        from beingh_ros.monitor.snapshot import Snapshot
        from beingh_ros.monitor.which_robot import WhichRobot

        which, snapshot, begun_s, complete_s = (
            WhichRobot(self.node, self._robot, "the picture"),
            None,
            time.monotonic(),
            0.0,
        )
        while time.monotonic() - begun_s < wait_s and not self._ending:
            self._executor.spin_once(timeout_sec=SPIN_S)
            contract = which.contract() if snapshot is None else None
            snapshot = Snapshot(self.node, contract) if contract is not None else snapshot
            if snapshot is None or snapshot.missing() or self.node.expects_more():
                complete_s = 0.0
            elif not complete_s:
                complete_s = time.monotonic()
            elif time.monotonic() - complete_s > SETTLE_S:
                break
        if snapshot is None:
            hints = "; ".join(self.node.hints())
            raise BeingHError("no controller tells which robot there is", remedy=f"{hints}; or name it with --robot")
        missing = snapshot.missing()
        snapshot.write(path, time.monotonic())
        self._console.print(f"wrote {path}" + (f"; nothing came of: {', '.join(missing)}" if missing else ""))
        return self.node.state.verdict(time.monotonic())[0]

    def watch(self) -> int:
        """Redraw the page until Ctrl-C; returns 0."""
        try:
            if self._console.is_terminal:
                self._redraw()
            else:
                self._print_now_and_then()
        except KeyboardInterrupt:
            pass
        return 0

    def _redraw(self) -> None:
        with Live(console=self._console, screen=True, auto_refresh=False) as live:
            self._listen(REDRAW_S, 0.0, lambda: live.update(self._page(), refresh=True))

    def _print_now_and_then(self) -> None:
        self._listen(PLAIN_S, SETTLE_S, lambda: self._console.print(self._page()))

    def _listen(self, period_s: float, first_s: float, draw: Callable[[], None]) -> None:
        """Receive, and draw every period, until a signal."""
        due_s = time.monotonic() + first_s
        while not self._ending:
            self._executor.spin_once(timeout_sec=SPIN_S)
            if self._recording is not None:
                self._recording.poll()
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + period_s
                draw()

    def _page(self):
        hints = [] if self.node.state.statuses else self.node.hints()
        title = f"domain {os.environ.get('ROS_DOMAIN_ID') or 0}"
        around = Surroundings(title=title, hints=hints, recording=self._recording.words if self._recording else "")
        height = self._console.height if self._console.is_terminal else 1000
        return page(self.node.state, around, time.monotonic(), self._console.width, height)


def _recording(node: MonitorNode, path: Path | None, robot: str):
    """The recording, None without a file. Only a recording needs rerun-sdk and kinematics."""
    if path is None:
        return None
    from beingh_ros.monitor.recording import Recording

    return Recording(node, path, robot)
