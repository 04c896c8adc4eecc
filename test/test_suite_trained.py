"""`beingh suite fewshot` and `slots`: their plans, how they go on, their figures, and tiny real runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from beingh_core.cli import main
from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.suite import experiment as core
from beingh_core.suite import fewshot, slots
from beingh_core.suite.compared import Compared
from beingh_core.suite.experiment_report import Effect, _effect
from beingh_core.suite.moved_slots import moved
from beingh_core.suite.trained import held_out_losses, is_finished
from beingh_core.train.settings import RunConfig

CHECKPOINT = "checkpoints/fr3_cubes"
TINY = {
    "out": "unused",
    "data": {"datasets": [{"path": "unused", "robot": "fr3", "branches": {"draws": 1}}], "workers": 0},
    "model": {
        "use_mpg": False,
        "vision": {"image": 32, "patch": 8, "hidden": 16, "layers": 1, "heads": 2, "mlp": 32},
        "decoder": {
            "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 8,
            "und_hidden": 24, "und_mlp": 32, "act_hidden": 16, "act_mlp": 32,
        },
    },
    "packing": {"expected_tokens": 3000, "max_tokens": 4000, "max_tokens_per_sample": 3000},
    "training": {"steps": 4, "precision": "fp32"},
    "evaluate": {"packs": 1},
}  # fmt: skip


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return str(path)


def common(out, config, **other):
    return {
        "demonstrations": 5, "steps": 20, "config": config, "changes": (), "episodes": 2, "seed": 100, "seconds": 1.0, "workers": 1,
        "out": out, **other,
    }  # fmt: skip


def few(out, config, **other):
    starts = {"nothing": "nothing", "fr3": CHECKPOINT}
    return fewshot.Fewshot(**common(out, config, **({"robot": "fr3", "starts": starts, "freeze": (0, 2)} | other)))


def shared(out, config, **other):
    given = {"robots": ("fr3", "ur5e_2f85_eef"), "checkpoint": CHECKPOINT, "experts": 3, "parts": slots.PARTS} | other
    return slots.Slots(**common(out, config, **given))


def flat(value, at=""):
    """Key with dots -> value of nested mappings and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else None
    if items is None:
        return {at: value}
    return {key: v for k, inner in items for key, v in flat(inner, f"{at}.{k}").items()}


def differing(one: RunConfig, two: RunConfig):
    a, b = flat(one.model_dump()), flat(two.model_dump())
    return {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}


PLACES = {".out", ".data.cache"}


def test_the_trainings_of_few_demonstrations_differ_in_start_and_depth_alone(tmp_path, tiny):
    trainings = fewshot.experiment(few(tmp_path / "out", tiny)).trainings
    assert list(trainings) == ["nothing_frozen0", "nothing_frozen2", "fr3_frozen0", "fr3_frozen2"]
    frozen = PLACES | {".training.freeze_act_layers"}
    assert differing(trainings["nothing_frozen0"], trainings["nothing_frozen2"]) == frozen
    assert differing(trainings["fr3_frozen0"], trainings["fr3_frozen2"]) == frozen
    apart = differing(trainings["nothing_frozen2"], trainings["fr3_frozen2"]) - PLACES
    assert ".checkpoint" in apart
    assert all(key.startswith((".model.vision", ".model.decoder")) for key in apart - {".checkpoint"})
    one = trainings["fr3_frozen2"]
    assert one.training.freeze_act_layers == 2 and one.training.steps == one.evaluate.every == 20
    assert one.data.held_out == pytest.approx(1 / 6) and one.data.datasets[0].branches.draws == 1


def test_the_trainings_of_slots_differ_in_the_second_body_or_in_experts_alone(tmp_path, tiny):
    planned, effects = slots.experiment(shared(tmp_path / "out", tiny))
    trainings = planned.trainings
    accept = {f".data.datasets.{i}.accept.{k}" for i in (0, 1) for k in (0, 1)} | {
        f".data.datasets.{i}.accept" for i in (0, 1)
    }
    moves = differing(trainings["shared"], trainings["separate"]) - PLACES - accept
    assert moves == {".data.datasets.1.robot"}
    mof = differing(trainings["shared"], trainings["experts"]) - PLACES
    assert mof and all(key.startswith(".model.mof") for key in mof)
    assert trainings["experts"].model.mof.experts == 3 and trainings["experts"].model.mof.shared_layers == 1
    names = [case.name for case in planned.cases]
    assert (
        names[:2] == ["released fr3", "projected fr3"] and len(names) == 8
    )  # the checkpoint knows the first robot alone
    assert [case.project_inactive for case in planned.cases[:2]] == [False, True]
    assert {one.second for one in effects} == {"released fr3", "shared fr3", "shared ur5e_2f85_eef"}


def test_a_moved_contract_has_other_slots_and_nothing_else(tmp_path):
    own = load_contract("ur5e_2f85_eef")
    other = moved(own, tmp_path)
    for kind in ("state", "action"):
        assert [f"left_{s.slot}" for s in getattr(own, kind)] == [s.slot for s in getattr(other, kind)]
        for one, two in zip(getattr(own, kind), getattr(other, kind)):
            a, b = vars(one) | {"slot": ""}, vars(two) | {"slot": ""}
            assert a == b
    assert {key.replace("left_", "") for key in other.policy.normalization} == set(own.policy.normalization)
    same = ("robot", "rate_hz", "cameras", "joint_names", "drivers", "uac", "home", "urdf_path")
    assert all(getattr(own, name) == getattr(other, name) for name in same)
    with pytest.raises(BeingHError, match="`left_.*` is in use"):
        moved(load_contract("aloha_eef"), tmp_path / "two")
    with pytest.raises(BeingHError, match="is in use"):
        moved(other, tmp_path / "again")


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"demonstrations": 0}, "0 demonstrations"),
        ({"steps": 0}, "0 steps"),
        ({"episodes": 0}, "0 episodes"),
        ({"seconds": float("nan")}, "nan s"),
        ({"seed": 15}, "scenes 0 to 15 may be demonstrated"),  # 6 episodes, and 10 attempts that failed
        ({"workers": -1}, "--workers -1"),
        ({"freeze": ()}, "one at least"),
        ({"freeze": (1, 1)}, "each once"),
        ({"freeze": (0, 3)}, "`nothing` has 2 act layers, 3 are to be frozen"),
        ({"freeze": (0, 5), "starts": {"fr3": CHECKPOINT}}, "`fr3` has 4 act layers"),
        ({"starts": {"x": "nowhere"}}, "no such directory"),
        ({"starts": {"a/b": CHECKPOINT}}, "names no start"),
        ({"starts": {"nothing": CHECKPOINT}}, "names no start"),
        ({"config": "nowhere.yaml"}, "nowhere.yaml"),
        ({"changes": ("training.stepps=3",)}, "stepps"),
        ({"changes": ("training.steps=3",)}, "--steps N"),
        ({"changes": ("out=elsewhere",)}, "--out DIR"),
        ({"changes": ("data.datasets.0=5",)}, "command line: data.datasets.0"),
        ({"changes": ("model=null",)}, "command line: model"),
        ({"changes": ("optimiser.warmup_steps=x",)}, "command line: optimiser.warmup_steps"),
        ({"robot": "nobody"}, "nobody"),
    ],
)
def test_a_plan_that_cannot_be_done_is_refused_before_anything_is_recorded(other, told, tmp_path, tiny):
    with pytest.raises(BeingHError, match=told):
        fewshot.experiment(few(tmp_path / "out", other.pop("config", tiny), **other))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"parts": ("slots",)}, "there is no part `slots`"),
        ({"parts": ()}, "one at least"),
        ({"robots": ("fr3",)}, "1 robots"),
        ({"robots": ("fr3", "fr3")}, "each once"),
        ({"robots": ("fr3", "config/robots/fr3.yaml")}, "each once"),
        ({"robots": ("fr3", "fr3_hand")}, "each once"),
        ({"experts": 1}, "--experts 1"),
        ({"checkpoint": ""}, "no checkpoint"),
        ({"robots": ("fr3", "aloha")}, "a model has one length"),
        ({"robots": ("ur5e_2f85_eef", "xarm7_eef")}, "none of ur5e_2f85_eef, xarm7_eef"),
    ],
)
def test_a_plan_of_slots_that_cannot_be_done_is_refused(other, told, tmp_path, tiny):
    with pytest.raises(BeingHError, match=told):
        slots.experiment(shared(tmp_path / "out", tiny, **other))
    assert not (tmp_path / "out").exists()


def row(name, seed, success):
    told = {
        "checkpoint": name,
        "method": "uac",
        "delay": 5,
        "seed": seed,
        "lock": 5,
        "trained_delay": 5,
        "success": success,
    }
    figures = {"time_s": 4.0, "jerk": 10.0, "held": 0, "ticks": 20, "late": 0, "refused": 0, "broken": 0}
    return told | figures | dict.fromkeys(("seam", "inside", "wanted_seam", "wanted_inside"), [])


def test_a_run_does_what_is_missing_and_no_more(tmp_path, tiny, monkeypatch):
    """Only the three expensive steps are replaced, by ones that count."""
    did = []

    def train(config):
        did.append(Path(config.out).name)
        last = Path(config.out) / "last"
        last.mkdir(parents=True)
        (last / "training.json").write_text(json.dumps({"step": config.training.steps}))

    def play(case, seed, seconds):
        did.append((case.name, seed))
        if did.count(("fr3_frozen0", 101)) == 1 and did[-1] == ("fr3_frozen0", 101):
            raise KeyboardInterrupt
        return row(case.name, seed, case.name.startswith("fr3"))

    monkeypatch.setattr(core, "record", lambda what, folder, episodes, workers: did.append(episodes) or "")
    monkeypatch.setattr(core, "train", lambda config: is_finished(config) or train(config))
    monkeypatch.setattr(core, "play", play)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        fewshot.run(few(out, tiny))
    assert did[0] == 6 and did[-1] == ("fr3_frozen0", 101)
    done = len(did)
    fewshot.run(few(out, tiny))
    assert did[done:] == [6, ("fr3_frozen0", 101), "fr3_frozen2", ("fr3_frozen2", 100), ("fr3_frozen2", 101)]
    done = len(did)
    fewshot.run(few(out, tiny, freeze=(0, 1, 2), starts={"fr3": CHECKPOINT}))
    assert did[done:] == [6, "fr3_frozen1", ("fr3_frozen1", 100), ("fr3_frozen1", 101)]
    figures = json.loads((out / "figures.json").read_text())
    assert [one["successes"] for one in figures["models"]] == [2, 2, 2]
    with pytest.raises(BeingHError, match="steps 20, not 21"):
        fewshot.run(few(out, tiny, steps=21))
    with pytest.raises(BeingHError, match="robot 'fr3', not 'xarm7_eef'"):  # rows tell models, and not robots
        fewshot.run(few(out, tiny, robot="xarm7_eef"))
    done = len(did)
    fewshot.run(few(out, tiny))  # nothing is missing
    assert (
        len(did) == done
        and "| fr3_frozen0 | nothing_frozen0 | +1.00 (the same in every scene) | 2 |" in (out / "report.md").read_text()
    )


def test_an_effect_is_over_the_scenes_that_both_have_played():
    rows = [row("a", seed, True) for seed in range(10)] + [row("b", seed, seed % 2 == 0) for seed in range(2, 12)]
    told = _effect(Effect(first="a", second="b"), core.Results(rows=rows, losses={}))
    assert told["scenes"] == 8 and told["more"] == 0.5 and told["low"] < 0.5 < told["high"]


def test_held_out_losses_are_those_of_the_last_step(tmp_path, tiny):
    config = fewshot.experiment(few(tmp_path / "out", tiny)).trainings["nothing_frozen0"]
    assert held_out_losses(config) == {} and not is_finished(config)
    Path(config.out).mkdir(parents=True)
    lines = [{"kind": "held_out", "step": step, "action_loss": 1.0 / step, "share_lost": 0.5} for step in (10, 20)]
    torn = '{"kind": "held_out", "st\n'  # of a process that was killed
    (Path(config.out) / "log.jsonl").write_text(torn + "".join(json.dumps(one) + "\n" for one in lines))
    assert held_out_losses(config) == {"action_loss": 0.05}


def test_chunks_are_compared_from_the_same_noise_and_the_policys_own_are_answered():
    class Policy:
        """Its chunk is noise, and what it is told of unused slots."""

        project_inactive = False
        transform = type("Transform", (), {"action_mask": np.array([1, 1, 0])})

        def finish(self, begun, prefixes):
            return [
                {"action_unified": torch.randn(1, 4, 3).numpy() + np.array([0.0, 2.0, 9.0]) * self.project_inactive}
            ]

    torch.manual_seed(3)
    plain = [Policy().finish(None, [])[0]["action_unified"] for _ in range(2)]
    torch.manual_seed(3)
    shown = Compared(Policy())
    assert shown.difference == 0.0
    assert all(np.array_equal(shown.finish(None, [])[0]["action_unified"], one) for one in plain)
    assert shown.difference == pytest.approx(np.sqrt(2.0)) and shown.project_inactive is False


@pytest.mark.slow
@pytest.mark.parametrize("what", ["fewshot", "slots"])
def test_a_tiny_run_records_trains_plays_and_goes_on(what, tmp_path, tiny, capsys):
    own = {
        "fewshot": ("--robot", "ur5e_2f85_eef", "--from", "nothing", "--from", f"fr3={CHECKPOINT}", "--freeze", "0,1"),
        "slots": ("--robots", "fr3,ur5e_2f85_eef", "--checkpoint", CHECKPOINT, "--experts", "2"),
    }[what]
    words = ("suite", what, *own, "--demonstrations", "1", "--steps", "2", "--seconds", "1", "--config", tiny)
    assert not main([*words, "--out", str(tmp_path / "out"), "--episodes", "1"])
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    trained = [one for one in figures["models"] if one["held_out"]["action_loss"]]
    assert len(trained) == {"fewshot": 4, "slots": 6}[what] and all(one["broken"] == 0 for one in figures["models"])
    if what == "slots":
        assert {one["checkpoint"] for one in figures["models"] if one.get("apart")} == {"released fr3", "projected fr3"}
    capsys.readouterr()
    assert not main([*words, "--out", str(tmp_path / "out"), "--episodes", "2"])
    assert "training " not in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "out" / "episodes.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * len(figures["models"])
