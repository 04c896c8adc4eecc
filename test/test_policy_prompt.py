"""Token layout and packing: against the written-out conversation, and many samples against one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from beingh_core.errors import BeingHError
from beingh_core.policy.prompt import PromptBuilder, PromptConfig
from beingh_core.policy.tokenizer import load_tokenizer

SET_A = Path(__file__).parent / "data" / "set_a"
SYSTEM = (
    "<|im_start|>system\nYou are Being-H0, a helpful and harmless AI assistant developed by BeingBeyond.<|im_end|>\n"
)


@pytest.fixture(scope="module")
def builder():
    config = PromptConfig(chunk_length=5, tokens_per_view=2, image_size=28)
    return PromptBuilder(SET_A, config)


def spelled(builder, prompt):
    """The sample as text, with one letter for each token that is not text."""
    pieces = [""] * prompt.length
    kinds = {"V": prompt.vit_positions, "S": prompt.state_positions, "A": prompt.action_positions}
    for letter, positions in kinds.items():
        for position in positions:
            pieces[position] = letter
    for position, token in zip(prompt.text_positions, prompt.text_ids):
        pieces[position] = builder.tokenizer.decode([token], skip_special_tokens=False)
    return "".join(pieces)


def test_robot_sample_reads_as_the_design_says(builder):
    assert spelled(builder, builder.build("lift it", 3)) == (
        SYSTEM + "<|im_start|>user\n<img>VVVVVV</img><|state_start|>S<|state_end|>According to the instruction "
        "'lift it', what's the micro-step actions in the next 5 steps?<|im_end|>\n"
        "<|im_start|>assistant\nAAAAA<|im_end|>"
    )


@pytest.mark.parametrize(("views", "pictures"), [(0, ""), (2, "<img>VVVV</img>")])
def test_text_sample_labels_every_token_of_the_answer(builder, views, pictures):
    prompt = builder.build_answer("What colour?", "Red.", views)
    text = spelled(builder, prompt)
    assert text == SYSTEM + f"<|im_start|>user\n{pictures}What colour?<|im_end|>\n<|im_start|>assistant\nRed.<|im_end|>"
    whole = dict(zip(prompt.text_positions.tolist(), prompt.text_ids.tolist()))
    assert [whole[p + 1] for p in prompt.label_positions] == prompt.label_ids.tolist()
    assert builder.tokenizer.decode(prompt.label_ids, skip_special_tokens=False) == "Red.<|im_end|>"


def test_packing_is_shifting_each_sample(builder):
    prompts = [
        builder.build("lift it", 1),
        builder.build_answer("Where?", "There.", 1),
        builder.build("put the long thing down", 2),
    ]
    packed = builder.pack(prompts)
    alone = [builder.pack([prompt]) for prompt in prompts]
    starts = np.cumsum([0] + [one["sequence_length"] for one in alone])
    assert packed["sequence_length"] == starts[-1]
    assert packed["sample_lens"].tolist() == [one["sequence_length"] for one in alone]
    for key in packed:
        if key in ("sequence_length", "sample_lens"):
            continue
        shift = key.endswith("indexes")
        parts = [one[key] + (start if shift else 0) for one, start in zip(alone, starts) if key in one]
        assert torch.equal(packed[key], torch.cat(parts)), key
    occupied = torch.cat([packed[k] for k in packed if k.endswith("indexes") and k != "ce_loss_indexes"])
    assert torch.equal(occupied.sort().values, torch.arange(starts[-1]))


def test_a_batch_without_answers_has_no_labels(builder):
    assert not {"ce_loss_indexes", "packed_label_ids"} & set(builder.pack([builder.build("go", 1)]))


def test_layouts_are_built_once(builder):
    assert builder.build("again", 2) is builder.build("again", 2)
    assert builder.build("again", 2) is not builder.build("again", 1)


def test_braces_in_an_instruction_are_plain_text(builder):
    assert "the instruction 'open {k}'" in spelled(builder, builder.build("open {k}", 1))


@pytest.mark.parametrize("text", ["", "  ", "stop<|im_end|>now", "look <img>"])
def test_instructions_that_would_break_the_layout_are_refused(builder, text):
    with pytest.raises(BeingHError):
        builder.build(text, 1)


@pytest.mark.parametrize(
    "template", ["do it", "{task_description} {speed}", "{task_description} {0}", "{task_description"]
)
def test_unusable_templates_are_refused(template):
    with pytest.raises(BeingHError, match="template"):
        PromptConfig(chunk_length=5, tokens_per_view=2, image_size=28, instruction_template=template)


def test_a_missing_special_token_is_named():
    bare = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel()
    with pytest.raises(BeingHError, match="im_start"):
        PromptBuilder(bare, PromptConfig(chunk_length=5, tokens_per_view=2, image_size=28))


def test_the_older_tokenizer_files_read_the_same(tmp_path):
    pytest.importorskip("transformers")
    whole = json.loads((SET_A / "tokenizer.json").read_text())
    config = json.loads((SET_A / "tokenizer_config.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps(whole["model"]["vocab"]))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "added_tokens.json").write_text(json.dumps({t["content"]: t["id"] for t in whole["added_tokens"]}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "Qwen2Tokenizer"}))
    converted, original = load_tokenizer(tmp_path), load_tokenizer(SET_A)
    for text in ("system\nIt's 3 o'clock.\n", "<|im_start|>\u00e9 <img>"):
        assert converted.encode(text, add_special_tokens=False).ids == original.encode(text).ids


def test_missing_or_broken_tokenizer_files(tmp_path):
    with pytest.raises(BeingHError, match="tokenizer.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BeingHError, match="cannot be read"):
        load_tokenizer(tmp_path)
