"""Small random InternVL and Qwen3 checkpoints, made with transformers' own classes and saved as published ones are."""

import json

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
)

LAYOUTS = ("language_model.model", "model.language_model")
IMAGE_TOKEN = 263
TEXT = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 4096,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}  # fmt: skip
VISION = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": [56, 56],
    "patch_size": [14, 14], "attention_bias": True, "layer_scale_init_value": 0.7,
}  # fmt: skip


def tokenizer():
    """Bytes and the control tokens of Qwen and InternVL, without those of states."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    words = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<quad>", "<ref>", "<img>", "</img>", "<IMG_CONTEXT>")
    made.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in words])
    return made


def shaken(model, seed):
    """The model with every weight random: transformers starts biases, norms and positions at constants."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    return model.eval()


def internvl(folder, layout=LAYOUTS[0], *, text=None, vision=None, tied=False, shard="20KB"):
    """A checkpoint in shards; the model that it holds."""
    sizes = {**TEXT, **(text or {})}
    config = InternVLConfig(
        text_config=Qwen3Config(**sizes).to_dict(), vision_config=InternVLVisionConfig(**{**VISION, **(vision or {})}).to_dict(),
        image_token_id=IMAGE_TOKEN, tie_word_embeddings=tied,
    )  # fmt: skip
    model = shaken(InternVLForConditionalGeneration(config), seed=1)
    model.save_pretrained(folder, max_shard_size=shard)
    if layout == LAYOUTS[1]:  # as InternVL's own conversion writes it, with the names that are in memory
        _shards(folder, {name: x for name, x in model.state_dict().items() if not tied or name != "lm_head.weight"})
    tokenizer().save(str(folder / "tokenizer.json"))
    return model


def _shards(folder, tensors):
    """Puts tensors into three files with an index, in place of those that are there."""
    for path in folder.glob("*.safetensors"):
        path.unlink()
    places = {name: f"model-0000{number % 3 + 1}-of-00003.safetensors" for number, name in enumerate(sorted(tensors))}
    for file in set(places.values()):
        save_file({name: tensors[name] for name in tensors if places[name] == file}, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def qwen3(folder, **changes):
    """A Qwen3 checkpoint; the model that it holds."""
    sizes = {**TEXT, "hidden_size": 20, "intermediate_size": 28, "vocab_size": 90, **changes}
    model = shaken(Qwen3ForCausalLM(Qwen3Config(**sizes)), seed=2)
    model.save_pretrained(folder)
    return model
