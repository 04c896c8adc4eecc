"""Records episodes of a robot's topics as bags: `ros2 run beingh_ros record`; see docs/record.md.

It moves nothing and publishes only what it does itself. The executor's thread takes messages as they were serialised and
hands them over; each episode has a thread that writes.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header, String

from beingh_core.contract import load_contract
from beingh_core.data.bags.message import header_data, text_of
from beingh_core.data.bags.writer import STORAGES, UNFINISHED
from beingh_core.data.command_messages import BUFFER
from beingh_core.data.in_charge import CHARGE, EVENTS, PERSON, POLICY
from beingh_core.errors import BeingHError
from beingh_ros.messages.conversions import ns_to_stamp
from beingh_ros.messages.diagnostics import ERROR, OK, WARN
from beingh_ros.nodes.graph import resolved
from beingh_ros.nodes.guard import GuardedNode
from beingh_ros.nodes.runtime import declare, run_node
from beingh_ros.record.buffers import Item
from beingh_ros.record.commands import Command
from beingh_ros.record.episode import free_mb, make_writable
from beingh_ros.record.in_charge import AUTO, InCharge
from beingh_ros.record.inputs import Inputs
from beingh_ros.record.intake import intake, own_topic
from beingh_ros.record.recorder import Recorder, Settings
from beingh_ros.record.topics import ACCEPTED, INSTRUCTION, STATE, wanted_topics

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# How long the disk has for what waits when the node ends [s]; launch kills a little later.
LAST_WRITES_S = 4.0
# Without a plan for so long, there is no controller [s].
NO_PLAN_S = 1.0


class RecordNode(GuardedNode):
    """The node; everything but the writing happens in the executor's thread.

    Attributes:
        ended_by: Name of the signal that has ended it, "" for none.
    """

    def __init__(self) -> None:
        super().__init__("record")
        self.ended_by = ""
        named = declare(self, "contract", "", "robot contract: name or path; empty: fr3")
        self._contract = contract = load_contract(named or "fr3")
        settings = self._settings()
        make_writable(settings.out, "parameter out", "-p out:=$HOME/episodes")
        extra = declare(self, "topics", [""], "further topics to record, such as depth images")
        without = declare(self, "without", [""], "topics of the contract that are not recorded")
        rule = declare(self, "in_charge", AUTO, "who is in charge when no person takes over: auto, policy or person")
        if rule not in (AUTO, POLICY, PERSON):
            raise BeingHError(f"`{rule}` is no choice", where="parameter in_charge", allowed=(AUTO, POLICY, PERSON))
        self._in_charge = InCharge(rule, round(1e9 * contract.policy.chunk_length / contract.rate_hz))
        self._period_s, self._last_plan_s, self._last_state = 1.0 / contract.rate_hz, -1e9, None
        wanted = wanted_topics(contract, tuple(filter(None, extra)), tuple(filter(None, without)))
        self._topics = intake(self, wanted, self._take)
        self._hooks = {resolved(self, BUFFER): self._on_plan, resolved(self, ACCEPTED): self._in_charge.accepted,
                       resolved(self, INSTRUCTION): self._on_instruction}  # fmt: skip
        self._charge_topic = own_topic(self, CHARGE, "std_msgs/msg/Header")
        self._charge_publisher = self.create_publisher(Header, CHARGE, QoSProfile(depth=100))
        self._event_publisher = self.create_publisher(String, EVENTS, QoSProfile(depth=100))
        self._state_publisher = self.create_publisher(DiagnosticStatus, STATE, LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", QoSProfile(depth=10))
        self._recorder = Recorder(
            contract,
            settings,
            self._topics,
            own_topic(self, EVENTS, "std_msgs/msg/String"),
            now_ns=lambda: self.get_clock().now().nanoseconds,
            tell=self._tell,
            publish_event=lambda text: self._event_publisher.publish(String(data=text)),
        )
        self._recorder.task = declare(
            self,
            "task",
            "",
            "what the robot shall do, until an instruction or a command says otherwise",
            read_only=False,
        )
        self._recorder.operator = declare(self, "operator", "", "who operates the robot", read_only=False)
        self.add_on_set_parameters_callback(self._on_set)
        self._inputs = Inputs(
            self,
            self._obey,
            pedals=declare(self, "pedals", [""], "TOPIC=COMMAND for pedals that publish std_msgs/Bool"),
            joy_topic=declare(self, "joy_topic", "", "topic of sensor_msgs/Joy; empty: none"),
            joy_buttons=declare(self, "joy_buttons", ["0=toggle"], "NUMBER=COMMAND for the joystick's buttons"),
            keyboard=declare(self, "keyboard", False, "read keys from the terminal"),
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.05, self._look, clock=steady)
        self.create_timer(0.2, self._look_at_graph, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)
        self.create_timer(self._period_s, self._without_plan, clock=steady)
        self._tell_leftovers(settings.out)
        at_once = declare(self, "start", False, "begin the first episode at once")
        self._first_look_s = time.monotonic() if at_once else None
        self._tell(self._plan(settings, bool(named), at_once), False)

    def _settings(self) -> Settings:
        distribution = os.environ.get("ROS_DISTRO", "jazzy")
        storage = declare(self, "storage", "auto", "mcap, sqlite3, or auto: sqlite3 on Humble, else mcap")
        if storage == "auto":
            storage = "sqlite3" if distribution == "humble" else "mcap"
        if storage not in STORAGES:
            raise BeingHError(f"`{storage}` is no choice", where="parameter storage", allowed=("auto", *STORAGES))

        return Settings(
            out=Path(declare(self, "out", "out/episodes", "folder of the bags")).expanduser().resolve(),
            storage=storage,
            distribution=distribution,
            preroll_s=declare(
                self, "preroll_s", 1.0, "what came so long before the start is recorded too [s]", between=(0.0, 600.0)
            ),
            preroll_mb=declare(self, "preroll_mb", 256.0, "most memory of the pre-roll [MB]", between=(0.0, 1e5)),
            buffer_mb=declare(
                self, "buffer_mb", 512.0, "most memory for what waits for the disk [MB]", between=(0.0, 1e5)
            ),
            min_free_mb=declare(
                self, "min_free_mb", 500.0, "an episode ends when less is free on the disk [MB]", between=(0.0, 1e9)
            ),
            max_s=declare(self, "max_s", 0.0, "longest episode, 0 for any [s]", between=(0.0, 1e6)),
        )

    def _plan(self, settings: Settings, named: bool, at_once: bool) -> str:
        """What will be recorded, where, and how it starts and stops, in a line."""
        count = sum(topic.required for topic in self._topics)
        robot = self._contract.robot if named else f"{self._contract.robot} (give `contract` for another robot)"
        begin = "begins once these are published" if at_once else "nothing is recorded yet"
        service = self.get_fully_qualified_name()
        ways = [f"`ros2 service call {service}/start std_srvs/srv/Trigger` and {service}/stop", *self._inputs.ways]
        return (
            f"robot {robot}: {len(self._topics)} topics, {count} of them cameras and joint states, into {settings.out} "
            f"({settings.storage}, {free_mb(settings.out) / 1e3:.1f} GB free); {begin}. Start and stop: {', '.join(ways)}"
        )

    def close(self) -> None:
        """End the running episode, and wait for the disk a while."""
        self._inputs.close()
        self._recorder.close(LAST_WRITES_S, f"signal {self.ended_by}" if self.ended_by else "the recorder has ended")

    def _take(self, topic, item: Item) -> None:
        self._recorder.take(topic, item)
        hook = self._hooks.get(topic.name)
        if hook is not None:
            hook(item.data)

    def _on_plan(self, data: bytes) -> None:
        self._last_plan_s = time.monotonic()
        self._publish_charge(*self._in_charge.of_plan(data))

    def _on_instruction(self, data: bytes) -> None:
        self._recorder.instructed(text_of(data))

    def _without_plan(self) -> None:
        """A robot without our controller has ticks, too."""
        if time.monotonic() - self._last_plan_s > NO_PLAN_S:
            self._publish_charge(self.get_clock().now().nanoseconds, self._in_charge.of_time())

    def _publish_charge(self, stamp_ns: int, who: str) -> None:
        self._charge_publisher.publish(Header(stamp=ns_to_stamp(stamp_ns), frame_id=who))
        now_ns = self.get_clock().now().nanoseconds
        self._recorder.take_own(Item(self._charge_topic, now_ns, now_ns, 0, header_data(stamp_ns, who)))

    def _obey(self, command: Command, by: str) -> str:
        if command.verb in (PERSON, POLICY):
            self._in_charge.person = command.verb == PERSON
            self._recorder.event("in_charge", who=command.verb)
            return f"in charge: {command.verb}"
        done = self._recorder.obey(command, by)
        self._show_state()
        return done

    def _on_set(self, parameters: list) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name in ("task", "operator"):
                self._obey(Command(parameter.name, parameter.value), "parameter")
        return SetParametersResult(successful=True)

    def _look(self) -> None:
        self._inputs.look()
        self._recorder.look()
        self._show_state()

    def _look_at_graph(self) -> None:
        for topic in self._topics:
            topic.look(recording=self._recorder.episode is not None)
        if self._first_look_s is not None and self._is_ready():
            self._first_look_s = None
            try:
                self._tell(self._obey(Command("start"), "parameter start"), False)
            except BeingHError as error:
                self._tell(str(error), True)

    def _is_ready(self) -> bool:
        """Whether every required topic is published, or has not been for 10 s."""
        there = all(topic.bag_topic is not None for topic in self._topics if topic.required)
        return there or time.monotonic() - self._first_look_s > 10.0

    def _status(self) -> DiagnosticStatus:
        recorder, episode = self._recorder, self._recorder.episode
        counts = recorder.counts()
        missing = {name: c["lost"] + c["dropped"] for name, c in counts.items() if c["lost"] + c["dropped"]}
        troubles = [f"{topic.name}: {topic.trouble}" for topic in self._topics if topic.trouble]
        values = {"state": recorder.state, "task": recorder.task, "episode": episode.name if episode else "",
                  "last": recorder.last}  # fmt: skip
        if episode:
            values |= {"messages": sum(episode.written.values()), "buffer_percent": round(100 * episode.fill)}
        values |= {f"missing {name}": count for name, count in missing.items()}
        level, text = OK, recorder.state
        if episode and missing:
            level, text = WARN, f"{sum(missing.values())} messages were lost or dropped"
        if troubles:
            level, text = WARN, "; ".join(troubles)
        if episode and episode.failure:
            level, text = ERROR, episode.failure
        pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        return DiagnosticStatus(
            level=level, name="record", message=text, hardware_id=self._contract.robot, values=pairs
        )

    def _show_state(self) -> None:
        """Publish the state when it has changed."""
        shown = (self._recorder.state, self._recorder.task, self._recorder.episode, self._recorder.last)
        if shown != self._last_state:
            self._last_state = shown
            self._state_publisher.publish(self._status())

    def _report(self) -> None:
        message = DiagnosticArray(status=[self._status()])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _tell(self, text: str, bad: bool) -> None:
        # rclpy keeps one severity for each line of code.
        if bad:
            self.get_logger().error(text)
        else:
            self.get_logger().info(text)

    def _tell_leftovers(self, out: Path) -> None:
        """Bags that a killed recorder has left."""
        for path in sorted(out.glob(f"*{UNFINISHED}")):
            self._tell(f"{path} was not finished; `python -m beingh_core.data.bags finish {path}` puts it right", True)


def main(args=None) -> int:
    """Entry point."""
    return run_node(RecordNode, "record", args)


if __name__ == "__main__":
    sys.exit(main())
