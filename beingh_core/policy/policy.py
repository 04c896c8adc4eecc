"""`BeingHPolicy`: raw observations in, physical actions out."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from beingh_core.checkpoint_directory import CONFIG, checkpoint_directory
from beingh_core.errors import BeingHError
from beingh_core.model.engine import Engine, Started
from beingh_core.model.engine.loading import load_engine
from beingh_core.policy import metadata as metadata_files
from beingh_core.policy.data_configs import DataConfig, get_data_config
from beingh_core.policy.instruction import check_instruction
from beingh_core.policy.motion import still_values
from beingh_core.policy.observations import CheckedObservation, named_observation, without_batch
from beingh_core.policy.prompt import INSTRUCTION_TEMPLATE, PromptBuilder
from beingh_core.policy.settings import overrides_of, say_what_is_ignored
from beingh_core.policy.statistics_choice import choose_statistics
from beingh_core.policy.steps import PolicySteps
from beingh_core.policy.transforms import UnifiedTransform
from beingh_core.slots import WIDTH
from beingh_core.state_history import StateHistory

if TYPE_CHECKING:
    from beingh_core.contract import RobotContract

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PrefetchedActions:
    """Observations whose images, words and states have been computed, and how long that took [ms]."""

    observations: list[CheckedObservation]
    started: Started
    encode_ms: float
    begin_ms: float


class BeingHPolicy:
    """A checkpoint with everything around it that turns observations into actions.

    One thread at a time. `project_inactive` may be set to True: unused slots, whose velocity training
    never sees, then follow their exact path (1 - t) noise instead of the released behaviour. So may `observe_gates`:
    `last_gates` then holds the values of MPG's gate in the newest chunks, (refinement passes * Euler steps, B) float32.

    Args:
        model_path: checkpoint directory in the released format.
        data_config_name: a registered data config, or a `DataConfig` (see `data_config_for`).
        dataset_name: which `<dataset_name>_metadata.json` to normalise with.
        embodiment_tag: robot identifier; other embodiments' statistics are not taken unless they are named.
        instruction_template: the user's words, with {task_description} and {k} (the chunk length).
        prop_pos, max_view_num, use_fixed_view, action_attn_mode: without effect, as in the released policy, which shows
            the model all views of the data config, the state behind them, and actions in causal order.
        device: where the model runs.
        use_mpg: manifold-preserving gating on or off; None: as trained.
        mpg_lambda, mpg_num_projections, mpg_refinement_iters, mpg_gate_temperature: its strength, number of directions,
            number of passes and softness; None: as trained.
        num_inference_timesteps: Euler steps N; None: as trained.
        enable_rtc: honour `prev_chunk`, if the checkpoint was trained to continue one, and return `action_unified`.
        metadata_variant: name of a task's or embodiment's statistics.
        stats_selection_mode: `auto`, `task`, `embodiment`, `merged` or `total` (see `statistics_choice`).
        dtype: in what precision the model runs.
        allow_unknown_variant: whether a `metadata_variant` that is not there counts as none.

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
        prop_pos: str = "front",
        max_view_num: int = -1,
        use_fixed_view: bool = False,
        action_attn_mode: str = "causal",
        device: str | torch.device = "cpu",
        use_mpg: bool | None = None,
        mpg_lambda: float | None = None,
        mpg_num_projections: int | None = None,
        mpg_refinement_iters: int | None = None,
        mpg_gate_temperature: float | None = None,
        num_inference_timesteps: int | None = None,
        enable_rtc: bool = True,
        metadata_variant: str | None = None,
        stats_selection_mode: str = "auto",
        *,
        dtype: torch.dtype = torch.float32,
        allow_unknown_variant: bool = False,
    ) -> None:
        directory = checkpoint_directory(model_path)
        self.data_config = get_data_config(data_config_name)
        self.metadata = metadata_files.load_metadata(directory, dataset_name)
        self.statistics = choose_statistics(
            self.metadata,
            embodiment_tag=embodiment_tag,
            variant=metadata_variant,
            mode=stats_selection_mode,
            allow_unknown_variant=allow_unknown_variant,
        )
        say_what_is_ignored(
            prop_pos=prop_pos,
            max_view_num=max_view_num,
            use_fixed_view=use_fixed_view,
            action_attn_mode=action_attn_mode,
        )
        transform = self._make_transform()
        prompts = PromptBuilder.from_pretrained(directory, instruction_template)
        overrides = overrides_of(
            directory,
            use_mpg=use_mpg,
            mpg_lambda=mpg_lambda,
            mpg_num_projections=mpg_num_projections,
            mpg_refinement_iters=mpg_refinement_iters,
            mpg_gate_temperature=mpg_gate_temperature,
            num_inference_timesteps=num_inference_timesteps,
        )
        self._assemble(transform, prompts, load_engine(directory, device, dtype, overrides), enable_rtc)

    def _assemble(
        self, transform: UnifiedTransform, prompts: PromptBuilder, engine: Engine, enable_rtc: bool = True
    ) -> None:
        """Puts the parts together, wherever they came from."""
        self.data_config, self.transform, self.prompts = transform.data_config, transform, prompts
        self.steps = PolicySteps(self.data_config, transform, prompts)
        self.engine = engine
        self.enable_rtc = enable_rtc
        self.project_inactive = self.observe_gates = False
        self.last_gates = np.empty((0, 1), dtype=np.float32)
        self.last_timing_ms: dict[str, float] = {}
        self._warned: set[str] = set()

    def _make_transform(self) -> UnifiedTransform:
        """Normalisation by the chosen statistics, of which those of a robot that never moved are refused."""
        statistics, path = self.statistics.statistics, self.metadata.path
        still = still_values(self.data_config, statistics, path)
        if still:
            log.warning(f"{path}: {', '.join(still)} never moved in training and says nothing to the policy")
        return UnifiedTransform(self.data_config, statistics, source=path)

    @property
    def stats_source(self) -> str:
        """How the statistics were found, in the released policy's words."""
        return self.statistics.source

    @property
    def views(self) -> tuple[str, ...]:
        """View names, in prompt order."""
        return self.data_config.views

    @property
    def chunk_length(self) -> int:
        """H, the number of steps of one chunk."""
        return self.prompts.config.chunk_length

    @property
    def image_size(self) -> int:
        """Side to which pictures are brought [pixels]."""
        return self.prompts.config.image_size

    @property
    def trained_delay(self) -> int:
        """Longest prefix [steps] that training locked; 0 for a checkpoint trained without."""
        return self.engine.config.trained_delay

    @property
    def state_history(self) -> StateHistory:
        """Which states an observation must hold."""
        return self.prompts.config.history

    @property
    def model_facts(self) -> dict[str, bool | int | str]:
        """What diagnostics tell of the checkpoint."""
        config = self.engine.config
        return {
            "mpg": config.use_mpg,
            "mpg_passes": config.mpg_refinement_iters if config.use_mpg and config.mpg_lambda else 0,
            "trained_delay_steps": self.trained_delay,
            "weights": self.engine.weights_text,
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
            `action.<key>`: (1, H, dim) float32 in physical units; `action_unified`: (1, H, 200) float32, normalised, as
            `prev_chunk` takes it. Without the leading 1 where no picture and no state has one either.

        Raises:
            BeingHError: something is wrong with the observation; names the key.
        """
        return self.get_actions([observations], noise, projections)[0]

    def get_actions(
        self,
        observations: Sequence[Mapping],
        noise: torch.Tensor | np.ndarray | None = None,
        projections: torch.Tensor | np.ndarray | None = None,
    ) -> list[dict[str, np.ndarray]]:
        """One chunk for each of B robots, computed in one call.

        Args:
            observations: one mapping for each robot, each as for `get_action`.
            noise: (passes, B, H, 200).
            projections: as for `get_action`; all robots share them.

        Returns:
            What `get_action` returns, for each robot.

        Raises:
            BeingHError: something is wrong with one of the observations; names the key.
        """
        return self.finish(self.begin(observations), noise=noise, projections=projections)

    def begin(self, observations: Sequence[Mapping]) -> PrefetchedActions:
        """Computes what does not depend on the locked prefix: images, words and states of B robots.

        Raises:
            BeingHError: something is wrong with one of the observations; names the key.
        """
        start = time.perf_counter()
        checked = [self.steps.check(one) for one in observations]
        batches = [self.encode(one) for one in checked]
        encoded = time.perf_counter()
        started = self.engine.begin(batches)
        return PrefetchedActions(
            observations=checked,
            started=started,
            encode_ms=(encoded - start) * 1e3,
            begin_ms=(time.perf_counter() - encoded) * 1e3,
        )

    def finish(
        self,
        begun: PrefetchedActions,
        prefixes: Sequence[tuple[np.ndarray | None, int]] | None = None,
        noise: torch.Tensor | np.ndarray | None = None,
        projections: torch.Tensor | np.ndarray | None = None,
    ) -> list[dict[str, np.ndarray]]:
        """The chunks of observations that were begun, behind their locked prefixes.

        Args:
            begun: what `begin` returned; nothing else may have been begun since.
            prefixes: (`prev_chunk`, `inference_delay`) of each robot in place of what its observation holds.
            noise, projections: as for `get_actions`.

        Returns:
            What `get_action` returns, for each robot.

        Raises:
            BeingHError: a prefix does not fit, or the model predicted NaN.
        """
        begin = time.perf_counter()
        if prefixes is None:
            prefixes = [(one.prev_chunk, one.inference_delay) for one in begun.observations]
        prev_chunk, delays = self._locked(prefixes)
        prediction = self.engine.finish(
            begun.started,
            noise=noise,
            projections=projections,
            prev_chunk=prev_chunk,
            inference_delay=delays,
            active_slots=self.transform.action_mask if self.project_inactive else None,
            observe_gates=self.observe_gates,
        )
        if self.observe_gates:
            self.last_gates = self.engine.gates(begun.started).cpu().numpy().copy()
        unified = prediction.cpu().numpy()
        predicted = time.perf_counter()
        chunks = [self._decode(one[None]) for one in unified]
        pairs = zip(begun.observations, chunks, strict=True)
        outputs = [chunk if observation.batched else without_batch(chunk) for observation, chunk in pairs]
        end = time.perf_counter()
        timing_ms = {
            "encode": begun.encode_ms,
            "model": begun.begin_ms + (predicted - begin) * 1e3,
            "decode": (end - predicted) * 1e3,
        }
        self.last_timing_ms = timing_ms | {"total": sum(timing_ms.values())}
        return outputs

    def _decode(self, unified: np.ndarray) -> dict[str, np.ndarray]:
        """What `get_action` returns for one robot's (1, H, 200) prediction."""
        chunk = self.steps.decode(unified)
        return chunk | {"action_unified": unified} if self.enable_rtc else chunk

    def encode(self, observation: CheckedObservation) -> dict[str, torch.Tensor | int]:
        """The packed inputs of the model for one checked observation; `steps.PolicySteps` lists what is done."""
        return self.steps.encode(observation)

    def encode_prefix(self, actions: Mapping[str, np.ndarray]) -> np.ndarray:
        """`prev_chunk` (1, H, 200) from what will really be sent: (d, dim) arrays, physical units."""
        return self.transform.encode_prefix(actions, self.chunk_length)

    def warm_up(self, robots: int = 1) -> float:
        """Runs an inference on dummy inputs for 1 to `robots` robots at once; returns how long the last took [s].

        On a GPU this records the graphs that later inferences replay.
        """
        size = self.prompts.config.image_size
        images = {view: np.zeros((1, size, size, 3), dtype=np.uint8) for view in self.views}
        neutral = self.transform.state_from_unified(np.zeros((*self.state_history.leading, WIDTH), dtype=np.float32))
        observations = named_observation(images, neutral, "stand by")
        if self.enable_rtc and self.trained_delay:
            observations["prev_chunk"] = np.zeros((1, self.chunk_length, WIDTH), dtype=np.float32)
            observations["inference_delay"] = min(self.trained_delay, self.chunk_length // 2)
        for count in range(1, robots + 1):
            self.get_actions([observations] * count)
        return self.last_timing_ms["total"] / 1e3

    def check_instruction(self, text: str) -> None:
        """Refuses an instruction that no chunk could be computed for.

        Raises:
            BeingHError: see `instruction.check_instruction`; or it has too many tokens, or control tokens in it.
        """
        self.prompts.build(check_instruction(text, "instruction"), len(self.views))

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
                where=f"{self.metadata.path.parent / CONFIG}: action_chunk_length",
                remedy="make the two equal",
            )

    def _locked(self, prefixes: Sequence[tuple[np.ndarray | None, int]]) -> tuple[np.ndarray | None, list[int]]:
        """`prev_chunk` (B, H, 200) and the number of locked steps of each robot; 0 where none may be honoured."""
        chunks, delays = [], []
        for prev_chunk, delay in prefixes:
            delay = delay if prev_chunk is not None and self._may_lock(delay) else 0
            chunks.append(prev_chunk if delay else np.zeros((1, self.chunk_length, WIDTH), dtype=np.float32))
            delays.append(delay)
        return (np.concatenate(chunks) if any(delays) else None), delays

    def _may_lock(self, delay: int) -> bool:
        """Whether a prefix of `delay` steps is honoured; says once why not."""
        if not self.enable_rtc:
            self._warn_once("prev_chunk is ignored: enable_rtc is off")
            return False
        if not self.engine.config.train_with_delay:
            self._warn_once("prev_chunk is ignored: this checkpoint was not trained to continue a locked prefix")
            return False
        if delay > self.trained_delay:
            self._warn_once(
                f"inference_delay {delay} is longer than the {self.trained_delay} steps this checkpoint was trained for"
            )
        return True

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            log.warning(message)
