"""How a person reaches the recorder: pedals, a joystick, services, a topic and the keyboard, all as commands."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger

from beingh_core.errors import BeingHError
from beingh_ros.nodes.graph import QUIET
from beingh_ros.record.commands import FAILURE, MARKS, SUCCESS, Command, Edges, bindings, buttons, parse
from beingh_ros.record.keyboard import HELP, Keyboard
from beingh_ros.record.topics import COMMAND

Obey = Callable[[Command, str], str]


class Inputs:
    """Subscribes and serves; executor thread.

    Args:
        node: Owner.
        obey: Carries a command out, given where it came from, and says what was done; raises BeingHError.
        pedals: `TOPIC=COMMAND` for topics of std_msgs/Bool.
        joy_topic: Topic of sensor_msgs/Joy, "" for none.
        joy_buttons: `NUMBER=COMMAND`.
        keyboard: Whether keys of the terminal are read.

    Attributes:
        ways: How an episode is started and stopped beside the services, in words.

    Raises:
        BeingHError: A binding is wrong, or there is no terminal to read keys from.
    """

    def __init__(
        self,
        node: Node,
        obey: Obey,
        *,
        pedals: Sequence[str],
        joy_topic: str,
        joy_buttons: Sequence[str],
        keyboard: bool,
    ) -> None:
        self._node, self._obey = node, obey
        bound = bindings(pedals, "parameter pedals")
        self._pedals = Edges(bound)
        for topic in bound:
            take = lambda message, name=topic: self._edge(self._pedals, name, message.data, f"pedal {name}")
            # Best effort receives every publisher.
            node.create_subscription(Bool, topic, take, qos_profile_sensor_data, event_callbacks=QUIET)
        self._buttons = Edges(buttons(joy_buttons, "parameter joy_buttons"))
        if joy_topic:
            node.create_subscription(Joy, joy_topic, self._joy, qos_profile_sensor_data, event_callbacks=QUIET)
        node.create_subscription(String, COMMAND, lambda message: self._receive(message.data), QoSProfile(depth=10))
        for name in ("start", "stop", "discard"):
            node.create_service(Trigger, f"~/{name}", self._trigger(Command(name)))
        for mark in MARKS:
            node.create_service(Trigger, f"~/mark_{mark}", self._trigger(Command("mark", mark)))
        node.create_service(SetBool, "~/success", self._set(Command(SUCCESS), Command(FAILURE)))
        node.create_service(SetBool, "~/person", self._set(Command("person"), Command("policy")))
        self.ways = self._ways(bound, joy_topic, buttons(joy_buttons, "parameter joy_buttons"), keyboard)
        self._keys: deque[Command] = deque()
        self._keyboard = self._open_keyboard() if keyboard else None

    def look(self) -> None:
        """Often: carry out what was typed."""
        while self._keys:
            self._try(self._keys.popleft(), "keyboard")

    def close(self) -> None:
        """Give the terminal back."""
        if self._keyboard is not None:
            self._keyboard.close()

    @staticmethod
    def _ways(pedals: Mapping, joy_topic: str, numbers: Mapping, keyboard: bool) -> list[str]:
        starts = lambda bound: [name for name, command in bound.items() if command.verb in ("start", "toggle")]
        found = [f"pedal {name}" for name in starts(pedals)]
        found += [f"button {number} of {joy_topic}" for number in (starts(numbers) if joy_topic else ())]
        return [*found, "the space bar"] if keyboard else found

    def _open_keyboard(self) -> Keyboard:
        if not sys.stdin.isatty():
            raise BeingHError(
                "there is no terminal to read keys from", where="parameter keyboard",
                remedy="start it by hand (`ros2 run beingh_ros record`), or leave keyboard off",
            )  # fmt: skip
        keyboard = Keyboard(self._keys.append)
        self._node.get_logger().info(HELP)
        return keyboard

    def _joy(self, message: Joy) -> None:
        for number, pressed in enumerate(message.buttons):
            self._edge(self._buttons, number, bool(pressed), f"joystick, button {number}")

    def _edge(self, edges: Edges, name: object, pressed: bool, by: str) -> None:
        for command in edges.commands(name, pressed):
            self._try(command, by)

    def _receive(self, text: str) -> None:
        try:
            command = parse(text)
        except BeingHError as error:
            self._node.get_logger().error(f"{COMMAND}: {error}")
            return
        self._try(command, f"topic {COMMAND}")

    def _try(self, command: Command, by: str) -> tuple[bool, str]:
        try:
            done, text = True, self._obey(command, by)
            self._node.get_logger().info(text)
        except BeingHError as error:
            done, text = False, str(error)
            self._node.get_logger().error(f"{command.verb}: {text}")
        return done, text

    def _trigger(self, command: Command) -> Callable:
        def serve(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = self._try(command, "service")
            return response

        return serve

    def _set(self, yes: Command, no: Command) -> Callable:
        def serve(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
            response.success, response.message = self._try(yes if request.data else no, "service")
            return response

        return serve
