"""What a LeRobot dataset holds: vectors, cameras, rate, version and video settings, and their form in info.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from beingh_core.data.lerobot.depth import DepthScale
from beingh_core.data.lerobot.images import IMAGE
from beingh_core.errors import BeingHError, shown

VERSIONS = ("v3.0", "v2.1")
CODECS = ("h264", "av1")
SUBTASK_FORMS = ("language", "index")
CHUNK = 1000  # files in a folder
DATA_MB, VIDEO_MB = 100, 200
# Columns that every dataset has, with their types.
COMMON = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
LANGUAGE = ("language_persistent", "language_events")
SUBTASK_INDEX = "subtask_index"
VECTOR_TYPES = ("float32", "float64", "int64", "int32", "bool")
PATHS = {
    "v3.0": (
        "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    ),
    "v2.1": (
        "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Vector:
    """One column of numbers: key, a name for each number, and type."""

    key: str
    names: tuple[str, ...]
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Camera:
    """One column of pictures [pixels]; `depth` is set for 12-bit depth."""

    key: str
    height: int
    width: int
    depth: DepthScale | None = None

    @property
    def bins(self) -> tuple[int, int]:
        """(channels, values) of its histograms."""
        return (1, 4096) if self.depth else (3, 256)


@dataclass(frozen=True, kw_only=True)
class VideoSettings:
    """How colour is encoded.

    Attributes:
        codec: one of `CODECS`.
        encoder: "auto" (a hardware encoder when one works, else software), "software" or an encoder's FFmpeg name.
        crf: constant quality, smaller is better.
        gop: every how many frames there is a key frame.
    """

    codec: str = "h264"
    encoder: str = "auto"
    crf: int = 30
    gop: int = 2

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise BeingHError(f"video codec {shown(self.codec)} is not known", allowed=CODECS)
        if not 1 <= self.crf <= 51 or self.gop < 1:
            raise BeingHError(
                f"crf {self.crf} or key frames every {self.gop}", allowed="crf 1 to 51, at least every frame"
            )


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """Everything that must be the same in all episodes of a dataset.

    Attributes:
        fps: rows per second, whole.
        robot: type of robot.
        vectors, cameras: its features.
        version: one of `VERSIONS`.
        video: how colour is encoded.
        subtasks: None, or how texts of subtasks are kept: "language" (LeRobot 0.6's columns) or "index"
            (`subtask_index` and meta/subtasks.parquet, which LeRobot 0.4.4 knows).
    """

    fps: int
    robot: str
    vectors: tuple[Vector, ...]
    cameras: tuple[Camera, ...] = ()
    version: str = "v3.0"
    video: VideoSettings = field(default_factory=VideoSettings)
    subtasks: str | None = None

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise BeingHError(f"dataset version {shown(self.version)} is not known", allowed=VERSIONS)
        if not isinstance(self.fps, int) or not 1 <= self.fps <= 1000:
            raise BeingHError(
                f"{shown(self.fps)} frames per second; LeRobot keeps whole ones",
                allowed="1 to 1000",
                remedy="give the contract a whole rate_hz",
            )
        if self.subtasks not in (None, *SUBTASK_FORMS):
            raise BeingHError(f"subtasks as {shown(self.subtasks)}", allowed=SUBTASK_FORMS)
        keys = [feature.key for feature in (*self.vectors, *self.cameras)]
        for key in keys:
            if keys.count(key) > 1 or not key or "/" in key or key in (*COMMON, *LANGUAGE, SUBTASK_INDEX, "task"):
                raise BeingHError(f"feature {shown(key)} is there twice, reserved, empty or has a slash")
        for camera in self.cameras:
            if camera.height < 16 or camera.width < 16 or camera.height % 2 or camera.width % 2:
                raise BeingHError(
                    f"{camera.key}: pictures of {camera.width}x{camera.height}",
                    allowed="even sides of at least 16 pixels (yuv420p)",
                    remedy="crop or resize the camera",
                )

    @property
    def columns(self) -> dict[str, str]:
        """Numeric columns that statistics cover, with their types; in the order of the file."""
        extra = {SUBTASK_INDEX: "int64"} if self.subtasks == "index" else {}
        return {v.key: v.dtype for v in self.vectors} | COMMON | extra

    def width(self, key: str) -> int:
        """Numbers in a row of a column."""
        return next((len(vector.names) for vector in self.vectors if vector.key == key), 1)

    def features(self) -> dict[str, Any]:
        """The `features` of info.json."""
        vectors = {v.key: {"dtype": v.dtype, "shape": [len(v.names)], "names": list(v.names)} for v in self.vectors}
        cameras = {camera.key: _video_feature(camera, self) for camera in self.cameras}
        common = {
            key: {"dtype": dtype, "shape": [1], "names": None}
            for key, dtype in self.columns.items()
            if key not in vectors
        }
        texts = LANGUAGE if self.subtasks == "language" else ()
        return vectors | cameras | common | {key: {"dtype": "language", "shape": [1], "names": None} for key in texts}

    def info(self) -> dict[str, Any]:
        """info.json of a dataset without episodes."""
        data, video = PATHS[self.version]
        counts = {"total_episodes": 0, "total_frames": 0, "total_tasks": 0, "chunks_size": CHUNK}
        if self.version == "v3.0":
            more = {"data_files_size_in_mb": DATA_MB, "video_files_size_in_mb": VIDEO_MB}
        else:
            more = {"total_videos": 0, "total_chunks": 0}
        return {
            "codebase_version": self.version, "robot_type": self.robot, **counts, **more, "fps": self.fps,
            "splits": {"train": "0:0"}, "data_path": data, "video_path": video if self.cameras else None,
            "features": self.features(),
        }  # fmt: skip


def _video_feature(camera: Camera, spec: DatasetSpec) -> dict[str, Any]:
    channels = camera.bins[0]
    info: dict[str, Any] = {
        "video.height": camera.height, "video.width": camera.width, "video.fps": spec.fps, "video.channels": channels,
        "video.is_depth_map": camera.depth is not None, "is_depth_map": camera.depth is not None, "has_audio": False,
    }  # fmt: skip
    if camera.depth:
        info |= {"video.codec": "hevc", "video.pix_fmt": "gray12le", "depth_unit": camera.depth.unit, "video.g": 2}
        scale = camera.depth
        info |= {
            "video.depth_min": scale.near_m,
            "video.depth_max": scale.far_m,
            "video.shift": scale.shift_m,
            "video.use_log": True,
        }
    else:
        info |= {
            "video.codec": spec.video.codec,
            "video.pix_fmt": "yuv420p",
            "video.g": spec.video.gop,
            "video.crf": spec.video.crf,
        }
    shape = [camera.height, camera.width, channels]
    return {"dtype": "video", "shape": shape, "names": ["height", "width", "channels"], "info": info}


def spec_of(info: Mapping[str, Any], where: object, skipped: list[str] | None = None) -> DatasetSpec:
    """The spec of somebody's dataset from its info.json.

    Args:
        info: Content of the file.
        where: The file.
        skipped: Is told of features that are not handled, which are left out then; None to refuse them, and pictures that
            stand in rows.

    Raises:
        BeingHError: Another version, a missing entry, or a kind of feature that is not handled.
    """
    try:
        vectors, cameras, video, subtasks = [], [], VideoSettings(), None
        for key, feature in info["features"].items():
            dtype, shape = feature["dtype"], list(feature["shape"])
            if dtype == "video":
                camera, found = _camera_of(key, shape, feature)
                cameras.append(camera)
                video = found or video
            elif dtype == "language":
                subtasks = "language"
            elif key == SUBTASK_INDEX:
                subtasks = "index"
            elif skipped is not None and dtype == IMAGE:
                continue  # see `Dataset.images`
            elif key not in COMMON:
                try:
                    vectors.append(_vector_of(key, dtype, shape, feature.get("names"), where))
                except BeingHError as error:
                    if skipped is None:
                        raise
                    skipped.append(f"{error.what}, and is not looked at")
        return DatasetSpec(
            fps=int(info["fps"]), robot=str(info.get("robot_type") or "unknown"), vectors=tuple(vectors),
            cameras=tuple(cameras), version=str(info["codebase_version"]), video=video, subtasks=subtasks,
        )  # fmt: skip
    except BeingHError as error:
        raise BeingHError(error.what, where=where, allowed=error.allowed, remedy=error.remedy) from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BeingHError(
            f"is no info.json of a LeRobot dataset ({type(error).__name__}: {error})",
            where=where,
            remedy="convert the dataset with LeRobot, or give the folder that has meta/info.json",
        ) from None


def _vector_of(key: str, dtype: str, shape: list[int], names: Any, where: object) -> Vector:
    if dtype not in VECTOR_TYPES or len(shape) != 1:
        raise BeingHError(
            f"feature `{key}` is {dtype} of shape {shape}",
            where=where,
            allowed=[f"{name} vectors" for name in VECTOR_TYPES] + ["video"],
            remedy="turn images into video with LeRobot's edit-dataset, or remove the feature",
        )
    if isinstance(names, Mapping):  # {"motors": [...]} in older datasets
        names = next(iter(names.values()))
    if not isinstance(names, list) or len(names) != shape[0]:
        names = [str(index) for index in range(shape[0])]
    return Vector(key=key, names=tuple(map(str, names)), dtype=dtype)


def _camera_of(key: str, shape: list[int], feature: Mapping[str, Any]) -> tuple[Camera, VideoSettings | None]:
    info = feature.get("info") or feature.get("video_info") or {}
    if (feature.get("names") or ["height"])[0] in ("channels", "channel"):
        shape = [*shape[1:], shape[0]]
    scale = None
    if info.get("is_depth_map") or info.get("video.is_depth_map"):
        scale = DepthScale(
            unit=info.get("depth_unit", "mm"), near_m=info.get("video.depth_min", 0.01),
            far_m=info.get("video.depth_max", 10.0), shift_m=info.get("video.shift", 3.5),
        )  # fmt: skip
    codec = info.get("video.codec")
    settings = None
    if codec in CODECS and scale is None:
        settings = VideoSettings(codec=codec, crf=int(info.get("video.crf") or 30), gop=int(info.get("video.g") or 2))
    return Camera(key=key, height=int(shape[0]), width=int(shape[1]), depth=scale), settings
