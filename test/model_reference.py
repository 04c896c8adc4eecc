"""Being-H written a second time for the tests: one sample, the whole sequence, float64, no cache, no packing.

Straight from DESIGN section 5, with loops where the model has tensors. Also makes random configurations and batches.
"""

import copy
import json
from pathlib import Path

import numpy as np
import torch

SET_A = Path(__file__).parent / "data" / "set_a"
WIDTH = 200


def small_config(**changes):
    """The golden configuration with dotted keys replaced, e.g. {"llm_config.num_attention_heads": 6}."""
    raw = json.loads((SET_A / "config.json").read_text())
    for key, value in changes.items():
        *path, last = key.split("__")
        section = raw
        for part in path:
            section = section[part]
        section[last] = value
    expert = raw["llm_config"]["expert_config"]
    for key in ("num_attention_heads", "num_key_value_heads", "head_dim", "num_hidden_layers"):
        expert[key] = raw["llm_config"][key]
    return copy.deepcopy(raw)


def random_sample(raw, rng, views, texts=(7, 3, 9, 2), same_head=None):
    """One robot sample: text, images, text, state, text, actions, text; `same_head` copies another's beginning."""
    vit, chunk = raw["vit_config"], raw["action_chunk_length"]
    tokens = int(vit["image_size"] // vit["patch_size"] * raw["downsample_ratio"]) ** 2 * views
    counts = (texts[0], tokens, texts[1], 1, texts[2], chunk, texts[3])
    kinds = np.repeat(list("tvtstat"), counts)
    ids = rng.integers(0, 250, int((kinds == "t").sum()))
    images = rng.standard_normal((views, vit.get("num_channels", 3), vit["image_size"], vit["image_size"]))
    state = rng.standard_normal(WIDTH) * 0.3
    if same_head is not None:
        shared = texts[0] + texts[1]
        ids[:shared] = same_head["ids"][:shared]
        images, state = same_head["images"], same_head["state"]
    return {
        "kinds": kinds,
        "ids": ids,
        "images": images.astype(np.float32),
        "state": state.astype(np.float32),
        "action": (rng.standard_normal((chunk, WIDTH)) * 0.5).astype(np.float32),
        "mask": np.tile(rng.random(WIDTH) < 0.1, (chunk, 1)),
        "labels": rng.integers(0, 250, 2),
    }


def pack(samples):
    """Packed batch of samples; labels are predicted at the last two text tokens before the actions."""
    starts = np.cumsum([0] + [len(s["kinds"]) for s in samples])

    def places(kind):
        return np.concatenate([np.flatnonzero(s["kinds"] == kind) + o for s, o in zip(samples, starts)])

    first_action = [int(np.flatnonzero(s["kinds"] == "a")[0]) for s in samples]
    return {
        "packed_text_ids": np.concatenate([s["ids"] for s in samples]),
        "packed_text_indexes": places("t"),
        "packed_vit_token_indexes": places("v"),
        "packed_state_indexes": places("s"),
        "packed_action_indexes": places("a"),
        "packed_position_ids": np.concatenate([np.arange(len(s["kinds"])) for s in samples]),
        "sample_lens": np.array([len(s["kinds"]) for s in samples] + [11]),
        "sequence_length": int(starts[-1]),
        "packed_vit_tokens": np.concatenate([s["images"] for s in samples]),
        "padded_state": np.stack([s["state"] for s in samples]),
        "padded_action": np.concatenate([s["action"] for s in samples]),
        "padded_action_mask": np.concatenate([s["mask"] for s in samples]),
        "ce_loss_indexes": np.concatenate([[o + f - 2, o + f - 1] for o, f in zip(starts, first_action)]),
        "packed_label_ids": np.concatenate([s["labels"] for s in samples]),
    }


class Reference:
    """The model's equations on a dictionary of float64 weights with the released names."""

    def __init__(self, raw, weights):
        self.raw, self.llm, self.vit = raw, raw["llm_config"], raw["vit_config"]
        self.w = {name: tensor.detach().double() for name, tensor in weights.items()}

    def linear(self, name, x):
        bias = self.w.get(name + ".bias")
        return x @ self.w[name + ".weight"].T + (0 if bias is None else bias)

    def rms(self, name, x, eps):
        return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * self.w[name + ".weight"]

    def layer_norm(self, x, eps, name=None):
        out = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + eps).sqrt()
        return out if name is None else out * self.w[name + ".weight"] + self.w[name + ".bias"]

    def vit_norm(self, name, x):
        if self.vit["norm_type"] == "rms_norm":
            return self.rms(name, x, self.vit["layer_norm_eps"])
        return self.layer_norm(x, self.vit["layer_norm_eps"], name)

    def image_tokens(self, image):
        """(C, S, S) pixels to (tokens, und hidden)."""
        w, p, size = self.w, self.vit["patch_size"], self.vit["image_size"]
        grid, heads = size // p, self.vit["num_attention_heads"]
        kernel = w["vit_model.embeddings.patch_embedding.weight"]
        rows = [w["vit_model.embeddings.class_embedding"][0, 0]]
        for r in range(grid):
            for c in range(grid):
                patch = image[:, r * p : (r + 1) * p, c * p : (c + 1) * p]
                rows.append((kernel * patch).sum((1, 2, 3)) + w["vit_model.embeddings.patch_embedding.bias"])
        x = torch.stack(rows) + w["vit_model.embeddings.position_embedding"][0]
        layers = self.vit["num_hidden_layers"] + 1
        for i in range(self.raw["select_layer"] % layers):
            n = f"vit_model.encoder.layers.{i}."
            q, k, v = self.linear(n + "attn.qkv", self.vit_norm(n + "norm1", x)).chunk(3, -1)
            if self.vit["qk_normalization"]:
                q = self.rms(n + "attn.q_norm", q, self.vit["layer_norm_eps"])
                k = self.rms(n + "attn.k_norm", k, self.vit["layer_norm_eps"])
            out = []
            for qh, kh, vh in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1)):
                out.append((qh @ kh.T / qh.shape[-1] ** 0.5).softmax(-1) @ vh)
            x = x + self.linear(n + "attn.proj", torch.cat(out, -1)) * w[n + "ls1"]
            hidden = torch.nn.functional.gelu(self.linear(n + "mlp.fc1", self.vit_norm(n + "norm2", x)))
            x = x + self.linear(n + "mlp.fc2", hidden) * w[n + "ls2"]
        x = x[1:].reshape(grid, grid, -1)
        blocks = []
        for r in range(0, grid, 2):
            for c in range(0, grid, 2):
                blocks.append(torch.cat((x[r, c], x[r, c + 1], x[r + 1, c], x[r + 1, c + 1])))
        y = self.layer_norm(torch.stack(blocks), 1e-5, "connector.mlp1.0")
        return self.linear("connector.mlp1.3", torch.nn.functional.gelu(self.linear("connector.mlp1.1", y)))

    def action_tokens(self, actions, tau):
        content = self.linear("action_encoder.W1", actions)
        half = content.shape[-1] // 2
        angles = torch.tensor(
            [[t * 10000.0 ** (-k / half) for k in range(half)] for t in tau.tolist()], dtype=torch.float64
        )
        mixed = self.linear("action_encoder.W2", torch.cat((content, angles.sin(), angles.cos()), -1))
        return self.linear("action_encoder.W3", mixed * mixed.sigmoid())

    def mlp2(self, name, x):
        return self.linear(name + ".layer2", self.linear(name + ".layer1", x).clamp(min=0))

    def rotary(self, x, positions):
        half = x.shape[-1] // 2
        angles = torch.tensor(
            [[p * self.llm["rope_theta"] ** (-k / half) for k in range(half)] for p in positions], dtype=torch.float64
        )
        a, b = x[:, :half], x[:, half:]
        return torch.cat((a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()), -1)

    def side(self, tokens, act, und_fn, act_fn):
        return [act_fn(x) if is_act else und_fn(x) for x, is_act in zip(tokens, act)]

    def decode(self, tokens, act):
        """Final normed state of each token of one sample; `act` says which side it belongs to."""
        heads, kv, dim = (self.llm[k] for k in ("num_attention_heads", "num_key_value_heads", "head_dim"))
        eps, count = self.llm["rms_norm_eps"], len(tokens)
        for i in range(self.llm["num_hidden_layers"]):
            n = f"language_model.model.layers.{i}."

            def both(name, values):
                return self.side(
                    values, act, lambda x: self.linear(n + name, x), lambda x: self.linear(n + name + "_mot_gen", x)
                )

            def norm(name, values):
                return self.side(
                    values, act, lambda x: self.rms(n + name, x, eps), lambda x: self.rms(n + name + "_mot_gen", x, eps)
                )

            inner = norm("input_layernorm", tokens)
            q, k, v = (torch.stack(both(f"self_attn.{p}_proj", inner)) for p in "qkv")
            out = []
            for h in range(heads):
                g = h // (heads // kv)
                qh, kh, vh = q[:, h * dim : (h + 1) * dim], k[:, g * dim : (g + 1) * dim], v[:, g * dim : (g + 1) * dim]
                qh = self.rotary(torch.stack(norm("self_attn.q_norm", list(qh))), range(count))
                kh = self.rotary(torch.stack(norm("self_attn.k_norm", list(kh))), range(count))
                scores = qh @ kh.T / dim**0.5
                scores = scores.masked_fill(torch.ones(count, count, dtype=torch.bool).triu(1), float("-inf"))
                out.append(scores.softmax(-1) @ vh)
            attended = both("self_attn.o_proj", list(torch.cat(out, -1)))
            tokens = [x + y for x, y in zip(tokens, attended)]
            inner = norm("post_attention_layernorm", tokens)

            def mlp(name, x):
                gate, up = self.linear(f"{n}{name}.gate_proj", x), self.linear(f"{n}{name}.up_proj", x)
                return self.linear(f"{n}{name}.down_proj", gate * gate.sigmoid() * up)

            def act_mlp(x):
                mof = self.raw.get("mof")
                if not mof or i < mof["shared_layers"]:
                    return mlp("mlp_mot_gen", x)
                scores = self.linear(f"{n}mlp_mot_gen.router", x).softmax(-1).tolist()
                best = sorted(range(mof["experts"]), key=lambda e: -scores[e])[: mof["top_k"]]
                total = sum(scores[e] for e in best)
                return sum(scores[e] / total * mlp(f"mlp_mot_gen.experts.{e}", x) for e in best)

            tokens = [x + y for x, y in zip(tokens, self.side(inner, act, lambda x: mlp("mlp", x), act_mlp))]
        final = "language_model.model.norm"
        return self.side(tokens, act, lambda x: self.rms(final, x, eps), lambda x: self.rms(final + "_mot_gen", x, eps))

    def forward(self, sample, action_embeddings):
        """Final states of every token of one sample."""
        queues = {
            "t": iter(self.w["language_model.model.embed_tokens.weight"][torch.from_numpy(sample["ids"])]),
            "v": iter(torch.cat([self.image_tokens(i) for i in torch.from_numpy(sample["images"]).double()])),
            "s": iter(self.mlp2("proprio_encoder_robot", torch.from_numpy(sample["state"]).double()[None])),
            "a": iter(action_embeddings),
        }
        kinds = sample["kinds"].tolist()
        return self.decode([next(queues[k]) for k in kinds], [k in "sa" for k in kinds])

    def enhance(self, embeddings, states, clean, directions, strength):
        x = self.linear("action_to_vlm_proj", embeddings)
        x = torch.cat((torch.zeros(states, x.shape[-1], dtype=torch.float64), x))
        e = self.linear("mpg.obs_proj", x)
        z = self.layer_norm(self.linear("mpg.action_proj", clean), 1e-5).mean(0)
        distance = 0.0
        for direction in directions.double():
            unit = direction / direction.norm()
            distance = distance + ((self.layer_norm(e, 1e-5) @ unit).sort().values - z @ unit).pow(2).mean()
        gate = torch.exp(-distance / len(directions) / self.raw["mpg_gate_temperature"])
        x = x + strength * self.linear("mpg.enhancement_proj", gate * e)
        return self.linear("vlm_to_action_proj", x[states:])

    def velocity(self, sample, embeddings):
        states = self.forward(sample, embeddings)
        chosen = torch.stack([x for x, k in zip(states, sample["kinds"]) if k == "a"])
        return self.mlp2("action_decoder", chosen)

    def act(self, sample, noise, directions=None, prev=None, delay=0):
        """One chunk; `noise` (passes, H, W), `directions` (calls, P, C)."""
        steps, calls, clean = self.raw["num_inference_timesteps"], 0, None
        for start in noise.double():
            a = start.clone()
            for i in range(steps):
                a[:delay] = 0 if prev is None else prev[:delay]
                tau = torch.full((len(a),), int(1000 * i / steps))
                tau[:delay] = 1000
                tokens = self.action_tokens(a, tau)
                if clean is not None:
                    tokens = self.enhance(tokens, 1, clean, directions[calls], self.raw["mpg_lambda"])
                    calls += 1
                a = a + self.velocity(sample, tokens) / steps
                a[:delay] = 0 if prev is None else prev[:delay]
            clean = self.action_tokens(a, torch.zeros(len(a)))
        return a

    def losses(self, samples, noise, time, delays, directions=None):
        """Action and und loss of a batch, sample by sample; `noise` (B, H, W)."""
        head = "language_model.lm_head.weight"
        head = self.w[head if head in self.w else "language_model.model.embed_tokens.weight"]
        prepared, cleans = [], []
        for s, e, t, d in zip(samples, noise.double(), time.tolist(), delays.tolist()):
            a = torch.from_numpy(s["action"]).double()
            token_time = torch.tensor([1.0 if j < d else t for j in range(len(a))], dtype=torch.float64)
            noisy = (1 - token_time[:, None]) * e + token_time[:, None] * a
            prepared.append((a - e, self.action_tokens(noisy, (1000 * token_time).floor())))
            cleans.append(self.action_tokens(a, torch.zeros(len(a))))
        if directions is not None:
            stacked = torch.cat([tokens for _, tokens in prepared])
            mean = torch.stack(cleans).mean(0)
            enhanced = self.enhance(stacked, len(samples), mean, directions, self.raw["mpg_lambda"])
            prepared = [(target, x) for (target, _), x in zip(prepared, enhanced.chunk(len(samples)))]
        squares, valid, entropy = 0.0, 0, []
        for s, (target, tokens), d in zip(samples, prepared, delays.tolist()):
            states = self.forward(s, tokens)
            chosen = torch.stack([x for x, k in zip(states, s["kinds"]) if k == "a"])
            mask = torch.from_numpy(s["mask"])[d:]
            squares = squares + ((self.mlp2("action_decoder", chosen) - target)[d:] ** 2)[mask].sum()
            valid += int(mask.sum())
            first = int(np.flatnonzero(s["kinds"] == "a")[0])
            for state, label in zip(states[first - 2 : first], s["labels"]):
                entropy.append(-(state @ head.T).log_softmax(-1)[int(label)])
        return squares / valid, torch.stack(entropy).mean()
