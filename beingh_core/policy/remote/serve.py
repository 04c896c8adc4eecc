"""The command `beingh serve`: from its options to a server that runs until a signal."""

from __future__ import annotations

import argparse
import logging
import signal

from beingh_core.contract import RobotContract, load_contract
from beingh_core.errors import BeingHError
from beingh_core.policy.loading import load_for_contract, load_for_data_config
from beingh_core.policy.remote import settings
from beingh_core.policy.remote.batching import check_max_batch
from beingh_core.policy.remote.protocol import read_token
from beingh_core.policy.remote.server import PolicyServer

JPEG = ("accept", "none")
log = logging.getLogger(__name__)


def serve(options: argparse.Namespace) -> None:
    """Loads the checkpoint, prints one line with the address, and serves until SIGINT or SIGTERM.

    Args:
        options: See `beingh serve --help`.

    Raises:
        BeingHError: The checkpoint does not fit the contract, or the address or token cannot be used.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    _check(options)
    token = read_token(options.token_file) if options.token_file else None
    contract = load_contract(options.contract) if options.contract else None
    server = PolicyServer(
        _policy(options, contract),
        contract,
        host=options.host,
        port=options.port,
        token=token,
        jpeg=options.jpeg == "accept",
        max_batch=options.max_batch,
        compat=options.compat,
    )
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: server.stop())
    served = contract.robot if contract else options.data_config
    print(f"serving {options.checkpoint} for {served}{' (compat)' * options.compat} at {server.url}", flush=True)
    server.serve()
    log.info("stopped: %s", server.report())


def _check(options: argparse.Namespace) -> None:
    """Refuses options that exclude each other, before gigabytes are read."""
    if options.jpeg not in JPEG:
        raise BeingHError(f"`{options.jpeg}` is no choice", where="--jpeg", allowed=JPEG)
    if bool(options.contract) == bool(options.data_config):
        raise BeingHError(
            "either a robot or a benchmark is served",
            where="--contract and --data-config",
            remedy="give --contract ROBOT, or --data-config NAME with --dataset-name",
        )
    if options.data_config and not options.dataset_name:
        raise BeingHError("--data-config needs --dataset-name", remedy="name a `<dataset name>_metadata.json`")
    check_max_batch(options.max_batch)
    settings.check(options)


def _policy(options: argparse.Namespace, contract: RobotContract | None):
    common = {name: getattr(options, name) for name in ("dataset_name", "device", "dtype", "threads", "seed")}
    common["robots"] = options.max_batch
    common |= settings.of_model(options)
    if contract is not None:
        return load_for_contract(contract, options.checkpoint, **common)
    return load_for_data_config(options.data_config, options.checkpoint, **settings.of_benchmark(options), **common)
