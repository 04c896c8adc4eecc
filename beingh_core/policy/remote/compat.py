"""The dialect of the released evaluation clients: REQ sockets and `torch.save` bytes (`beingh serve --compat`).

    request     a dict of `endpoint`, `data` (for get_action: the observation) and `api_token` (when the server has one)
    endpoint    reply
    get_action  the chunk: `action.<key>` (1, H, dim) and `action_unified` (1, H, 200), float32 arrays
    get_modality_config     for video, state, action, language: `modality_keys` and `delta_indices`
    ping        `status` and `message`
    any, failed `error`: a text

An observation holds `video.<view>`, `state.<key>` and `language.instruction`; see `observations`. In place of the
latter, the only `annotation.*` is taken. Requests are read by `torch_bytes`, never unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import time


from beingh_core.errors import BeingHError
from beingh_core.policy.remote import torch_bytes
from beingh_core.policy.remote.batching import Counts, Job, Refused
from beingh_core.policy.remote.native import same_token
from beingh_core.policy.remote.protocol import ProtocolError

DEADLINE_S = 60.0  # these clients name none
ENDPOINTS = ("get_action", "get_modality_config", "ping")
INSTRUCTION = "language.instruction"


class CompatDialect:
    """Reads what the released clients send; see `NativeDialect` for the methods.

    Args:
        policy: tells views and keys.
        counts: kept up to date.
        token: what clients must send; "" for none.
    """

    trusts_strangers = True  # the first message of a client may be an observation

    def __init__(self, policy, counts: Counts, *, token: str) -> None:
        self._counts, self._token = counts, token.encode()
        self._modalities = _modalities(policy)

    def take(
        self, payload: memoryview, send: Callable[[bytes], None], wanted: Callable[[], bool]
    ) -> tuple[bool, bytes | Job]:
        """See `NativeDialect.take`."""
        try:
            request = torch_bytes.read(payload)
        except ProtocolError as error:
            self._counts.malformed += 1
            return False, _error(Refused("malformed", f"malformed message: {error}"))
        try:
            if self._token and not same_token(request.get("api_token"), self._token):
                raise Refused("token", "`api_token` is missing or wrong", "give the client the server's token")
            return True, self._answer(request, send, wanted)
        except Refused as refused:
            self._counts.refused += 1
            return False, _error(refused)

    def refusal(self, payload: memoryview, refused: Refused) -> bytes:
        """See `NativeDialect.refusal`."""
        self._counts.refused += 1
        return _error(refused)

    def _answer(self, request: Mapping, send, wanted) -> bytes | Job:
        endpoint, data = request.get("endpoint"), request.get("data")
        if endpoint == "ping":
            return torch_bytes.write({"status": "ok", "message": "the policy server is running"})
        if endpoint == "get_modality_config":
            return torch_bytes.write(self._modalities)
        if endpoint != "get_action":
            raise Refused("endpoint", f"`endpoint` is {endpoint!r:.40}", allowed=", ".join(ENDPOINTS))
        if not isinstance(data, dict):
            raise Refused("malformed", "`data` must be the observation, a dictionary")
        return Job(
            deadline_s=time.monotonic() + DEADLINE_S,
            read=lambda: (_observations(data), {}),
            answer=lambda output, timing_ms, robots: torch_bytes.write(dict(output)),
            refuse=_error,
            send=send,
            wanted=wanted,
        )


def _observations(data: Mapping) -> dict:
    annotations = [name for name in data if name.startswith("annotation.")]
    if INSTRUCTION in data or len(annotations) != 1:
        return dict(data)
    return {**data, INSTRUCTION: data[annotations[0]]}


def _modalities(policy) -> dict:
    config = policy.data_config
    now, chunk = [0], list(range(policy.chunk_length))
    keys = {
        "video": (now, list(config.views)),
        "state": (now, [spec.key for spec in config.state]),
        "action": (chunk, [spec.key for spec in config.action]),
    }
    modalities = {
        kind: {"delta_indices": steps, "modality_keys": [f"{kind}.{name}" for name in names]}
        for kind, (steps, names) in keys.items()
    }
    return modalities | {"language": {"delta_indices": now, "modality_keys": [INSTRUCTION]}}


def _error(refused: Refused) -> bytes:
    told = {name: refused.fields[name] for name in ("where", "allowed", "remedy")}
    return torch_bytes.write({"error": str(BeingHError(refused.fields["what"], **told))})
