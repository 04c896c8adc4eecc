"""Demonstrations that branch: the robot is led about, and in many rows the expert shows what it would do for every instruction.

One picture so comes with several instructions and as many different actions, each behind a stretch of the motion that was
already under way; neither the state nor that stretch tells which instruction it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.data.branches import Branch, BranchForm
from beingh_core.data.rollouts import Rollouts
from beingh_core.errors import BeingHError

LONGEST_S = 9.0  # of an episode
_PREFIX_SCALE = 4.0  # a prefix of d steps is drawn with the weight exp(-d / scale)
_OTHERWISE = "move the hand over the table"  # the task of rows that pick nothing
_FIELD = "{colour}"


class BranchedRollouts(Rollouts):
    """Episodes of a robot that is led about. One thread, which renders.

    Args:
        contract: the robot.
        noise: see `Rollouts`.
        instructions: sentences with `{colour}`; each branch has one of them.
        longest: longest committed prefix [steps]; None for the contract's delay and one more.
        every: every so many rows, at random, have branches.

    Attributes:
        form: of the branches.

    Raises:
        BeingHError: See `Rollouts`; a sentence without its field, or a prefix that leaves nothing of a chunk.
    """

    def __init__(
        self,
        contract: RobotContract,
        noise: float = 0.0,
        instructions: Sequence[str] = (),
        longest: int | None = None,
        every: int = 2,
    ) -> None:
        from beingh_core.sim.expert_policy import ExpertPolicy
        from beingh_core.sim.wander import Wanderer
        from beingh_core.sim.words import SceneWords

        super().__init__(contract, noise)
        self._instructions, self._every = tuple(dict.fromkeys(instructions or (self._instruction,))), every
        if odd := [text for text in self._instructions if text.count(_FIELD) != 1]:
            raise BeingHError(f"the instruction {odd[0]!r} has not one field {_FIELD}")
        self._longest = contract.uac.delay_steps + 1 if longest is None else longest
        self._horizon = contract.policy.chunk_length
        if not 0 <= self._longest < self._horizon:
            raise BeingHError(
                f"prefixes of up to {self._longest} steps, of chunks of {self._horizon}",
                allowed=f"0 to {self._horizon - 1}",
            )
        self._words, names = SceneWords(self.robot), list(self.robot.objects())
        # Each keeps to its way of holding the one cube that it is asked for.
        self._experts = {name: ExpertPolicy(contract, inference_s=0.0) for name in names}
        self._still = np.asarray(contract.limits.is_velocity)
        self._wanderer = Wanderer(
            self.robot, self._expert, contract.joint_names, self._still, np.array(contract.home), contract.dt_s
        )
        told = [text.format(colour=name) for text in self._instructions for name in names]
        parts = [part for text in self._instructions for part in text.split(_FIELD) if part.strip()]
        self.form = BranchForm(
            branches=len(names), steps=self._horizon, replies=self._words.most,
            texts=tuple(dict.fromkeys([*told, *self._words.texts(names)])),
            phrases=tuple(dict.fromkeys([*parts, *names, *self._words.phrases()])),
        )  # fmt: skip
        weights = np.exp(-np.arange(self._longest + 1) / _PREFIX_SCALE)
        self._weights = weights / weights.sum()

    def episode(self, seed: int) -> tuple[list, bool]:
        """The frames of the scene of a seed; every episode is good."""
        self.robot.reset(seed)
        self._rows.restart()
        return list(self._led(np.random.default_rng([seed, 1]))), True

    def _led(self, rng: np.random.Generator) -> Iterator:
        from beingh_core.data.contract_rows import ACTION, IMAGES, STATE
        from beingh_core.data.lerobot.episode import Frame
        from beingh_core.sim.expert_policy import cubes_of

        begin_s, goes_on = self.robot.time_s, True
        sent_TJ = self._wanderer.begin(rng, cubes_of(self.robot))
        seen = self._look()
        while goes_on and self.robot.time_s - begin_s < LONGEST_S:
            state, images, replies = seen
            cubes, measured_J = cubes_of(self.robot), self._commanded(self.robot.positions())
            branches = rng.integers(self._every) == 0
            steps = max(1, self._longest) if branches else 1
            ahead_TJ = self._wanderer.ahead(sent_TJ, measured_J, cubes, steps)
            goal = self._wanderer.goal
            shown = self._branches(rng, sent_TJ, ahead_TJ, measured_J, cubes, replies) if branches else ()
            row_J = self._disturbed(ahead_TJ[0], sent_TJ[-1], rng)
            action = self._rows.action(sent_TJ[-1], row_J)
            task = _OTHERWISE if goal.colour is None else str(rng.choice(self._instructions)).format(colour=goal.colour)
            vectors = {STATE: state, ACTION: action, **self.form.encode(shown, len(action))}
            yield Frame(vectors=vectors, images={IMAGES + n: image for n, image in images.items()}, task=task)
            seen = self._advance(row_J, rng)
            sent_TJ = np.vstack([sent_TJ[-1:], row_J])
            goes_on = self._wanderer.go_on(cubes_of(self.robot))

    def _branches(self, rng, sent_TJ, ahead_TJ, measured_J, cubes, replies) -> list[Branch]:
        """What the expert does for every cube that it reaches, each behind a prefix of its own."""
        from beingh_core.sim.expert_policy import OutOfReach

        found = []
        for name, expert in self._experts.items():
            prefix = int(rng.choice(len(self._weights), p=self._weights))
            task = str(rng.choice(self._instructions)).format(colour=name)
            begun_TJ = np.vstack([sent_TJ, ahead_TJ[:prefix]])
            try:
                rows_TJ = expert.plan(name, cubes, begun_TJ, measured_J, self._horizon - prefix)
            except OutOfReach:
                continue
            actions = self._rows.actions(np.vstack([begun_TJ[1:], rows_TJ]))
            found.append(Branch(task=task, actions=actions, prefix=prefix, replies=replies[name]))
        return found

    def _advance(self, row_J: np.ndarray, rng: np.random.Generator):
        """Runs one tick, and looks at a random moment of it, as a camera that runs freely does."""
        dt_s = self.contract.dt_s
        steps = round(dt_s / self.robot.model.opt.timestep)
        before = int(rng.integers(1, steps + 1))
        command, last = {name: float(row_J[i]) for i, name in self._moved}, self.robot.command()
        part = {n: last.get(n, v) + (v - last.get(n, v)) * before / steps for n, v in command.items()}
        self.robot.step(dt_s * before / steps, part)
        seen = self._look()
        if before < steps:
            self.robot.step(dt_s * (1.0 - before / steps), command)
        return seen

    def _look(self):
        """State (D,), view -> picture, and name -> replies, of now."""
        names = dict.fromkeys((name for signal in self.contract.state for name in signal.values), 0.0)
        state = self._rows.state(names | self.robot.positions())
        replies = {name: self._words.replies(name, pose[0]) for name, pose in self.robot.objects().items()}
        return state, self._images(), replies
