"""Small datasets whose rows have branches."""

import numpy as np
from train_support import CONTRACT, H, numbers, picture, task_of

from beingh_core.data.branches import Branch, BranchForm
from beingh_core.data.contract_rows import dataset_spec
from beingh_core.data.lerobot import DatasetWriter, Frame, VideoSettings

COLOURS = ("red", "green", "blue")
TASKS = tuple(f"pick up the {colour} cube" for colour in COLOURS)
REPLIES = tuple(f"{colour}: in cell {cell}" for colour in COLOURS for cell in range(2))
FORM = BranchForm(
    branches=3, steps=H, replies=2, texts=(*TASKS, *REPLIES), phrases=("pick up the ", *COLOURS, ": in cell ")
)
WITHOUT = 3  # every so many rows have none
LENGTHS = (9, 12, 6)


def branches_of(episode, index):
    """Of a row; the same every time: each colour moves its own way, behind a prefix that all share as far as it goes."""
    if index % WITHOUT == 1:
        return []
    rng, found = np.random.default_rng((7, episode, index)), []
    shared = rng.normal(size=(H, 4)) * 0.004
    for place, colour in enumerate(COLOURS):
        prefix, actions = int(rng.integers(0, 4)), rng.normal(size=(H, 4)) * 0.004
        actions[:prefix] = shared[:prefix]
        actions[prefix:, 3] = place / 2
        replies = tuple(REPLIES[2 * place + n] for n in range(1 + (index + place) % 2))
        found.append(Branch(task=TASKS[place], actions=actions.astype(np.float32), prefix=prefix, replies=replies))
    return found[: 2 + index % 2]


def write_branched(root, form=FORM, lengths=LENGTHS, version="v3.0"):
    """A dataset of the FR3 whose rows have the branches of `branches_of`."""
    sizes = {camera.name: (48, 64) for camera in CONTRACT.cameras}
    video = VideoSettings(encoder="software")
    spec = dataset_spec(CONTRACT, sizes, video, version, in_charge=False, branches=form)
    with DatasetWriter(root, spec) as writer:
        writer.describe(contract=CONTRACT, branches=form)
        for episode, count in enumerate(lengths):
            frames = []
            for index in range(count):
                state, action = numbers(episode, index)
                images = {c.key: picture(v, episode, index) for v, c in enumerate(spec.cameras)}
                vectors = {"observation.state": state, "action": action}
                vectors |= form.encode(branches_of(episode, index), 4)
                frames.append(Frame(vectors=vectors, images=images, task=task_of(episode)))
            writer.add(frames, source=f"s{episode}")
    return root
