"""One training run, as written in config/train/*.yaml: every key, its type, bounds and default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Strict, model_validator

from beingh_core.errors import BeingHError
from beingh_core.train.model_settings import ModelSection, Section, StartSection
from beingh_core.train.overrides import blamed, overridden
from beingh_core.validation import at_most, check, positive, real, several, text, unfit, whole

_REMEDY = "docs/training.md has a table of all keys; config/train/tiny.yaml is a short file that works"
# Contradictions between a dataset and its contract that a dataset may accept (`checks`).
ACCEPTABLE = ("names", "contract", "units", "statistics", "timestamps")
# Data configs of human hands, and what a file of conversations does not have.
HANDS = ("human_hands", "human_hands_camera")
_OF_ROWS = frozenset(
    {
        "robot",
        "data_config",
        "dataset_name",
        "embodiment_tag",
        "episodes",
        "views",
        "task",
        "statistics",
        "mirror",
        "accept",
        "weight_column",
        "intervention",
    }
)
FREEZABLE = ("vision", "connector", "und", "embeddings", "act")
_COUNT = whole(0, 1_000_000_000)
_SHARE = real(0, 1)
_WEIGHT = real(0, 1e6)
_Name = text(200)
_BETA = real(0, 0.999999)


def _two(value: object) -> object:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise unfit("two numbers, such as [0.9, 0.95]")
    return value


def _as_text(value: object) -> object:
    """One episode's number as the text that it is among others."""
    value = str(value) if type(value) is int and value >= 0 else value
    if not isinstance(value, str) or not len(value) <= 10_000 or not value.isprintable():
        raise unfit("episodes by number, such as 3 or 0-9+12")
    return value


_Episodes = Annotated[str, BeforeValidator(_as_text)]


class InterventionSection(Section):
    """Weights of rows by who was in charge; of a person who took over from the policy it is `correction`, by default `person`'s.

    What the policy did in the last `before` seconds before that has the weight `before_weight`.
    """

    policy: _WEIGHT = 1.0
    person: _WEIGHT = 1.0
    correction: _WEIGHT | None = None
    nobody: _WEIGHT = 1.0
    unknown: _WEIGHT = 1.0
    before: real(0, 600) = 0.0
    before_weight: _WEIGHT = 0.0


class BranchesSection(Section):
    """What is taught of a dataset whose rows have branches (`beingh_core.data.branches`).

    `teach` false takes it as an ordinary dataset. Each branch is taught `draws` times, with noise and flow time of its own, and with
    its replies in `words`; `own` teaches the row's own task and actions as well.
    """

    teach: bool = True
    draws: whole(1, 1000) = 1
    words: bool = True
    own: bool = False


class DatasetSection(Section):
    """One LeRobot dataset, or a file of conversations (NAME.jsonl).

    `robot` (a contract) or `data_config` says what its numbers and pictures are. `group` and `weight` are its place in the
    mixture: weights count among the datasets of a group; without one, a dataset weighs as much as it holds. `statistics` is a
    file of statistics to take in place of its own, `accept` what may contradict the contract. `mirror` is the share of samples
    of human hands that are taught mirrored. `images` is the folder of the pictures of conversations, by default the file's own.
    `weight_column` has a weight for each row, `intervention` weighs rows by who was in charge; both together are multiplied.
    """

    path: text(4096)
    name: _Name = ""
    robot: text(4096) = ""
    data_config: _Name = ""
    dataset_name: _Name = ""
    embodiment_tag: _Name = ""
    group: _Name = "all"
    weight: positive(1e9) | None = None
    episodes: _Episodes = ""
    views: Annotated[dict[str, _Name], at_most(16)] = Field(default_factory=dict)
    task: text(1000) = ""
    every: whole(1, 10_000) = 1
    statistics: text(4096) = ""
    branches: BranchesSection = Field(default_factory=BranchesSection)
    mirror: _SHARE = 0.0
    images: text(4096) = ""
    weight_column: _Name = ""
    intervention: InterventionSection | None = None
    accept: several(ACCEPTABLE) = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_modality(self) -> DatasetSection:
        given = self.model_fields_set - {name for name in _OF_ROWS if not getattr(self, name)}
        if self.is_text and (foreign := sorted(given & _OF_ROWS)):
            raise ValueError(f"a file of conversations has no `{foreign[0]}`")
        if not self.is_text and self.images:
            raise ValueError("`images` is the folder of the pictures of conversations: `path` is no file NAME.jsonl")
        if not self.is_text and bool(self.robot) == bool(self.data_config):
            raise ValueError("give either `robot` (a contract) or `data_config`")
        if self.mirror and self.data_config not in HANDS:
            raise ValueError(f"`mirror` is for human hands: `data_config` {' or '.join(HANDS)}")
        return self

    @property
    def is_text(self) -> bool:
        """Whether it is a file of conversations."""
        return Path(self.path).suffix == ".jsonl"

    @property
    def title(self) -> str:
        """Its name, by default that of its folder."""
        return self.name or Path(self.path).name


class PicturesSection(Section):
    """Changes of the pictures in training, as released by default; 0 leaves one out.

    `crop_share` is the smallest share of the area that is kept; jitter as in torchvision: factors in 1 - x .. 1 + x, hue in
    turns.
    """

    crop_share: positive(1) = 0.95
    brightness: _SHARE = 0.3
    contrast: _SHARE = 0.4
    saturation: _SHARE = 0.5
    hue: real(0, 0.5) = 0.08


class DataSection(Section):
    """Where samples come from.

    `measure` says in what a mixture's weights count. `run_length` neighbouring rows are drawn together, since a video is
    decoded in runs. `held_out` is the share of episodes of each dataset that is never taught, for evaluation. Bad
    episodes are left out and counted, up to the share `most_bad`.
    """

    datasets: Annotated[list[DatasetSection], Field(min_length=1, max_length=1000)]
    group_weights: Annotated[dict[str, positive(1e9)], at_most(1000)] = Field(default_factory=dict)
    measure: Literal["samples", "hours", "tokens"] = "samples"
    run_length: whole(1, 1000) = 4
    held_out: real(0, 0.9) = 0.0
    most_bad: _SHARE = 0.1
    statistics: Literal["embodiment", "dataset"] = "embodiment"
    pictures: PicturesSection = Field(default_factory=PicturesSection)
    state_dropout: _SHARE = 0.0
    view_dropout: _SHARE = 0.0
    workers: whole(0, 256) = 2
    prefetch: whole(1, 64) = 2
    decoders: whole(1, 1000) = 16
    cache: text(4096) = ""

    @model_validator(mode="after")
    def _countable(self) -> DataSection:
        words = [dataset.title for dataset in self.datasets if dataset.is_text]
        if words and self.measure == "hours":
            raise ValueError(f"`{words[0]}` has conversations, which have no duration: measure in samples or tokens")
        return self


class PackingSection(Section):
    """Tokens of a packed sequence: closed at `expected_tokens`, never longer than `max_tokens`.

    `buffer` samples wait to be packed; a sample longer than `max_tokens_per_sample` is left out and counted.
    """

    expected_tokens: whole(1, 1 << 22) = 8192
    max_tokens: whole(1, 1 << 22) = 8704
    max_tokens_per_sample: whole(1, 1 << 22) = 8192
    buffer: whole(1, 100_000) = 64

    @model_validator(mode="after")
    def _ordered(self) -> PackingSection:
        if not self.max_tokens_per_sample <= self.max_tokens or not self.expected_tokens <= self.max_tokens:
            raise ValueError("expected_tokens and max_tokens_per_sample must not be more than max_tokens")
        return self


class UacSection(Section):
    """Locked prefixes drawn in training, of 0 to `longest` steps.

    `longest` is a number for all embodiments, or one for each name; a robot that it leaves out has its contract's delay
    (rate, latency budget, margin), an embodiment without a contract none.
    """

    enabled: bool = True
    distribution: Literal["exponential", "uniform"] = "exponential"
    longest: whole(0, 1023) | Annotated[dict[str, whole(0, 1023)], at_most(1000)] = Field(default_factory=dict)


class OptimiserSection(Section):
    """AdamW over parameters that decay (of two and more dimensions) and those that do not.

    Warm-up by steps or by a share of all steps; then a cosine down to `min_learning_rate`, or a constant.
    """

    learning_rate: positive(1000) = 1e-4
    min_learning_rate: real(0, 1000) = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: _COUNT = 0
    warmup_ratio: _SHARE = 0.0
    weight_decay: real(0, 1000) = 1e-5
    betas: Annotated[tuple[_BETA, _BETA], Strict(False), BeforeValidator(_two)] = (0.9, 0.95)
    eps: positive(1) = 1e-8
    clip: positive(1e9) = 1.0

    @model_validator(mode="after")
    def _consistent(self) -> OptimiserSection:
        if self.warmup_steps and self.warmup_ratio:
            raise ValueError("give either warmup_steps or warmup_ratio")
        if self.min_learning_rate > self.learning_rate:
            raise ValueError("min_learning_rate is more than learning_rate")
        return self


class LossSection(Section):
    """loss = action loss + text_weight * text loss + balance_weight * balance loss of the experts.

    `text_depths`: see `BeingH.loss`.
    """

    text_weight: real(0, 1e6) = 1.0
    balance_weight: real(0, 1e6) = 0.01
    text_depths: Annotated[list[whole(1, 256)], at_most(256)] = Field(default_factory=list)


class LoraSection(Section):
    """Low-rank changes of the matrices `modules` of the parts `parts`, whose weights are frozen themselves; rank 0 for none."""

    rank: whole(0, 4096) = 0
    alpha: positive(1e6) = 16.0
    parts: several(("und", "act", "vision"), least=1) = Field(default_factory=lambda: ["und"])
    modules: Annotated[list[_Name], Field(min_length=1, max_length=20)] = Field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )


class TrainingSection(Section):
    """Length and manner of a run.

    A step consumes `accumulate` packs on each rank. `freeze` names parts that stay as they are (`FREEZABLE`),
    `freeze_act_layers` the lowest act layers. `ema_decay` 0 keeps no average; else the averaged weights are saved. `shard`
    spreads weights, gradients and optimiser over the ranks (FSDP2). `attention` auto is flex attention on a GPU.
    """

    steps: whole(1, 1_000_000_000) = 60_000
    accumulate: whole(1, 100_000) = 1
    precision: Literal["bf16", "fp32"] = "bf16"
    ema_decay: real(0, 0.999999) = 0.0
    freeze: several(FREEZABLE) = Field(default_factory=list)
    freeze_act_layers: whole(0, 256) = 0
    lora: LoraSection = Field(default_factory=LoraSection)
    shard: bool = False
    attention: Literal["auto", "dense", "flex"] = "auto"
    activation_checkpointing: bool = False
    seed: whole(0, 2**32 - 1) = 0


class EvaluateSection(Section):
    """Loss on held-out episodes: every so many steps (0: never), over so many packs of all ranks together."""

    every: _COUNT = 0
    packs: whole(1, 100_000) = 8


class LogSection(Section):
    """A line every so many steps; TensorBoard where it is installed, other trackers by name, in their project `project`."""

    every: whole(1, 1_000_000) = 10
    tensorboard: bool = True
    to: several(("trackio", "wandb")) = Field(default_factory=list)
    project: _Name = "beingh"


class SaveSection(Section):
    """Checkpoints: every so many steps from `start` on, the last `keep`, and the one with the best held-out loss.

    `model_only` leaves out what a run needs to go on. `dtype` is that of the checkpoint's weights.
    """

    every: whole(1, 1_000_000_000) = 1000
    start: _COUNT = 0
    keep: whole(1, 10_000) = 2
    best: bool = True
    model_only: bool = False
    dtype: Literal["fp32", "bf16"] = "fp32"


class RunConfig(Section):
    """One training run. It starts from `checkpoint`, from parts of others (`start`), or from nothing.

    `resume` goes on with a run that is found in `out`; without it such a run is refused.
    """

    out: text(4096)
    name: _Name = "beingh"
    checkpoint: text(4096) = ""
    start: StartSection | None = None
    resume: bool = True
    model: ModelSection = Field(default_factory=ModelSection)
    data: DataSection
    packing: PackingSection = Field(default_factory=PackingSection)
    uac: UacSection = Field(default_factory=UacSection)
    loss: LossSection = Field(default_factory=LossSection)
    optimiser: OptimiserSection = Field(default_factory=OptimiserSection)
    training: TrainingSection = Field(default_factory=TrainingSection)
    evaluate: EvaluateSection = Field(default_factory=EvaluateSection)
    log: LogSection = Field(default_factory=LogSection)
    save: SaveSection = Field(default_factory=SaveSection)

    @classmethod
    def from_file(cls, path: str | Path, changes: Sequence[str] = ()) -> RunConfig:
        """Read a YAML file, with `key.of.section=value` in place of what it says.

        Raises:
            BeingHError: no such file, not YAML, or keys that are unknown, missing, of another type, out of bounds or that
                contradict each other.
        """
        from beingh_core.contract.reader import read_yaml

        path = Path(path)
        data = overridden(read_yaml(path).data, changes, cls)
        try:
            return cls.from_dict(data, path)
        except BeingHError as error:
            raise blamed(error, path, changes) from None

    @classmethod
    def from_dict(cls, data: dict[str, Any], where: object = "configuration") -> RunConfig:
        """The run of a mapping; see `from_file`."""
        return check(cls, data, where=where, remedy=_REMEDY)

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        sizes = (self.model.vision, self.model.decoder)
        if self.checkpoint and self.start:
            raise ValueError("give either `checkpoint` (a whole model) or `start` (parts of others)")
        if (self.checkpoint or self.start) and any(sizes):
            raise ValueError(
                "model.vision and model.decoder are sizes of a model from nothing; `checkpoint` and `start` have their own"
            )
        if not (self.checkpoint or self.start) and not all(sizes):
            raise ValueError(
                "without `checkpoint` and `start`, model.vision and model.decoder must give the sizes of a model"
            )
        if self.evaluate.every and not self.data.held_out:
            raise ValueError("evaluate.every needs held-out episodes: data.held_out")
        if self.training.steps < self.optimiser.warmup_steps:
            raise ValueError("optimiser.warmup_steps are more than training.steps")
        titles = [dataset.title for dataset in self.data.datasets]
        if twice := sorted({title for title in titles if titles.count(title) > 1}):
            raise ValueError(f"two datasets are called {twice[0]}: give one of them a `name`")
        groups = {dataset.group for dataset in self.data.datasets}
        if strange := sorted(self.data.group_weights.keys() - groups):
            raise ValueError(f"group_weights names {strange[0]}, and no dataset is in that group")
        return self
