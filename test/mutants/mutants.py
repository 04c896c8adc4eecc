"""Small faults, each of which one test file must find: (file, text that stands there once, what replaces it, tests).

Faults of the commit buffer's rules are classes of `test_realtime_append_only`.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One fault.

    Attributes:
        file: Path from the root of the tree.
        old: Text that stands in it exactly once.
        new: Text in its place.
        tests: File in `test/` that fails then.
    """

    file: str
    old: str
    new: str
    tests: str


def _of(file: str, tests: str, *faults: tuple[str, str]) -> list[Mutant]:
    return [Mutant(file, old, new, tests) for old, new in faults]


REALTIME = "beingh_core/realtime"
LIMITS, REACH = "test_realtime_limits.py", "test_realtime_reach.py"
PATHS, SHAPES = "test_path_check.py", "test_self_collision_path.py"
LOGIC, CAUSES = "test_nodes_logic.py", "test_controller_causes.py"

MUTANTS = [
    *_of(
        f"{REALTIME}/limits.py",
        LIMITS,
        ("stop_rows(past_3J, parts.stop_acceleration,", "stop_rows(past_3J, 2.0 * parts.stop_acceleration,"),
        (
            "np.minimum(np.maximum(rows_KJ, np.minimum(limits.lower, start)), np.maximum(limits.upper, start))",
            "rows_KJ",
        ),
        ("np.minimum(limits.jerk * dt_s ** (order + 1), 2.0 * acceleration)", "2.0 * acceleration"),
        ("np.count_nonzero(rows_KJ != wanted_KJ)", "np.count_nonzero(rows_KJ != targets_KJ)"),
        ("return np.where(beyond, np.clip(targets_KJ, parts.lower, parts.upper), targets_KJ)", "return targets_KJ"),
    ),
    *_of(
        f"{REALTIME}/second_order.py",
        REACH,
        ("target_before = np.where(at_once, position, targets_KJ[0])", "target_before = position"),
        ("at_once &= np.abs(change) <= limits.acceleration + SAME", "pass"),
        ("wanted = _between(wanted, -limits.velocity, limits.velocity)", "pass"),
    ),
    *_of(
        f"{REALTIME}/second_order.py",
        LIMITS,
        ("wanted = _between(wanted, -slowest, fastest)", "pass"),
        ("return np.where(np.abs(reached - target) < SAME, target, reached)", "return reached"),
    ),
    *_of(
        f"{REALTIME}/third_order.py",
        REACH,
        ("self._goal_v = np.clip(slope - 1.5 * curve, least, most)", "self._goal_v = slope - 1.5 * curve"),
        ("return np.where(at_once, 0.0, rest) + points", "return rest + points"),
        ("reached, kept = self._safe_row(reached, q, v, a)", "kept = np.ones(J, dtype=bool)"),
    ),
    *_of(
        f"{REALTIME}/third_order.py",
        LIMITS,
        ("return push <= reach(V - speed + push, 1.0) + SLACK * V", "return push <= push"),
        ("return within & _safe(rows_KJ, v, a, loose, within)", "return within"),
        ("until[lands] = k + 3", "until[lands] = k + 9"),
    ),
    *_of(
        f"{REALTIME}/stopping.py",
        LIMITS,
        ("return x / (m + n.one) + m * n.half", "return x / (m + n.one) + m"),
        ("np.where(np.abs(step) < AT_REST * jerk, 0.0, step)", "np.where(np.abs(step) < jerk, 0.0, step)"),
        ("v + np.minimum(np.maximum(wanted, a - jerk), a + jerk)", "v + wanted"),
        ("q = np.where(is_velocity, v, q + v)", "q = q + v"),
    ),
    *_of(
        f"{REALTIME}/interpolation.py",
        "test_realtime_interpolation.py",
        ("most = np.maximum(3.0 / dt_s * room, 0.0)", "most = np.full_like(room, 1e9)"),
        ("(after - before) / (2.0 * dt_s)", "(after - before) / dt_s"),
    ),
    *_of(
        f"{REALTIME}/uac.py",
        "test_realtime_uac.py",
        ("math.ceil(latency_s / dt_s - 1e-9)", "math.ceil(latency_s / dt_s)"),
        ("if not d <= s <= h - d:", "if not d <= s <= h:"),
        ("max([self._budget, *self._recent])", "max([0, *self._recent])"),
    ),
    *_of(
        f"{REALTIME}/clock.py",
        "test_realtime_uac.py",
        ("return tick if self.stamp_ns(tick) >= stamp_ns else tick + 1", "return tick"),
    ),
    *_of(
        f"{REALTIME}/commit_buffer.py",
        "test_commit_buffer.py",
        ("if base > self._next + self.chunk_length:", "if base > self._next + 10 * self.chunk_length:"),
        ("if consumed > self.delay_steps:", "if consumed >= self.delay_steps:"),
        ("names.index(joint) for joint in self.joints", "names.index(joint) for joint in names"),
    ),
    *_of(
        f"{REALTIME}/commit_buffer.py",
        "test_commit_buffer_stops.py",
        ('self._counters["held"] += held', 'self._counters["held"] += 1'),
        ("if not all(map(np.array_equal, kept, rows_TJ)):", "if False:"),
    ),
    *_of(
        f"{REALTIME}/planner.py",
        "test_realtime_streams.py",
        ("if not unchanged:", "if False:"),
    ),
    *_of(
        f"{REALTIME}/planner.py",
        "test_chunk_schedule.py",
        ("max(newest + 2, next_tick + 1)", "newest + 2"),
    ),
    *_of(
        "beingh_core/contract/codec.py",
        "test_codec.py",
        ("np.clip(values_TJ, 0.0, 1.0)", "values_TJ"),
        ("position = position + rotation @ move", "position = position + move"),
        ("turn @ rotation", "rotation @ turn"),
        ("return vector if turns == 0 else axis", "return vector if True else axis"),
        ("if not result.converged:", "if result.converged:"),
        ("min(1.0, MAX_ROTATION_CORRECTION / max(angle, 1e-12))", "1.0"),
        ("position = start_position + start_rotation @ move", "position = position + rotation @ move"),
    ),
    *_of(
        "beingh_core/contract/codec.py",
        "test_contract_v2.py",
        ("values_TJ = values_TJ + _to_slot(first_J, signal)", "values_TJ = values_TJ + _to_slot(anchor_J, signal)"),
        ("coupling.scale * followed + coupling.offset", "followed + coupling.offset"),
        ("first = start if first_state is None else", "first = start if True else"),
    ),
    *_of(
        "beingh_core/contract/wire.py",
        "test_contract_v2.py",
        ("found[joint] = factor * values[name] + shift", "found[joint] = factor * values[name]"),
        ("if name not in self.joints and name not in self.names", "if name not in self.names"),
        ("(positions - np.array(self.shifts)) / np.array(self.factors)", "positions / np.array(self.factors)"),
    ),
    *_of(
        "beingh_core/inference/chunk_maker.py",
        "test_chunk_modes.py",
        ("nearest_turn(self._row(joints), near_J, self._endless)", "self._row(joints)"),
        ("np.where(np.isnan(begun.first_state), start_J, begun.first_state)", "start_J"),
        ("self._previous_state, self._commanded_J = begun.state, start_J", "self._previous_state = begun.state"),
    ),
    *_of(
        "beingh_core/data/views.py",
        "test_views.py",
        ("np.rot90(pixels_HWC, -camera.rotate // 90)", "np.rot90(pixels_HWC, camera.rotate // 90)"),
        ("shades[0] = 0", "pass"),
    ),
    *_of(
        "beingh_core/control/controller.py",
        LOGIC,
        ("if late_ns > self._max_late_ns:", "if late_ns > 1000 * self._max_late_ns:"),
        ("self._estops.add if active else self._estops.discard", "self._estops.add"),
        ("if self._estops:", "if False:"),
    ),
    *_of(
        "beingh_core/control/controller.py",
        CAUSES,
        (
            "elif result.accepted and not result.blocked and self._status.cause in (CHUNKS_SILENT, COLLISION):",
            "elif False:",
        ),
        ("if subscribed.lost and self._status.state == RUNNING:", "if False:"),
    ),
    *_of(
        "beingh_core/control/measured_joints.py",
        LOGIC,
        ("self._newest.items() if not math.isfinite(value)]", "self._newest.items() if value is None]"),
        ("now_ns - self._newest[n][0] > self._max_age_ns]", "False]"),
        ("if now_ns - self._recent[0][0] < REST_S * 1e9:", "if False:"),
    ),
    *_of(
        "beingh_core/control/tracking.py",
        CAUSES,
        ("if not share[joint] > 1.0:", "if True:"),
        ("if now_ns - self._bad_since_ns < self._patience_ns:", "if False:"),
        ("since_ns = measured_ns - self._delay_ns", "since_ns = measured_ns"),
    ),
    *_of(
        f"{REALTIME}/cut.py",
        "test_realtime_cut.py",
        ("return check(past_3J[-1], np.vstack([kept, tail]), known)", "return check(past_3J[-1], kept, known)"),
        ("min(found.row, total - 1), 1", "min(found.row + 1, total - 1), 1"),
        ("if count == 0:", "if count <= 1:"),
        ("while too_many - count > 1:", "while False:"),
    ),
    *_of(
        f"{REALTIME}/commit_buffer.py",
        "test_realtime_cut.py",
        ("if self._still_fits(draft):", "if True:"),
        ("draft.epoch and self._stop_reason is None", "draft.epoch"),
        ("same = self._epoch == draft.epoch and", "same ="),
        ("overtaken = self._next - chunk.base_tick - draft.consumed", "overtaken = 0"),
        ("made = [*self._rows(first - self._next), *", "made = [*self._rows(first - self._next - 1), *"),
    ),
    *_of(
        "beingh_core/contract/self_collision.py",
        PATHS,
        ("request.security_margin = min(share * margin,", "request.security_margin = min(0.0,"),
        ("if gap < already.get(pair, np.inf) - ROUNDING_M", "if gap < already.get(pair, -np.inf)"),
        ("gap < already.get(pair, np.inf)", "gap < np.inf"),
    ),
    *_of(
        "beingh_core/contract/self_collision.py",
        SHAPES,
        ("FINGERS_SHARE if all(self._is_finger[joint] for joint in joints) else 1.0", "1.0"),
        ("np.ceil(self._motion.bound(np.diff(path, axis=0))", "np.ceil(0.0 * self._motion.bound(path[1:])"),
    ),
    *_of(
        "beingh_core/contract/relative_motion.py",
        SHAPES,
        ("length += float(np.linalg.norm(model.jointPlacements[joint].translation))", "pass"),
        ("arms.keys() - others.keys()]", "arms.keys() & others.keys()]"),
    ),
    *_of("beingh_core/control/path_check.py", SHAPES, ("if contract.keep_out:", "if False:")),
    *_of(
        "beingh_core/control/path_check.py",
        PATHS,
        ("rows_KJ[:, self._is_joint], known)", "rows_KJ[:, self._is_joint] * 0.0, known)"),
    ),
    *_of(
        "beingh_core/control/controller.py",
        CAUSES,
        ("if result.blocked and (self._status.cause,", "if False and (self._status.cause,"),
        ("if self._status.cause == COLLISION:  #", "if False:  #"),
        ("command.tick - self._judged_tick > self._contract.policy.chunk_length", "False"),
    ),
]
