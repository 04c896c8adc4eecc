"""Mixture-of-transformers decoder: two sets of weights, one causal attention.

*und* weights serve text and image tokens, *act* weights (suffix `_mot_gen`) state and action tokens.
Dimension letters: N tokens (und first, then act), B rows, L slots a row, C channels, H heads, K key-value heads,
D head width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from beingh_core.model.attention import attend
from beingh_core.model.config import DecoderConfig, MofConfig
from beingh_core.model.layers import GatedMLP, RMSNorm, rms_norm, rotary_table, rotate
from beingh_core.model.mof import RoutedMLP, mix
from beingh_core.model.packing import PackLayout


class Kept(NamedTuple):
    """Which und and act tokens leave the last layer."""

    und: Tensor | slice = slice(None)
    act: Tensor | slice = slice(None)


class MoTAttention(nn.Module):
    """Both sides' projections into the shared head space, and back out of it."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        q_dim, kv_dim = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        for suffix, side in (("", config.und), ("_mot_gen", config.act)):
            for name, out in (("q_proj", q_dim), ("k_proj", kv_dim), ("v_proj", kv_dim)):
                setattr(self, name + suffix, nn.Linear(side.hidden_size, out, bias=config.attention_bias))
            setattr(self, "o_proj" + suffix, nn.Linear(q_dim, side.hidden_size, bias=config.attention_bias))
            if config.qk_norm:
                setattr(self, "q_norm" + suffix, RMSNorm(config.head_dim, config.eps))
                setattr(self, "k_norm" + suffix, RMSNorm(config.head_dim, config.eps))

    def project(self, x_NC: Tensor, suffix: str, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Normed, rotated queries (N, H D) of one side's tokens, and their keys and values (N, 2 K D)."""
        config = self.config
        heads, kv_heads, dim = config.num_heads, config.num_kv_heads, config.head_dim
        parts = [getattr(self, f"{name}_proj{suffix}") for name in "qkv"]
        bias = torch.cat([p.bias for p in parts]) if config.attention_bias else None
        fused = F.linear(x_NC, torch.cat([p.weight for p in parts]), bias)
        qk, v = fused.split(((heads + kv_heads) * dim, kv_heads * dim), dim=-1)
        qk = qk.unflatten(-1, (heads + kv_heads, dim))
        if config.qk_norm:
            q_norm, k_norm = getattr(self, "q_norm" + suffix), getattr(self, "k_norm" + suffix)
            weight = torch.cat((q_norm.weight.expand(heads, dim), k_norm.weight.expand(kv_heads, dim)))
            qk = rms_norm(qk, weight, config.eps)
        qk = rotate(qk, rotary[0].unsqueeze(-2), rotary[1].unsqueeze(-2)).flatten(-2)
        q, k = qk.split((heads * dim, kv_heads * dim), dim=-1)
        return q, torch.cat((k, v), dim=-1)

    def split_heads(self, q: Tensor, kv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views (..., H, D) of queries, and (..., K, D) of keys and of values."""
        dim, kv_heads = self.config.head_dim, self.config.num_kv_heads
        keys, values = kv.unflatten(-1, (2 * kv_heads, dim)).split(kv_heads, dim=-2)
        return q.unflatten(-1, (-1, dim)), keys, values


class MoTLayer(nn.Module):
    """One pre-norm decoder layer with two sets of weights; with `mof`, its act MLP is routed."""

    def __init__(self, config: DecoderConfig, mof: MofConfig | None = None) -> None:
        super().__init__()
        self.self_attn = MoTAttention(config)
        for suffix, side in (("", config.und), ("_mot_gen", config.act)):
            sizes = (side.hidden_size, side.intermediate_size, config.hidden_act)
            routed = mof is not None and side is config.act
            setattr(self, "mlp" + suffix, RoutedMLP(*sizes, mof) if routed else GatedMLP(*sizes))
            setattr(self, "input_layernorm" + suffix, RMSNorm(side.hidden_size, config.eps))
            setattr(self, "post_attention_layernorm" + suffix, RMSNorm(side.hidden_size, config.eps))

    def project(self, x: Tensor, suffix: str, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Input norm and projection of one side's tokens."""
        return self.self_attn.project(getattr(self, "input_layernorm" + suffix)(x), suffix, rotary)

    def finish(self, x: Tensor, attended: Tensor, suffix: str) -> tuple[Tensor, Tensor | None]:
        """Output projection, residuals and MLP of one side's tokens (N, C), and where they were routed (N, E)."""
        x = x + getattr(self.self_attn, "o_proj" + suffix)(attended)
        mlp, normed = getattr(self, "mlp" + suffix), getattr(self, "post_attention_layernorm" + suffix)(x)
        if not isinstance(mlp, RoutedMLP):
            return x + mlp(normed), None
        routed = mlp.route(normed)
        return x + mix(normed, routed, mlp.experts, mlp.top_k), routed

    def forward(
        self, und: Tensor, act: Tensor, layout: PackLayout, rotary: tuple[Tensor, Tensor], kept: Kept
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Runs all tokens of a layout; only the `kept` ones leave the layer. Last: where the act tokens were routed."""
        sizes = (und.shape[0], act.shape[0])
        (cos_und, cos_act), (sin_und, sin_act) = (table.split(sizes) for table in rotary)
        q_und, kv_und = self.project(und, "", (cos_und, sin_und))
        q_act, kv_act = self.project(act, "_mot_gen", (cos_act, sin_act))
        parts = self._attend(torch.cat((q_und, q_act)), torch.cat((kv_und, kv_act)), layout).split(sizes)
        sides = []
        for x, out, keep, suffix in zip((und, act), parts, kept, ("", "_mot_gen"), strict=True):
            sides.append(self.finish(x[keep], out[keep], suffix))
        (und, _), (act, routed) = sides
        return und, act, routed

    def _attend(self, q_NW: Tensor, kv_NW: Tensor, layout: PackLayout) -> Tensor:
        """What each token of a layout attends to, (N, H D)."""
        if layout.flex is not None:
            return layout.flex.attend(*self.self_attn.split_heads(q_NW, kv_NW))
        queries, all_keys, all_values = self.self_attn.split_heads(layout.queries(q_NW), layout.keys(kv_NW))
        attended, begin = [], 0
        for group in layout.groups:
            keys, values = all_keys[group.rows], all_values[group.rows]
            end = begin + keys.shape[0] * (layout.length - group.start)
            rows = queries[begin:end].unflatten(0, (keys.shape[0], -1))
            attended.append(attend(rows, keys, values, group.visible).flatten(0, 1))
            begin = end
        return layout.answers(torch.cat(attended) if len(attended) > 1 else attended[0])


class MoTDecoder(nn.Module):
    """Token embedding, the layers, and each side's final norm."""

    def __init__(self, config: DecoderConfig, mof: MofConfig | None = None) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.und.hidden_size, config.pad_token_id)
        shared = config.num_layers if mof is None else mof.shared_layers
        self.layers = nn.ModuleList(MoTLayer(config, mof if i >= shared else None) for i in range(config.num_layers))
        self.norm = RMSNorm(config.und.hidden_size, config.eps)
        self.norm_mot_gen = RMSNorm(config.act.hidden_size, config.eps)

    def _rotary(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return rotary_table(positions, self.config.head_dim, self.config.rope_theta)

    def forward(
        self, und: Tensor, act: Tensor, layout: PackLayout, kept: Kept, depths: tuple[int, ...] = ()
    ) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        """Final normed states of the kept und and act tokens, normed und states of the same tokens at `depths`, and the
        experts' probabilities (N, E) of the act tokens in every layer that has experts.

        Args:
            und: (N_und, C_und) token embeddings.
            act: (N_act, C_act) token embeddings.
            layout: Where they live.
            kept: Which of them to return; the last layer computes no others.
            depths: After how many layers (1 .. layers - 1) und states are also wanted.
        """
        early, routed = [], []
        rotary = self._rotary(layout.positions)
        for index, layer in enumerate(self.layers):
            last = index == len(self.layers) - 1
            und, act, found = layer(und, act, layout, rotary, kept if last else Kept())
            if found is not None:
                routed.append(found)
            if index + 1 in depths and not last:
                early.append(self.norm(und if kept.und is None else und.index_select(0, kept.und)))
        return self.norm(und), self.norm_mot_gen(act), early, routed


class LanguageModel(nn.Module):
    """The decoder with its output head over the vocabulary."""

    def __init__(self, config: DecoderConfig, mof: MofConfig | None = None) -> None:
        super().__init__()
        self.model = MoTDecoder(config, mof)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.und.hidden_size, config.vocab_size, bias=False)
        self.tied = config.tie_word_embeddings

    def logits(self, states_NC: Tensor) -> Tensor:
        """Vocabulary logits (N, vocabulary) of normed und states."""
        return F.linear(states_NC, self.model.embed_tokens.weight if self.tied else self.lm_head.weight)
