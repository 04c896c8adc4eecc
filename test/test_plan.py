"""`beingh plan`: what follows from a chunk's time, what it measures, and how it ends."""

import json
import shutil

import numpy as np
import pytest
import torch
from remote_support import FR3, Served, make_checkpoint

from beingh_core.bench import plan_candidates, plan_measuring
from beingh_core.bench.plan_fit import change_of_contract, fit, longest_chunk_s
from beingh_core.bench.shapes import TEXT_TOKENS
from beingh_core.bench.untrained import UntrainedPolicy
from beingh_core.cli import main
from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.inference.chunk_schedule import ChunkSchedule
from beingh_core.policy.loading import load_for_contract
from beingh_core.realtime.uac import check_plan

QUICK = ("--minutes", "0.001")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def changed_contract(folder, **keys):
    """A contract of the FR3 with other numbers."""
    text = FR3.path.read_text().replace("urdf: urdf/", f"urdf: {FR3.urdf_path.parent}/")
    for key, value in keys.items():
        lines = [line for line in text.splitlines() if line.strip().startswith(f"{key}:")]
        assert len(lines) == 1
        text = text.replace(lines[0], f"{lines[0].partition(':')[0]}: {value}")
    path = folder / f"{'_'.join(f'{name}{value}' for name, value in keys.items())}.yaml"
    path.write_text(text)
    return path


def test_what_fits_is_what_the_policy_node_takes_within_the_budget():
    for milliseconds in range(0, 1001, 5):
        for trained in (None, 0, 4, 5, 8):
            found, taken = fit(FR3, milliseconds / 1e3, trained), milliseconds <= 200
            if trained is not None:
                try:
                    ChunkSchedule(FR3, trained)
                except BeingHError:
                    taken = False
            assert found.fits == taken, (milliseconds, trained, found)
            assert found.delay == -(-milliseconds // 50) + 1
            assert found.locked == max(5, found.delay)
            steps = [s for s in range(1, 17) if found.locked <= s <= 16 - found.locked]
            assert found.execution_steps == (min(steps, key=lambda s: abs(s - 6)) if steps else None)


@pytest.mark.parametrize("trained", [None, 6, 8])
def test_the_proposed_change_of_a_contract_loads_and_fits_and_none_is_kept_back(tmp_path, trained):
    for latency_s in (0.15, 0.21, 0.25, 0.296, 0.3, 0.349, 0.351, 0.4, 2.0):
        found = fit(FR3, latency_s, trained)
        change = change_of_contract(FR3, found, trained)
        if change is not None:
            contract = load_contract(changed_contract(tmp_path, **change))
            assert fit(contract, latency_s, trained).fits and contract.hash == FR3.hash
        elif not found.fits:
            for steps in range(1, 17):
                with pytest.raises(BeingHError):
                    check_plan(found.delay, steps, 16, trained)


def test_a_chunk_may_take_what_the_budget_leaves_of_the_picture():
    assert longest_chunk_s(FR3, 0.04, 8) == pytest.approx(0.16)
    assert longest_chunk_s(FR3, 0.2, 8) is None  # the picture alone uses it up
    assert longest_chunk_s(FR3, 0.04, 4) is None  # the contract's own d is more than was trained


def test_a_change_is_computed_as_the_engine_computes_it_and_ends(checkpoint):
    policy = load_for_contract(FR3, checkpoint)
    engine, steps = policy.engine, policy.steps
    observation = plan_measuring.StandingRobot(FR3, policy)._observations[0]
    inputs = {f"video.{view}": image for view, image in observation.images.items()}
    inputs |= {f"state.{spec.key}": np.full(spec.data_width("state"), 0.1) for spec in policy.data_config.state}
    inputs |= {"language.instruction": "pick up the red cube"}
    noise = torch.randn(1, 1, 16, 200, generator=torch.Generator().manual_seed(0))
    with plan_measuring.changed(policy, num_steps=1, refinement_iters=0):
        got = policy.get_action(inputs, noise=noise)["action_unified"]
    assert (policy.engine, policy.steps) == (engine, steps)
    batch = policy.encode(policy.steps.check(inputs))
    wanted = engine.get_action(batch, noise=noise, num_steps=1, refinement_iters=0)
    assert np.array_equal(got, wanted.numpy())
    with plan_measuring.changed(policy, views=1):
        batch = policy.encode(policy.steps.check(inputs))
        assert len(batch["packed_vit_tokens"]) == 1 == len(policy.views) - 1


def test_everything_that_the_checkpoint_has_can_be_changed(checkpoint):
    policy = load_for_contract(FR3, checkpoint)
    options = [change.options for change in plan_candidates.changes_of(policy)]
    fewer = {"num_steps": 2}, {"refinement_iters": 0}
    assert options == [*fewer, fewer[0] | fewer[1], {"views": 1}]
    shortest = load_for_contract(FR3, checkpoint, num_inference_timesteps=1, mpg_refinement_iters=0)
    assert [change.options for change in plan_candidates.changes_of(shortest)] == [{"views": 1}]


@pytest.mark.parametrize("robot", ["g1_dex3_eef", "mobile_ur5e"])
def test_random_weights_of_a_shape_make_chunks_for_any_robot(robot):
    contract = load_contract(robot)
    policy = UntrainedPolicy(contract, "tiny", instruction=plan_measuring.INSTRUCTION)
    assert plan_measuring.StandingRobot(contract, policy).chunk_ms() > 0
    prompt = policy.prompts.build(plan_measuring.INSTRUCTION, len(contract.cameras))
    assert len(prompt.text_ids) == pytest.approx(sum(TEXT_TOKENS), abs=15)
    assert len(prompt.action_positions) == contract.policy.chunk_length


def plan(tmp_path, *words):
    """(exit status, report)."""
    target = tmp_path / "plan.json"
    status = main(["plan", *QUICK, "--threads", "1", "--json", str(target), *map(str, words)])
    return status, json.loads(target.read_text())


def test_a_slow_way_of_the_pictures_does_not_fit(checkpoint, tmp_path, capsys):
    status, report = plan(
        tmp_path, "--robot", "fr3", "--checkpoint", checkpoint, "--picture-age-ms", 500, "--minutes", 0.02
    )
    told = capsys.readouterr().out
    assert status == 1 and not report["fits"] and report["longest_chunk_ms"] is None
    assert report["latency_ms"] == pytest.approx(500 + report["chunk_ms"]["p95"])
    assert report["delay"] >= 11 and "It does not fit:" in told and "d is more than H / 2" in told
    assert report["trained_delay"] == 8 and report["passes"] == 2 and report["peak_memory_mb"] > 10
    assert all(("ratio" in change) != ("skipped" in change) for change in report["changes"])
    assert {change["name"] for change in report["changes"]} >= {"2 steps", "a view less", "bfloat16"}


def test_a_patient_contract_fits_with_an_untrained_shape(tmp_path, capsys):
    contract = changed_contract(tmp_path, rate_hz=1, latency_budget_s=7.0, execution_steps=8)
    status, report = plan(tmp_path, "--robot", contract, "--shape", "tiny", "--dtype", "bfloat16")
    assert status == 0 and report["fits"] and report["problems"] == [] and report["contract_change"] is None
    assert (report["locked"], report["execution_steps"], report["trained_delay"]) == (8, 8, None)
    assert "It fits" in capsys.readouterr().out


def test_a_checkpoint_that_was_trained_for_shorter_delays_does_not_fit(checkpoint, tmp_path, capsys):
    folder = shutil.copytree(checkpoint, tmp_path / "short")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"trained_delay": 3}))
    contract = changed_contract(tmp_path, latency_budget_s=0.35, execution_steps=8)
    status, report = plan(tmp_path, "--robot", contract, "--checkpoint", folder, "--picture-age-ms", 0)
    assert status == 1 and "the model was trained for delays up to 3" in capsys.readouterr().out
    assert report["longest_chunk_ms"] is None


def test_a_server_is_measured_in_place_of_the_model(checkpoint, tmp_path, capsys):
    with Served(load_for_contract(FR3, checkpoint), FR3) as served:
        status, report = plan_server(tmp_path, served.url)
    assert status == 1 and report["source"] == "server" and report["device"] is None
    assert report["parts_ms"]["transport"] > 0 and report["trained_delay"] == 8
    assert [change["name"] for change in report["changes"]] == ["JPEG 90"]
    assert served.url in capsys.readouterr().out


def plan_server(tmp_path, url):
    """As `plan`, of a server."""
    target = tmp_path / "plan.json"
    words = ["--robot", "fr3", "--server", url, "--picture-age-ms", "300", "--json", str(target)]
    return main(["plan", "--minutes", "0.02", *words]), json.loads(target.read_text())


@pytest.mark.parametrize(
    "words, told",
    [
        (["--robot", "fr3"], "nothing to measure"),
        (["--robot", "fr3", "--shape", "tiny", "--server", "tcp://localhost:1"], "--shape, --server"),
        (["--robot", "nobody", "--shape", "tiny"], "no robot contract `nobody`"),
        (["--robot", "fr3", "--shape", "7b"], "tiny, 2b"),
        (["--robot", "fr3", "--checkpoint", "/no/such"], "no such directory"),
        (["--robot", "so101", "--checkpoint", "checkpoints/fr3_cubes"], "is for robot fr3"),
        (["--robot", "fr3", "--server", "somewhere"], "tcp://HOST:PORT"),
        (["--robot", "fr3", "--server", "tcp://localhost:1", "--dtype", "float32"], "beingh serve"),
        (["--robot", "fr3", "--shape", "tiny", "--token-file", "x"], "--token-file"),
        *(
            (["--robot", "fr3", "--shape", "tiny", "--minutes", value], "0.001 to 60")
            for value in ("0", "-1", "nan", "inf", "1e300")
        ),
        (["--robot", "fr3", "--shape", "tiny", "--picture-age-ms", "nan"], "0 to 1000"),
        (["--robot", "fr3", "--shape", "tiny", "--dtype", "int9"], "float32, bfloat16"),
        (["--robot", "fr3", "--shape", "tiny", "--json", "/no/such/folder/x"], "cannot write"),
    ],
)
def test_mistakes_are_one_line(capsys, words, told):
    assert main(["plan", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and told in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_told(capsys):
    assert main(["plan", "--robot", "fr3", "--shape", "tiny", "--device", "cuda"]) == 2
    assert "no NVIDIA GPU" in capsys.readouterr().err


def test_a_contract_without_a_policy_is_refused(tmp_path, capsys):
    path = changed_contract(tmp_path, rate_hz=20)
    path.write_text(path.read_text().partition("\npolicy:")[0] + "\n")
    assert main(["plan", "--robot", str(path), "--shape", "tiny"]) == 2
    assert "`policy` is missing" in capsys.readouterr().err
