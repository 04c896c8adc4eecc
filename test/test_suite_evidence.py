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
from beingh_core.suite.evidence import claims, paired_rules, rules
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


def effect(more, low, high, scenes=20, **other):
    return {"more": more, "low": low, "high": high, "scenes": scenes} | other


def test_a_difference_that_is_the_same_in_every_scene_may_yet_be_another_in_some():
    assert paired_rules.interval(effect(0.1, -0.05, 0.25)) == (-0.05, 0.25)
    other = wilson(0, 20)[1]
    assert paired_rules.interval(effect(0.0, 0.0, 0.0)) == (-other, other)
    assert paired_rules.interval(effect(1.0, 1.0, 1.0)) == (1.0 - other, 1.0)
    assert paired_rules.interval(effect(0.0, None, None, scenes=1)) == (-wilson(0, 1)[1], wilson(0, 1)[1])
    assert paired_rules.interval(effect(None, None, None, scenes=1)) == (-1.0, 1.0)


def gates(effects, picked=10, off=()):
    """Figures of `suite shift`: passes 1 to 3 with and without a shift, effects of (passes, more, low, high)."""
    points = [
        share(successes, 20, mpg=mpg, steps=4, shift=shift, gate_mean=gate)
        for mpg in "123"
        for shift, successes, gate in (("none", 20, 0.225), ("noise:20", picked, 0.23))
    ]
    points += [share(0, 20, mpg="off", steps=4, shift=shift, gate_mean=None) for shift in off]
    passes = [effect(*rest, mpg=mpg, against_mpg="1", shifted=True) for mpg, *rest in effects]
    without = [effect(1.0, 0.9, 1.0, mpg="1", against_mpg="off", shifted=True) for _ in off[:1]]
    return {
        "points": points,
        "effects": [*without, *passes, effect(0.9, 0.8, 1.0, mpg="3", against_mpg="1", shifted=False)],
    }


@pytest.mark.parametrize(
    ("effects", "picked", "verdict"),
    [
        ([("2", 0.1, -0.05, 0.25), ("3", 0.2, 0.05, 0.35)], 10, SEEN),
        ([("2", 0.0, -0.05, 0.05), ("3", -0.2, -0.3, -0.1)], 10, NOT_SEEN),
        ([("2", 0.0, -0.05, 0.05), ("3", 0.0, -0.2, 0.2)], 10, UNTESTED),
        ([("2", 0.0, -0.05, 0.05)], 20, UNTESTED),
        ([("2", 0.0, -0.05, 0.05)], 0, NOT_SEEN),
        ([], 10, UNTESTED),
    ],
)
def test_gating_is_judged_by_passes_under_shifts(effects, picked, verdict):
    assert paired_rules.gated(gates(effects, picked)).verdict == verdict
    with_off = paired_rules.gated(gates(effects, picked, off=("none", "noise:20")))
    assert with_off.verdict == verdict  # though one pass picks all, and none without the gate
    if effects:
        assert (
            "without the gate and without a shift 0 of 20 (0.00; 0.00 to 0.16): no fair comparison" in with_off.result
        )
        assert "the gate's mean with them: no shift 0.225, noise:20 0.230" in with_off.result


@pytest.mark.parametrize(
    ("found", "scenes", "verdict"),
    [
        ((0.0, 0.0, 0.0), 36, SEEN),
        ((0.0, 0.0, 0.0), 10, UNTESTED),
        ((-0.03, -0.08, 0.0), 36, SEEN),
        ((-0.2, -0.3, -0.05), 36, NOT_SEEN),
        ((-0.1, -0.3, 0.1), 36, UNTESTED),
    ],
)
def test_few_steps_must_pick_as_many_as_the_most(found, scenes, verdict):
    points = [share(scenes, scenes, steps=steps, time_s=5.0) for steps in (2, 4, 8)]
    own = effect(*found, scenes=scenes, steps=4, against_steps=8, shifted=False)
    other = effect(-1.0, -1.0, -0.9, steps=2, against_steps=8, shifted=False)
    figures = {"points": points, "effects": [other, own, own | {"shifted": True, "low": -1.0, "high": -0.9}]}
    assert paired_rules.few_steps(4)(figures).verdict == verdict
    assert paired_rules.few_steps(2)(figures).verdict == NOT_SEEN
    assert paired_rules.few_steps(3)(figures).verdict == UNTESTED
    nothing = [point | {"successes": 0} for point in points]
    assert paired_rules.few_steps(4)(figures | {"points": nothing}).verdict == UNTESTED


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ((0.0, 0.0, 0.0), SEEN),
        ((0.2, 0.05, 0.3), NOT_SEEN),
        ((-0.2, -0.3, -0.05), NOT_SEEN),
        ((0.1, -0.1, 0.3), UNTESTED),
    ],
)
def test_unused_slots_must_change_nothing_either_way(found, verdict):
    models = [share(30, 36, checkpoint=name, apart=0.002) for name in ("released fr3", "projected fr3")]
    effects = [effect(*found, scenes=36, first="projected fr3", second="released fr3")]
    told = paired_rules.undisturbed({"models": models, "effects": effects})
    assert told.verdict == verdict and "their chunks 0.002 apart" in told.result
    nothing = [one | {"successes": 0} for one in models]
    assert paired_rules.undisturbed({"models": nothing, "effects": effects}).verdict == UNTESTED


def trained(picked, more, deeper=(-0.02, -0.06, 0.02)):
    """Figures of `suite fewshot` of one start, two depths: its picks of 50, what it picks more than nothing, and at depth 2 than at 0."""
    models = [share(n, 50, checkpoint=name) for name, n in (("a_frozen0", picked), ("a_frozen2", picked))]
    models += [share(5, 50, checkpoint=f"nothing_frozen{depth}") for depth in (0, 2)]
    effects = [effect(*more, first="a_frozen0", second="nothing_frozen0")]
    effects += [effect(*deeper, first="a_frozen2", second="a_frozen0")]
    return {"models": models, "effects": effects}


@pytest.mark.parametrize(
    ("picked", "more", "verdict"),
    [
        (40, (0.7, 0.5, 0.8), SEEN),
        (40, (0.0, -0.1, 0.1), NOT_SEEN),
        (10, (0.1, 0.05, 0.15), NOT_SEEN),
        (22, (0.3, 0.2, 0.4), UNTESTED),
        (40, (0.1, -0.1, 0.3), UNTESTED),
    ],
)
def test_pretraining_must_beat_nothing_and_be_of_use(picked, more, verdict):
    told = paired_rules.pretrained(("a",))(trained(picked, more))
    assert told.verdict == verdict and f"a {picked} of 50" in told.result and "nothing 5 of 50" in told.result


@pytest.mark.parametrize(
    ("picked", "deeper", "verdict"),
    [
        (40, (-0.02, -0.06, 0.02), SEEN),
        (40, (-0.3, -0.4, -0.2), NOT_SEEN),
        (40, (-0.1, -0.3, 0.1), UNTESTED),
        (5, (0.0, 0.0, 0.0), UNTESTED),
    ],
)
def test_frozen_layers_must_keep_what_there_was(picked, deeper, verdict):
    told = paired_rules.frozen(("a",), (0, 2), 2)(trained(picked, (0.7, 0.5, 0.8), deeper))
    assert told.verdict == verdict and f"2 frozen {picked} of 50" in told.result


def test_the_rules_read_what_the_commands_write():
    """The names of models and of their effects are those of a plan with the experiment's own arguments."""
    from beingh_core.suite.fewshot import name_of

    given = build_parser().parse_args(claims.FEWSHOT.command(Path("out"), quick=True))
    starts = [text.partition("=")[0] for text in given.starts]
    assert starts == [*claims.STARTS, "nothing"]
    assert given.freeze == ",".join(map(str, claims.DEPTHS)) and claims.HALF_FROZEN in claims.DEPTHS
    assert name_of(starts[0], claims.HALF_FROZEN) == "generalist_frozen2"


def test_every_experiment_has_a_command_that_exists_and_every_claim_a_judge_or_a_reason():
    parser = build_parser()
    for experiment in claims.EXPERIMENTS:
        for quick in (True, False):
            given = parser.parse_args(experiment.command(Path("out"), quick))
            assert given.out.parent.name == ("quick" if quick and experiment.quick is not None else "full")
            assert given.out == Path("out") / given.out.parent.name / experiment.name
            assert given.workers == 0
    assert sum(one.minutes[0] for one in claims.EXPERIMENTS) / 2 < 17  # of 20 on two cores: loading is not shared
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


def test_what_takes_hours_is_told_of_a_quick_run_with_its_command(monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["evidence", "--quick", "--only", "fewshot", "--out", "e"]) == 0
    assert "0 of 1 experiments, estimated at 0 minutes" in capfd.readouterr().out
    text = Path("e/evidence.md").read_text()
    assert text.count("takes hours of training, so only a full run does it | **could not test**") == 2
    assert "beingh suite fewshot --robot ur5e_2f85_eef" in text and "--out e/full/fewshot" in text
    assert main(["evidence", "--only", "fewshot", "--out", "e"]) == 0
    assert Path("e/evidence.md").read_text().count("no checkpoint checkpoints/generalist, checkpoints/fr3_cubes |") == 2


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
