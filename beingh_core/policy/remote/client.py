"""`RemotePolicy`: the surface of `BeingHPolicy` that a robot needs, answered by a `PolicyServer`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from beingh_core.errors import BeingHError, shown
from beingh_core.policy.data_configs import DataConfig, KeySpec
from beingh_core.policy.instruction import check_instruction
from beingh_core.policy.observations import image_key, instruction_of, is_batched, named_observation, without_batch
from beingh_core.policy.pictures import TRANSFORM, check_image, resize_crop
from beingh_core.policy.remote.connection import Connection, Lost, address_of
from beingh_core.policy.remote.headers import Chunk, ProtocolError, Refusal, Reply, Welcome, read, told
from beingh_core.policy.remote.protocol import pack, unpack_arrays, unpack_header
from beingh_core.policy.transforms import UnifiedTransform
from beingh_core.slots import WIDTH
from beingh_core.state_history import StateHistory

if TYPE_CHECKING:
    from beingh_core.contract import RobotContract

RECONNECT_S = 0.5


class _SessionEnded(Exception):
    """The server does not know this client's handshake: it was started anew."""


class RemotePolicy:
    """A policy that runs on a server. One thread at a time.

    Pictures travel at the size that the model takes, shrunk here by the policy's own code; a server that does not name that
    size is sent them whole. Every call either returns a chunk within the deadline or raises. After a failure, the next call connects anew, so
    that a server that comes back is used again; one that comes back with another checkpoint is refused.

    Args:
        url: of the server, as `tcp://127.0.0.1:5555`.
        contract: the robot; the server refuses another one. None for a server without a contract.
        token: what the server asks for.
        deadline_s: longest wait for one chunk [s].
        connect_s: longest wait for the first handshake [s].
        jpeg_quality: 1 to 100 sends pictures as JPEG, 0 as pixels, with the same numbers as a local policy. JPEG is made
            of the shrunk picture.

    Raises:
        BeingHError: the server does not answer, refuses, or serves another robot.
    """

    def __init__(
        self,
        url: str,
        contract: RobotContract | None = None,
        *,
        token: str | None = None,
        deadline_s: float = 2.0,
        connect_s: float = 3.0,
        jpeg_quality: int = 0,
    ) -> None:
        if not 0 <= jpeg_quality <= 100:
            raise BeingHError(f"jpeg_quality is {jpeg_quality}", allowed="0 (pixels) to 100")
        if not 1e-3 <= deadline_s <= 600:
            raise BeingHError(f"the deadline is {deadline_s} s", allowed="0.001 to 600 s")
        self.url, self._contract, self._token = url, contract, token
        self._deadline_s, self._jpeg_quality = deadline_s, jpeg_quality
        self.last_timing_ms: dict[str, float] = {}
        self.last_request_bytes, self._pack_ms = 0, 0.0
        self._address = address_of(url)
        self._connection: Connection | None = None
        self._session, self._id = "", 0
        self._facts: dict | None = None
        try:
            self._hello(connect_s)
        except Lost:
            raise self._gone() from None
        try:
            self.data_config = _data_config(self._facts["data_config"])
            self.transform = UnifiedTransform(self.data_config, self._facts["statistics"])
            self._image_size = _image_size(self._facts.get("image") or {})
        except (BeingHError, KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
            self.close()
            raise self._nonsense(f"{type(error).__name__} in its facts: {told(str(error))}") from None

    @property
    def views(self) -> tuple[str, ...]:
        """View names, in prompt order."""
        return self.data_config.views

    @property
    def chunk_length(self) -> int:
        """H, the number of steps of one chunk."""
        return self._facts["chunk_length"]

    @property
    def trained_delay(self) -> int:
        """Longest prefix [steps] that training locked; 0 for a checkpoint trained without."""
        return self._facts["trained_delay"]

    @property
    def state_history(self) -> StateHistory:
        """Which states an observation must hold."""
        return StateHistory(**self._facts["state_history"])

    @property
    def model_facts(self) -> dict:
        """See `BeingHPolicy.model_facts`."""
        return dict(self._facts["model"])

    def check_instruction(self, text: str) -> None:
        """Refuses an instruction as far as can be told without the server's tokenizer.

        Raises:
            BeingHError: see `instruction.check_instruction`.
        """
        check_instruction(text, "instruction")

    def check_contract(self, contract: RobotContract) -> None:
        """Refuses a robot that the server was not asked about in the handshake.

        Raises:
            BeingHError: hash or chunk length differ.
        """
        served = self._facts["contract_hash"], self.chunk_length
        if served != (contract.hash, contract.policy.chunk_length):
            raise BeingHError(
                f"the policy server at {self.url} serves contract {served[0][:12] or 'none'} with chunks of "
                f"{served[1]} steps, not `{contract.robot}` ({contract.hash[:12]}, {contract.policy.chunk_length})",
                remedy="use one contract for robot and server",
            )

    def encode_prefix(self, actions: Mapping[str, np.ndarray]) -> np.ndarray:
        """`prev_chunk` (1, H, 200) from what will really be sent: (d, dim) arrays, physical units."""
        return self.transform.encode_prefix(actions, self.chunk_length)

    def warm_up(self) -> float:
        """Asks for one chunk of dummy inputs; returns how long it took [s]."""
        images = {view: np.zeros((1, 224, 224, 3), dtype=np.uint8) for view in self.views}
        neutral = self.transform.state_from_unified(np.zeros((*self.state_history.leading, WIDTH), dtype=np.float32))
        self.get_action(named_observation(images, neutral, "stand by"))
        return self.last_timing_ms["total"] / 1e3

    def get_action(self, observations: Mapping, noise=None, projections=None) -> dict[str, np.ndarray]:
        """One chunk; arguments and result as of `BeingHPolicy.get_action`.

        Afterwards `last_timing_ms` holds the server's times, the `total` seen from here and, as `transport`, what
        that is longer than the policy's; parts of it are `pack` (here), `unpack` and `waited` (there).

        Raises:
            BeingHError: as of the local policy; or the server is gone, refuses, or misses the deadline.
        """
        start = time.perf_counter()
        fields, arrays = self._parts(observations)
        shrink_ms = (time.perf_counter() - start) * 1e3
        arrays |= {name: np.asarray(a) for name, a in (("noise", noise), ("projections", projections)) if a is not None}
        try:
            for _ in range(2):
                if self._connection is not None and self._connection.ended():
                    self.close()
                if not self._session:
                    self._hello(min(RECONNECT_S, self._deadline_s))
                try:
                    reply, output = self._act(fields, arrays, self._deadline_s - (time.perf_counter() - start))
                    break
                except _SessionEnded:
                    self._session = ""
            else:
                raise Lost
        except Lost:
            raise self._gone() from None
        total_ms = (time.perf_counter() - start) * 1e3
        timing = self._checked(reply, output)
        own = {"transport": total_ms - timing.get("total", 0.0), "total": total_ms, "pack": shrink_ms + self._pack_ms}
        self.last_timing_ms = timing | own
        batched = is_batched(observations, self.data_config, self.state_history)
        return output if batched else without_batch(output)

    def close(self) -> None:
        """Ends the connection; the next call connects anew."""
        self._session = ""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _parts(self, observations: Mapping) -> tuple[dict, dict[str, np.ndarray]]:
        """(fields, arrays) of what the policy reads; other keys are not sent.

        What would be too long to send is refused here as the policy does it; the server checks everything.
        """
        fields, arrays = {}, {}
        if "language.instruction" in observations:
            fields["language.instruction"] = instruction_of(observations["language.instruction"])
        pictures = [image_key(view) for view in self.views]
        states = [f"state.{spec.key}" for spec in self.data_config.state]
        for name in (*pictures, *states, "prev_chunk", "inference_delay"):
            value = observations.get(name)
            if value is None:
                continue
            if name in pictures:
                picture = check_image(value, name)
                value = (resize_crop(picture, self._image_size) if self._image_size else picture)[None]
            try:
                arrays[name] = np.asarray(value)
            except ValueError:  # lists of different lengths
                raise BeingHError(f"`{name}` is not an array of numbers: {shown(value)}") from None
        return fields, arrays

    def _act(self, fields: Mapping, arrays: Mapping, timeout_s: float) -> tuple[dict, dict[str, np.ndarray]]:
        try:
            return self._exchange("act", {**fields, "session": self._session}, arrays, timeout_s)
        except TimeoutError:
            self.close()
            raise BeingHError(
                f"the policy server at {self.url} did not answer within {self._deadline_s:g} s",
                remedy="use a faster server or network, or a longer deadline",
            ) from None

    def _checked(self, fields: Mapping, output: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The server's times, once every array is known to be what a local policy returns."""
        widths = {f"action.{spec.key}": spec.data_width("action") for spec in self.data_config.action}
        expected = {name: (1, self.chunk_length, width) for name, width in (widths | {"action_unified": WIDTH}).items()}
        if {name: array.shape for name, array in output.items()} != expected:
            raise self._nonsense("a chunk of other arrays or shapes")
        if any(array.dtype != np.float32 for array in output.values()):
            raise self._nonsense("a chunk of other numbers than float32")
        if not all(np.all(np.isfinite(output[name])) for name in widths):
            raise self._nonsense("NaN or infinity")
        return self._read(Chunk, fields).timing_ms

    def _read(self, schema, fields: Mapping):
        """What the server says, as it is declared."""
        try:
            return read(schema, fields)
        except ProtocolError as error:
            self.close()
            raise self._nonsense(str(error)) from None

    def _hello(self, timeout_s: float) -> None:
        contract = self._contract
        fields = {
            "contract_hash": contract.hash if contract else "",
            "joint_names": list(contract.joint_names) if contract else [],
            "chunk_length": contract.policy.chunk_length if contract else 0,
        }
        try:
            reply, _ = self._exchange("hello", fields, {}, timeout_s)
        except TimeoutError:
            self.close()
            raise Lost from None
        except BeingHError:
            self.close()
            raise
        welcome = self._read(Welcome, reply)
        facts = welcome.facts.model_dump()
        if self._facts is not None and facts != self._facts:
            self.close()
            raise BeingHError(
                f"the policy server at {self.url} came back with another checkpoint",
                remedy="configure the policy node again, or start the server with the checkpoint it had",
            )
        self._facts, self._session = facts, welcome.session

    def _exchange(self, kind: str, fields: Mapping, arrays: Mapping, timeout_s: float):
        """(fields, arrays) of the server's answer.

        Raises:
            BeingHError: the server refuses, with its reason, or its answer makes no sense.
            TimeoutError: no answer in time.
            Lost: the connection ended.
            _SessionEnded: see there.
        """
        end = time.monotonic() + timeout_s
        self._id += 1
        header = {"id": self._id, "type": kind, "deadline_ms": max(1, int(timeout_s * 1e3)), "fields": fields}
        if self._token:
            header["token"] = self._token
        start = time.perf_counter()
        try:
            message = pack(header, arrays, jpeg_quality=self._jpeg_quality)
        except ProtocolError as error:
            raise BeingHError(f"the observation cannot be sent: {error}") from None
        self._pack_ms, self.last_request_bytes = (time.perf_counter() - start) * 1e3, len(message)
        try:
            if self._connection is None:
                self._connection = Connection(self._address, end)
            self._connection.send(message, end)
            while True:
                header, body = unpack_header(self._connection.receive(end))
                reply = read(Reply, header)
                if reply.id in (self._id, 0):  # 0: the server does not tell which one it answers
                    break
            if reply.ok:
                return reply.fields, unpack_arrays(header, body, ("raw",))
            refusal = read(Refusal, reply.fields)
        except Lost:
            self.close()
            raise
        except ProtocolError as error:
            self.close()
            raise self._nonsense(str(error)) from None
        if refusal.code == "session" and kind == "act":
            raise _SessionEnded
        what, where, allowed, remedy = (
            text and told(text) for text in (refusal.what, refusal.where, refusal.allowed, refusal.remedy)
        )
        if refusal.code == "input":
            raise BeingHError(what, where=where, allowed=allowed, remedy=remedy)
        raise BeingHError(f"refused: {what}", where=f"policy server at {self.url}", allowed=allowed, remedy=remedy)

    def _nonsense(self, what: str) -> BeingHError:
        return BeingHError(
            f"the policy server at {self.url} answers nonsense: {what}", remedy="install the same version on both sides"
        )

    def _gone(self) -> BeingHError:
        return BeingHError(
            f"the policy server at {self.url} is gone or does not answer",
            remedy="start it, and check address and network; it is used again as soon as it answers",
        )


def _image_size(pictures: Mapping) -> int:
    """Side to which pictures are brought here [pixels]; 0 leaves that to the server."""
    return pictures["size"] if pictures.get("transform") == TRANSFORM else 0


def _data_config(fields: Mapping) -> DataConfig:
    """The server's data config, checked like one that is written by hand."""
    specs = {kind: tuple(KeySpec(**spec) for spec in fields[kind]) for kind in ("state", "action")}
    return DataConfig(name=fields["name"], views=tuple(fields["views"]), **specs)
