"""Message types: from the bag where it has them, otherwise from the distribution that wrote it (library `rosbags`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from beingh_core.data.bags.topic import BagTopic
from beingh_core.errors import BeingHError, shown

_HEADER = "std_msgs/msg/Header"


class Types:
    """Makes objects of serialised messages.

    Args:
        topics: Of a bag.
        distribution: ROS distribution that wrote it, "" for the newest known.

    Raises:
        BeingHError: The library `rosbags` is not installed.
    """

    def __init__(self, topics: Iterable[BagTopic], distribution: str = "") -> None:
        try:
            from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
        except ImportError:
            raise BeingHError("reading messages needs the library rosbags", remedy="pip install rosbags") from None
        name = f"ROS2_{distribution.upper()}"
        self._known = get_typestore(getattr(Stores, name, Stores.LATEST))
        self._store = get_typestore(Stores.EMPTY)
        self._failed: dict[str, str] = {}
        for topic in topics:
            if topic.definition:
                try:
                    idl = topic.encoding == "ros2idl"
                    found = (
                        get_types_from_idl(topic.definition)
                        if idl
                        else get_types_from_msg(topic.definition, topic.type)
                    )
                    self._store.register({k: v for k, v in found.items() if k not in self._store.fielddefs})
                except Exception as error:  # noqa: BLE001 - the library's parsers raise many kinds
                    self._failed[topic.type] = shown(str(error))

    def has_header(self, topic: BagTopic) -> bool:
        """Whether messages of a topic begin with a header."""
        store = self._store_of(topic)
        fields = store.fielddefs[topic.type][1] if store else []
        return bool(fields) and fields[0][1][1] == _HEADER

    def deserialise(self, data: bytes, topic: BagTopic) -> Any:
        """The message.

        Raises:
            BeingHError: The type is not known, or the message is damaged or not in CDR.
        """
        store = self._store_of(topic)
        if topic.serialization != "cdr":
            raise BeingHError(
                f"its messages are serialised as `{topic.serialization}`", where=topic.name, allowed="cdr"
            )
        if store is None:
            why = self._failed.get(topic.type)
            raise BeingHError(
                f"the type {topic.type} is not known" + (f"; its definition cannot be read: {why}" if why else ""),
                where=topic.name,
                remedy="record it with its definition, as MCAP or with Iron or later",
            )
        try:
            if len(data) < 4 or data[0] or data[1] > 1:
                raise ValueError("it is not in plain CDR")
            definition = store.get_msgdef(topic.type)
            read = definition.deserialize_cdr_le if data[1] else definition.deserialize_cdr_be
            # The library's own entry refuses bytes behind the message, which rclpy's `serialize_message` leaves.
            return read(data[4:], 0, definition.cls, store)[0]
        except Exception as error:  # noqa: BLE001 - generated code raises whatever the damage leads to
            raise BeingHError(f"it is no {topic.type}: {shown(str(error))}", where=topic.name) from None

    def _store_of(self, topic: BagTopic):
        for store in (self._store, self._known):
            if topic.type in store.fielddefs:
                return store
        return None
