"""Demonstrations that branch: the robot is led about, and in many rows the expert shows what it would do for every instruction.

One picture so comes with several instructions and as many different actions, each behind a stretch of the motion that was
already under way; neither the state nor that stretch tells which instruction it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.data.branches import Branch, BranchForm
from beingh_core.data.rollouts import Rollouts
from beingh_core.errors import BeingHError
from beingh_core.tasks import PICK, Task

LONGEST_S, _FURTHER_S = 9.0, 5.0  # of an episode, and so much longer where a cube is taken somewhere
_SECONDS = (0.5, 60.0)  # that may be asked for
_SPLIT = re.compile(r"\{colour\}|\{side\}")
_PREFIX_SCALE = 4.0  # a prefix of d steps is drawn with the weight exp(-d / scale)
_OTHERWISE = "move the hand over the table"  # the task of rows in which nothing told is done


class BranchedRollouts(Rollouts):
    """Episodes of a robot that is led about. One thread, which renders.

    Args:
        contract: the robot.
        noise: see `Rollouts`.
        instructions: see `sentences_of`; each branch has one of its task's sentences.
        longest: longest committed prefix [steps]; None for the contract's delay and one more.
        every: every so many rows, at random, have branches.
        tasks: what the robot is told to do.
        seconds: longest episode [s]: shorter ones show more scenes in as many rows; None for 9, or 14 with things beside the cubes.

    Attributes:
        form: of the branches.

    Raises:
        BeingHError: See `Rollouts`; a sentence without its field, a prefix that leaves nothing of a chunk, or a longest time that cannot be meant.
    """

    def __init__(
        self,
        contract: RobotContract,
        noise: float = 0.0,
        instructions: Sequence[str] = (),
        longest: int | None = None,
        every: int = 2,
        tasks: Sequence[Task] = (PICK,),
        seconds: float | None = None,
    ) -> None:
        from beingh_core.sim.expert_policy import ExpertPolicy
        from beingh_core.sim.wander import Wanderer
        from beingh_core.sim.words import SceneWords

        super().__init__(contract, noise, instructions, tasks)
        self._every, self._longest_s = every, LONGEST_S + _FURTHER_S * any(task.things for task in tasks)
        if seconds is not None:
            least, most = _SECONDS
            if not least <= seconds <= most:
                raise BeingHError(f"episodes of {seconds:g} s", allowed=f"{least:g} to {most:g} s")
            self._longest_s = seconds
        self._longest = contract.uac.delay_steps + 1 if longest is None else longest
        self._horizon = contract.policy.chunk_length
        if not 0 <= self._longest < self._horizon:
            raise BeingHError(
                f"prefixes of up to {self._longest} steps, of chunks of {self._horizon}",
                allowed=f"0 to {self._horizon - 1}",
            )
        self._words, names, told = SceneWords(self.robot), list(self.robot.objects()), self._told()
        # Each keeps to its way of holding the one cube that it is asked for.
        self._experts = {name: ExpertPolicy(contract, inference_s=0.0) for name in names}
        self._still = np.asarray(contract.limits.is_velocity)
        self._wanderer = Wanderer(
            self.robot, self._expert, contract.joint_names, self._still, np.array(contract.home), contract.dt_s, told
        )
        texts = [
            one.text(text) for task in tasks for text in self._sentences[task.name] for one in told if one.task is task
        ]
        parts = [part for found in self._sentences.values() for text in found for part in _SPLIT.split(text)]
        sides = [side for task in tasks for side in task.sides]
        things = [*names, *dict.fromkeys(thing for task in tasks for thing in task.things)]
        phrases = [*parts, *names, *sides, *things, *self._words.phrases()]
        self.form = BranchForm(
            branches=len(told), steps=self._horizon, replies=self._words.most * (1 + max(len(t.things) for t in tasks)),
            texts=tuple(dict.fromkeys([*texts, *self._words.texts(things)])),
            phrases=tuple(dict.fromkeys(phrase for phrase in phrases if phrase.strip())),
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
        while goes_on and self.robot.time_s - begin_s < self._longest_s:
            state, images, replies = seen
            cubes, measured_J = cubes_of(self.robot), self._commanded(self.robot.positions())
            branches = rng.integers(self._every) == 0
            steps = max(1, self._longest) if branches else 1
            ahead_TJ = self._wanderer.ahead(sent_TJ, measured_J, cubes, steps)
            goal = self._wanderer.goal
            shown = self._branches(rng, sent_TJ, ahead_TJ, measured_J, cubes, replies) if branches else ()
            row_J = self._disturbed(ahead_TJ[0], sent_TJ[-1], rng)
            action = self._rows.action(sent_TJ[-1], row_J)
            task = (
                _OTHERWISE
                if goal.told is None
                else goal.told.text(str(rng.choice(self._sentences[goal.told.task.name])))
            )
            vectors = {STATE: state, ACTION: action, **self.form.encode(shown, len(action))}
            yield Frame(vectors=vectors, images={IMAGES + n: image for n, image in images.items()}, task=task)
            seen = self._advance(row_J, rng)
            sent_TJ = np.vstack([sent_TJ[-1:], row_J])
            goes_on = self._wanderer.go_on(cubes_of(self.robot))

    def _branches(self, rng, sent_TJ, ahead_TJ, measured_J, cubes, replies) -> list[Branch]:
        """What the expert does for all that can be told and is within reach, each behind a prefix of its own."""
        from beingh_core.sim.expert_policy import OutOfReach

        found = []
        for told in self._told():
            prefix = int(rng.choice(len(self._weights), p=self._weights))
            task = told.text(str(rng.choice(self._sentences[told.task.name])))
            begun_TJ = np.vstack([sent_TJ, ahead_TJ[:prefix]])
            try:
                rows_TJ = self._experts[told.colour].plan(told, cubes, begun_TJ, measured_J, self._horizon - prefix)
            except OutOfReach:
                continue
            actions = self._rows.actions(np.vstack([begun_TJ[1:], rows_TJ]))
            said = [text for name in (told.colour, *told.task.things) for text in replies[name]]
            found.append(Branch(task=task, actions=actions, prefix=prefix, replies=tuple(said)))
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
        places = {name: thing[0] for name, thing in (self.robot.objects() | self.robot.things()).items()}
        replies = {name: self._words.replies(name, place) for name, place in places.items()}
        return state, self._images(), replies
