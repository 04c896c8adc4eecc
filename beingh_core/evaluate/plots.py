"""Pictures of an episode as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from beingh_core.evaluate.episodes import EpisodeTrace

FILM_FRAMES = 8
PLOTTED_JOINTS = 4
ZOOM_S = 3.0
_INK, _SENT, _LOCKED, _PREDICTED, _SEAM = "#22303c", "#1769aa", "#e8890c", "#b5442e", "#b9c2c9"


def film_strip(frames: Sequence[tuple[float, Mapping[str, np.ndarray]]], count: int = FILM_FRAMES) -> bytes:
    """Views in rows, `count` times of an episode in columns.

    Args:
        frames: (time [s], view name -> uint8 (H, W, 3)), in order; times without all views are left out.
        count: number of columns at most.
    """
    views = sorted({name for _, images in frames for name in images})
    whole = [frame for frame in frames if len(frame[1]) == len(views)]
    if not whole:
        return message("no camera images were received")
    picked = [whole[i] for i in np.unique(np.linspace(0, len(whole) - 1, count).round().astype(int))]
    figure, axes = plt.subplots(
        len(views), len(picked), figsize=(1.5 * len(picked), 1.6 * len(views) + 0.2), squeeze=False
    )
    for column, (time_s, images) in enumerate(picked):
        for row, view in enumerate(views):
            axis = axes[row, column]
            axis.imshow(images[view], interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            if row == 0:
                axis.set_title(f"{time_s:.1f} s", fontsize=9, color=_INK)
            if column == 0:
                axis.set_ylabel(view.replace("_", " "), fontsize=9, color=_INK)
    figure.subplots_adjust(0.03, 0.02, 0.995, 0.9, wspace=0.04, hspace=0.04)
    return png(figure)


def joint_tracking(trace: EpisodeTrace) -> bytes:
    """What was measured, sent and predicted at the joints that moved most, over the whole episode."""
    if len(trace.sent) == 0:
        return message("nothing was sent")
    shown = sorted(_by_motion(trace)[:PLOTTED_JOINTS])
    figure, axes = plt.subplots(len(shown), 1, figsize=(12.0, 1.9 * len(shown) + 0.5), sharex=True, squeeze=False)
    for axis, joint in zip(axes[:, 0], shown):
        _draw_joint(axis, trace, joint)
    axes[-1, 0].set_xlim(0.0, max(1.0, trace.result.time_s))
    return _finish(figure, axes[-1, 0])


def commitment_zoom(trace: EpisodeTrace) -> bytes:
    """A few seconds of the joint that moved most, with every tick."""
    if len(trace.sent) == 0:
        return message("nothing was sent")
    joint = _by_motion(trace)[0]
    figure, axis = plt.subplots(figsize=(12.0, 3.6))
    _draw_joint(axis, trace, joint, marker="o")
    middle_s = min(trace.result.time_s / 2, trace.result.time_s - ZOOM_S / 2)
    low_s, high_s = max(0.0, middle_s - ZOOM_S / 2), max(0.0, middle_s - ZOOM_S / 2) + ZOOM_S
    axis.set_xlim(low_s, high_s)
    sent_s = trace.first_tick_s + np.arange(len(trace.sent)) / trace.rate_hz
    inside = trace.sent[(sent_s >= low_s) & (sent_s <= high_s), joint]
    inside = inside[np.isfinite(inside)]
    if inside.size:
        room = max(0.01, 0.25 * float(np.ptp(inside)))
        axis.set_ylim(inside.min() - room, inside.max() + room)
    return _finish(figure, axis)


def latency_histogram(inference_ms: Sequence[float], latency_ms: Sequence[float], locked_ms: float) -> bytes:
    """How long inference and the whole way from picture to chunk took, and the time that the locked prefix covers."""
    if not len(inference_ms):
        return message("no chunk was made")
    figure, axis = plt.subplots(figsize=(12.0, 2.8))
    top = max(locked_ms * 1.1, float(np.percentile(latency_ms, 99)) * 1.1)
    bins = np.linspace(0.0, top, 60)
    axis.hist(np.clip(inference_ms, 0, top), bins, color=_SENT, alpha=0.75, label="inference")
    axis.hist(np.clip(latency_ms, 0, top), bins, color=_LOCKED, alpha=0.55, label="from picture to chunk")
    axis.axvline(locked_ms, color=_INK, ls="--", lw=1.2, label="covered by the locked prefix")
    axis.set_xlabel("[ms]; the last bar holds everything beyond")
    axis.set_ylabel("chunks")
    axis.legend(loc="upper right", frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.subplots_adjust(0.06, 0.2, 0.99, 0.96)
    return png(figure)


def _by_motion(trace: EpisodeTrace) -> list[int]:
    """Joints, the one with the widest motion first."""
    return np.argsort(-(np.nanmax(trace.sent, axis=0) - np.nanmin(trace.sent, axis=0))).tolist()


def _draw_joint(axis, trace: EpisodeTrace, joint: int, marker: str = "") -> None:
    locked, start_s, dt_s = trace.locked_steps, trace.first_tick_s, 1 / trace.rate_hz
    for index in trace.seams:
        axis.axvline(start_s + index * dt_s, color=_SEAM, lw=0.7, zorder=0)
    for base, rows in trace.chunks:
        chunk_s = start_s + (base + np.arange(len(rows))) * dt_s
        axis.plot(chunk_s[locked - 1 :], rows[locked - 1 :, joint], color=_PREDICTED, lw=0.9, alpha=0.7, zorder=3.5)
        axis.plot(chunk_s[:locked], rows[:locked, joint], color=_LOCKED, lw=5.0, alpha=0.45, zorder=2)
    sent_s = start_s + np.arange(len(trace.sent)) * dt_s
    axis.plot(sent_s, trace.sent[:, joint], color=_SENT, lw=1.2, marker=marker, ms=3.5, zorder=3)
    axis.plot(trace.measured_s, trace.measured[:, joint], color=_INK, lw=1.0, ls=":", zorder=4)
    axis.set_ylabel(trace.joints[joint], fontsize=9)
    axis.grid(alpha=0.25, lw=0.5)


def _finish(figure, last_axis) -> bytes:
    """Legend above, time below."""
    handles = [
        plt.Line2D([], [], color=_SENT, lw=1.5, label="sent (committed)"),
        plt.Line2D([], [], color=_INK, lw=1.0, ls=":", label="measured"),
        plt.Line2D([], [], color=_LOCKED, lw=5.0, alpha=0.45, label="locked prefix of a chunk"),
        plt.Line2D([], [], color=_PREDICTED, lw=1.0, label="predicted by a chunk"),
        plt.Line2D([], [], color=_SEAM, lw=1.0, label="seam: a new chunk takes over"),
    ]
    figure.legend(handles=handles, loc="upper center", ncol=5, fontsize=9, frameon=False)
    last_axis.set_xlabel("robot time [s]")
    height = figure.get_figheight()
    figure.subplots_adjust(0.075, 0.5 / height, 0.98, 1 - 0.35 / height, hspace=0.1)
    return png(figure)


def message(text: str) -> bytes:
    """A picture that says why there is none."""
    figure = plt.figure(figsize=(12.0, 0.6))
    figure.text(0.5, 0.5, text, ha="center", va="center", color=_INK)
    return png(figure)


def png(figure) -> bytes:
    """The figure as PNG; it is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    return buffer.getvalue()
