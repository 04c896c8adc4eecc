"""The page of all claims: evidence.md and evidence.html."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path

from beingh_core.data.lerobot.storage import told_when_full
from beingh_core.evaluate.html import document, picture, tiles
from beingh_core.suite.evidence.claim import NOT_SEEN, SEEN, UNTESTED, Claim, Experiment, Finding

_STYLE = """
.claim { border: 1px solid var(--line); border-left: .3rem solid var(--line); border-radius: .4rem; padding: .8rem 1.1rem; margin: 1rem 0; }
.claim.good { border-left-color: var(--good); } .claim.bad { border-left-color: var(--bad); } .claim h2 { color: var(--ink); margin: 0 0 .3rem; }
.claim p { color: var(--ink); } .claim .soft { color: var(--soft); }
.verdict { font-weight: 600; } .claim.good .verdict { color: var(--good); } .claim.bad .verdict { color: var(--bad); }
pre { background: #f4f6f8; padding: .6rem .8rem; border-radius: .3rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; margin: .5rem 0 0; }
"""
_KIND = {SEEN: "good", NOT_SEEN: "bad", UNTESTED: ""}
_HEAD = (
    "What the paper claims, what was played here, and what came out. Intervals are 95 %; of shares they are Wilson's, of "
    "differences of shares they are bootstrapped over the scenes that both have played; where all scenes agree, "
    "Wilson's limit of those that may not."
)


def write(out: Path, found: Sequence[tuple[Claim, Finding]], experiments: Sequence[Experiment], quick: bool) -> Path:
    """Writes both files; returns the page.

    Args:
        out: Folder.
        found: Claims, in their order.
        experiments: Whose pictures are shown.
        quick: Whether few episodes were played.
    """
    pictures = [
        (title, one.folder(out, quick) / file)
        for one in experiments
        for file, title in one.pictures.items()
        if not one.missing(quick) and (one.folder(out, quick) / file).is_file()
    ]
    with told_when_full(out):
        (out / "evidence.md").write_text(_markdown(out, found, pictures, quick), encoding="utf-8")
        (out / "evidence.html").write_text(_html(out, found, pictures, quick), encoding="utf-8")
    return out / "evidence.html"


def _command(claim: Claim, out: Path, quick: bool) -> str:
    if claim.experiment is None:
        return ""
    return "beingh " + shlex.join(claim.experiment.command(out, quick))


def _told(quick: bool) -> str:
    return _HEAD + (" A quick run: few episodes, wide intervals." if quick else "")


def _markdown(
    out: Path, found: Sequence[tuple[Claim, Finding]], pictures: Sequence[tuple[str, Path]], quick: bool
) -> str:
    lines = ["# Evidence", "", _told(quick), ""]
    lines += ["| claim | experiment | result | verdict |", "|---|---|---|---|"]
    lines += [
        f"| {claim.claim} ({claim.source}) | {claim.test} | {finding.result} | **{finding.verdict}** |"
        for claim, finding in found
    ]
    commands = dict.fromkeys(command for claim, _ in found if (command := _command(claim, out, quick)))
    if commands:
        lines += ["", "```bash", *commands, "```"]
    lines += [line for title, path in pictures for line in ("", f"![{title}]({path.relative_to(out)})")]
    return "\n".join(lines) + "\n"


def _html(out: Path, found: Sequence[tuple[Claim, Finding]], pictures: Sequence[tuple[str, Path]], quick: bool) -> str:
    shown = [
        (sum(finding.verdict == verdict for _, finding in found), verdict, kind) for verdict, kind in _KIND.items()
    ]
    parts = ["<h1>Evidence</h1>", f"<p class=soft>{escape(_told(quick))}</p>", tiles(shown)]
    parts += [_block(claim, finding, _command(claim, out, quick)) for claim, finding in found]
    parts += [picture(title, path.read_bytes()) for title, path in pictures]
    return document("Being-H: evidence", parts, _STYLE)


def _block(claim: Claim, finding: Finding, command: str) -> str:
    test = f"<p>{escape(claim.test)}</p>" if claim.experiment else f"<p class=soft>{escape(claim.test)}</p>"
    return (
        f'<section class="claim {_KIND[finding.verdict]}"><h2>{escape(claim.claim)}</h2><p class=soft>{escape(claim.source)}</p>{test}'
        f"<p><span class=verdict>{escape(finding.verdict)}</span>: {escape(finding.result)}</p>"
        + (f"<pre>{escape(command)}</pre>" if command else "")
        + "</section>"
    )
