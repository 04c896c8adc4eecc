"""The token sequence of one sample, and packing many into one sequence (DESIGN section 5).

A robot sample, causal from the first token to the last:

    <|im_start|>system\\n{system message}<|im_end|>\\n
    <|im_start|>user\\n<img> V V V V </img><|state_start|> S <|state_end|>{instruction}<|im_end|>\\n
    <|im_start|>assistant\\n A A ... A <|im_end|>

V image tokens, S the state token (with a `StateHistory` one for each of its rows, the oldest first), A the H action
tokens: these positions hold no text id. A text-supervised sample has no S and no A; its assistant turn is the answer, every token of which
(and the closing `<|im_end|>`) is a label of the position before it. A conversation goes on with a
newline and the next user turn; its pictures stand where its words say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from beingh_core.checkpoint_directory import CONFIG
from beingh_core.errors import BeingHError, shown
from beingh_core.files import read_json
from beingh_core.model.config import BeingHConfig
from beingh_core.policy.tokenizer import load_tokenizer, tokenizer_file
from beingh_core.state_history import ONE_STATE, StateHistory

INSTRUCTION_TEMPLATE = (
    "According to the instruction '{task_description}', what's the micro-step actions in the next {k} steps?"
)
SYSTEM_MESSAGES = {
    "being_h0": "You are Being-H0, a helpful and harmless AI assistant developed by BeingBeyond.",
}
_SPECIAL = {
    "im_start": "<|im_start|>",
    "im_end": "<|im_end|>",
    "img_start": "<img>",
    "img_end": "</img>",
    "state_start": "<|state_start|>",
    "state_end": "<|state_end|>",
}
_OWN_TOKENIZER = "use the tokenizer files that were saved with the checkpoint"
_VIT, _STATE, _ACTION = -1, -2, -3
IMAGE_PLACE = "<image>"  # where a picture stands among the words of a conversation, as its datasets write it
MAX_LENGTH = 8192  # tokens; where the checkpoint names no bound of its own


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """What the layout depends on.

    Attributes:
        chunk_length: H, the number of action tokens, and `k` of the template.
        tokens_per_view: image tokens of one view.
        image_size: side of the picture the vision tower takes [pixels].
        vocabulary: number of words that the model knows; None when there is none yet.
        instruction_template: with the field {task_description} and, if wanted, {k}.
        system_message: text of the system turn.
        max_length: most tokens of one sample that the decoder takes.
        history: which states the model is shown.
    """

    chunk_length: int
    tokens_per_view: int
    image_size: int
    vocabulary: int | None = None
    instruction_template: str = INSTRUCTION_TEMPLATE
    system_message: str = SYSTEM_MESSAGES["being_h0"]
    max_length: int = MAX_LENGTH
    history: StateHistory = ONE_STATE

    def __post_init__(self) -> None:
        for name in ("chunk_length", "tokens_per_view", "image_size"):
            if getattr(self, name) < 1:
                raise BeingHError(f"{name} must be at least 1, not {getattr(self, name)}")
        if "{task_description}" not in self.instruction_template:
            raise BeingHError(
                "the instruction template has no field {task_description}, so every task would read the same",
                where=repr(self.instruction_template),
            )
        self.instruction("probe")

    @classmethod
    def from_model_config(cls, config: BeingHConfig, instruction_template: str | None = None) -> PromptConfig:
        """The layout a checkpoint asks for."""
        if config.template not in SYSTEM_MESSAGES:
            raise BeingHError(
                f"unknown conversation template `{config.template}`",
                where="config.json: template",
                allowed=SYSTEM_MESSAGES,
                remedy="use a checkpoint with one of the allowed templates",
            )
        wrong = config.wrong_picture(config.picture_size)
        if wrong:
            raise BeingHError(
                wrong, where="config.json: force_image_size", remedy="put the checkpoint's own config.json back"
            )
        return cls(
            chunk_length=config.chunk_length,
            tokens_per_view=config.tokens_of((config.picture_size, config.picture_size)),
            image_size=config.picture_size,
            vocabulary=config.decoder.vocab_size,
            instruction_template=instruction_template or INSTRUCTION_TEMPLATE,
            system_message=SYSTEM_MESSAGES[config.template],
            max_length=min(config.decoder.max_position_embeddings or MAX_LENGTH, MAX_LENGTH),
            history=config.state_history,
        )

    def instruction(self, task_description: str) -> str:
        """The user's words for a task.

        Raises:
            BeingHError: the template has a field that is neither {task_description} nor {k}.
        """
        try:
            return self.instruction_template.format(task_description=task_description, k=self.chunk_length)
        except (KeyError, IndexError, ValueError) as error:
            raise BeingHError(
                f"the instruction template cannot be filled in: {error!r}",
                where=repr(self.instruction_template),
                allowed="the fields {task_description} and {k}",
            ) from None


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompt:
    """Layout of one sample; all arrays int64, positions count from the sample's first token.

    Attributes:
        length: number of tokens.
        text_ids, text_positions: the text tokens and where they stand.
        vit_positions, state_positions, action_positions: where the other tokens stand.
        label_positions, label_ids: position that predicts, and the id it should predict.
    """

    length: int
    text_ids: np.ndarray
    text_positions: np.ndarray
    vit_positions: np.ndarray
    state_positions: np.ndarray
    action_positions: np.ndarray
    label_positions: np.ndarray
    label_ids: np.ndarray


class PromptBuilder:
    """Builds and packs the token layouts of samples; layouts are cached by their text.

    Args:
        tokenizer: a `tokenizers.Tokenizer`, or the path of a `tokenizer.json` or its directory.
        config: see `PromptConfig`.

    Raises:
        BeingHError: no such file, a special token is missing from the vocabulary, or a token is unknown to the model.
    """

    def __init__(self, tokenizer: Tokenizer | str | Path, config: PromptConfig) -> None:
        self.tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else load_tokenizer(tokenizer)
        self.config = config
        where = "tokenizer" if isinstance(tokenizer, Tokenizer) else tokenizer_file(tokenizer)
        self.special = {}
        for name, content in _SPECIAL.items():
            token_id = self.tokenizer.token_to_id(content)
            if token_id is None:
                raise BeingHError(
                    f"the tokenizer has no token `{content}`",
                    where=where,
                    remedy=_OWN_TOKENIZER,
                )
            self.special[name] = token_id
        added = self.tokenizer.get_added_tokens_decoder().values()
        self._controls = {*_SPECIAL.values(), *(token.content for token in added if token.special)}
        largest = max(self.tokenizer.get_vocab().values())
        if config.vocabulary is not None and largest >= config.vocabulary:
            raise BeingHError(
                f"the tokenizer has a token number {largest}, the model an embedding of {config.vocabulary} words "
                f"(llm_config.vocab_size of {CONFIG})",
                where=where,
                allowed=f"token numbers up to {config.vocabulary - 1}",
                remedy=_OWN_TOKENIZER,
            )
        self._newline = self._encode("\n")
        self._head = self._turn("system\n" + config.system_message) + self._newline
        self.build = lru_cache(maxsize=4096)(self._build)
        self.build_reply = lru_cache(maxsize=4096)(self._build_reply)
        self.build_answer = lru_cache(maxsize=4096)(self._build_answer)

    @classmethod
    def from_pretrained(cls, directory: str | Path, instruction_template: str | None = None) -> PromptBuilder:
        """The builder of a checkpoint directory (reads tokenizer.json and config.json)."""
        path = Path(directory) / CONFIG
        config = BeingHConfig.from_dict(read_json(path), path)
        return cls(directory, PromptConfig.from_model_config(config, instruction_template))

    def _build(self, instruction: str, views: int) -> Prompt:
        """Layout of a robot sample. Call it as `build(instruction, views)`; it is cached.

        Args:
            instruction: the task in plain words.
            views: number of pictures.

        Raises:
            BeingHError: empty instruction, one that contains a control token, or too many tokens.
        """
        head = self._robot_head(instruction, views)
        tokens = [*head, *[_ACTION] * self.config.chunk_length, self.special["im_end"]]
        self._check_length(tokens, f"{views} views and the instruction {shown(instruction)}", views)
        return _layout(tokens)

    def _build_reply(self, instruction: str, reply: str, views: int) -> Prompt:
        """Layout of a sample that is told like a robot and replies in words. Call it as `build_reply(...)`.

        Args:
            instruction: the task in plain words.
            reply: the assistant's words; they and the closing token are the labels.
            views: number of pictures.
        """
        words = [*self._encode(self._checked(reply)), self.special["im_end"]]
        head = self._robot_head(instruction, views)
        return _layout([*head, *words], [range(len(head), len(head) + len(words))])

    def _build_answer(self, question: str, answer: str, views: int) -> Prompt:
        """Layout of a text-supervised sample. Call it as `build_answer(question, answer, views)`.

        Args:
            question: the user's words, used as they are (no instruction template).
            answer: the assistant's words; they and the closing token are the labels.
            views: number of pictures, 0 for none.
        """
        return self.conversation([(question, answer)], views)

    def conversation(self, turns: Sequence[tuple[str, str]], pictures: int = 0, system: str = "") -> Prompt:
        """Layout of a conversation; the labels are every token of the answers and their closing tokens.

        Args:
            turns: questions and answers, used as they are. `IMAGE_PLACE` in a question is where a picture stands; pictures
                without any place stand in a row before the first question, as those of a robot sample.
            pictures: how many; as many as there are places, if there are any.
            system: words of the system turn, in place of the template's.

        Raises:
            BeingHError: an empty text, one that contains a control token, other places than pictures, or too many tokens.
        """
        special, tokens, answers = self.special, list(self._head), []
        if system:
            tokens = self._turn("system\n" + self._checked(system)) + self._newline
        places = sum(question.count(IMAGE_PLACE) for question, _ in turns)
        if places not in (0, pictures):
            raise BeingHError(f"{places} places `{IMAGE_PLACE}` for {pictures} pictures")
        for number, (question, answer) in enumerate(turns):
            tokens += self._newline if number else []
            tokens += [special["im_start"], *self._encode("user\n")]
            tokens += self._views(pictures) if pictures and not places and not number else []
            tokens += self._question(question)
            tokens += [special["im_end"], *self._newline, special["im_start"], *self._encode("assistant\n")]
            reply = [*self._encode(self._checked(answer)), special["im_end"]]
            answers.append(range(len(tokens), len(tokens) + len(reply)))
            tokens += reply
        self._check_length(tokens, f"a conversation of {len(turns)} questions and {pictures} pictures", pictures)
        return _layout(tokens, answers)

    def _question(self, text: str) -> list[int]:
        """The user's words with places for pictures among them."""
        parts = text.split(IMAGE_PLACE)
        if len(parts) == 1 or any(part.strip() for part in parts):
            self._checked(" ".join(parts))
        tokens = self._encode(parts[0])
        for part in parts[1:]:
            tokens += [*self._views(1), *self._encode(part)]
        return tokens

    def _check_length(self, tokens: Sequence[int], what: str, views: int) -> None:
        if len(tokens) > self.config.max_length:
            raise BeingHError(
                f"{what} make {len(tokens)} tokens",
                allowed=f"at most {self.config.max_length}, of which {views * self.config.tokens_per_view} are pictures and "
                f"{tokens.count(_ACTION)} actions",
                remedy="send a shorter text, or use fewer views",
            )

    def pack(self, prompts: Sequence[Prompt]) -> dict[str, torch.Tensor | int]:
        """The packed text side of a batch: samples one after another in one sequence.

        Args:
            prompts: one layout a sample, in the order of the batch.

        Returns:
            packed_text_ids, packed_text_indexes, packed_vit_token_indexes, packed_state_indexes,
            packed_action_indexes, packed_position_ids (restarting with each sample), sample_lens:
            int64 tensors; sequence_length: int. With text-supervised samples also ce_loss_indexes
            (the position that predicts) and packed_label_ids (what it should predict). Pictures,
            states and actions are the caller's: in the order of the samples.
        """
        lengths = np.array([prompt.length for prompt in prompts], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])

        def joined(name: str) -> np.ndarray:
            parts = [getattr(prompt, name) for prompt in prompts]
            return np.concatenate(parts) + np.repeat(starts, [len(part) for part in parts])

        packed = {
            "packed_text_ids": np.concatenate([prompt.text_ids for prompt in prompts]),
            "packed_text_indexes": joined("text_positions"),
            "packed_vit_token_indexes": joined("vit_positions"),
            "packed_state_indexes": joined("state_positions"),
            "packed_action_indexes": joined("action_positions"),
            "packed_position_ids": np.arange(lengths.sum()) - np.repeat(starts, lengths),
            "sample_lens": lengths,
        }
        labels = np.concatenate([prompt.label_ids for prompt in prompts])
        if len(labels):
            packed["ce_loss_indexes"] = joined("label_positions")
            packed["packed_label_ids"] = labels
        batch: dict[str, torch.Tensor | int] = {k: torch.from_numpy(v) for k, v in packed.items()}
        batch["sequence_length"] = int(lengths.sum())
        return batch

    def _robot_head(self, instruction: str, views: int) -> list[int]:
        """Everything of a robot sample before the assistant's reply."""
        special = self.special
        return [
            *self._user_head(views),
            special["state_start"],
            *[_STATE] * self.config.history.rows,
            special["state_end"],
            *self._encode(self.config.instruction(self._checked(instruction))),
            special["im_end"],
            *self._newline,
            special["im_start"],
            *self._encode("assistant\n"),
        ]

    def _user_head(self, views: int) -> list[int]:
        """System turn and the user turn up to the end of the pictures."""
        special = self.special
        head = [*self._head, special["im_start"], *self._encode("user\n")]
        return head + self._views(views) if views else head

    def _views(self, count: int) -> list[int]:
        pictures = [_VIT] * (count * self.config.tokens_per_view)
        return [self.special["img_start"], *pictures, self.special["img_end"]]

    def _turn(self, text: str) -> list[int]:
        return [self.special["im_start"], *self._encode(text), self.special["im_end"]]

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def _checked(self, text: str) -> str:
        if not isinstance(text, str) or not text.strip():
            raise BeingHError(f"the instruction is empty or no text: {shown(text)}")
        if token := self.control_in(text):
            raise BeingHError(
                f"the text {shown(text)} contains the control token `{token}`",
                remedy="write the task in plain words",
            )
        return text

    def control_in(self, text: str) -> str | None:
        """A control token that stands in a text; None when there is none."""
        return next((token for token in self._controls if token in text), None)


def _layout(tokens: list[int], answers: Sequence[range] = ()) -> Prompt:
    """Splits a token list, in which negative entries mark non-text positions, by kind of token; `answers` are the labels."""
    sequence = np.array(tokens, dtype=np.int64)
    text_positions = np.flatnonzero(sequence >= 0)
    labelled = np.concatenate([np.zeros(0, np.int64), *(np.arange(a.start, a.stop) for a in answers)])
    return Prompt(
        length=len(sequence),
        text_ids=sequence[text_positions],
        text_positions=text_positions,
        vit_positions=np.flatnonzero(sequence == _VIT),
        state_positions=np.flatnonzero(sequence == _STATE),
        action_positions=np.flatnonzero(sequence == _ACTION),
        label_positions=labelled - 1,
        label_ids=sequence[labelled],
    )
