"""The policy's stamped inputs: stream buffers, freshness gate, and the observation at one time. No ROS here."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.realtime.streams import FreshnessGate, Sample, StreamBuffer
from beingh_ros.chunk_maker import Observation
from beingh_ros.stream_stats import StreamStats

DEPTH = 30
JOINT_DEPTH = 200


class PolicyInputs:
    """One stream per camera and one per state signal, named `video.<view>` and `state.<slot>`.

    `push_*` and `refuse` belong to the thread of the callbacks, `observe` to the inference thread.

    Args:
        contract: Robot.
    """

    def __init__(self, contract: RobotContract) -> None:
        self._views = {f"video.{camera.name}": camera.name for camera in contract.cameras}
        self._joints = {f"state.{signal.slot}": signal.joints for signal in contract.state}
        self.streams = {
            f"video.{camera.name}": StreamBuffer(f"video.{camera.name}", camera.max_age_s, DEPTH)
            for camera in contract.cameras
        } | {
            f"state.{signal.slot}": StreamBuffer(f"state.{signal.slot}", signal.max_age_s, JOINT_DEPTH)
            for signal in contract.state
        }
        self.topics = {f"video.{camera.name}": camera.topic for camera in contract.cameras} | {
            f"state.{signal.slot}": signal.topic for signal in contract.state
        }
        self.stats = {name: StreamStats() for name in self.streams}
        self._gate = FreshnessGate(list(self.streams.values()))
        self._refused: dict[str, str] = {}

    def push_image(self, name: str, stamp_ns: int, pixels: np.ndarray) -> None:
        """Add uint8 (H, W, 3) pixels to the stream of a camera."""
        self._push(name, stamp_ns, pixels)

    def push_joints(self, topic: str, stamp_ns: int, positions: Mapping[str, float]) -> dict[str, str]:
        """Add one joint-state message to every signal of that topic.

        A message without any joint of a signal is another publisher's and says nothing about it.

        Returns:
            Stream name -> what is wrong with its part of the message.
        """
        wrong = {}
        for name, joints in self._joints.items():
            if self.topics[name] != topic or not any(joint in positions for joint in joints):
                continue
            missing = [joint for joint in joints if joint not in positions]
            bad = [joint for joint in joints if not np.isfinite(positions.get(joint, 0.0))]
            if missing or bad:
                wrong[name] = (
                    f"lacks {', '.join(missing)}" if missing else f"holds {positions[bad[0]]} for {', '.join(bad)}"
                )
                self.refuse(name, f"joint state on {topic} {wrong[name]}")
            else:
                self._push(name, stamp_ns, np.array([positions[joint] for joint in joints]))
        return wrong

    def refuse(self, name: str, reason: str) -> None:
        """Note a message that could not be used; the gate stays closed until a good one comes."""
        self._refused[name] = reason
        self.stats[name].refused += 1

    def clear(self) -> None:
        """Forget all samples: time went back."""
        for stream in self.streams.values():
            stream.clear()

    def closed(self, now_ns: int) -> list[tuple[str, str]]:
        """(stream, reason) of everything missing, stale, refused or too young; empty when the gate is open."""
        refused = dict(self._refused)
        stale = [
            (name, f"{reason} ({self.topics[name]})")
            for name, reason in self._gate.check(now_ns)
            if name not in refused
        ]
        return [*refused.items(), *stale] or self._younger_than_the_images()

    def newest_ns(self) -> int | None:
        """Stamp of the oldest among the newest images; None before every camera has sent one."""
        newest = [self.streams[name].latest() for name in self._views]
        return None if None in newest else min(sample.stamp_ns for sample in newest)

    def observe(self) -> Observation:
        """Everything at the stamp of the oldest among the newest images.

        Raises:
            BeingHError: When a stream has nothing at that time.
        """
        stamp_ns = min(self._need(name, self.streams[name].latest()).stamp_ns for name in self._views)
        images = {view: self._need(name, self.streams[name].at(stamp_ns)).value for name, view in self._views.items()}
        joints: dict[str, float] = {}
        for name, names in self._joints.items():
            joints.update(zip(names, self._need(name, self.streams[name].at(stamp_ns)).value.tolist()))
        return Observation(stamp_ns=stamp_ns, images=images, joints=joints)

    def _younger_than_the_images(self) -> list[tuple[str, str]]:
        """Streams that began after the newest common time of the images; for a moment, at the start."""
        stamp_ns = self.newest_ns()
        if stamp_ns is None:
            return []
        return [
            (name, f"nothing yet at the time of the images ({self.topics[name]})")
            for name, stream in self.streams.items()
            if stream.at(stamp_ns) is None
        ]

    def _push(self, name: str, stamp_ns: int, value: np.ndarray) -> None:
        self._refused.pop(name, None)
        self.stats[name].add(stamp_ns)
        self.streams[name].push(stamp_ns, value)

    def _need(self, name: str, sample: Sample | None) -> Sample:
        if sample is None:
            raise BeingHError(
                f"{name} has nothing at the time of the images", remedy=f"check the stamps on {self.topics[name]}"
            )
        return sample
