"""ROS 2 bags without ROS: written so that a crash costs at most the last moment, read even when they are damaged."""

from beingh_core.data.bags.bag import Bag, RawMessage, TopicInfo, open_bag
from beingh_core.data.bags.topic import BagTopic
from beingh_core.data.bags.writer import BagWriter

__all__ = ["Bag", "BagTopic", "BagWriter", "RawMessage", "TopicInfo", "open_bag"]
