"""rosbag2's metadata.yaml: written in the version of a distribution, read in any.

Versions (as the `rosbags` library lists them): 4 quality of service of topics, 5 facts of each file, 6 custom_data, 7 type
hashes, 8 ros_distro, 9 names instead of numbers in the quality of service. Humble reads and writes 5, Iron 6.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from beingh_core.data.bags.topic import BagTopic, yaml_text
from beingh_core.errors import BeingHError, shown

FILE = "metadata.yaml"
KEY = "rosbag2_bagfile_information"
_VERSIONS = {"humble": 5, "iron": 6}
NEWEST = 9
_LARGEST_BYTES = 16 << 20


def version_of(distribution: str) -> int:
    """Metadata version that a ROS distribution's rosbag2 writes."""
    return _VERSIONS.get(distribution, NEWEST)


@dataclass(kw_only=True)
class Facts:
    """What metadata.yaml says beside the topics.

    Attributes:
        start_ns, end_ns: Log times of the first and last message [ns].
        counts: Messages by topic.
        custom: Texts by name.
    """

    start_ns: int = 0
    end_ns: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    custom: dict[str, str] = field(default_factory=dict)

    def add(self, topic: str, log_ns: int) -> None:
        """Count a message."""
        if not self.counts or not any(self.counts.values()):
            self.start_ns = self.end_ns = log_ns
        self.start_ns, self.end_ns = min(self.start_ns, log_ns), max(self.end_ns, log_ns)
        self.counts[topic] = self.counts.get(topic, 0) + 1


def metadata_text(topics: Iterable[BagTopic], facts: Facts, *, storage: str, file: str, distribution: str) -> str:
    """The content of metadata.yaml for a bag of one file."""
    version = version_of(distribution)
    count = sum(facts.counts.values())
    when = {
        "duration": {"nanoseconds": facts.end_ns - facts.start_ns},
        "starting_time": {"nanoseconds_since_epoch": facts.start_ns},
        "message_count": count,
    }

    information: dict[str, Any] = {
        "version": version,
        "storage_identifier": storage,
        **when,
        "topics_with_message_count": [
            {"topic_metadata": _topic(topic, version), "message_count": facts.counts.get(topic.name, 0)}
            for topic in topics
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file],
        "files": [{"path": file, **when}],
        "custom_data": dict(facts.custom) or None,  # Humble reads over it
    }
    if version >= 8:
        information["ros_distro"] = distribution
    return yaml_text({KEY: information})


def _topic(topic: BagTopic, version: int) -> dict[str, Any]:
    told = {
        "name": topic.name,
        "type": topic.type,
        "serialization_format": topic.serialization,
        "offered_qos_profiles": topic.qos_value(version),
    }
    return told | ({"type_description_hash": topic.type_hash} if version >= 7 else {})


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there in full or not at all, also after a loss of power."""
    part = path.with_name(f".{path.name}.part")
    with open(part, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def read_metadata(directory: Path) -> Mapping[str, Any]:
    """The information in metadata.yaml.

    Raises:
        BeingHError: Missing, no YAML, or not of rosbag2.
    """
    path = directory / FILE
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise BeingHError(f"is larger than {_LARGEST_BYTES} bytes", where=path)
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BeingHError(f"cannot be read: {error.strerror}", where=path) from None
    except (yaml.YAMLError, ValueError) as error:
        raise BeingHError(f"is no YAML: {shown(str(error))}", where=path) from None
    information = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(information, dict):
        raise BeingHError(f"lacks `{KEY}`", where=path)
    return information
