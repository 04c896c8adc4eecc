"""`beingh suite latency`: its figures, how it goes on, what it refuses, and one real episode."""

import json

import numpy as np
import pytest
from train_support import contract_with

from beingh_core.cli import main
from beingh_core.errors import BeingHError
from beingh_core.evaluate.intervals import Z, wilson
from beingh_core.suite import latency
from beingh_core.suite.journal import ROWS, SETTINGS, Journal
from beingh_core.suite.options import named
from beingh_core.suite.points import points, verdicts

CHECKPOINT = "checkpoints/fr3_cubes"
KEYS = ("name", "seed")


def row(delay=0, seed=0, success=True, **other):
    told = {"checkpoint": "c", "method": "uac", "delay": delay, "seed": seed, "lock": delay, "trained_delay": 6}
    figures = {
        "success": success,
        "time_s": 4.0,
        "jerk": 10.0,
        "held": 2,
        "ticks": 20,
        "late": 1,
        "refused": 0,
        "broken": 0,
    }
    jumps = {"seam": [0.1], "inside": [0.2, 0.2], "wanted_seam": [], "wanted_inside": [0.3]}
    return told | figures | jumps | other


@pytest.mark.parametrize(("successes", "trials"), [(1, 20), (10, 20), (19, 20), (97, 100)])
def test_the_ends_of_the_interval_are_the_shares_that_a_test_would_just_allow(successes, trials):
    """By its definition: |p - k/n| = z sqrt(p (1 - p) / n) at both ends."""
    for end in wilson(successes, trials):
        assert abs(end - successes / trials) == pytest.approx(Z * np.sqrt(end * (1 - end) / trials))


def test_the_interval_of_none_and_of_all():
    low, high = wilson(0, 10)
    assert low == 0.0 and high == pytest.approx(Z**2 / (10 + Z**2))
    assert wilson(10, 10) == (pytest.approx(1 - high), 1.0) and wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(BeingHError, match="5 successes of 4 trials"):
        wilson(5, 4)


def test_the_figures_of_a_point_by_hand():
    rows = [row(4, 0), row(4, 1, False, time_s=20.0, jerk=30.0, seam=[0.5], held=18), row(0, 0)]
    first, second = points(rows)
    assert (first.delay, second.delay) == (0, 4) and (second.successes, second.episodes) == (1, 2)
    assert (second.low, second.high) == wilson(1, 2) and second.share == 0.5
    assert second.time_s == 4.0 and second.jerk == 20.0 and second.held == 0.5 and second.late == 2
    assert second.seam == pytest.approx(0.48) and second.inside == 0.2 and second.wanted_seam is None
    assert points([row(success=False)])[0].time_s is None


def test_the_verdict_is_about_the_worst_delay_and_the_rough_seams_up_to_half_a_chunk():
    rows = [row(d, seed, success=(d, seed) not in ((4, 0), (12, 0), (12, 1))) for d in (0, 2, 4, 12) for seed in (0, 1)]
    [told] = verdicts(points([*rows, row(8, seam=[0.3])]), 8)
    assert "0.50 of the successes without a delay at the worst, delay 4" in told and "larger at delay 8." in told
    [told] = verdicts(points(rows), 3)
    assert "1.00 of" in told and "no larger at any" in told
    assert verdicts(points([row(2)]), 8) == verdicts(points([row(0, success=False), row(2)]), 8) == []


def test_a_journal_goes_on_and_drops_what_a_killed_process_left_of_a_row(tmp_path):
    with Journal(tmp_path, {"seconds": 1.5, "of": {"a": 1}}, KEYS) as journal:
        journal.add({"name": "a", "seed": 0})
        with pytest.raises(BeingHError, match="another process writes"):
            Journal(tmp_path, {"seconds": 1.5, "of": {"a": 1}}, KEYS)
    with open(tmp_path / ROWS, "ab") as file:
        file.write(b'{"name": "a", "se')
    with Journal(tmp_path, {"seconds": 1.5, "of": {"b": 2}}, KEYS) as journal:
        assert journal.has("a", 0) and not journal.has("a", 1) and len(journal.rows) == 1
        journal.add({"name": "b", "seed": 0})
    assert json.loads((tmp_path / SETTINGS).read_text())["of"] == {"a": 1, "b": 2}
    assert [json.loads(line)["name"] for line in (tmp_path / ROWS).read_text().splitlines()] == ["a", "b"]


def test_rows_of_other_settings_or_without_any_and_damaged_ones_are_refused(tmp_path):
    with Journal(tmp_path, {"seconds": 1.5, "of": {"a": 1}}, KEYS) as journal:
        journal.add({"name": "a", "seed": 0})
    for settings, told in (
        ({"seconds": 2.0, "of": {"a": 1}}, "seconds 1.5, not 2.0"),
        ({"seconds": 1.5, "of": {"a": 3}}, "of.a 1, not 3"),
    ):
        with pytest.raises(BeingHError, match=told):
            Journal(tmp_path, settings, KEYS)
    (tmp_path / ROWS).write_text('{"name": "a"}\n')
    with pytest.raises(BeingHError, match="line 1 is no row"):
        Journal(tmp_path, {"seconds": 1.5, "of": {"a": 1}}, KEYS)
    (tmp_path / SETTINGS).unlink()
    with pytest.raises(BeingHError, match="without their settings"):
        Journal(tmp_path, {"seconds": 1.5, "of": {"a": 1}}, KEYS)


def run(out, *words):
    return main(["suite", "latency", "--robot", "fr3", "--checkpoint", CHECKPOINT, "--out", str(out), *map(str, words)])


def test_a_run_plays_what_is_missing_and_no_more(tmp_path, monkeypatch, capsys):
    played = []

    def play(given, checkpoint, method, delay, seed):
        played.append((method, delay, seed))
        if len(played) == 3:
            raise KeyboardInterrupt
        return row(delay, seed, checkpoint=checkpoint, method=method)

    monkeypatch.setattr(latency, "play", play)
    short = ("--methods", "uac,naive", "--delays", "0,4", "--episodes", 1)
    assert run(tmp_path, *short) == 130
    assert run(tmp_path, *short) == 0
    assert sorted(played[3:]) == [("naive", 0, 0), ("naive", 4, 0)] and len(played) == 5
    assert run(tmp_path, *short[:-1], 2) == 0 and sorted(played[5:])[0] == ("naive", 0, 1) and len(played) == 9
    text = (tmp_path / "report.md").read_text()
    assert "| fr3_cubes | uac | 4 | 2 of 2 | 1.00 (0.34 to 1.00) | 4.0 | 10 | 0.100 | 0.200 | 10 % | 2 | 0 |" in text
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [(p["method"], p["delay"]) for p in figures] == [("uac", 0), ("uac", 4), ("naive", 0), ("naive", 4)]
    assert "<svg" not in (page := (tmp_path / "report.html").read_text()) and page.count("data:image/png") == 4
    assert run(tmp_path, *short, "--jitter", 1) == 2
    assert "jitter 0, not 1" in capsys.readouterr().err and len(played) == 9


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--methods", "uca"), "there is no method `uca`"),
        (("--methods", "uac,uac"), "each once"),
        (("--delays", ""), "each once, and one at least"),
        (("--delays", "0,x"), "no list of numbers"),
        (("--delays", "17"), "0 to 16 steps"),
        (("--delays", "16", "--jitter", 1), "0 to 16 steps"),
        (("--delays", "-1"), "0 to 16 steps"),
        (("--episodes", 0), "0 episodes"),
        (("--seconds", "nan"), "nan s"),
        (("--seconds", "0.02"), "1 to 3600 s"),
        (("--seed", 2**64), "seed 0 to"),
        (("--workers", -1), "--workers -1"),
        (("--checkpoint", "here/fr3_cubes"), "two checkpoints are called `fr3_cubes`"),
        (("--checkpoint", "other=nowhere"), "no such directory"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_loaded(words, told, tmp_path, capsys):
    assert run(tmp_path / "out", *words) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_checkpoints_by_name():
    assert named(["a/b", "c=d=e"]) == {"b": "a/b", "c": "d=e"}
    for text in ("=x", "x=", ""):
        with pytest.raises(BeingHError, match="is no checkpoint|no name"):
            named([text, "x=y"]) if text else named(["="])


def test_a_robot_that_cannot_pick_is_refused():
    from beingh_core.contract import load_contract
    from beingh_core.suite.episode import Player

    with pytest.raises(BeingHError, match="nothing to pick with"):
        Player(load_contract("ur5e"))


def test_guidance_compares_no_numbers_that_count_from_different_places(tmp_path, capsys):
    relative = contract_with(
        tmp_path, lambda raw: raw["action"]["eef_position"].update(frame="chunk_start"), "relative.yaml"
    )
    words = ("--robot", relative.path, "--methods", "uac,guided_rtc")
    assert run(tmp_path / "out", *words) == 2
    assert "`eef_position` counts from where a chunk begins" in capsys.readouterr().err


def test_a_policy_with_a_history_is_shown_the_states_of_the_ticks_before(monkeypatch):
    from beingh_core.bench import untrained
    from beingh_core.contract import load_contract
    from beingh_core.suite.episode import Player
    from beingh_core.suite.joining import Timing, Uac

    shape = untrained.SHAPES["tiny"] | {"state_history": {"rows": 3, "every": 2}}
    monkeypatch.setitem(untrained.SHAPES, "tiny", shape)
    contract = load_contract("fr3")
    policy, seen = untrained.UntrainedPolicy(contract, "tiny", instruction="pick up the red cube"), []
    begin = policy.begin
    monkeypatch.setattr(policy, "begin", lambda observations: seen.append(observations[0]) or begin(observations))
    player = Player(contract)
    player.play(policy, Uac, Timing.of(contract, 2, 0, policy.trained_delay), 0, 1.0)
    player.close()
    states = [one["state.eef_position"][0] for one in seen]
    assert len(states) >= 2 and all(rows.shape == (3, 3) for rows in states)
    assert np.ptp(states[0], axis=0).max() == 0.0 and np.ptp(states[-1], axis=0).min() > 0.0


@pytest.mark.slow
def test_a_real_episode_is_picked_keeps_its_promises_and_comes_out_the_same_again(tmp_path):
    words = ("--methods", "uac,training_rtc", "--delays", "4", "--episodes", 1, "--seed", 1)
    rows = []
    for name in ("a", "b"):
        assert run(tmp_path / name, *words, "--workers", 1 + (name == "b")) == 0
        rows.append([json.loads(line) for line in (tmp_path / name / ROWS).read_text().splitlines()])
    assert rows[0] == rows[1]
    uac = next(one for one in rows[0] if one["method"] == "uac")
    assert uac["success"] and uac["broken"] == uac["late"] == 0 and uac["lock"] == 4 and len(uac["seam"]) > 4
    assert uac["time_s"] < 8.0 and uac["first_lifted"] == uac["colour"]
