"""The monitor's page: one rich renderable of what was received. No ROS here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from beingh_ros.messages.thresholds import ERROR, OK, WARN, Finding
from beingh_ros.monitor.state import CONTROLLER, INFERENCE, SILENT_AFTER_S, STOPPED_STATES, MonitorState, Status

WORDS = {OK: "OK", WARN: "WARN", ERROR: "ERROR"}
COLOURS = {OK: "green", WARN: "yellow", ERROR: "red"}
# Told apart without colours, too.
SIGNS = {OK: "●", WARN: "▲", ERROR: "■"}
BAR_WIDTH = 32
WIDE, TALL = 100, 32
NEW_STOP_S = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What is around the monitor rather than in the robot.

    Attributes:
        title: Where it listens, such as the domain.
        hints: What to check, because nothing is received.
        recording: File that is being written, "" for none.
    """

    title: str
    hints: Sequence[str] = ()
    recording: str = ""


def page(state: MonitorState, around: Surroundings, now_s: float, width: int, height: int = 100) -> RenderableType:
    """The whole page.

    Args:
        state: What was received.
        around: Where it was received.
        now_s: Present monotonic time [s].
        width: Columns of the terminal.
        height: Its lines; where they are few, what is wrong comes first.
    """
    level, _ = state.verdict(now_s)
    parts: list[RenderableType] = [_head(state, around, level, width)]
    if state.statuses:
        parts += [_controller(state, now_s), _policy(state, now_s), _streams(state, now_s, width)]
    findings, hints = state.findings(now_s), [*around.hints, *state.hints()]
    if findings or hints:
        parts.insert(1 if height < TALL else len(parts), _look_at(findings, hints))
    return Group(*[part for part in parts if part is not None])


def _head(state: MonitorState, around: Surroundings, level: int, width: int) -> RenderableType:
    head = Table.grid(expand=True)
    head.add_column(no_wrap=True, overflow="ellipsis")
    head.add_column(justify="right", no_wrap=True)
    name = state.robot or "beingh monitor"
    place = f"/{state.namespace}" if state.namespace else ""
    recording = f"  [red]●[/red] {escape(around.recording)}" if around.recording else ""
    clock = time.strftime("%H:%M:%S")
    head.add_row(
        f"{_sign(level)} [bold {COLOURS[level]}]{WORDS[level]}[/]  [bold]{escape(name)}[/bold]{escape(place)}"
        f"  [dim]{escape(around.title)}[/dim]{recording}",
        f"[dim]{clock}[/dim]",
    )
    return head


def _controller(state: MonitorState, now_s: float) -> RenderableType | None:
    report = state.statuses.get(CONTROLLER)
    if report is None:
        return None
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column()
    dry = "  [yellow]dry run: nothing is sent[/yellow]" if report.values.get("dry_run") == "True" else ""
    colour = {"running": "green", "waiting": "yellow"}.get(state.control_state, "red")
    stopped = state.control_state in STOPPED_STATES
    reason = "" if stopped or state.control_reason.startswith(state.control_state) else state.control_reason
    rows.add_row("state", f"[bold {colour}]{escape(state.control_state)}[/]  {escape(reason)}{dry}")
    if state.last_stop is not None:
        rows.add_row("last stop", _stop(state))
    rows.add_row("buffer", _bar(state, report, now_s))
    rows.add_row(
        "ticks",
        f"{_number(report, 'tick_rate_hz', 1)} of {_number(report, 'tick_rate_hz_target', 0)} Hz   "
        f"jitter {_number(report, 'tick_jitter_ms', 1)} ms   "
        f"late by {_number(report, 'tick_lateness_ms_p50', 1)} ms, p99 {_number(report, 'tick_lateness_ms_p99', 1)} ms",
    )
    rows.add_row(
        "chunks",
        f"{_count(report, 'accepted')} used, {_count(report, 'late')} of them late   "
        f"{_count(report, 'useless')} useless   {_count(report, 'refused')} refused   "
        f"{_count(report, 'clips')} values limited",
    )
    share = report.number("tracking_error_share")
    if share is not None:
        rows.add_row("joints", f"lag of {100 * share:.4g} % of what stops it")
    return _panel("controller", report, rows, now_s)


def _stop(state: MonitorState) -> str:
    stop = state.last_stop
    cause = f"[bold]{escape(stop.cause)}[/bold]: " if stop.cause and stop.cause != stop.reason else ""
    ago_s = time.time() - stop.stamp_ns / 1e9
    when = f", {_duration(ago_s)} ago" if stop.stamp_ns and 0 <= ago_s < NEW_STOP_S else ""
    return f"{cause}{escape(stop.reason)}[dim]{when}[/dim]"


def _bar(state: MonitorState, report: Status, now_s: float) -> Text:
    """Steps of the newest chunk that are left, with the locked head marked."""
    depth, length = state.depth(now_s), state.chunk_length
    if depth is None or not length:
        return Text("nothing is being sent", style="dim")
    locked = int(report.number("delay_steps") or 0)
    cells, full = min(length, BAR_WIDTH), round(min(length, BAR_WIDTH) * min(depth, length) / length)
    colour = "red" if depth == 0 else "yellow" if depth < locked else "green"
    text = Text("━" * full, style=colour) + Text("─" * (cells - full), style="dim")
    words = f"  {depth} of {length} steps left" if depth else "  no steps left: it holds"
    return text + Text(words) + Text(f"   {locked} are locked", style="dim")


def _policy(state: MonitorState, now_s: float) -> RenderableType | None:
    report = state.statuses.get(INFERENCE)
    if report is None:
        return None
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column()
    rows.add_row("task", escape(report.values.get("instruction", "") or "none"))
    gate = report.values.get("gate", "")
    rows.add_row("gate", "[green]open[/green]" if gate == "open" else f"[yellow]{escape(gate)}[/yellow]")
    rate_hz = (state.statuses[CONTROLLER].number("tick_rate_hz_target") if CONTROLLER in state.statuses else 0) or 0
    planned = f" of {1e3 * (report.number('delay_steps') or 0) / rate_hz:.0f}" if rate_hz else ""
    rows.add_row(
        "time",
        f"inference {_number(report, 'inference_ms_p50', 0)} ms, p95 {_number(report, 'inference_ms_p95', 0)}   "
        f"picture to chunk {_number(report, 'latency_ms_p50', 0)} ms, "
        f"p95 {_number(report, 'latency_ms_p95', 0)}{planned}",
    )
    rows.add_row(
        "delay",
        f"{_number(report, 'consumed_delay_p50', 0)} ticks, longest {_number(report, 'consumed_delay_max', 0)}, "
        f"of {_count(report, 'delay_steps')} locked   {_count(report, 'chunks')} chunks"
        + "".join(
            f"   {_count(report, key)} {words}"
            for key, words in (("failures", "failures"), ("unreached_steps", "steps out of reach"))
            if report.number(key)
        ),
    )
    return _panel("policy", report, rows, now_s)


def _streams(state: MonitorState, now_s: float, width: int) -> RenderableType | None:
    if not state.streams:
        return None
    wide = width >= WIDE
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 1))
    table.add_column("stream", no_wrap=True)
    for name in ("Hz", "age ms", "of", *(("jitter ms",) if wide else ()), "lost", "refused"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("received", no_wrap=True)
    table.add_column("state", ratio=1, no_wrap=True, overflow="ellipsis")
    for name, status in state.streams.items():
        refused = _count(status, "refused")
        cells = [escape(name), _number(status, "rate_hz", 1), _ms(status, "age_s"), _ms(status, "max_age_s")]
        cells += [_number(status, "jitter_ms", 1)] if wide else []
        cells += [_count(status, "lost"), refused]
        cells += [escape(status.values.get("qos", ""))] if wide else []
        stale = now_s - status.received_s > SILENT_AFTER_S
        # The rest of the sentence stands below the table.
        words = status.message.partition(":")[0]
        table.add_row(*cells, f"{_sign(status.level)} {escape(words)}", style="dim" if stale else None)
    return table


def _look_at(findings: Sequence[Finding], hints: Sequence[str]) -> RenderableType:
    """What is wrong, and what to do or to check."""
    rows = Table.grid(padding=(0, 1))
    rows.add_column(no_wrap=True)
    rows.add_column()
    for level, text in findings:
        rows.add_row(_sign(level), escape(text))
    for hint in hints:
        rows.add_row("[dim]-[/dim]", escape(hint))
    level = max((level for level, _ in findings), default=OK)
    return Panel(rows, title="look at", title_align="left", border_style=COLOURS[level], box=box.ROUNDED)


def _panel(title: str, report: Status, rows: RenderableType, now_s: float) -> Panel:
    silent_s = now_s - report.received_s
    level = ERROR if silent_s > SILENT_AFTER_S else report.level
    silent = f" [dim]as of {silent_s:.0f} s ago[/dim]" if silent_s > SILENT_AFTER_S else ""
    return Panel(rows, title=f"{_sign(level)} {title}{silent}", title_align="left", border_style="dim", box=box.ROUNDED)


def _sign(level: int) -> str:
    return f"[{COLOURS[level]}]{SIGNS[level]}[/]"


def _number(status: Status, key: str, digits: int) -> str:
    value = status.number(key)
    return "-" if value is None else f"{value:.{digits}f}"


def _count(status: Status, key: str) -> str:
    return _number(status, key, 0)


def _ms(status: Status, key: str) -> str:
    value = status.number(key)
    return "-" if value is None else f"{1e3 * value:.0f}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
