"""The report of `beingh plan` as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_PARTS = {"encode": "pictures and words", "model": "model", "decode": "actions", "transport": "network and waiting"}
_GAIN, _MOST = 1.05, 3  # less is noise; of so many changes the best are told


def lines(report: Mapping[str, Any]) -> list[str]:
    """What was measured, what follows, whether it fits, and what could be changed."""
    return [*_asked(report), *_measured(report), *_verdict(report), *_changes(report), *_advice(report)]


def _asked(report: Mapping[str, Any]) -> Iterator[str]:
    sizes = ", ".join(f"{width}x{height}" for width, height in report["pictures"].values())
    trained = report["trained_delay"]
    yield (
        f"{report['robot']}: {report['rate_hz']:g} Hz, chunks of {report['chunk_length']} steps, budget "
        f"{report['latency_budget_ms']:.0f} ms and {_steps(report['margin_steps'])}, so d = {report['contract_delay']}; "
        f"s = {report['contract_execution_steps']}"
    )
    what = {"shape": "random weights of shape ", "server": "the server at ", "checkpoint": ""}[report["source"]]
    told = [f"{what}{report['policy']}"]
    if report["device"]:
        told += [report["device"], report["dtype"], f"{report['threads']} threads", f"{report['steps']} Euler steps"]
    told += [f"{report['passes']} passes", f"pictures {sizes}"]
    if trained is not None:
        told.append(f"trained for delays up to {trained}")
    yield ", ".join(told)
    if report["load"] > report["processors"]:
        yield (
            f"other programs were waiting for this machine's {report['processors']} processors (load {report['load']:g}): "
            "what follows holds for a machine as busy as that"
        )


def _measured(report: Mapping[str, Any]) -> Iterator[str]:
    chunk, parts = report["chunk_ms"], report["parts_ms"]
    told = ", ".join(f"{_PARTS[name]} {value:.1f}" for name, value in parts.items())
    yield ""
    yield f"a chunk      p50 {chunk['p50']:.1f} ms, p95 {chunk['p95']:.1f} ms, of {report['chunks']} ({told})"
    yield f"memory       {report['peak_memory_mb']:.0f} MB at most{' of this process' * (report['device'] != 'cuda')}"
    yield (
        f"so           L = {report['latency_ms']:.0f} ms with a picture that is {report['picture_age_ms']:g} ms old "
        f"(--picture-age-ms), d = {report['delay']}, {_horizon(report)}"
    )


def _horizon(report: Mapping[str, Any]) -> str:
    steps, locked, length = report["execution_steps"], report["locked"], report["chunk_length"]
    if steps is None:
        return f"no s: d is more than half of {length} steps"
    return f"s = {steps} ({locked} to {length - locked} can be)"


def _verdict(report: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    if report["fits"]:
        yield f"It fits: nothing has to change; the node locks d = {report['locked']}, as the budget says."
    else:
        yield "It does not fit:"
        yield from (f"  {problem}" for problem in report["problems"])


def _changes(report: Mapping[str, Any]) -> Iterator[str]:
    measured = [change for change in report["changes"] if "ratio" in change]
    width = max([len(change["name"]) for change in report["changes"]], default=0)
    if report["changes"]:
        yield ""
        yield f"{'change':{width}}  times as fast   chunk p50     L    d   of chunks"
    for change in measured:
        yield (
            f"{change['name']:{width}}  {change['ratio']:13.2f}  {change['chunk_ms']['p50']:7.1f} ms  {change['latency_ms']:4.0f} "
            f"{change['delay']:4d}  {change['chunks']:10d}   {_whether(change)}"
        )
    for change in report["changes"]:
        if "skipped" in change:
            yield f"{change['name']:{width}}  not measured: {change['skipped']}"


def _advice(report: Mapping[str, Any]) -> Iterator[str]:
    """What to change, the best first, where something has to."""
    if report["fits"]:
        return
    measured = sorted((one for one in report["changes"] if one.get("ratio", 0) > _GAIN), key=lambda one: -one["ratio"])
    enough = [one for one in measured if one["fits"]]
    yield ""
    if enough:
        yield "To make it fit, one of:"
    elif measured:
        yield "No change that was measured is enough. What helps:"
    else:
        yield "No change that was measured helps."
    yield from (f"  {one['name']}: {one['how']}" for one in (enough or measured)[:_MOST])
    if report["trained_delay"] is not None and report["locked"] > report["trained_delay"] and report["execution_steps"]:
        yield f"  a checkpoint that was trained for delays up to {report['locked']}"
    if report["contract_change"]:
        yield f"  in the contract, {_uac(report['contract_change'])}; the robot then acts on older pictures"
    longest = report["longest_chunk_ms"]
    if longest is not None and report["source"] != "server":
        yield f"  a policy server that gives a chunk within {longest:.0f} ms, network included (measure it with --server URL)"
    if any(change.get("ratio") for change in report["changes"]) and report["source"] != "server":
        yield "Steps, refinement, views and precision change what the robot does: see `beingh evaluate` before you rely on it."


def _whether(change: Mapping[str, Any]) -> str:
    if change["fits"]:
        return "fits"
    return f"fits with {_uac(change['contract_change'])}" if change["contract_change"] else "does not fit"


def _uac(keys: Mapping[str, float]) -> str:
    """Keys of a contract as it has them."""
    return f"uac: {{{', '.join(f'{name}: {value:g}' for name, value in keys.items())}}}"


def _steps(count: int) -> str:
    return f"{count} step{'s' * (count != 1)}"
