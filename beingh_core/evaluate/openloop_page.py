"""The page of an evaluation on recordings: one HTML file with its pictures inside."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from beingh_core.evaluate import openloop_plots, plots
from beingh_core.evaluate.evaluated import Evaluated
from beingh_core.evaluate.html import document, picture, table, tiles
from beingh_core.evaluate.openloop import ALL, PERSON, POLICY, SLOT

_WHO = {ALL: "all steps", POLICY: "while the policy was in charge", PERSON: "while a person was in charge"}
_STEPS = ("1", "s", "H")
_NODE_ROWS = {
    "chunks": "chunks made",
    "late_chunks": "late: their locked prefix had run out when they came",
    "useless_chunks": "useless: all their steps had passed",
    "refused_chunks": "refused by the controller for other reasons",
    "observation_age_ms": "from the picture to the merged chunk, in the recording's time [ms]",
    "seam_velocity_jump_rad_s": "step of the sent velocity where a chunk took over, worst joint [rad/s]",
    "inside_velocity_jump_rad_s": "the same elsewhere [rad/s]",
    "sent_jerk_rad_s3": "jerk of what was sent, worst joint [rad/s³]",
    "recorded_jerk_rad_s3": "jerk of what was recorded, worst joint [rad/s³]",
    "gate_closed_ticks": "ticks at which no chunk could be made, and why",
    "stops": "stops of the controller",
}


def page(found: Evaluated, values: Mapping) -> str:
    """The HTML text.

    Args:
        found: what is shown in pictures.
        values: content of report.json.
    """
    comparison = found.comparison
    title = f"What the policy would have done: {found.robot}"
    names = ", ".join(map(str, found.recordings[:6])) + (" and more" if len(found.recordings) > 6 else "")
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=soft>{len(found.recordings)} recording(s): {escape(names)}</p>",
        *(
            f"<p class=soft>{escape(label)}: <code>{escape(path)}</code></p>"
            for label, path in found.checkpoints.items()
        ),
        tiles(_headlines(found, values)),
        *_compared(values),
        picture(f"Error of {comparison.main.name} by step", openloop_plots.errors_by_step(comparison)),
        _how(found, values),
    ]
    episode = str(comparison.episodes[0])
    if found.film:
        parts.append(picture(f"What the cameras saw: {episode}", plots.film_strip(found.film)))
    shown = openloop_plots.predictions(comparison, comparison.main, episode)
    parts.append(picture(f"What was commanded, and the predicted chunks over it: {episode}", shown))
    for slot in found.grippers:
        quantity = next(q for q in comparison.quantities if q.kind == SLOT and q.name == slot)
        shown = openloop_plots.predictions(comparison, quantity, episode)
        parts.append(picture(f"{slot}, 0 closed to 1 open: {episode}", shown))
    parts += _errors(found, values)
    parts += _grippers(values)
    parts += _nodes(found, values)
    parts += _rest(found, values)
    return document(title, parts)


def _headlines(found: Evaluated, values: Mapping) -> list[tuple[object, str, str]]:
    comparison, shown = found.comparison, []
    main, unit = comparison.main.name, comparison.main.unit
    for policy in comparison.policies:
        errors = values["errors"][ALL]["quantities"][f"{comparison.main.kind}:{main}"]["errors"]
        skill = values["skill"][policy]
        share, best = skill["against_best_trivial"], skill["best_trivial"]
        mean = errors[policy]["1..s"]["mean"]
        shown.append((f"{text(mean)} {unit}", f"{policy}: mean error of {main} in steps that would run", ""))
        if share is not None:
            label = f"{policy}: {'less' if share >= 0 else 'more'} error than “{best}”"
            shown.append((_percent(abs(share)), label, "good" if share > 0 else "bad"))
        if nodes := values["nodes"].get(policy):
            late = nodes["late_chunks"]
            shown.append((late, f"{policy}: late chunks of {nodes['chunks']}", "bad" if late else "good"))
    if not values["nodes"]:
        shown.append((values["chunks"], "chunks", ""))
    return shown


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share < 10 else f"{share:.0f} times"


def _compared(values: Mapping) -> list[str]:
    told = values.get("compared")
    if not told:
        return []
    unit = values["main"]["unit"]
    line = f"A = {told['A']}, B = {told['B']}: <b>{escape(told['verdict'])}</b>."
    if told["low"] is not None:
        line += (
            f" A minus B: {text(told['difference'])} {unit}, 95 % interval {text(told['low'])} to {text(told['high'])}"
            f" ({told['pairs']} pairs of chunks from the same observations and noise, drawn in {told['units']} units)."
        )
    return ["<h2>Which is better</h2>", f"<p>{line}</p>"]


def _how(found: Evaluated, values: Mapping) -> str:
    steps = values["steps"]
    told = (
        f"A chunk's first {steps['locked']} steps are locked to what was recorded; then come {steps['decided']} decided steps, of "
        f"which {steps['executed']} run before the next chunk takes over. “Hold” stays, “last velocity” goes on as before, “mean” "
        "does what the recordings do on average: they see nothing."
    )
    spread = [
        f"{policy} differs from itself by {text(one['1..s'])} {values['main']['unit']} when it starts from other noise"
        for policy, one in values["noise_spread"].items()
    ]
    more = f" {'; '.join(spread)}: an error of that size is chance." if spread else ""
    return f"<p class=soft>{escape(told + more)}</p>"


def _errors(found: Evaluated, values: Mapping) -> list[str]:
    sources = (*found.comparison.policies, *found.comparison.trivial)
    parts = ["<h2>Mean errors at the first, the last executed and the last step</h2>",
             "<p class=soft>Each cell: step 1 / s / K, all that a chunk decides. “Moved” is how far the recording itself went from step 1.</p>"]  # fmt: skip
    for who, told in values["errors"].items():
        if who != ALL and told["steps"] == values["errors"][ALL]["steps"]:
            parts.append(f"<p class=soft>All of them {escape(_WHO[who])}.</p>")
            continue
        rows = []
        for key, quantity in told["quantities"].items():
            cells = [quantity["errors"][source] for source in sources]
            row = [key.partition(":")[2], quantity["kind"], quantity["unit"], _three(quantity["moved"])]
            rows.append(row + [_three(cell) for cell in cells])
        parts.append(f"<p><b>{escape(_WHO[who])}</b> ({told['steps']} steps)</p>")
        parts.append(table(["", "", "unit", "moved", *sources], rows))
    return parts


def _three(by_step: Mapping) -> str:
    return "\u00a0/\u00a0".join(text(by_step[label]["mean"]) for label in _STEPS)


def _grippers(values: Mapping) -> list[str]:
    rows = [
        [slot, source, str(told["recorded"]), str(told["missed"]), str(told["extra"]), text(told["mean_offset_s"])]
        for slot, by_source in values["gripper"].items()
        for source, told in by_source.items()
    ]
    head = ["gripper", "", "closings and openings recorded", "missed", "extra", "mean time off [s]"]
    return ["<h2>Gripper timing</h2>", table(head, rows)] if rows else []


def _nodes(found: Evaluated, values: Mapping) -> list[str]:
    if not values["nodes"]:
        return []
    policies = list(values["nodes"])
    rows = [
        [meaning, *(_told(values["nodes"][policy][key]) for policy in policies)] for key, meaning in _NODE_ROWS.items()
    ]
    parts = ["<h2>What the nodes did</h2>", table(["", *policies], rows)]
    ages = {policy: nodes.observation_age_ms for policy, nodes in found.nodes.items()}
    covered = 1e3 * found.delay / found.comparison.rate_hz
    parts.append(
        picture("Age of the observation when its chunk was merged",
                openloop_plots.histogram(ages, found.comparison, "[ms] of the recording's time", covered))
    )  # fmt: skip
    return parts


def _rest(found: Evaluated, values: Mapping) -> list[str]:
    parts = []
    if values["gate"]:
        shown = openloop_plots.histogram(
            found.gates, found.comparison, "gate g: 1 lets the correction through, 0 nothing"
        )
        parts.append(picture("Manifold-preserving gate", shown))
    unit = values["main"]["unit"]
    rows = [
        [f"gap between two chunks where the newer takes over [{unit}]: {policy}", _told(told)]
        for policy, told in values["chunk_gaps"].items()
    ]
    rows += [[f"jerk, chunks put one behind the other [{unit}/s³]: {s}", _told(t)] for s, t in values["jerk"].items()]
    rows += [[f"inference [ms]: {policy}", _told(told)] for policy, told in values["inference_ms"].items()]
    rows += [[name, _told(value)] for name, value in values["settings"].items()]
    parts += ["<h2>More figures, and how it was done</h2>", table(["", ""], rows)]
    if values["notes"]:
        items = "".join(f"<li>{escape(note)}</li>" for note in values["notes"])
        parts += ["<h2>Notes</h2>", f"<ul>{items}</ul>"]
    return parts


def _told(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {text(one)}" for name, one in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return "; ".join(map(str, value)) or "none"
    return text(value)


def text(value: object) -> str:
    """A figure for people: three digits, - for none."""
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
