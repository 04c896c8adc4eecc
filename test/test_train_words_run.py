"""Conversations beside robots in one run: planned, packed, weighed and gone on with like rows; no rank waits for another."""

import copy
from collections import Counter

import numpy as np
import pytest
import torch
import yaml
from model_reference import pack, random_sample, small_config
from test_train_run import small, told, torchrun, train
from train_support import H, config_of, opened, raw_config, write
from words_support import write_words

from beingh_core.cli import main
from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.train.fill import counted, filled
from beingh_core.train.loader import load_packs
from beingh_core.train.plan import HELD_OUT, Pack, Plan
from beingh_core.train.samples import SampleMaker, normalised
from beingh_core.train.settings import LossSection, OptimiserSection, RunConfig, TrainingSection
from beingh_core.train.step import PackInputs, Stepper

LINES = 12


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    return write(tmp_path_factory.mktemp("cubes") / "cubes", lengths=(9, 14))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return write_words(tmp_path_factory.mktemp("words"), LINES)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def entries(cubes, words, **more):
    return [{"path": str(cubes), "robot": "fr3", "group": "robots"}, {"path": str(words), "group": "words", **more}]


def mixed(cubes, words, cache, **data):
    config = config_of("x", data={"datasets": entries(cubes, words), **data})
    sources, prompts = opened(config, cache)
    plan = lambda part="train": Plan(sources, config.data, config.packing, 0, part)
    return config, sources, prompts, plan


def test_every_line_is_taught_once_a_round_on_any_ranks_and_workers(cubes, words, cache):
    config, sources, prompts, plan = mixed(cubes, words, cache, group_weights={"robots": 1.0, "words": 1.0})
    maker = lambda: SampleMaker(sources, prompts, config.data, 0)
    alone = list(load_packs(plan, maker, most=12))
    stood = plan()
    for _ in range(12):
        stood.next()
    drawn = Counter(row for made in alone for which, row in zip(made.sources, made.rows) if which == 1)
    drawn.update(row for which, row, _ in stood.state()["pending"] if which == 1)
    assert set(drawn) == set(range(LINES)) and max(drawn.values()) - min(drawn.values()) <= 1
    for ranks, workers in ((2, 0), (3, 0), (1, 2)):
        most = 12 if not workers else 4
        parts = [
            list(load_packs(plan, maker, rank=rank, ranks=ranks, workers=workers, most=most)) for rank in range(ranks)
        ]
        for number, one in enumerate(alone[:most]):
            other = parts[number % ranks][number // ranks]
            assert other.number == number and other.rows.tolist() == one.rows.tolist()
            for key, value in one.batch.items():
                assert torch.equal(torch.as_tensor(value), torch.as_tensor(other.batch[key])), key
    stood = plan()
    for _ in range(5):
        stood.next()
    later = [made.rows.tolist() for made in load_packs(plan, maker, state=stood.state(), most=7)]
    assert later == [made.rows.tolist() for made in alone[5:]]


def test_lines_are_weighed_held_out_and_left_out_like_rows(cubes, words, cache):
    for measure in ("samples", "tokens"):
        weights = {"robots": 3.0, "words": 1.0}
        plan = mixed(cubes, words, cache, group_weights=weights, measure=measure)[3]()
        for _ in range(200):
            plan.next()
        assert [one["share"] for one in plan.account()] == pytest.approx([0.75, 0.25], abs=0.01)
    _, _, _, plan = mixed(cubes, words, cache, held_out=0.3)
    taught, held = (
        {s for one in (p.next() for _ in range(40)) for s in one.samples if s[0] == 1} for p in (plan(), plan(HELD_OUT))
    )
    assert len(held) == 4 and not taught & held and len(taught | held) == LINES
    config, sources, prompts, _ = mixed(cubes, words, cache)
    packing = config.packing.model_copy(update={"max_tokens_per_sample": int(np.median(sources[1].tokens))})
    account = Plan(sources[1:], config.data, packing, 0).account()[0]
    assert account["left_out"] == int((sources[1].tokens > np.median(sources[1].tokens)).sum()) > 0


def test_words_in_a_pack_have_no_actions_and_each_loss_is_what_it_is_alone(cubes, words, cache):
    config, sources, prompts, _ = mixed(cubes, words, cache)
    maker = SampleMaker(sources, prompts, config.data, 0)
    samples = ((0, 3), (1, 2), (1, 0), (0, 20), (1, 4))
    batch = normalised(maker.make(Pack(number=0, samples=samples)).batch, "cpu")
    assert len(batch["padded_state"]) == 2 and len(batch["padded_action"]) == 2 * H
    assert len(batch["packed_vit_tokens"]) == 2 + 2 + 0 + 2 + 1
    model = small_model(prompts)
    draws = {"noise": torch.randn(2, H, 200), "time": torch.tensor([0.2, 0.7]), "delays": torch.zeros(2)}
    draws["mpg_lambda"] = 0.0  # its gate is one for a pack
    together = model.loss(batch, **draws)
    robots = normalised(maker.make(Pack(number=0, samples=(samples[0], samples[3]))).batch, "cpu")
    # A robot's pictures are changed at random by its place in the pack.
    robots["packed_vit_tokens"] = batch["packed_vit_tokens"][[0, 1, 4, 5]]
    assert together["action_loss"].item() == pytest.approx(model.loss(robots, **draws)["action_loss"].item(), rel=1e-5)
    losses, labels = [], []
    for sample in (samples[1], samples[2], samples[4]):
        one = normalised(maker.make(Pack(number=0, samples=(sample,))).batch, "cpu")
        losses.append(model.loss(one)["und_loss"].item())
        labels.append(len(one["packed_label_ids"]))
        said = sources[1].table.conversations(range(sample[1], sample[1] + 1))
        answers = [answer for _, answer in next(said).turns]
        encoded = [prompts.tokenizer.encode(answer, add_special_tokens=False).ids for answer in answers]
        assert one["packed_label_ids"].tolist() == [t for ids in encoded for t in [*ids, prompts.special["im_end"]]]
    assert together["und_loss"].item() == pytest.approx(np.average(losses, weights=labels), rel=1e-5)


def small_model(prompts):
    from beingh_core.train.config import model_config

    sizes = {**config_of("x").model.model_dump(), "num_inference_timesteps": 4, "mpg_lambda": 0.1}
    sizes |= {"mpg_refinement_iters": 1, "use_training_time_rtc": False, "trained_delay": 0, "use_mpg": True}
    return BeingH.from_config(model_config(sizes, prompts.tokenizer.get_vocab_size()), seed=0)


def test_a_damaged_picture_is_left_out_by_its_line(cubes, tmp_path):
    path = write_words(tmp_path / "w", 6)
    config, sources, prompts, _ = mixed(cubes, path, tmp_path / "cache")
    (path.parent / "photos/2_1.png").write_bytes(b"\x89PNG cut off")
    (path.parent / "photos/4_0.png").unlink()
    maker = SampleMaker(sources, prompts, config.data, 0)
    made = maker.make(Pack(number=0, samples=((1, 2), (1, 0), (1, 4), (0, 1))))
    assert made.rows.tolist() == [0, 1]
    assert dict(made.left_out) == {
        ("words.jsonl", "line 3: its picture cannot be read"): 1, ("words.jsonl", "line 5: its picture is not there"): 1,
    }  # fmt: skip
    assert maker.make(Pack(number=1, samples=((1, 4),))).batch is None


def of_kind(kind, rng):
    """A batch of one sample: words without and with a picture, a robot's without words; or none."""
    sample = pack([random_sample(small_config(), rng, 1)])
    batch = {key: value for key, value in sample.items() if key not in ("ce_loss_indexes", "packed_label_ids")}
    batch["sample_lens"] = batch["sample_lens"][:1]
    if kind == "robot":
        return batch
    if kind == "nothing":
        return None
    views = kind == "picture"
    batch = filled(None, BeingH.from_config(small_config()).config, views=views, chunks=False, labels=True)
    return batch | {"packed_text_ids": torch.tensor([7])}


KINDS = ("robot", "words", "picture", "nothing")


def test_filled_packs_use_every_weight_and_change_nothing():
    """What ranks that share weights need: the same weights have a gradient, whatever a pack has; and what is added counts 0."""
    used, rng = {}, np.random.default_rng(0)
    for kind in KINDS:
        model, batch = BeingH.from_config(small_config(), seed=1).train(), of_kind(kind, rng)
        one = counted(batch, None, model.config.chunk_length)
        lacks = {"views": not one.views, "chunks": not one.chunks, "labels": not one.labels}
        full = filled(batch, model.config, **lacks)
        draws = {"noise": torch.zeros(1, model.config.chunk_length, 200), "time": torch.tensor([0.5])}
        losses = model.loss(full, generator=torch.Generator().manual_seed(0), **draws)
        (losses["action_loss"] * bool(one.chunks) + losses["und_loss"] * bool(one.labels)).backward()
        used[kind] = {name for name, p in model.named_parameters() if p.grad is not None}
        if batch is None:
            assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)
            continue
        plain = BeingH.from_config(small_config(), seed=1).train()
        alone = plain.loss(batch, generator=torch.Generator().manual_seed(0), **(draws if one.chunks else {}))
        assert alone["action_loss"].item() == pytest.approx(losses["action_loss"].item() * bool(one.chunks), rel=1e-6)
        (alone["action_loss"] * bool(one.chunks) + alone["und_loss"] * bool(one.labels)).backward()
        for (name, p), (_, q) in zip(plain.named_parameters(), model.named_parameters()):
            if p.grad is not None:
                torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6, msg=name)
    every = {name for name, _ in BeingH.from_config(small_config(), seed=1).named_parameters()}
    assert len({frozenset(names) for names in used.values()}) == 1 and len(used["robot"]) > 0.9 * len(every)


def test_a_step_does_not_ask_which_pack_a_sample_is_in():
    """Words in one pack and a robot in another are as both in one pack: each loss is the mean over what it looks at."""
    rng = np.random.default_rng(3)
    robot, words = of_kind("robot", rng), of_kind("picture", rng)
    from beingh_core.bench.training import join

    keys = {key for key in (*robot, *words) if key != "sequence_length"}
    padded = lambda one, other: {
        key: torch.as_tensor(one[key]) if key in one else torch.as_tensor(other[key])[:0] for key in keys
    }
    both = join([
        {**padded(robot, words), "sequence_length": robot["sequence_length"]},
        {**padded(words, robot), "sequence_length": words["sequence_length"]},
    ])  # fmt: skip
    draws = {
        "noise": torch.randn(1, 16, 200),
        "time": torch.tensor([0.4]),
        "delays": torch.tensor([1]),
        "mpg_lambda": 0.0,
    }
    found = []
    for packs in (
        [PackInputs(batch=both, draws=draws)],
        [PackInputs(batch=words), PackInputs(batch=robot, draws=draws)],
        [PackInputs(batch=robot, draws=draws), PackInputs(batch=None), PackInputs(batch=words)],
    ):
        model, gradients = BeingH.from_config(small_config(), seed=1).train(), {}
        stepper = Stepper(
            model, OptimiserSection(), TrainingSection(steps=5, precision="fp32"), LossSection(text_weight=0.5)
        )
        one = stepper.step(
            packs, lambda g, kept=gradients: kept.update({n: x.clone() for n, x in g.items() if x is not None})
        )
        assert one.action_loss > 0 and one.und_loss > 0
        found.append((one, gradients))
    for one, gradients in found[1:]:
        assert (one.action_loss, one.und_loss) == pytest.approx(
            (found[0][0].action_loss, found[0][0].und_loss), rel=1e-5
        )
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, found[0][1][name], rtol=1e-4, atol=1e-6, msg=name)


def test_a_run_learns_words_and_actions_and_goes_on_to_the_same(cubes, words, tmp_path):
    data = {"datasets": entries(cubes, words), "group_weights": {"robots": 1.0, "words": 1.0}, "held_out": 0.2}
    raw = small(
        out=tmp_path / "a", cache=tmp_path / "cache", data=data, training={"steps": 4, "precision": "fp32"},
        save={"every": 2}, evaluate={"every": 2, "packs": 2},
    )  # fmt: skip
    train(raw)
    expected = told(tmp_path / "a")
    assert len(expected) == 4 and any(line.get("text_loss", 0) for line in expected)
    held = told(tmp_path / "a", "held_out")
    assert len(held) == 2 and all(line["und_loss"] > 1 and line["action_loss"] > 0.5 for line in held)
    cut = copy.deepcopy(raw) | {"out": str(tmp_path / "b")}
    import shutil

    shutil.copytree(tmp_path / "a", tmp_path / "b", symlinks=True)
    shutil.rmtree(tmp_path / "b/step-00000004")
    (tmp_path / "b/log.jsonl").unlink()
    train(cut)
    assert [(line["step"], line["action_loss"], line.get("text_loss")) for line in told(tmp_path / "b")] == [
        (line["step"], line["action_loss"], line.get("text_loss")) for line in expected[2:]
    ]
    account = told(tmp_path / "b", "account")[-1]["datasets"]
    assert account == told(tmp_path / "a", "account")[-1]["datasets"] and account[1]["samples"] > 0


def test_a_run_of_words_alone_makes_a_checkpoint(words, tmp_path):
    data = {"datasets": [{"path": str(words)}]}
    raw = small(out=tmp_path / "a", cache=tmp_path / "cache", data=data, training={"steps": 2, "precision": "fp32"})
    train(raw)
    assert all(line["text_loss"] > 0 and line["action_loss"] == 0 for line in told(tmp_path / "a"))
    assert BeingH.from_pretrained(tmp_path / "a/last") is not None


@pytest.mark.parametrize(
    ("entry", "data", "said"),
    (
        ({"path": "a.jsonl", "robot": "fr3"}, {}, "a file of conversations has no `robot`"),
        ({"path": "a.jsonl", "views": {"a": "b"}}, {}, "a file of conversations has no `views`"),
        ({"path": "a.jsonl"}, {"measure": "hours"}, "conversations, which have no duration"),
        ({"path": "a", "robot": "fr3", "images": "b"}, {}, "`path` is no file NAME.jsonl"),
        ({"path": "a", "robot": "fr3", "mirror": 0.5}, {}, "`mirror` is for human hands"),
    ),
)
def test_what_does_not_go_together_is_told(entry, data, said):
    with pytest.raises(BeingHError) as caught:
        RunConfig.from_dict(raw_config(data={"datasets": [entry], **data}))
    assert said in str(caught.value)


def test_a_file_that_is_mostly_bad_is_refused_and_a_few_are_told(cubes, tmp_path):
    path = write_words(tmp_path / "w", 10)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, "x"]))
    source = mixed(cubes, path, tmp_path / "cache")[1][1]
    assert source.notes == ("words.jsonl: line 11 is left out: the line is no JSON",) and source.counts == (10, 1)
    path.write_text("\n".join([*lines, "x", "y"]))
    with pytest.raises(BeingHError, match="2 of 12 lines cannot be taught, such as line 11: the line is no JSON"):
        mixed(cubes, path, tmp_path / "cache")


def test_the_doctor_shows_conversations(cubes, tmp_path, capsys):
    path = write_words(tmp_path / "w", 10)
    path.write_text(path.read_text() + "no json\n")
    raw = raw_config(out=tmp_path / "out", data={"datasets": entries(cubes, path), "workers": 0})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(raw))
    target = tmp_path / "page.html"
    words = ["train", "doctor", "--config", str(tmp_path / "run.yaml"), "--device", "cpu", "--threads", "1"]
    assert main([*words, "--page", str(target), "--gpus", "1"]) == 0
    text = target.read_text()
    assert "line 11 is left out: the line is no JSON" in text and "<h3>Words</h3>" in text
    assert "<u>It is cube" in text and "text loss at the start" in text and "pick up the red cube" in text
    assert "text loss at the start" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("sharded", ("true", "false"))
def test_words_on_one_rank_and_actions_on_the_other_learn_what_one_rank_learns(cubes, words, tmp_path, sharded):
    """Packs of one sample each: in a step one rank may have words without any picture, and the other a robot."""
    data = {"datasets": entries(cubes, words), "group_weights": {"robots": 1.0, "words": 1.0}, "held_out": 0.2}
    training = {"steps": 12, "precision": "fp32", "accumulate": 2}
    raw = small(
        out=tmp_path / "one", cache=tmp_path / "cache", data=data, training=training, save={"every": 12},
        evaluate={"every": 6, "packs": 4},
    )  # fmt: skip
    raw["model"]["use_mpg"] = True
    raw["packing"] = {"expected_tokens": 1, "max_tokens": 400, "max_tokens_per_sample": 400, "buffer": 1}
    raw["data"]["run_length"] = 1
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(raw))
    train(raw)
    torchrun(path, 2, f"out={tmp_path / 'two'}", "training.accumulate=1", f"training.shard={sharded}")
    alone, together = told(tmp_path / "one"), told(tmp_path / "two")
    assert len(alone) == 12 and sum(bool(line["action_loss"] and line.get("text_loss")) for line in alone) > 3
    for one, other in zip(alone, together, strict=True):
        for loss in ("action_loss", "text_loss", "norm"):
            assert other.get(loss, 0.0) == pytest.approx(one.get(loss, 0.0), rel=1e-4), (one["step"], loss)
    for one, other in zip(told(tmp_path / "one", "held_out"), told(tmp_path / "two", "held_out"), strict=True):
        assert (other["und_loss"], other["action_loss"]) == pytest.approx(
            (one["und_loss"], one["action_loss"]), rel=1e-4
        )
