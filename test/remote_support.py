"""Shared by the tests of the remote policy: a served policy, servers as processes, checkpoints, observations."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from beingh_core.contract import load_contract
from beingh_core.policy.metadata import compute_statistics, write_metadata
from beingh_core.policy.remote import protocol
from beingh_core.policy.remote.connection import Connection, address_of
from beingh_core.policy.remote.server import PolicyServer

ROOT = Path(__file__).resolve().parent.parent
SET_A = ROOT / "test" / "data" / "set_a"
FR3 = load_contract("fr3")
TOKEN = "correct horse battery staple"


def make_checkpoint(directory: Path) -> Path:
    """The golden checkpoint with statistics for FR3, and trained (so its config says) to continue a prefix."""
    for file in SET_A.iterdir():
        if file.suffix != ".npz":
            shutil.copy(file, directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"use_training_time_rtc": True, "trained_delay": 8}))
    rng = np.random.default_rng(0)
    statistics = {kind: {"eef_position": compute_statistics(rng.normal(size=(500, 3)))} for kind in ("state", "action")}
    name = FR3.policy.dataset_name
    write_metadata(directory, name, statistics, embodiment_tag="fr3", robot="fr3", contract_hash=FR3.hash)
    return directory


def observation(policy, seed: int = 0) -> dict:
    """A random observation of everything the policy reads."""
    rng = np.random.default_rng(seed)
    obs = {f"video.{view}": rng.integers(0, 256, (1, 224, 224, 3), dtype=np.uint8) for view in policy.views}
    obs |= {f"state.{spec.key}": np.full((1, spec.data_width("state")), 0.3) for spec in policy.data_config.state}
    return obs | {"language.instruction": "pick up the red cube"}


def wait_until(condition, timeout_s: float = 60.0, what: str = "condition"):
    """Poll until `condition()` is truthy and return it; fail with `what` after the timeout."""
    end_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.002)
    return value


class Served:
    """A server in a thread of this process."""

    def __init__(self, policy, contract=None, **options):
        self.server = PolicyServer(policy, contract, port=0, **options)
        self.url = self.server.url
        self._thread = threading.Thread(target=self.server.serve, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()


class Wrapped:
    """A policy of which a test replaces some methods; `calls` counts the chunks asked of it one by one."""

    def __init__(self, policy):
        self._policy, self.calls = policy, 0

    def __getattr__(self, name):
        return getattr(self._policy, name)

    def get_action(self, *args, **kwargs):
        self.calls += 1
        return self._policy.get_action(*args, **kwargs)


def start_server(checkpoint, port, *options, served=("--contract", "fr3")):
    """(process, url) of `beingh serve`."""
    command = [sys.executable, "-m", "beingh_core.cli", "serve", "--checkpoint", str(checkpoint), *served]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--threads", "1", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    assert line.startswith("serving"), line
    return process, line.split()[-1]


def ping(url: str, token: str = "") -> dict:
    """What a native server tells of its counts."""
    end_s = time.monotonic() + 20
    connection = Connection(address_of(url), end_s)
    connection.send(protocol.pack({"id": 1, "type": "ping", "fields": {}, "token": token}), end_s)
    reply, _ = protocol.unpack_header(connection.receive(end_s))
    connection.close()
    return reply["fields"]["counts"]
