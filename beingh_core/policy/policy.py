"""`BeingHPolicy`: raw observations in, physical actions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import logging
from pathlib import Path
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.policy import metadata as metadata_files
from beingh_core.policy.data_configs import DataConfig, get_data_config
from beingh_core.policy.image import eval_transform
from beingh_core.policy.observations import Observation, check_observation
from beingh_core.policy.prompt import INSTRUCTION_TEMPLATE, PromptBuilder
from beingh_core.policy.transforms import UnifiedTransform
from beingh_core.slots import WIDTH

if TYPE_CHECKING:
    from beingh_core.contract import RobotContract
    from beingh_core.model import BeingHConfig

log = logging.getLogger(__name__)


class BeingHPolicy:
    """A checkpoint with everything around it that turns observations into actions.

    One thread at a time. `project_inactive` may be set to True: unused slots, whose velocity training
    never sees, then follow their exact path (1 - t) noise instead of the released behaviour.

    Args:
        model_path: checkpoint directory in the released format.
        data_config_name: a registered data config, or a `DataConfig` (see `data_config_for`).
        dataset_name: which `<dataset_name>_metadata.json` to normalise with.
        embodiment_tag: robot identifier, for choosing among the metadata's variants.
        instruction_template: the user's words, with {task_description} and {k} (the chunk length).
        device, dtype: where and in what precision the model runs.
        metadata_variant: name of a task's or embodiment's statistics.
        stats_selection_mode: `auto`, `task`, `embodiment` or `merged` (see `select_statistics`).
        use_mpg: manifold-preserving gating on or off; None: as trained.
        mpg_lambda, mpg_refinement_iters: its strength and number of passes; None: as trained.
        num_inference_timesteps: Euler steps N; None: as trained.
        enable_rtc: honour `prev_chunk`, if the checkpoint was trained to continue one.

    Raises:
        BeingHError: whatever in the checkpoint, its metadata or these arguments does not fit.
    """

    def __init__(
        self,
        model_path: str | Path,
        data_config_name: str | DataConfig,
        dataset_name: str,
        embodiment_tag: str | None = None,
        instruction_template: str = INSTRUCTION_TEMPLATE,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        metadata_variant: str | None = None,
        stats_selection_mode: str = "auto",
        use_mpg: bool | None = None,
        mpg_lambda: float | None = None,
        mpg_refinement_iters: int | None = None,
        num_inference_timesteps: int | None = None,
        enable_rtc: bool = True,
    ) -> None:
        directory = Path(model_path)
        if not (directory / "config.json").is_file():
            raise BeingHError(
                f"{directory} is no checkpoint: it holds no config.json",
                remedy="pass the directory that holds config.json, *.safetensors and the tokenizer",
            )
        self.data_config = get_data_config(data_config_name)
        self.metadata = metadata_files.load_metadata(directory, dataset_name)
        statistics, self.stats_source = metadata_files.select_statistics(
            self.metadata, embodiment_tag=embodiment_tag, variant=metadata_variant, mode=stats_selection_mode
        )
        self.transform = UnifiedTransform(self.data_config, statistics)
        self.prompts = PromptBuilder.from_pretrained(directory, instruction_template)
        self.model = BeingH.from_pretrained(directory, device=device, dtype=dtype)
        self.enable_rtc = enable_rtc
        self.project_inactive = False
        self.last_timing_ms: dict[str, float] = {}
        self._device = torch.device(device)
        self._warned: set[str] = set()
        self._inference_options = _inference_options(
            self.model.config, use_mpg, mpg_lambda, mpg_refinement_iters, num_inference_timesteps
        )

    @property
    def views(self) -> tuple[str, ...]:
        """View names, in prompt order."""
        return self.data_config.views

    @property
    def chunk_length(self) -> int:
        """H, the number of steps of one chunk."""
        return self.prompts.config.chunk_length

    @property
    def trained_delay(self) -> int:
        """Longest prefix [steps] that training locked; 0 for a checkpoint trained without."""
        return self.model.config.trained_delay

    @property
    def model_facts(self) -> dict[str, bool | int]:
        """What diagnostics tell of the checkpoint."""
        config = self.model.config
        return {
            "mpg": config.use_mpg,
            "mpg_passes": config.mpg_refinement_iters if config.use_mpg else 0,
            "trained_delay_steps": self.trained_delay,
        }

    def get_action(
        self,
        observations: Mapping,
        noise: torch.Tensor | np.ndarray | None = None,
        projections: torch.Tensor | np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """One chunk of actions.

        Args:
            observations: see `observations`. `prev_chunk` and `inference_delay` lock the first steps
                to what will run anyway; a delay without `prev_chunk` locks nothing.
            noise: (passes, 1, H, 200) start of each pass; drawn when None.
            projections: (calls, M, D) directions of each gate evaluation; drawn when None.

        Returns:
            `action.<key>`: (1, H, dim) float32 in physical units; `action_unified`: (1, H, 200)
            float32, normalised, as `prev_chunk` takes it.

        Raises:
            BeingHError: something is wrong with the observation; names the key.
        """
        start = time.perf_counter()
        observation = check_observation(observations, self.data_config, self.chunk_length)
        batch = self.encode(observation)
        prev_chunk, delay = self._prefix(observation)
        encoded = time.perf_counter()
        prediction = self.model.get_action(
            batch,
            noise=noise,
            projections=projections,
            prev_chunk=prev_chunk,
            inference_delay=delay,
            active_slots=self.transform.action_mask if self.project_inactive else None,
            **self._inference_options,
        )
        unified = prediction.float().cpu().numpy().reshape(1, self.chunk_length, -1)
        predicted = time.perf_counter()
        if not np.all(np.isfinite(unified[..., self.transform.action_mask])):
            raise BeingHError(
                "the model predicted NaN or infinity", remedy="check the checkpoint; try dtype float32"
            )
        actions = self.transform.action_from_unified(unified)
        output = {f"action.{key}": value for key, value in actions.items()}
        output["action_unified"] = unified
        end = time.perf_counter()
        self.last_timing_ms = {
            "encode": (encoded - start) * 1e3,
            "model": (predicted - encoded) * 1e3,
            "decode": (end - predicted) * 1e3,
            "total": (end - start) * 1e3,
        }
        return output

    def get_actions(self, observations: Sequence[Mapping]) -> list[dict[str, np.ndarray]]:
        """One chunk for each of several robots; each as `get_action` gives it."""
        return [self.get_action(one) for one in observations]

    def encode(self, observation: Observation) -> dict[str, torch.Tensor | int]:
        """The packed inputs of the model for one checked observation."""
        batch = self.prompts.pack([self.prompts.build(observation.instruction, len(self.views))])
        size = self.prompts.config.image_size
        images = [eval_transform(image, size) for image in observation.images]
        batch["packed_vit_tokens"] = torch.stack(images)
        state = self.transform.state_to_unified(observation.state)
        batch["padded_state"] = torch.from_numpy(state)[None]
        return {
            name: value.to(self._device) if isinstance(value, torch.Tensor) else value
            for name, value in batch.items()
        }

    def encode_prefix(self, actions: Mapping[str, np.ndarray]) -> np.ndarray:
        """`prev_chunk` (1, H, 200) from what will really be sent: (d, dim) arrays, physical units."""
        return self.transform.encode_prefix(actions, self.chunk_length)

    def warm_up(self) -> float:
        """Runs one inference on dummy inputs; returns how long it took [s]."""
        size = self.prompts.config.image_size
        observations: dict[str, object] = {
            f"video.{view}": np.zeros((1, size, size, 3), dtype=np.uint8) for view in self.views
        }
        neutral = self.transform.state_from_unified(np.zeros((1, WIDTH), dtype=np.float32))
        observations |= {f"state.{key}": value for key, value in neutral.items()}
        observations["language.instruction"] = "stand by"
        if self.enable_rtc and self.trained_delay:
            observations["prev_chunk"] = np.zeros((1, self.chunk_length, WIDTH), dtype=np.float32)
            observations["inference_delay"] = min(self.trained_delay, self.chunk_length // 2)
        self.get_action(observations)
        return self.last_timing_ms["total"] / 1e3

    def check_contract(self, contract: RobotContract) -> None:
        """Refuses a checkpoint that was trained for another robot contract or chunk length.

        Raises:
            BeingHError: robot, contract hash or chunk length differ.
        """
        metadata_files.check_contract(self.metadata, contract)
        if contract.policy.chunk_length != self.chunk_length:
            raise BeingHError(
                f"the checkpoint predicts {self.chunk_length} steps, the contract of `{contract.robot}` "
                f"has policy.chunk_length {contract.policy.chunk_length}",
                remedy="make the two equal",
            )

    def _prefix(self, observation: Observation) -> tuple[torch.Tensor | None, int]:
        """The prefix to lock, as (prev_chunk, delay); nothing when it must not be honoured."""
        if observation.prev_chunk is None:
            return None, 0
        if not self.enable_rtc:
            self._warn_once("prev_chunk is ignored: enable_rtc is off")
            return None, 0
        if not self.trained_delay:
            self._warn_once("prev_chunk is ignored: this checkpoint was not trained to continue a locked prefix")
            return None, 0
        if observation.inference_delay > self.trained_delay:
            self._warn_once(
                f"inference_delay {observation.inference_delay} is longer than the {self.trained_delay} steps "
                "this checkpoint was trained for"
            )
        return torch.from_numpy(observation.prev_chunk).to(self._device), observation.inference_delay

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            log.warning(message)


def _inference_options(
    config: BeingHConfig,
    use_mpg: bool | None,
    mpg_lambda: float | None,
    mpg_refinement_iters: int | None,
    num_inference_timesteps: int | None,
) -> dict[str, int | float | None]:
    """The model's options for the caller's settings; None stands for the checkpoint's own value.

    Raises:
        BeingHError: gating asked of a checkpoint without it, or a number out of range.
    """
    if not config.use_mpg and (use_mpg or mpg_refinement_iters):
        raise BeingHError(
            "gated passes are asked of a checkpoint that was trained without MPG",
            remedy="leave use_mpg and mpg_refinement_iters unset",
        )
    for name, value, least in (
        ("mpg_refinement_iters", mpg_refinement_iters, 0),
        ("num_inference_timesteps", num_inference_timesteps, 1),
        ("mpg_lambda", mpg_lambda, 0),
    ):
        if value is not None and not value >= least:
            raise BeingHError(f"{name} is {value}", allowed=f">= {least}")
    gated = config.use_mpg and use_mpg is not False
    return {
        "refinement_iters": mpg_refinement_iters if gated else 0,
        "mpg_lambda": mpg_lambda,
        "num_steps": num_inference_timesteps,
    }
