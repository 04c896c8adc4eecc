"""A Rerun recording of one robot: what is logged under which name. No ROS here; needs `rerun-sdk`.

    camera/VIEW                 pictures, as JPEG
    joint/NAME/measured         [rad or m]; also /commanded (what is sent) and /chunk (what chunks predict)
    eef/FRAME/measured          place of the hand in its base frame [m]; also /committed and /predicted (paths)
    chunk/inference_ms, chunk/latency_ms (picture to chunk), chunk/consumed_ticks, chunk/steps_left
    policy/gate                 1 open, 0 closed; policy/events tells why
    controller/events           states and stops with their causes
    diagnostics/events          every change of a level

Time is that of the stamps, on the timeline `robot`. Letters: J joints, T rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError

TIMELINE = "robot"
JPEG_QUALITY = 85
FILE_BATCH = timedelta(seconds=1)
# red, green, blue, as in RViz
COMMITTED, PREDICTED, MEASURED = (26, 191, 89), (242, 153, 26), (230, 230, 230)


def rerun_sdk():
    """The module `rerun`.

    Raises:
        BeingHError: When it is not installed.
    """
    try:
        import rerun
    except ImportError as error:
        raise BeingHError(
            "the viewer needs the Python package rerun-sdk",
            remedy="`make viewer` installs it; or do without VIEWER=rerun and --record",
        ) from error
    return rerun


class RerunLog:
    """Writes a recording to a viewer or a file. One thread at a time.

    Args:
        contract: Robot.
        path: File to write; None opens a viewer window.

    Raises:
        BeingHError: When rerun-sdk is not installed or the file cannot be written.
    """

    def __init__(self, contract: RobotContract, path: Path | None) -> None:
        self._rr = rerun_sdk()
        batches = self._rr.ChunkBatcherConfig.DEFAULT()
        if path is not None:
            batches.flush_tick = FILE_BATCH  # each batch has a head of its own in the file
        self._recording = self._rr.RecordingStream("beingh", batcher_config=batches)
        layout = _layout(self._rr, contract)
        if path is None:
            self._recording.spawn(default_blueprint=layout)
            return
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._recording.save(path, default_blueprint=layout)
        except (OSError, RuntimeError) as error:
            raise BeingHError(f"the recording cannot be written: {error}", where=path) from error

    def close(self) -> None:
        """Write what is waiting and finish; nothing may be logged after."""
        self._recording.flush()
        self._recording.disconnect()

    def picture(self, view: str, stamp_ns: int, pixels_HWC: np.ndarray) -> None:
        """One uint8 RGB picture of a camera."""
        self._log(f"camera/{view}", stamp_ns, self._rr.Image(pixels_HWC).compress(jpeg_quality=JPEG_QUALITY))

    def joints(self, kind: str, stamp_ns: int, positions: Mapping[str, float]) -> None:
        """Positions at one time; `kind` is measured or commanded."""
        for name, value in positions.items():
            self._log(f"joint/{name}/{kind}", stamp_ns, self._rr.Scalars(value))

    def chunk(self, stamps_ns: np.ndarray, joints: Sequence[str], positions_TJ: np.ndarray) -> None:
        """A whole chunk, each row at the time (T,) [ns] at which it is to run."""
        times = self._rr.TimeColumn(TIMELINE, timestamp=stamps_ns.astype("datetime64[ns]"))
        for name, column in zip(joints, np.asarray(positions_TJ, dtype=float).T):
            self._recording.send_columns(
                f"joint/{name}/chunk", indexes=[times], columns=self._rr.Scalars.columns(scalars=column)
            )

    def path(self, frame: str, kind: str, stamp_ns: int, points_T3: np.ndarray) -> None:
        """A path of an end effector; `kind` is committed or predicted."""
        colour = COMMITTED if kind == "committed" else PREDICTED
        strips = [points_T3] if len(points_T3) > 1 else []
        self._log(f"eef/{frame}/{kind}", stamp_ns, self._rr.LineStrips3D(strips, colors=[colour] * len(strips)))

    def place(self, frame: str, stamp_ns: int, point_3: np.ndarray) -> None:
        """Where an end effector is."""
        self._log(f"eef/{frame}/measured", stamp_ns, self._rr.Points3D([point_3], colors=[MEASURED], radii=[0.006]))

    def number(self, name: str, stamp_ns: int, value: float) -> None:
        """A reading, such as chunk/latency_ms."""
        self._log(name, stamp_ns, self._rr.Scalars(float(value)))

    def event(self, name: str, stamp_ns: int, level: int, text: str) -> None:
        """Something that happened; `level` as in `thresholds`."""
        level_name = ("INFO", "WARN", "ERROR")[min(level, 2)]
        self._log(f"{name}/events", stamp_ns, self._rr.TextLog(text, level=level_name))

    def _log(self, name: str, stamp_ns: int, what: object) -> None:
        self._recording.set_time(TIMELINE, timestamp=np.datetime64(int(stamp_ns), "ns"))
        self._recording.log(name, what)


def _layout(rerun, contract: RobotContract):
    """Cameras and paths on the left, joints and timing on the right, events below."""
    import rerun.blueprint as blueprint

    cameras = [blueprint.Spatial2DView(origin=f"camera/{camera.name}", name=camera.name) for camera in contract.cameras]
    joints = [blueprint.TimeSeriesView(origin=f"joint/{name}", name=name) for name in contract.joint_names]
    left = blueprint.Vertical(blueprint.Horizontal(*cameras), blueprint.Spatial3DView(origin="eef", name="path"))
    right = blueprint.Vertical(
        blueprint.Tabs(*joints, name="joints"),
        blueprint.TimeSeriesView(origin="chunk", name="chunks"),
        blueprint.TextLogView(origin="/", name="events"),
    )
    return blueprint.Blueprint(blueprint.Horizontal(left, right), auto_views=False)
