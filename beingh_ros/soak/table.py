"""What a fault run found, as tables for people."""

from __future__ import annotations

from collections import defaultdict

from beingh_core.evaluate.soak import FaultNote, SoakRecord, Verdict

MOST = 12  # lines of a kind that are worth reading


def show(verdict: Verdict, record: SoakRecord, rate_hz: float, interrupted_s: float | None = None) -> None:
    """Print everything; `interrupted_s` is after how long the run was interrupted [s], None when it was not."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(_faults(Table(title="Faults"), record.faults))
    console.print(_stops(Table(title="Stops: from the cause to rest, less the deceleration time"), verdict))
    if record.seam:
        title = "Velocity jump p95 \\[rad/s], of what the chunks wanted and of what was sent after the limits"
        console.print(_seams(Table(title=title), record))
    console.print(_figures(Table(title="On the wire"), verdict, rate_hz))
    for style, title, lines in (
        ("red", "broken commitments", verdict.prefix),
        ("red", "outside the limits", verdict.limit),
        ("red", "ticks", verdict.ticks.notes),
        ("yellow", "excused: the robot faster than its limits", verdict.excused),
    ):
        for line in lines[:MOST]:
            console.print(f"[{style}]{title}:[/{style}] {escape(str(line))}", highlight=False)
        if len(lines) > MOST:
            console.print(f"... and {len(lines) - MOST} more")
    for problem in verdict.problems:
        console.print(f"[red]not as promised:[/red] {escape(problem)}", highlight=False)
    if interrupted_s is not None:
        told = "no broken promise until then" if not verdict.problems else "see what was broken until then"
        console.print(
            f"[yellow]interrupted after {interrupted_s:.0f} s[/yellow]: {told}; nothing is shown for the rest"
        )
    else:
        console.print("[green]every promise was kept[/green]" if not verdict.problems else "")


def _faults(table, notes: list[FaultNote]):
    for column in ("fault", "times", "must", "as expected", "longest recovery \\[s]"):
        table.add_column(column)
    kinds = defaultdict(list)
    for note in notes:
        kinds[note.kind].append(note)
    for kind, those in sorted(kinds.items()):
        good = sum(not note.problem for note in those)
        longest = max((note.recover_s for note in those if note.recover_s is not None), default=None)
        table.add_row(
            kind,
            str(len(those)),
            those[0].expected,
            str(good) if good == len(those) else f"[red]{good}[/red]",
            "" if longest is None else f"{longest:.1f}",
        )
    return table


def _stops(table, verdict: Verdict):
    for column in (
        "cause",
        "times",
        "latency \\[ms], largest",
        "deceleration \\[ms]",
        "fastest joint \\[rad/s]",
        "recovered",
    ):
        table.add_column(column)
    causes = defaultdict(list)
    for note, stop in verdict.stops:
        causes[note.cause].append((note, stop))
    for cause, those in sorted(causes.items()):
        table.add_row(
            cause,
            str(len(those)),
            f"{max(stop.latency_ms for _, stop in those):.0f}",
            f"{max(stop.deceleration_ms for _, stop in those):.0f}",
            f"{max(stop.speed for _, stop in those):.2f}",
            f"{sum(note.recovered for note, _ in those)}",
        )
    return table


def _seams(table, record: SoakRecord):
    for column in (
        "joining of chunks",
        "wanted: at seams",
        "inside",
        "sent: at seams",
        "inside",
        "picked",
        "after \\[s]",
    ):
        table.add_column(column)
    for mode, seam in record.seam.items():
        table.add_row(
            mode.replace("_", " "),
            *(
                "" if value is None else f"{value:.3f}"
                for value in (
                    seam.p95_rad_s,
                    seam.inside_p95_rad_s,
                    seam.sent_p95_rad_s,
                    seam.sent_inside_p95_rad_s,
                )
            ),
            f"{seam.successes} of {seam.episodes}",
            "" if seam.success_s is None else f"{seam.success_s:.1f}",
        )
    return table


def _figures(table, verdict: Verdict, rate_hz: float):
    table.add_column("what")
    table.add_column("value")
    values, ticks = verdict.figures, verdict.ticks
    period, timer = values["tick_period_ms"], values["empty_timer_period_ms"]
    for what, value in (
        ("ticks sent", values["ticks"]),
        ("promised values compared with what was sent", verdict.comparisons),
        ("broken commitments", values["prefix_violations"]),
        ("ticks outside the limits", values["limit_violations"]),
        ("ticks missed, sent again", f"{values['ticks_missed']}, {values['ticks_doubled']}"),
        ("ticks that the onlooker itself lost", ticks.unwitnessed),
        (
            "the robot faster than its limits: unexplained, after a contact",
            f"{values['jumps_of_the_robot']}, {values['jumps_after_contact']}",
        ),
        (f"tick period p50, p99 \\[ms] (target {1e3 / rate_hz:g})", f"{period['p50']}, {period['p99']}"),
        ("empty timer p50, p99 \\[ms]", f"{timer['p50']}, {timer['p99']}"),
    ):
        table.add_row(what, str(value))
    return table
