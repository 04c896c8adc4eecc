"""`beingh evidence`: the rules of its verdicts, its commands, what cannot be tested, and its page."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from beingh_core.cli import build_parser, main
from beingh_core.evaluate.intervals import wilson
from beingh_core.suite.evidence import claims, rules
from beingh_core.suite.evidence import run as running
from beingh_core.suite.evidence.claim import NOT_SEEN, SEEN, UNTESTED, Experiment


def share(successes, episodes, **other):
    low, high = wilson(successes, episodes)
    return {"successes": successes, "episodes": episodes, "low": low, "high": high, "told": episodes} | other


def body(robot, successes, kind="told", episodes=50):
    return share(successes, episodes, robot=robot, kind=kind)


def point(delay, successes, episodes=50, method="uac", seam=0.1, inside=0.2):
    return share(successes, episodes, method=method, delay=delay, lock=min(delay, 6), seam=seam, inside=inside)


@pytest.mark.parametrize(
    ("picked", "episodes", "verdict"),
    [
        ((50, 40, 45, 41, 50), 50, SEEN),
        ((50, 20, 45, 41, 50), 50, NOT_SEEN),
        ((5, 3, 5, 5, 5), 5, UNTESTED),
        ((5, 5), 5, UNTESTED),
    ],
)
def test_picks_are_judged_by_the_worst_body(picked, episodes, verdict):
    found = rules.picks([body(f"r{i}", count, episodes=episodes) for i, count in enumerate(picked)])
    assert found.verdict == verdict
    assert f"r0 {picked[0]} of {episodes} (1.00; {wilson(picked[0], episodes)[0]:.2f} to 1.00)" in found.result


@pytest.mark.parametrize(
    ("wrong", "episodes", "verdict"), [(0, 50, SEEN), (48, 50, UNTESTED), (50, 50, UNTESTED), (1, 2, UNTESTED)]
)
def test_a_control_fails_where_the_intervals_are_apart(wrong, episodes, verdict):
    figures = [body("a", episodes, episodes=episodes), body("a", wrong, "wrong_instruction", episodes)]
    assert rules.fails("wrong_instruction")(figures).verdict == verdict
    assert rules.fails("wrong_statistics")(figures).verdict == UNTESTED
    better = [body("a", 5), body("a", 45, "wrong_instruction")]
    assert rules.fails("wrong_instruction")(better).verdict == NOT_SEEN


@pytest.mark.parametrize(("worst", "episodes", "verdict"), [(45, 50, SEEN), (30, 50, NOT_SEEN), (8, 10, UNTESTED)])
def test_success_under_delay_is_compared_with_none(worst, episodes, verdict):
    figures = [point(d, episodes, episodes) for d in (0, 2)] + [point(8, worst, episodes), point(12, 0, episodes)]
    figures.append(point(4, 0, episodes, method="naive"))
    assert rules.kept(8)(figures).verdict == verdict
    assert rules.kept(8)(figures[1:]).verdict == UNTESTED


def test_seams_are_judged_at_the_delays_that_were_taught():
    good = [point(0, 5, seam=0.9), point(4, 5), point(8, 5, seam=0.9)]
    assert rules.smooth(good).verdict == SEEN
    assert rules.smooth([*good, point(6, 5, seam=0.3)]).verdict == NOT_SEEN
    assert rules.smooth([point(0, 5)]).verdict == UNTESTED


def test_every_experiment_has_a_command_that_exists_and_every_claim_a_judge_or_a_reason():
    parser = build_parser()
    for experiment in claims.EXPERIMENTS:
        for quick in (True, False):
            given = parser.parse_args(experiment.command(Path("out"), quick))
            assert given.out == Path("out") / ("quick" if quick else "full") / experiment.name
    assert sum(one.minutes[0] for one in claims.EXPERIMENTS) < 20
    for claim in claims.CLAIMS:
        assert (claim.experiment in claims.EXPERIMENTS and claim.judge and not claim.reason) or claim.reason


@pytest.fixture
def small(monkeypatch, tmp_path):
    """One experiment of two points, another without its checkpoint, and one whose command is refused."""
    latency = ("suite", "latency", "--robot", "fr3", "--checkpoint", claims.FR3, "--methods", "uac")
    make = lambda name, quick, checkpoint: Experiment(
        name=name, arguments=latency, quick=quick, full=(), checkpoints=(checkpoint,), minutes=(1.0, 1.0),
        pictures={"success.png": "Picks"},
    )  # fmt: skip
    short = make("short", ("--delays", "0,4", "--episodes", "1", "--seconds", "1"), claims.FR3)
    absent = make("absent", (), str(tmp_path / "nowhere"))
    refused = make("refused", ("--delays", "99"), claims.FR3)
    made = [
        claims.Claim(claim=f"<{one.name}>", source="s", test="t", experiment=one, judge=rules.kept(8))
        for one in (short, absent, refused)
    ]
    for name, value in (("EXPERIMENTS", (short, absent, refused)), ("CLAIMS", (*made, claims.CLAIMS[-1]))):
        monkeypatch.setattr(running, name, value)


def test_the_page_tells_what_was_played_and_what_could_not_be(small, tmp_path, capfd):
    assert main(["evidence", "--quick", "--only", "short,absent", "--out", str(tmp_path / "a")]) == 0
    assert "1 of 2 experiments" in capfd.readouterr().out
    text = (tmp_path / "a" / "evidence.md").read_text()
    assert f"no checkpoint {tmp_path / 'nowhere'} | **could not test**" in text and "quick run" in text
    assert "no picks without a delay to compare with | **could not test**" in text  # a second is too short to pick
    html = (tmp_path / "a" / "evidence.html").read_text()
    assert "&lt;short&gt;" in html and html.count("data:image/png") == 1 and "physical robot" not in html
    rows = (tmp_path / "a" / "quick" / "short" / "episodes.jsonl").read_text().splitlines()
    assert len(rows) == len({json.dumps(json.loads(row)) for row in rows}) == 2


def test_an_experiment_that_fails_costs_only_its_own_claims(small, tmp_path, capfd):
    assert main(["evidence", "--quick", "--only", "refused", "--out", str(tmp_path)]) == 1
    assert "its command ended with status 2 | **could not test**" in (tmp_path / "evidence.md").read_text()
    assert "0 to 16 steps" in capfd.readouterr().err


def test_a_sigterm_ends_the_command_too(small, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(SystemExit) as ended:
        main(["evidence", "--quick", "--only", "short", "--out", str(tmp_path)])
    assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
    assert not subprocess.run(["pgrep", "-f", f"suite latency .*{tmp_path}"], capture_output=True).stdout


def test_a_file_in_place_of_the_folder_is_told(tmp_path, capsys):
    (tmp_path / "x").touch()
    assert main(["evidence", "--only", "latency", "--out", str(tmp_path / "x")]) == 2
    assert "no folder can be made here" in capsys.readouterr().err


def test_an_unknown_experiment_is_refused(tmp_path, capsys):
    assert main(["evidence", "--only", "latncy", "--out", str(tmp_path / "x")]) == 2
    assert "no experiment `latncy`" in capsys.readouterr().err and not (tmp_path / "x").exists()
