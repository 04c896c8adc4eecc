"""Small LeRobot datasets of the FR3, and runs of training over them."""

import copy

import numpy as np
import yaml

from beingh_core.contract import load_contract
from beingh_core.data.contract_rows import dataset_spec
from beingh_core.data.lerobot import DatasetWriter, Frame, VideoSettings
from beingh_core.policy.prompt import PromptBuilder, PromptConfig
from beingh_core.train.settings import RunConfig
from beingh_core.train.sources import open_sources
from beingh_core.train.tokenizer import build_tokenizer, prompt_phrases

CONTRACT = load_contract("fr3")
H = CONTRACT.policy.chunk_length
LENGTHS = (9, 23, 14, 6)
SIZE = (48, 64)
SIZES = {
    "action_chunk_length": H,
    "use_mpg": False,
    "vision": {"image": 32, "patch": 8, "hidden": 16, "layers": 1, "heads": 2, "mlp": 32},
    "decoder": {
        "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 8,
        "und_hidden": 24, "und_mlp": 32, "act_hidden": 16, "act_mlp": 32,
    },
}  # fmt: skip


def picture(view, episode, index, size=SIZE):
    """Red grows to the right, green downwards, blue tells view, episode and row."""
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width)
    image[..., 1] = np.linspace(0, 255, height)[:, None]
    image[..., 2] = (view * 90 + episode * 37 + index * 11) % 200 + 20
    return image


def numbers(episode, index):
    """State (4,) and action (4,) of a row; the same every time."""
    rng = np.random.default_rng((episode, index))
    state = np.array([0.45, 0.0, 0.3, 0.0]) + rng.normal(size=4) * 0.05
    action = np.append(rng.normal(size=3) * 0.004, rng.integers(2))
    return state.astype(np.float32), action.astype(np.float32)


def task_of(episode):
    return ("pick up the red cube", "put the lid of the small blue box on the shelf behind it")[episode % 2]


def write(root, lengths=LENGTHS, contract=CONTRACT, version="v3.0", gop=2, task=task_of, rows=numbers, first=0):
    """A dataset of a contract's robot with episodes of these lengths."""
    sizes = {camera.name: SIZE for camera in contract.cameras}
    spec = dataset_spec(contract, sizes, VideoSettings(encoder="software", gop=gop), version, in_charge=False)
    with DatasetWriter(root, spec) as writer:
        for episode, count in enumerate(lengths, first):
            frames = []
            for index in range(count):
                state, action = rows(episode, index)
                images = {c.key: picture(v, episode, index) for v, c in enumerate(spec.cameras)}
                vectors = {"observation.state": state, "action": action}
                frames.append(Frame(vectors=vectors, images=images, task=task(episode)))
            writer.add(frames, source=f"s{episode}")
    return root


def raw_config(*roots, out="out", **changes):
    """The mapping of a small run over datasets; `changes` are sections with keys that differ."""
    raw = {
        "out": str(out),
        "model": copy.deepcopy(SIZES),
        "data": {"datasets": [{"path": str(root), "robot": "fr3"} for root in roots], "workers": 0},
        "packing": {"expected_tokens": 900, "max_tokens": 1100, "max_tokens_per_sample": 900, "buffer": 12},
        "optimiser": {"learning_rate": 1e-3},
        "training": {"steps": 4, "precision": "fp32"},
    }
    for section, keys in changes.items():
        raw[section] = {**raw.get(section, {}), **keys} if isinstance(keys, dict) else keys
    return raw


def config_of(*roots, **changes):
    return RunConfig.from_dict(raw_config(*roots, **changes))


def prompts_for():
    tokenizer = build_tokenizer(prompt_phrases(H))
    return PromptBuilder(tokenizer, PromptConfig(chunk_length=H, tokens_per_view=4, image_size=32))


def opened(config, cache):
    """The sources of a configuration, measured, and the prompts."""
    sources = open_sources(config.data, cache, H)
    prompts = prompts_for()
    return [source.measured(prompts) for source in sources], prompts


def contract_with(tmp_path, change, name="changed.yaml", source="fr3"):
    """A contract like another one after `change` has worked on its mapping."""
    from beingh_core.contract.loader import load_contract as load

    path = load(source).path
    raw = yaml.safe_load(path.read_text())
    raw["urdf"] = str(load(source).urdf_path)
    change(raw)
    (tmp_path / name).write_text(yaml.safe_dump(raw))
    return load(tmp_path / name)
