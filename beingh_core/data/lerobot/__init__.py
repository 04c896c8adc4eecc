"""LeRobot datasets, v3.0 and v2.1: written episode by episode, read, repaired, merged, split."""

from beingh_core.data.lerobot.depth import DepthScale
from beingh_core.data.lerobot.episode import Frame, Subtask
from beingh_core.data.lerobot.reader import Dataset
from beingh_core.data.lerobot.schema import Camera, DatasetSpec, Vector, VideoSettings
from beingh_core.data.lerobot.writer import DatasetWriter

__all__ = [
    "Camera",
    "Dataset",
    "DatasetSpec",
    "DatasetWriter",
    "DepthScale",
    "Frame",
    "Subtask",
    "Vector",
    "VideoSettings",
]
