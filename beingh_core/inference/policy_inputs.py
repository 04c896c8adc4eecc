"""The policy's stamped inputs: stream buffers, freshness gate, and the observation at one time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.joint_names import ForeignNames
from beingh_core.contract.views import black
from beingh_core.errors import BeingHError
from beingh_core.inference.chunk_maker import Observation
from beingh_core.inference.stream_stats import StreamStats
from beingh_core.policy.observations import image_key
from beingh_core.realtime.streams import MISSING, FreshnessGate, JointHistory, JointStream, Sample, StreamBuffer

DEPTH = 30
JOINT_DEPTH = 1000  # a second of a robot that publishes at 1 kHz: pictures are older than positions


@dataclass(frozen=True)
class _Arrival:
    """When the newest message came and how old its stamp was then [ns]."""

    now_ns: int
    age_ns: int


class PolicyInputs:
    """One stream per camera and one per state signal, named `video.<view>` and `state.<slot>`.

    Positions are kept joint by joint, so that a state signal may come in several messages or from several publishers.
    `push_*` and `refuse` belong to the thread of the callbacks, `observe` to the inference thread.

    Args:
        contract: Robot.
        resolve: The name under which a topic of the contract is known on the network.
        before_ns: How long before an observation states are wanted, too [ns], the longest first.

    Attributes:
        wanted: Topic of joint states, as in the contract -> the joints that are taken from it.
        hints: Stream -> why nothing comes, from what its owner knows; told with what is missing or stale.
    """

    def __init__(
        self, contract: RobotContract, resolve: Callable[[str], str] = str, before_ns: Sequence[int] = ()
    ) -> None:
        self._views = {image_key(camera.name): camera.name for camera in contract.cameras}
        self._joints = {f"state.{signal.slot}": signal.values for signal in contract.state}
        sources = {image_key(camera.name): camera.topic for camera in contract.cameras} | {
            f"state.{signal.slot}": signal.topic for signal in contract.state
        }
        self._by_topic: dict[str, list[str]] = {}
        for name in self._joints:
            self._by_topic.setdefault(sources[name], []).append(name)
        self.wanted = {
            topic: frozenset(joint for name in names for joint in self._joints[name])
            for topic, names in self._by_topic.items()
        }
        self._before_ns = tuple(before_ns)
        depth = JOINT_DEPTH + math.ceil(JOINT_DEPTH * max(before_ns, default=0) / 1e9)
        self._histories = {topic: JointHistory(joints, depth) for topic, joints in self.wanted.items()}
        self.streams: dict[str, StreamBuffer | JointStream] = {
            image_key(camera.name): StreamBuffer(image_key(camera.name), camera.max_age_s, DEPTH)
            for camera in contract.cameras
        } | {
            f"state.{s.slot}": JointStream(f"state.{s.slot}", s.max_age_s, s.values, self._histories[s.topic])
            for s in contract.state
        }
        self.topics = {name: resolve(topic) for name, topic in sources.items()}
        self.stats = {name: StreamStats() for name in self.streams}
        self._foreign = {topic: ForeignNames(joints) for topic, joints in self.wanted.items()}
        self._blank = {image_key(camera.name): black(camera) for camera in contract.cameras if camera.optional}
        self._needed = {name: stream for name, stream in self.streams.items() if name not in self._blank}
        self._gate = FreshnessGate(list(self._needed.values()))
        self._refused: dict[str, str] = {}
        self._not_finite: dict[str, dict[str, float]] = {name: {} for name in self._joints}
        self._unusable: dict[str, str] = {}
        self.hints: dict[str, str] = {}
        self._arrivals: dict[str, _Arrival] = {}

    def push_image(self, name: str, stamp_ns: int, pixels: np.ndarray, now_ns: int | None = None) -> str | None:
        """Add uint8 (H, W, 3) pixels to the stream of a camera.

        Args:
            name: Stream.
            stamp_ns: When the picture was taken [ns].
            pixels: The picture.
            now_ns: Present time [ns]; None for the stamp.

        Returns:
            Why its stamp cannot be used, None when it can.
        """
        unusable = self._arrived(name, stamp_ns, now_ns)
        if unusable is None:
            self._refused.pop(name, None)
            self.stats[name].add(stamp_ns)
            self.streams[name].push(stamp_ns, pixels)
        return unusable

    def push_joints(
        self, topic: str, stamp_ns: int, positions: Mapping[str, float], now_ns: int | None = None
    ) -> dict[str, str]:
        """Add one joint-state message, with any joints, to every signal of that topic.

        A message without any joint of a signal is another publisher's and says nothing about it.

        Args:
            topic: As in the contract.
            stamp_ns, now_ns: See `push_image`.
            positions: Joint name -> position.

        Returns:
            Stream name -> what is wrong with its part of the message.
        """
        wrong, usable = {}, False
        for name in self._by_topic[topic]:
            joints = [joint for joint in self._joints[name] if joint in positions]
            unusable = self._arrived(name, stamp_ns, now_ns) if joints else None
            if unusable is not None:
                wrong[name] = unusable
                continue
            usable = usable or bool(joints)
            bad = {joint: positions[joint] for joint in joints if not math.isfinite(positions[joint])}
            self._not_finite[name] = {
                joint: value for joint, value in self._not_finite[name].items() if joint not in joints
            } | bad
            if bad:
                wrong[name] = f"holds {next(iter(bad.values()))} for {', '.join(bad)}"
                self.stats[name].refused += 1
            elif self._joints[name][0] in positions:  # joints may come one by one: their rate is that of the first
                self.stats[name].add(stamp_ns)
        self._foreign[topic].add(positions)
        if usable:
            finite = {joint: value for joint, value in positions.items() if math.isfinite(value)}
            self._histories[topic].push(stamp_ns, finite)
        return wrong

    def refuse(self, name: str, reason: str) -> None:
        """Note a message that could not be used; the gate stays closed until a good one comes."""
        self._refused[name] = reason
        self.stats[name].refused += 1

    def set_aside(self, topic: str, reason: str, *, refused: bool = True) -> list[str]:
        """Note a state message that holds nothing to use, which the gate tells when no better one comes.

        Args:
            topic: As in the contract.
            reason: Why it holds nothing.
            refused: Whether it should have held something, and counts as refused.

        Returns:
            The streams of that topic.
        """
        for name in self._by_topic[topic]:
            self.stats[name].refused += refused
            self._unusable[name] = reason
        return self._by_topic[topic]

    def clear(self) -> None:
        """Forget all samples: time went back."""
        for name, stream in self.streams.items():
            stream.clear()
            self.stats[name].restart()
        self._arrivals.clear()

    def closed(self, now_ns: int) -> list[tuple[str, str]]:
        """(stream, reason) of everything missing, stale, refused or too young; empty when the gate is open.

        Samples of a time that has not come yet are forgotten: the clock was set back since.
        """
        self._drop_future(self.streams, now_ns)
        refused = {name: reason for name, reason in self._refused.items() if name in self._needed}
        for name, bad in self._not_finite.items():
            if bad:
                value = next(iter(bad.values()))
                refused[name] = f"joint state on {self.topics[name]} holds {value} for {', '.join(bad)}"
        stale = [
            (name, self._explained(name, reason, now_ns))
            for name, reason in self._gate.check(now_ns)
            if name not in refused
        ]
        return [*refused.items(), *stale] or self._younger_than_the_images()

    def newest_ns(self) -> int | None:
        """Stamp of the oldest among the newest images; None before every camera has sent one."""
        newest = [self.streams[name].latest() for name in self._views if name in self._needed]
        return None if None in newest else min(sample.stamp_ns for sample in newest)

    def ahead_s(self, name: str, now_ns: int) -> float | None:
        """How far in the future the newest message was stamped when it came [s]; None when nothing came lately."""
        arrival = self._arrivals.get(name)
        if arrival is None or not 0 <= now_ns - arrival.now_ns <= self.streams[name].max_age_s * 1e9:
            return None
        return -arrival.age_ns / 1e9

    def observe(self, since_ns: int | None = None) -> Observation:
        """Everything at the stamp of the oldest among the newest images, and states from before it.

        Args:
            since_ns: The state of this time stands for those before it [ns]; None for no bound.

        Raises:
            BeingHError: When a stream has nothing at that time.
        """
        needed = [name for name in self._views if name in self._needed]
        stamp_ns = min(self._need(name, self.streams[name].latest()).stamp_ns for name in needed)
        images = {view: self._picture(name, stamp_ns) for name, view in self._views.items()}
        joints: dict[str, float] = {}
        for name, names in self._joints.items():
            joints.update(zip(names, self._need(name, self.streams[name].at(stamp_ns)).value.tolist()))
        earlier = self._earlier(stamp_ns, since_ns)
        return Observation(stamp_ns=stamp_ns, images=images, joints=joints, earlier=earlier)

    def _earlier(self, stamp_ns: int, since_ns: int | None) -> tuple[dict[str, float], ...]:
        """Joints at times before a stamp, the oldest first; none from before `since_ns` or from behind a gap."""
        found: list[dict[str, float]] = []
        for age_ns in reversed(self._before_ns):
            time_ns = stamp_ns - age_ns
            if since_ns is not None:
                time_ns = max(time_ns, min(since_ns, stamp_ns))
            joints: dict[str, float] = {}
            for name, names in self._joints.items():
                sample = self.streams[name].at(time_ns)
                if sample is None or self._is_stale(name, sample, time_ns):
                    return tuple(reversed(found))
                joints.update(zip(names, sample.value.tolist()))
            found.append(joints)
        return tuple(reversed(found))

    def _picture(self, name: str, stamp_ns: int) -> np.ndarray:
        """The picture at a time; black where an optional one is missing or stale."""
        sample = self.streams[name].at(stamp_ns)
        if name in self._blank and (sample is None or self._is_stale(name, sample, stamp_ns)):
            return self._blank[name]
        return self._need(name, sample).value

    def _is_stale(self, name: str, sample: Sample, stamp_ns: int) -> bool:
        return stamp_ns - sample.stamp_ns > self.streams[name].max_age_s * 1e9

    def missing_views(self, now_ns: int) -> dict[str, str]:
        """Optional cameras that are missing or stale: stream -> reason, and that black stands for them."""
        found = {}
        for name in self._blank:
            reason = self._refused.get(name) or self.streams[name].problem(now_ns)
            if reason is not None:
                found[name] = f"{self._explained(name, reason, now_ns)}: the policy sees black"
        return found

    def _younger_than_the_images(self) -> list[tuple[str, str]]:
        """Streams that say nothing of the newest common time of the images: they began later, or had a gap then."""
        stamp_ns = self.newest_ns()
        if stamp_ns is None:
            return []
        closed = []
        for name, stream in self._needed.items():
            sample = stream.at(stamp_ns)
            if sample is None:
                closed.append((name, f"nothing yet at the time of the images ({self.topics[name]})"))
            elif self._is_stale(name, sample, stamp_ns):
                age_s = (stamp_ns - sample.stamp_ns) / 1e9
                closed.append((name, f"stale: {age_s:.3f} s older than the images ({self.topics[name]})"))
        return closed

    def _arrived(self, name: str, stamp_ns: int, now_ns: int | None) -> str | None:
        """Note that a message came; why its stamp cannot be used, None when it can."""
        now_ns = stamp_ns if now_ns is None else now_ns
        age_ns, max_age_s = now_ns - stamp_ns, self.streams[name].max_age_s
        self._drop_future([name], now_ns)
        self._arrivals[name] = _Arrival(now_ns, age_ns)
        if stamp_ns == 0 and age_ns > max_age_s * 1e9:
            unusable = "has no time stamp (0)"
        elif age_ns < -max_age_s * 1e9:
            unusable = f"is stamped {-age_ns / 1e9:.3f} s in the future: another clock"
        else:
            self._unusable.pop(name, None)
            return None
        self.stats[name].refused += 1
        self._unusable[name] = f"the newest message {unusable}"
        return unusable

    def _drop_future(self, names, now_ns: int) -> None:
        for name in names:
            stream = self.streams[name]
            if stream.drop_after(now_ns + int(stream.max_age_s * 1e9)):
                self.stats[name].restart()

    def _explained(self, name: str, reason: str, now_ns: int) -> str:
        """The reason with the topic, and what came instead of what is missing."""
        topic, unusable, stream = self.topics[name], self._unusable.get(name), self.streams[name]
        if unusable is not None:
            reason = f"nothing to use: {unusable}" if reason == MISSING else f"{reason}; {unusable}"
        elif (self.ahead_s(name, now_ns) or 0.0) < -stream.max_age_s:
            reason += "; its messages are as old as that when they come: another clock, or a publisher that is late"
        if isinstance(stream, JointStream) and stream.missing():
            foreign = next(self._foreign[t] for t, names in self._by_topic.items() if name in names)
            reason += foreign.told(stream.missing())
        hint = self.hints.get(name)
        return f"{reason} ({topic}: {hint})" if hint else f"{reason} ({topic})"

    def _need(self, name: str, sample: Sample | None) -> Sample:
        if sample is None:
            raise BeingHError(
                f"{name} has nothing at the time of the images", remedy=f"check the stamps on {self.topics[name]}"
            )
        return sample
