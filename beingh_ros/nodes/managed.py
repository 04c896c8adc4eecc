"""Lifecycle nodes that no call from outside can end."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn


class ManagedNode(LifecycleNode):
    """A lifecycle node that refuses transitions that its state does not have, and tells of those that fail.

    rclpy raises at the former, which ends the node, and is silent at the latter.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        service = self._service_change_state
        service.callback = self._checked(service.callback)
        self._callbacks = {state: self._told(callback) for state, callback in self._callbacks.items()}

    def tell_waiting(self) -> None:
        """Say that nothing happens before somebody configures and activates it, and how to."""
        command = f"ros2 lifecycle set {self.get_fully_qualified_name()}"
        self.get_logger().info(f"waits to be configured: `{command} configure`, then `{command} activate`")

    def _checked(self, change: Callable) -> Callable:
        def checked(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            state, possible = self._state_machine.current_state[1], self._state_machine.available_transitions
            wanted = request.transition
            found = [t for t in possible if (t[1] == wanted.label if wanted.label else t[0] == wanted.id)]
            if not found:
                name = f"`{wanted.label[:40]}`" if wanted.label else f"with id {wanted.id}"
                allowed = ", ".join(f"{t[1]} ({t[0]})" for t in possible) or "none"
                self.get_logger().warning(f"no transition {name!s} in the state {state}. Allowed: {allowed}.")
                response.success = False
                return response
            # By number: labels such as `shutdown` name another transition in each state.
            request.transition.id, request.transition.label = found[0][0], ""
            return change(request, response)

        return checked

    def _told(self, callback: Callable) -> Callable:
        def told(state: LifecycleState) -> TransitionCallbackReturn:
            try:
                return callback(state)
            except Exception:
                self.get_logger().error(f"a transition from {state.label} has failed: {traceback.format_exc()}")
                return TransitionCallbackReturn.ERROR

        return told
