"""Segments of an episode from its signals: where grippers close and open, arms rest or slow down, people marked something.

An episode is cut into segments that follow one another without gaps. Every cut has a reason in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from beingh_core.data.annotate.gripper import GripperMove, gripper_moves
from beingh_core.data.annotate.signals import STEP_S, Signals, on_grid, spans, speed
from beingh_core.data.annotate.wording import text_of, words_of

SHORTEST_S = 0.3  # shorter pieces between cuts belong to their neighbour
NEAR_S = 0.5  # a mark so near to a gripper's motion says the same
REST_S = 0.6  # a shorter rest is no segment
_REST = {"m/s": 0.008, "rad/s": 0.02}  # slower than this is rest, whatever the episode
_REST_SHARE, _START_SHARE, _MINIMUM_SHARE = 0.06, 0.15, 0.4  # of the episode's high speed
_CONFIRMS = {"contact": "grasp", "release": "release"}
_SETTLE_S = 1.0  # how long after a gripper's motion the arm may wait before its next


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of an episode: begin and end [s], its text, and why it begins there."""

    start_s: float
    end_s: float
    text: str
    because: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Segments without gaps, and success with its reason (None: nothing says it)."""

    segments: tuple[Segment, ...]
    success: bool | None = None
    because: str = ""


@dataclass
class _Piece:
    """A stretch on its way to a segment; `kind` is "grasp", "release", "rest" or "travel"."""

    start_s: float
    end_s: float
    kind: str
    because: list[str] = field(default_factory=list)
    hand: str = ""
    firm: bool = False  # a person's word: its beginning is never merged away


def propose(signals: Signals) -> Proposal:
    """The proposal for one episode."""
    grid_s, speed_M, unit = speed(signals)
    fast = float(np.percentile(speed_M, 95)) if len(speed_M) else 0.0
    moves = sorted(
        (move for hand, opening in signals.grippers.items() for move in gripper_moves(signals.times_s, opening, hand)),
        key=lambda move: move.start_s,
    )
    pieces = _gripper_pieces(moves, grid_s, speed_M, fast, signals.duration_s)
    pieces = _with_rests(pieces, grid_s, speed_M, max(_REST[unit], _REST_SHARE * fast))
    for time_s, reason in _minima(grid_s, speed_M, fast, unit):
        pieces = _cut(pieces, time_s, reason, kinds=("travel",))
    pieces = _without_short(pieces)
    pieces = _with_words(pieces, signals)
    success, because = _success(signals, moves)
    return Proposal(segments=tuple(_named(pieces, signals, moves)), success=success, because=because)


def _gripper_pieces(
    moves: Sequence[GripperMove], grid_s: np.ndarray, speed_M: np.ndarray, fast: float, duration_s: float
) -> list[_Piece]:
    """Grasps and releases, and what is travelled between them."""
    pieces, now_s, several = [], 0.0, len({move.hand for move in moves}) > 1
    for move in moves:
        start_s = max(move.start_s, now_s)
        window = (grid_s >= move.end_s) & (grid_s <= move.end_s + _SETTLE_S) & (speed_M > _START_SHARE * fast)
        end_s = float(grid_s[np.argmax(window)]) if window.any() else move.end_s
        end_s = min(max(end_s, move.end_s, start_s + STEP_S), duration_s)
        if start_s > now_s:
            pieces.append(_Piece(now_s, start_s, "travel"))
        verb = "closes" if move.closes else "opens"
        hand = f"{move.hand} gripper" if several else "gripper"
        reason = f"the {hand} {verb} from {move.before:.2f} to {move.after:.2f}"
        pieces.append(_Piece(start_s, end_s, "grasp" if move.closes else "release", [reason], move.hand))
        now_s = end_s
    if now_s < duration_s:
        pieces.append(_Piece(now_s, duration_s, "travel"))
    for before, after in zip(pieces, pieces[1:]):
        if after.kind == "travel":
            after.because.append("the arm moves on")
    return pieces


def _with_rests(pieces: list[_Piece], grid_s: np.ndarray, speed_M: np.ndarray, slow: float) -> list[_Piece]:
    """The pieces with each longer rest in a travelled one as a piece of its own."""
    for first, last in spans(speed_M < slow):
        start_s, end_s = float(grid_s[first]), float(grid_s[last - 1])
        if last == len(grid_s):
            end_s = pieces[-1].end_s
        for number, piece in enumerate(pieces):
            low, high = max(start_s, piece.start_s), min(end_s, piece.end_s)
            if piece.kind != "travel" or high - low < REST_S:
                continue
            rest = _Piece(low, high, "rest", ["the arm rests"])
            parts = [rest]
            if low - piece.start_s >= SHORTEST_S:
                parts.insert(0, _Piece(piece.start_s, low, "travel", piece.because))
            else:
                rest.start_s = piece.start_s
            if piece.end_s - high >= SHORTEST_S:
                parts.append(_Piece(high, piece.end_s, "travel", ["the arm moves on"]))
            else:
                rest.end_s = piece.end_s
            pieces = [*pieces[:number], *parts, *pieces[number + 1 :]]
            break
    return pieces


def _minima(grid_s: np.ndarray, speed_M: np.ndarray, fast: float, unit: str) -> list[tuple[float, str]]:
    """Moments at which a moving arm slows down, with their reasons."""
    from scipy.signal import find_peaks

    if fast <= _REST[unit] or len(speed_M) < 3:
        return []
    found, _ = find_peaks(-speed_M, prominence=_MINIMUM_SHARE * fast, distance=max(1, round(0.4 / STEP_S)))
    return [(float(grid_s[i]), f"the arm slows down to {speed_M[i]:.3f} {unit}") for i in found]


def _with_words(pieces: list[_Piece], signals: Signals) -> list[_Piece]:
    """The pieces, cut where people marked something, took over or gave back; a mark may only confirm what a gripper did."""
    for mark in signals.marks:
        kind = _CONFIRMS.get(mark.name)
        near = [p for p in pieces if p.kind == kind and p.start_s - NEAR_S <= mark.time_s <= p.end_s + NEAR_S]
        if near:
            near[0].because.append(f"mark {mark.name}")
        else:
            pieces = _cut(pieces, mark.time_s, f"mark {mark.name}", firm=True)
    for start_s, end_s in signals.person:
        pieces = _cut(pieces, start_s, "a person takes over", firm=True)
        pieces = _cut(pieces, end_s, "the policy is in charge again", firm=True)
    return pieces


def _cut(
    pieces: list[_Piece], time_s: float, reason: str, kinds: Sequence[str] = (), firm: bool = False
) -> list[_Piece]:
    """The pieces with one more cut; one that is at hand already only gets the reason."""
    for number, piece in enumerate(pieces):
        if not piece.start_s <= time_s <= piece.end_s or (kinds and piece.kind not in kinds):
            continue
        least = SHORTEST_S / 2 if firm else SHORTEST_S
        if time_s - piece.start_s < least:
            piece.because.append(reason)
            piece.firm = piece.firm or firm
        elif piece.end_s - time_s < least:
            if number + 1 < len(pieces):
                pieces[number + 1].because.append(reason)
                pieces[number + 1].firm = pieces[number + 1].firm or firm
        else:
            rest = _Piece(time_s, piece.end_s, piece.kind, [reason], piece.hand, firm)
            piece.end_s = time_s
            return [*pieces[: number + 1], rest, *pieces[number + 1 :]]
        return pieces
    return pieces


def _without_short(pieces: list[_Piece]) -> list[_Piece]:
    """Short travels become part of what is before them, the first one of what follows."""
    kept: list[_Piece] = []
    for number, piece in enumerate(pieces):
        if piece.kind in ("grasp", "release") or piece.end_s - piece.start_s >= SHORTEST_S:
            kept.append(piece)
        elif kept:
            kept[-1].end_s = piece.end_s
        elif number + 1 < len(pieces):
            pieces[number + 1].start_s = piece.start_s
        else:
            kept.append(piece)
    return kept


def _named(pieces: list[_Piece], signals: Signals, moves: Sequence[GripperMove]) -> list[Segment]:
    """Segments with texts; neighbours of one text are one, unless a person has said that something begins."""
    task, several = words_of(signals.task), len(signals.grippers) > 1
    found: list[Segment] = []
    for piece in pieces:
        kind = _kind(piece, signals, moves)
        text = text_of(kind, task, piece.hand if several else "")
        if found and found[-1].text == text and not piece.firm:
            last = found.pop()
            found.append(Segment(start_s=last.start_s, end_s=piece.end_s, text=text, because=last.because))
        else:
            reasons = tuple(piece.because) or ("the recording begins",)
            found.append(Segment(start_s=piece.start_s, end_s=piece.end_s, text=text, because=reasons))
    return found


def _kind(piece: _Piece, signals: Signals, moves: Sequence[GripperMove]) -> str:
    """The kind of text of a piece; see `wording.text_of`."""
    if piece.kind in ("grasp", "release"):
        return piece.kind
    before = {move.hand: move for move in moves if move.start_s < piece.start_s + STEP_S}
    holding = [hand for hand, move in before.items() if move.holds]
    if piece.kind == "rest":
        return "hold" if holding else "wait"
    if holding:
        return _direction(piece, signals, holding[-1])
    if any(move.closes and move.start_s >= piece.start_s for move in moves):
        return "reach"
    return "away" if before else "move"


def _direction(piece: _Piece, signals: Signals, hand: str) -> str:
    """Whether what is held is lifted, lowered or carried."""
    tool = signals.tools.get(hand)
    if tool is None:
        return "carry"
    grid_s, path = on_grid(signals.times_s, tool)
    inside = path[(grid_s >= piece.start_s) & (grid_s <= piece.end_s)]
    if len(inside) < 2:
        return "carry"
    along = inside[-1] - inside[0]
    if abs(along[2]) < np.hypot(along[0], along[1]):
        return "carry"
    return "lift" if along[2] > 0 else "lower"


def _success(signals: Signals, moves: Sequence[GripperMove]) -> tuple[bool | None, str]:
    """What the recorder was told; else, where the last closing is not followed by an opening, whether it holds something."""
    if signals.success is not None:
        return signals.success, "the recorder was told"
    last = moves[-1] if moves else None
    if last is None or not last.closes:
        return None, ""
    now = float(np.asarray(signals.grippers[last.hand])[-1])
    holds = last.holds and now > 0.5 * last.after
    return holds, f"at the end the gripper holds {'something' if holds else 'nothing'} (opening {now:.2f})"
