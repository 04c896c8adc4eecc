"""The demo of every robot, one after the other: a table for docs/robots.md and one picture of all."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from beingh_core.contract import load_contract
from beingh_core.contract.paths import find_in_package
from beingh_core.contract.simulation import check_simulation
from beingh_core.errors import BeingHError

STILL, TABLE, SHEET = "still.png", "table.md", "demos.png"
_TILE, _COLUMNS, _LINE, _GAP = (320, 240), 5, 22, 4


def run_all(out: Path, episodes: int, seed: int) -> int:
    """Run every robot that the simulator plays, write a table and a picture into `out`; 1 when one failed."""
    folder = find_in_package("config/robots")
    if folder is None:
        raise BeingHError("the robot contracts are not installed", remedy="install the package again")
    run, failed = [], []
    for robot in sorted(path.stem for path in folder.glob("*.yaml")):
        try:
            check_simulation(load_contract(robot))
        except BeingHError as error:
            print(f"{robot}: left out: {error}", flush=True)
            continue
        print(f"{robot}", flush=True)
        run.append(robot)
        for earlier in ("report.json", STILL):
            (out / robot / earlier).unlink(missing_ok=True)
        words = ["--robot", robot, "--episodes", str(episodes), "--seed", str(seed), "--out", str(out / robot)]
        if subprocess.run([sys.executable, "-m", "beingh_ros.demo", *words, "--policy", "expert"]).returncode:
            failed.append(robot)
    write_table(out, run)
    print(f"table: {out / TABLE}, picture: {out / SHEET}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def write_table(out: Path, robots: Sequence[str]) -> None:
    """Write the table and the picture of the robots whose demo has left a report in `out`/ROBOT."""
    found = {robot: json.loads(path.read_text()) for robot in robots if (path := out / robot / "report.json").exists()}
    lines = [
        "| robot | told | broken promises | limit violations | largest jump at a seam / of a late chunk / inside [rad/s] | tracking, 95 % / most [rad] |",
        "|---|---|---|---|---|---|",
        *(_row(robot, values) for robot, values in found.items()),
    ]
    (out / TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    stills = {robot: out / robot / STILL for robot in found if (out / robot / STILL).exists()}
    if stills:
        _sheet({robot: (path, _told(found[robot])) for robot, path in stills.items()}).save(out / SHEET)


def _told(values: Mapping) -> str:
    return f"{values['successes']} of {values['episodes']}"


def _row(robot: str, values: Mapping) -> str:
    keys = ("seam_velocity_jump_rad_s", "late_seam_velocity_jump_rad_s", "inside_velocity_jump_rad_s")
    seam, late, inside = (values[key] for key in keys)
    tracking = values["tracking_error"]
    what = "picked" if any(text.startswith("pick") for text in values["instruction_counts"]) else "followed"
    lag = "" if tracking["lag_ms"] is None else f", {tracking['lag_ms']} ms behind"
    return (
        f"| `{robot}` | {_told(values)} {what} | {values['prefix_violations']} | {values['limit_violations']} | "
        f"{_number(seam['max'])} / {_number(late['max'])} / {_number(inside['max'])} | "
        f"{_number(tracking['p95'])} / {_number(tracking['max'])}{lag} |"
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _sheet(stills: Mapping[str, tuple[Path, str]]) -> Image.Image:
    """Stills beside each other, each with its robot's name and result."""
    rows = math.ceil(len(stills) / _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * (_TILE[0] + _GAP), rows * (_TILE[1] + _LINE)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (robot, (path, told)) in enumerate(stills.items()):
        left, top = index % _COLUMNS * (_TILE[0] + _GAP), index // _COLUMNS * (_TILE[1] + _LINE)
        with Image.open(path) as still:
            sheet.paste(still.resize(_TILE), (left, top + _LINE))
        draw.text((left + 6, top + 4), f"{robot}: {told}", fill="black", font_size=14)
    return sheet
