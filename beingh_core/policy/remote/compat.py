"""The dialect of the released evaluation clients: REQ sockets and `torch.save` bytes (`beingh serve --compat`).

    request     a dict of `endpoint`, `data` (for get_action: the observation) and `api_token` (when the server has one)
    endpoint    reply
    get_action  the chunk: `action.<key>` (1, H, dim) and `action_unified` (1, H, 200) as nested lists of floats, which
                these clients can read with today's defaults of `torch.load`; without the 1 where the observation has none
    get_modality_config     for video, state, action, language: `modality_keys` and `delta_indices`
    ping        `status` and `message`
    any, failed `error`: a text

An observation holds `video.<view>`, `state.<key>` and `language.instruction`; see `observations`. In place of the
latter, the only `annotation.*` is taken. `prev_chunk` may have fewer or more steps than a chunk. A request without `endpoint` asks for an action. The released server's
endpoint `kill` is not answered: whoever may ask for chunks may not end the service for others. Requests are read by
`torch_bytes`, never unpickled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from beingh_core.errors import BeingHError, shown
from beingh_core.policy.observations import IMAGE_PREFIX
from beingh_core.policy.remote import torch_bytes
from beingh_core.policy.remote.headers import ProtocolError, told
from beingh_core.policy.remote.native import same_token
from beingh_core.policy.remote.waiting import Client, Job, Refused, Taken

DEADLINE_S = 60.0  # these clients name none
ENDPOINTS = ("get_action", "get_modality_config", "ping")
INSTRUCTION = "language.instruction"


class CompatDialect:
    """Reads what the released clients send; see `NativeDialect` for the methods.

    Args:
        policy: tells views and keys.
        token: what clients must send; "" for none.
    """

    trusts_strangers = True  # the first message of a client may be an observation

    def __init__(self, policy, *, token: str) -> None:
        self._token = token.encode()
        self._modalities, self._chunk_length = _modalities(policy), policy.chunk_length

    def take(self, payload: memoryview, client: Client, send: Callable[[bytes], None]) -> Taken:
        """See `NativeDialect.take`."""
        known = not self._token
        try:
            request = torch_bytes.read(payload)
            if not known and not same_token(request.get("api_token"), self._token):
                raise Refused("token", "`api_token` is missing or wrong", "give the client the server's token")
            known = True
            return Taken(known, self._answer(request, client, send))
        except ProtocolError as error:
            refused = Refused("malformed", "malformed message" + (f": {error}" if known else ""))
        except Refused as error:
            refused = error
        return Taken(known, _error(refused), refused)

    def _answer(self, request: Mapping, client: Client, send) -> bytes | Job:
        endpoint, data = request.get("endpoint", "get_action"), request.get("data")
        if endpoint == "ping":
            return torch_bytes.write({"status": "ok", "message": "the policy server is running"})
        if endpoint == "get_modality_config":
            return torch_bytes.write(self._modalities)
        if endpoint == "kill":
            raise Refused("endpoint", "clients cannot end this server", "stop it where it runs, with Ctrl-C or SIGTERM")
        if endpoint != "get_action":
            raise Refused("endpoint", f"`endpoint` is {shown(endpoint)}", allowed=", ".join(ENDPOINTS))
        if not isinstance(data, dict):
            raise Refused("malformed", "`data` must be the observation, a dictionary")
        return Job(
            client=client,
            deadline_s=time.monotonic() + DEADLINE_S,
            read=lambda: (_observations(data, self._chunk_length), {}),
            answer=lambda output, timing_ms, robots: torch_bytes.write({k: v.tolist() for k, v in output.items()}),
            refuse=_error,
            send=send,
        )


def _observations(data: Mapping, chunk_length: int) -> dict:
    for name, value in data.items():
        if name.startswith(IMAGE_PREFIX) and not isinstance(value, np.ndarray):
            raise ProtocolError(f"{shown(name)} is no array")
    data = dict(data)
    annotations = [name for name in data if name.startswith("annotation.")]
    if INSTRUCTION not in data and len(annotations) == 1:
        data[INSTRUCTION] = data[annotations[0]]
    if isinstance(data.get("prev_chunk"), np.ndarray):
        data["prev_chunk"] = _whole_chunk(data["prev_chunk"], chunk_length)
    return data


def _whole_chunk(chunk: np.ndarray, chunk_length: int) -> np.ndarray:
    """What is left of a chunk, brought to a chunk's length as the released model does: its last step is repeated."""
    steps = chunk.shape[-2] if chunk.ndim in (2, 3) else 0
    if steps in (0, chunk_length):
        return chunk
    return np.take(chunk, np.minimum(np.arange(chunk_length), steps - 1), axis=-2)


def _modalities(policy) -> dict:
    config = policy.data_config
    now, chunk, states = [0], list(range(policy.chunk_length)), (-policy.state_history.before).tolist()
    keys = {
        "video": (now, list(config.views)),
        "state": (states, [spec.key for spec in config.state]),
        "action": (chunk, [spec.key for spec in config.action]),
    }
    modalities = {
        kind: {"delta_indices": steps, "modality_keys": [f"{kind}.{name}" for name in names]}
        for kind, (steps, names) in keys.items()
    }
    return modalities | {"language": {"delta_indices": now, "modality_keys": [INSTRUCTION]}}


def _error(refused: Refused) -> bytes:
    fields = {name: text and told(text) for name, text in refused.fields.items() if name != "code"}
    return torch_bytes.write({"error": str(BeingHError(**fields))})
