"""The command `beingh serve`: from its options to a server that runs until a signal."""

from __future__ import annotations

import argparse
import logging
import signal

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.policy.loading import load_for_contract
from beingh_core.policy.remote.protocol import read_token
from beingh_core.policy.remote.server import PolicyServer

JPEG = ("accept", "none")


def serve(options: argparse.Namespace) -> None:
    """Loads the checkpoint, prints one line with the address, and serves until SIGINT or SIGTERM.

    Args:
        options: See `beingh serve --help`.

    Raises:
        BeingHError: The checkpoint does not fit the contract, or the address or token cannot be used.
    """
    if options.jpeg not in JPEG:
        raise BeingHError(f"`{options.jpeg}` is no choice", where="--jpeg", allowed=JPEG)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    contract = load_contract(options.contract)
    token = read_token(options.token_file) if options.token_file else None
    policy = load_for_contract(
        contract,
        options.checkpoint,
        dataset_name=options.dataset_name,
        device=options.device,
        dtype=options.dtype,
        threads=options.threads,
        seed=options.seed,
    )
    server = PolicyServer(
        policy, contract, host=options.host, port=options.port, token=token, jpeg=options.jpeg == "accept"
    )
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: server.stop())
    print(f"serving {options.checkpoint} for {contract.robot} at {server.url}", flush=True)
    server.serve()
