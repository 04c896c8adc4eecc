"""A new model from InternVL and Qwen3 computes what transformers' own classes compute, and refuses other parts by name."""

import json

import numpy as np
import pytest
import torch
from internvl_support import IMAGE_TOKEN, LAYOUTS, internvl, qwen3
from safetensors.torch import load_file, save_file
from train_support import CONTRACT, H, config_of, write

from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.model.batch import read_batch
from beingh_core.model.decoder import Kept
from beingh_core.model.packing import PackLayout
from beingh_core.policy.loading import load_for_contract
from beingh_core.train.run import Run
from beingh_core.train.start import load_model, prompts_for, tokenizer_for

USED = [True] * 200
NEW = ("<|state_start|>", "<|state_end|>", "<|action_pad|>")


def run_config(mllm, expert="random", out="out", root="d", **model):
    start = {"mllm": str(mllm), "expert": str(expert)}
    if expert == "random":
        start |= {"act_hidden": 16, "act_mlp": 24}
    sizes = {"action_chunk_length": H, **model}
    return config_of(root, out=out, start=start, model={**sizes, "vision": None, "decoder": None})


def loaded(config, told=None):
    tokenizer = tokenizer_for(config, [])
    return load_model(config, tokenizer, 0, USED, (told if told is not None else []).append).eval()


def states(model, batch):
    """Final normed states of both sides, in the order of the sequence."""
    data = read_batch(batch, model.device, model.dtype)
    layout, und, act = model._layout(data)
    tokens = model.embed_und(data, und)
    empty = tokens.new_zeros(0, model.config.decoder.act.hidden_size)
    found, *_ = model.language_model.model(tokens, empty, layout, Kept())
    return found[layout.token_of]


def text_batch(ids, images=None):
    """A packed batch of one sample without state and actions; image tokens are the places of `IMAGE_TOKEN`."""
    ids = np.asarray(ids)
    is_image = ids == IMAGE_TOKEN
    batch = {
        "packed_text_ids": ids[~is_image], "packed_text_indexes": np.flatnonzero(~is_image),
        "packed_position_ids": np.arange(len(ids)), "sequence_length": len(ids),
    }  # fmt: skip
    return batch if images is None else {
        **batch, "packed_vit_tokens": images, "packed_vit_token_indexes": np.flatnonzero(is_image),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "changes"),
    (
        (LAYOUTS[0], {}),
        (LAYOUTS[1], {}),
        (LAYOUTS[1], {"tied": True}),
        (LAYOUTS[0], {"tied": True, "vision": {"use_qk_norm": True, "norm_type": "rms_norm", "attention_bias": False}}),
    ),
)
@torch.no_grad()
def test_it_computes_what_transformers_internvl_computes(tmp_path, layout, changes):
    theirs = internvl(tmp_path / "mllm", layout, **changes)
    ours = loaded(run_config(tmp_path / "mllm"))
    assert ours.config.decoder.tie_word_embeddings == changes.get("tied", False)
    rng = np.random.default_rng(0)
    words = rng.integers(0, 260, 23)
    expected = theirs.model(input_ids=torch.tensor(words[None])).last_hidden_state[0]
    torch.testing.assert_close(states(ours, text_batch(words)), expected, rtol=1e-5, atol=1e-5)
    for side, count in ((56, 4), (84, 9)):  # the size that it was trained at, and another
        ids = np.concatenate([words[:5], np.full(2 * count, IMAGE_TOKEN), words[5:]])
        images = torch.tensor(rng.standard_normal((2, 3, side, side)), dtype=torch.float32)
        if side != 56:
            assert not torch.equal(
                ours.vit_model.embeddings._positions(6, 6)[:, 1:17], ours.vit_model.embeddings.position_embedding[:, 1:]
            )
        told = theirs(input_ids=torch.tensor(ids[None]), pixel_values=images, output_hidden_states=True)
        features = theirs.model.get_image_features(images, return_dict=True).pooler_output
        torch.testing.assert_close(ours.embed_images(images), features, rtol=1e-5, atol=1e-5)
        found = states(ours, text_batch(ids, images))
        torch.testing.assert_close(found, told.hidden_states[-1][0], rtol=1e-5, atol=1e-5)
        logits = ours.language_model.logits(found)[:, : told.logits.shape[-1]]
        is_known = np.isin(np.arange(300), list(tokenizer_for(run_config(tmp_path / "mllm"), []).get_vocab().values()))
        is_known[[264, 265, 266]] = False
        torch.testing.assert_close(logits[:, is_known], told.logits[0][:, is_known], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mof", (None, {"experts": 3, "top_k": 2, "shared_layers": 1}), ids=("dense", "experts"))
@torch.no_grad()
def test_the_act_side_computes_what_transformers_qwen3_computes(tmp_path, mof):
    internvl(tmp_path / "mllm")
    theirs, told = qwen3(tmp_path / "expert"), []
    ours = loaded(run_config(tmp_path / "mllm", tmp_path / "expert", mof=mof), told)
    assert (ours.config.mof is None) == (mof is None)
    tokens = torch.randn(1, 19, 20, generator=torch.Generator().manual_seed(3))
    nothing, all_of_them = torch.zeros(0, dtype=torch.long), torch.arange(19)
    layout = PackLayout.build([19], torch.arange(19), torch.arange(19), nothing, all_of_them)
    _, found, *_ = ours.language_model.model(tokens.new_zeros(0, 32), tokens[0], layout, Kept())
    expected = theirs.model(inputs_embeds=tokens).last_hidden_state[0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert any("lm_head.weight, model.embed_tokens.weight" in line for line in told)


def test_new_words_start_near_the_known_ones_and_are_told(tmp_path):
    theirs, told = internvl(tmp_path / "mllm"), []
    config = run_config(tmp_path / "mllm")
    ours, numbers = loaded(config, told), tokenizer_for(config, []).get_vocab()
    assert all(word in told[1] for word in NEW) and "the mean of the 264 known ones" in told[1]
    prompts_for(config, tokenizer_for(config, []), 0)
    for mine, its in (
        (ours.language_model.model.embed_tokens.weight, theirs.get_input_embeddings().weight),
        (ours.language_model.lm_head.weight, theirs.lm_head.weight),
    ):
        known = its[:264]
        assert torch.equal(mine[:264], known) and len(mine) == 300
        new = mine[[numbers[word] for word in NEW]]
        assert (new - known.mean(0)).abs().max() < 0.6 * known.std(0).max() and not torch.equal(new[0], new[1])


def test_a_full_vocabulary_grows(tmp_path):
    theirs = internvl(tmp_path / "mllm", text={"vocab_size": 264}, shard="1MB")
    ours = loaded(run_config(tmp_path / "mllm"))
    assert ours.config.decoder.vocab_size == 267 and len(ours.language_model.lm_head.weight) == 267
    assert torch.equal(ours.language_model.lm_head.weight[:264], theirs.lm_head.weight)


def test_a_run_from_parts_makes_a_checkpoint_in_the_released_format(tmp_path, capsys):
    root = write(tmp_path / "d", lengths=(9, 8))
    internvl(tmp_path / "mllm", text={"vocab_size": 264})
    qwen3(tmp_path / "expert")
    config = run_config(tmp_path / "mllm", tmp_path / "expert", tmp_path / "out", root, image_size=56)
    run = Run(config.model_copy(update={"training": config.training.model_copy(update={"steps": 1})}))
    run.train()
    assert "start: new words" in capsys.readouterr().out
    assert BeingH.from_pretrained(tmp_path / "out/last").config.decoder.vocab_size == 267
    assert load_for_contract(CONTRACT, tmp_path / "out/last").trained_delay == CONTRACT.uac.delay_steps


def broken(folder, name, change):
    """Changes the tensors of one file of a checkpoint without an index."""
    path = folder / name
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("where", "change", "said"),
    (
        ("mllm", lambda t: t.pop("vision_tower.embeddings.cls_token"), "'vision_tower.embeddings.cls_token': expected shape (1, 1, 24), found none"),
        ("mllm", lambda t: t.update(extra=torch.zeros(2)), "'extra': expected no such tensor"),
        (
            "mllm", lambda t: t.update({"vision_tower.encoder.layer.1.attention.k_proj.weight": torch.zeros(24, 23)}),
            "'vision_tower.encoder.layer.1.attention.k_proj.weight': expected shape (24, 24), found shape (24, 23)",
        ),
        ("mllm", lambda t: t.update({"lm_head.weight": torch.zeros(300, 32)}), "'language_model.lm_head.weight' is there under two names"),
        ("mllm", lambda t: t["language_model.model.norm.weight"].fill_(float("nan")), "not finite"),
        ("expert", lambda t: t.update({"model.norm.weight": torch.zeros(21)}), "'model.norm.weight': expected shape (20,), found shape (21,)"),
        ("expert", lambda t: t.pop("model.layers.1.self_attn.q_norm.weight"), "'model.layers.1.self_attn.q_norm.weight': expected shape (16,)"),
    ),
)  # fmt: skip
def test_other_tensors_are_refused_by_name(tmp_path, where, change, said):
    internvl(tmp_path / "mllm", shard="9MB")
    qwen3(tmp_path / "expert")
    broken(tmp_path / where, "model.safetensors", change)
    with pytest.raises(BeingHError) as caught:
        loaded(run_config(tmp_path / "mllm", tmp_path / "expert"))
    assert said in str(caught.value)


def configured(folder, change):
    path = folder / "config.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("where", "change", "said"),
    (
        ("mllm", lambda raw: raw.update(model_type="internvl_chat"), "model_type is 'internvl_chat', not internvl.*end in -HF"),
        ("mllm", lambda raw: raw["text_config"].update(model_type="qwen2"), "text_config: model_type: model_type is 'qwen2', not qwen3"),
        ("mllm", lambda raw: raw["text_config"].update(use_sliding_window=True), "text_config: use_sliding_window: True"),
        ("mllm", lambda raw: raw["text_config"].pop("hidden_size"), "`hidden_size` is missing"),
        ("mllm", lambda raw: raw["vision_config"].update(image_size=[56, 70]), "vision_config.image_size"),
        ("mllm", lambda raw: raw["vision_config"].update(use_mean_pooling=False), "use_mean_pooling"),
        ("mllm", lambda raw: raw.update(projector_hidden_act="relu"), "projector_hidden_act"),
        (
            "expert", lambda raw: raw.update(num_hidden_layers=3, head_dim=8),
            "the expert does not fit: num_hidden_layers 3 where 2 is needed, head_dim 8 where 16 is needed.*random",
        ),
        ("expert", lambda raw: raw.update(rope_parameters={"rope_theta": 1e4}), "rope_theta 10000.0 where 1000000.0 is needed"),
        ("expert", lambda raw: raw.update(model_type="llama"), "model_type is 'llama', not qwen3"),
    ),
)  # fmt: skip
def test_parts_of_another_kind_are_refused(tmp_path, where, change, said):
    internvl(tmp_path / "mllm", shard="9MB")
    qwen3(tmp_path / "expert")
    configured(tmp_path / where, change)
    with pytest.raises(BeingHError, match=said):
        loaded(run_config(tmp_path / "mllm", tmp_path / "expert"))


def test_a_directory_that_is_not_there_is_told(tmp_path):
    with pytest.raises(BeingHError, match="no such directory.*hf download OpenGVLab/InternVL3_5-2B-HF"):
        loaded(run_config("OpenGVLab/InternVL3_5-2B-HF"))
