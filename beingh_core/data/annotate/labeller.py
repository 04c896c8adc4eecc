"""Texts from a vision-language model: one small interface, and the one implementation, OpenAI's chat completions over HTTP.

None comes with this software, and none is asked unless a URL is given. Whatever a labeller answers is a proposal.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import queue
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Protocol

from beingh_core.data.annotate.labels import LONGEST_TEXT, Labels, SegmentLabel, SuccessLabel
from beingh_core.data.annotate.recording import Pictures, Recording
from beingh_core.errors import BeingHError, shown
from beingh_core.policy.remote.protocol import read_token
from beingh_core.validation import Schema, at_most, check, text, whole

LARGEST_REPLY = 1 << 20
_PICTURES, _SIDE = 24, 384  # most pictures of one question, and their longer side [pixels]
_PATIENCE = 2  # failures in a row
_LOCAL = ("127.0.0.1", "localhost", "::1")
_SYSTEM = (
    "You label robot demonstrations. You get the robot's task and pictures of its segments, in order. Answer with one "
    'JSON object and nothing else: {"segments": [{"number": 1, "text": "..."}, ...], "success": true, false or null}. '
    "Give every segment a short imperative text of what the robot does in it, such as `reach for the red cube`. "
    "`success` says whether the task is done at the end; null where the pictures do not show it."
)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A segment as a labeller gets it: begin and end [s], the text that signals gave it, pictures as JPEG."""

    start_s: float
    end_s: float
    text: str
    pictures: tuple[bytes, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Texts by number of the segment, from 0 on, and success; None where it was not said."""

    texts: dict[int, str]
    success: bool | None = None


class Labeller(Protocol):
    """Anything that gives segments texts."""

    def ask(self, task: str, segments: Sequence[Shown]) -> Answer:
        """The answer.

        Raises:
            BeingHError: There is none that can be used.
        """


class _Text(Schema):
    number: whole(1, 10_000)
    text: text(LONGEST_TEXT)


class _Content(Schema):
    segments: Annotated[list[_Text], at_most(1000)]
    success: bool | None = None


class _Message(Schema):
    content: str


class _Choice(Schema):
    message: _Message


class _Reply(Schema):
    choices: Annotated[list[_Choice], at_most(100)]


@dataclass(frozen=True, kw_only=True)
class HttpLabeller:
    """An OpenAI-style server.

    Attributes:
        url: of the server, with or without `/v1`.
        model: its name there.
        key: sent as bearer token; "" for none. Never shown.
        timeout_s: for the whole answer.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        try:
            parts = urllib.parse.urlsplit(self.url)
        except ValueError:
            parts = urllib.parse.urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise BeingHError(
                "is no address of a labeller", where="--labeller-url", allowed="http(s)://HOST[:PORT][/v1]",
                remedy="give the key with --labeller-key-env or --labeller-key-file, not in the URL",
            )  # fmt: skip
        if self.key and parts.scheme == "http" and parts.hostname not in _LOCAL:
            raise BeingHError(
                "the key would be readable on the network", where="--labeller-url", allowed="https, or this machine"
            )
        if not self.model:
            raise BeingHError("the labeller's model is not named", remedy="give --labeller-model NAME")
        if not 0 < self.timeout_s <= 3600:
            raise BeingHError(f"{self.timeout_s:g} s", where="--labeller-timeout", allowed="above 0, at most 3600")

    def ask(self, task: str, segments: Sequence[Shown]) -> Answer:
        """See `Labeller`."""
        content = self._post(json.dumps(self._question(task, segments)).encode())
        found = check(_Content, _json_in(content, self._where), where=self._where)
        texts = {one.number - 1: one.text.strip() for one in found.segments}
        if not set(texts) <= set(range(len(segments))) or not all(texts.values()):
            raise BeingHError(
                f"answered for the segments {sorted(number + 1 for number in texts)[:20]}", where=self._where,
                allowed=f"1 to {len(segments)}, each with a text",
            )  # fmt: skip
        return Answer(texts=texts, success=found.success)

    @property
    def _where(self) -> str:
        return f"labeller {urllib.parse.urlsplit(self.url).netloc}"

    def _question(self, task: str, segments: Sequence[Shown]) -> dict:
        parts = [{"type": "text", "text": f"Task: {task or 'not known'}. {len(segments)} segments."}]
        for number, one in enumerate(segments, 1):
            text = f"Segment {number}, {one.start_s:.1f} s to {one.end_s:.1f} s; the signals say: {one.text}."
            parts.append({"type": "text", "text": text})
            for jpeg in one.pictures:
                url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
                parts.append({"type": "image_url", "image_url": {"url": url}})
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": parts}]
        return {"model": self.model, "messages": messages, "temperature": 0}

    def _post(self, body: bytes) -> str:
        url = self.url.rstrip("/")
        url = url if url.endswith("/chat/completions") else url.removesuffix("/v1") + "/v1/chat/completions"
        headers = {"Content-Type": "application/json", "User-Agent": "beingh-annotate"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")
        try:
            status, data = _within(self.timeout_s, lambda: self._fetch(request))
        except TimeoutError:
            raise self._error(f"gave no answer within {self.timeout_s:g} s") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._error(f"cannot be reached: {getattr(error, 'reason', error) or type(error).__name__}") from None
        if status != 200:
            raise self._error(f"refused with status {status}: {data[:200].decode('utf-8', 'replace')}")
        if len(data) > LARGEST_REPLY:
            raise self._error(f"answered with more than {LARGEST_REPLY} bytes")
        try:
            told = json.loads(data)
        except (ValueError, RecursionError):
            raise self._error(f"did not answer in JSON: {data[:100].decode('utf-8', 'replace')}") from None
        reply = check(_Reply, told, where=self._where)
        if not reply.choices:
            raise self._error("answered without a choice")
        return reply.choices[0].message.content

    def _fetch(self, request: urllib.request.Request) -> tuple[int, bytes]:
        """Status and at most one byte more than `LARGEST_REPLY` of the answer."""
        local = urllib.parse.urlsplit(self.url).hostname in _LOCAL
        handlers = [_AsItIs, *([urllib.request.ProxyHandler({})] if local else [])]
        with urllib.request.build_opener(*handlers).open(request, timeout=self.timeout_s) as response:
            return response.status, response.read(LARGEST_REPLY + 1)

    def _error(self, what: str) -> BeingHError:
        what = what.replace(self.key, "***") if self.key else what
        return BeingHError(shown(what, 300).strip("'\""), where=self._where)


class _AsItIs(urllib.request.HTTPErrorProcessor):
    """Gives every answer as it is: to follow a redirection would send key and pictures to somebody else."""

    def http_response(self, request, response):
        return response

    https_response = http_response


def _within(timeout_s: float, call: Callable[[], tuple[int, bytes]]) -> tuple[int, bytes]:
    """The call's result; TimeoutError when it takes longer, also where every single byte comes in time."""
    results: queue.Queue = queue.Queue(1)

    def run() -> None:
        try:
            results.put((call(), None))
        except Exception as error:  # noqa: BLE001 - it is raised in the thread that waits
            results.put((None, error))

    threading.Thread(target=run, name="labeller", daemon=True).start()
    try:
        result, error = results.get(timeout=timeout_s)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise TimeoutError if isinstance(getattr(error, "reason", error), TimeoutError) else error
    return result


def key_of(variable: str = "", file: Path | None = None) -> str:
    """The key from an environment variable or a file; "" when neither is named.

    Raises:
        BeingHError: Both are named, or there is nothing in it.
    """
    if variable and file:
        raise BeingHError("two places of the key are named", allowed="--labeller-key-env or --labeller-key-file")
    if file:
        return _one_line(read_token(file), file)
    if not variable:
        return ""
    found = os.environ.get(variable, "").strip()
    if not found:
        raise BeingHError(f"the environment variable {shown(variable)} is not set", where="--labeller-key-env")
    return _one_line(found, f"environment variable {variable}")


class Asking:
    """Asks a labeller for one episode after another, and no more when it has failed twice in a row.

    Args:
        labeller: Who is asked.
    """

    def __init__(self, labeller: Labeller) -> None:
        self._labeller, self._failures = labeller, 0

    def improved(self, labels: Labels, recording: Recording, pictures: Pictures, notes: list[str]) -> Labels:
        """As `improved`; the labels as they are, and a line in `notes`, where the labeller gave nothing."""
        if self._failures >= _PATIENCE:
            notes.append("the labeller was not asked any more")
            return labels
        try:
            better = improved(self._labeller, labels, recording, pictures)
        except BeingHError as error:
            self._failures += 1
            notes.append(f"without the labeller: {error}")
            return labels
        self._failures = 0
        return better


def improved(labeller: Labeller, labels: Labels, recording: Recording, pictures: Pictures) -> Labels:
    """The labels with a labeller's texts where it gave some; times stay those of the signals.

    Raises:
        BeingHError: The labeller gave nothing that can be used.
    """
    spans = labels.spans()
    views = [view.name for view in recording.views]
    each = max(1, min(2, _PICTURES // max(1, len(spans) * len(views))))
    segments = []
    for number, (start_s, end_s, segment) in enumerate(spans):
        seen = range(each) if number * each * len(views) < _PICTURES else ()
        times_s = [start_s + (end_s - start_s) * (k + 1) / (each + 1) for k in seen]
        shots = tuple(pictures.at(view, time_s, _SIDE) for time_s in times_s for view in views)
        segments.append(Shown(start_s=start_s, end_s=end_s, text=segment.text, pictures=shots))
    answer = labeller.ask(labels.task, segments)
    texts = [_better(segment, answer.texts.get(number)) for number, segment in enumerate(labels.segments)]
    success = labels.success
    if success.value is None and answer.success is not None:
        success = SuccessLabel(value=answer.success, because="the labeller says so")
    return labels.model_copy(update={"segments": tuple(texts), "success": success})


def _better(segment: SegmentLabel, text: str | None) -> SegmentLabel:
    return segment if text is None else segment.model_copy(update={"text": text, "by": "labeller"})


def _json_in(content: str, where: str) -> object:
    """The JSON object of an answer, which models like to put into a fence or a sentence."""
    start, end = content.find("{"), content.rfind("}")
    try:
        return json.loads(content[start : end + 1])
    except (ValueError, RecursionError):
        raise BeingHError(f"did not answer with a JSON object: {shown(content)}", where=where) from None


def _one_line(key: str, where: object) -> str:
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise BeingHError("is no key: it has blanks, several lines or other characters", where=where)
    return key
