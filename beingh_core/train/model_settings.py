"""What a training run says of its model: sizes of one from nothing, what is not the checkpoint's own, parts of others."""

from __future__ import annotations

from pydantic import model_validator

from beingh_core.state_history import StateHistory
from beingh_core.validation import Schema, positive, real, text, whole


class Section(Schema, extra="forbid"):
    """A mapping of the file; an unknown key is refused."""


class VisionSizes(Section):
    """Sizes of the vision encoder of a model from nothing, in pixels and channels."""

    image: int
    patch: int
    hidden: int
    layers: int
    heads: int
    mlp: int


class DecoderSizes(Section):
    """Sizes of the decoder of a model from nothing."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    und_hidden: int
    und_mlp: int
    act_hidden: int
    act_mlp: int


class MofSection(Section):
    """Mixture of flow experts: the act MLPs above the `shared_layers` lowest layers become `experts`, `top_k` for a token."""

    experts: whole(1, 64)
    top_k: whole(1, 64) = 1
    shared_layers: whole(0, 256)


class ModelSection(Section):
    """What of the model is not the checkpoint's own; a model from nothing needs `vision` and `decoder`."""

    action_chunk_length: whole(1, 1024) | None = None
    num_inference_timesteps: whole(1, 100) | None = None
    image_size: whole(1, 4096) | None = None
    use_mpg: bool | None = None
    mpg_lambda: real(0, 1000) | None = None
    mpg_num_projections: whole(1, 1024) | None = None
    mpg_gate_temperature: positive(1e6) | None = None
    mpg_refinement_iters: whole(0, 16) | None = None
    mpg_use_stop_gradient: bool | None = None
    mof: MofSection | None = None
    state_history: StateHistory | None = None
    vision: VisionSizes | None = None
    decoder: DecoderSizes | None = None


class StartSection(Section):
    """A new model from parts: InternVL (Hugging Face format) for vision, connector and und side, and an act side.

    `expert` is a Qwen3 checkpoint, or `random` with `act_hidden` and `act_mlp` as its sizes.
    """

    mllm: text(4096)
    expert: text(4096) = "random"
    act_hidden: whole(2, 32768) | None = None
    act_mlp: whole(1, 131072) | None = None

    @model_validator(mode="after")
    def _one_size(self) -> StartSection:
        if self.expert != "random" and (self.act_hidden or self.act_mlp):
            raise ValueError("act_hidden and act_mlp are sizes of a random expert; a checkpoint has its own")
        return self
