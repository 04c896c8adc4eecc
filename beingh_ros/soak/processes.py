"""The processes of a fault run: the demo's nodes behind the injector, a policy server, and the empty timer."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_ros.bringup import BringupOptions, ProcessGroup, ProcessSpec, processes
from beingh_ros.soak.injector import (
    ACCEPTED,
    BASE_BUFFER,
    BASE_CHUNK,
    BUFFER,
    CHUNK,
    PREFIX,
    has_base,
    joint_state_topics,
)
from beingh_ros.soak.stepped_clock import VARIABLE, ClockFile

SIM, CONTROLLER, POLICY, SERVER, TIMER = "sim", "controller", "policy", "server", "empty_timer"
PORTS = range(20_000, 30_000)


@dataclass(frozen=True, kw_only=True)
class CommandSpec(ProcessSpec):
    """A process that is no node of the bringup: its arguments after `python -m`."""

    arguments: tuple[str, ...] = ()

    def command(self, python: str = sys.executable) -> list[str]:
        """Its command line."""
        return [python, "-m", *self.arguments]


class SystemProcesses:
    """Starts, kills and stops the processes by name. One thread at a time.

    Args:
        contract: Robot, loaded from the file that the processes get.
        checkpoint: Checkpoint directory; None for the scripted expert.
        seed: Of scene and policy noise.
        out: Directory for logs and the files between the processes.

    Attributes:
        clock: Steps the controller's system clock.
        timer_file: Where the empty timer writes.
    """

    def __init__(self, contract: RobotContract, checkpoint: Path | None, seed: int, out: Path) -> None:
        self.clock = ClockFile(out / "clock_step")
        self.timer_file = out / "empty_timer.txt"
        self.contract, self.checkpoint, self.out = contract, checkpoint, out
        self._port = _free_port()
        options = BringupOptions(
            contract=str(contract.path),
            checkpoint=str(checkpoint or ""),
            expert=checkpoint is None,
            simulate=True,
            seed=seed,
        )
        self._specs = {spec.name: spec for spec in processes(options)}
        served = replace(options, checkpoint="", expert=False, policy_url=f"tcp://127.0.0.1:{self._port}")
        self._served_policy = next(spec for spec in processes(served) if spec.name == POLICY)
        self._groups: dict[str, ProcessGroup] = {}
        self._starts = 0

    def spec(self, name: str, *, served: bool = False, checkpoint: Path | None = None) -> ProcessSpec:
        """What a process is; `served` for a policy that asks the server, `checkpoint` for one with another than its own."""
        states = {(topic, _other(topic)) for topic in joint_state_topics(self.contract)}
        if name == SERVER:
            words = ("serve", "--checkpoint", str(self.checkpoint), "--contract", str(self.contract.path))
            return CommandSpec(
                name=name,
                executable="",
                arguments=("beingh_core.cli", *words, "--port", str(self._port), "--threads", "1"),
            )
        if name == TIMER:
            rate = str(self.contract.rate_hz)
            return CommandSpec(
                name=name, executable="", arguments=("beingh_ros.soak.empty_timer", rate, str(self.timer_file))
            )
        if name == CONTROLLER:
            return replace(self._specs[name], executable="soak.stepped_clock", remappings=tuple(sorted(states)))
        if name == POLICY:
            cameras = {(camera.topic, _other(camera.topic)) for camera in self.contract.cameras}
            parts = (BASE_CHUNK, BASE_BUFFER) if has_base(self.contract) else ()
            wires = {(topic, _other(topic)) for topic in (CHUNK, BUFFER, ACCEPTED, *parts)}
            spec = self._served_policy if served else self._specs[name]
            if checkpoint is not None:
                spec = replace(spec, parameters={**spec.parameters, "checkpoint": str(checkpoint)})
            return replace(spec, remappings=tuple(sorted(states | cameras | wires)))
        return self._specs[name]

    def start(self, name: str, *, served: bool = False, checkpoint: Path | None = None) -> None:
        """Start a process that is not running."""
        self._starts += 1
        group = ProcessGroup(
            [self.spec(name, served=served, checkpoint=checkpoint)],
            self.out / "logs" / f"{self._starts:03d}",
            {VARIABLE: str(self.clock.path)},
        )
        group.start()
        self._groups[name] = group

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End a process with a signal, SIGKILL by default, and wait for it."""
        group = self._groups.pop(name, None)
        if group is not None:
            group.send(name, number)
            group.wait(name)

    def send(self, name: str, number: int) -> None:
        """Send a signal to a running process."""
        self._groups[name].send(name, number)

    def running(self, name: str) -> bool:
        """Whether a process was started and has not ended."""
        group = self._groups.get(name)
        return group is not None and not group.exited()

    def log_path(self, name: str) -> Path:
        """File with the output of a running process."""
        return self._groups[name].log_path(name)

    def check(self) -> None:
        """Raise BeingHError when a process has ended by itself."""
        for group in list(self._groups.values()):
            group.check()

    def stop(self) -> None:
        """End all of them: policy and server first, then the controller, then the simulator."""
        for name in (POLICY, SERVER, TIMER, CONTROLLER, SIM):
            group = self._groups.pop(name, None)
            if group is not None:
                group.stop()


def _other(topic: str) -> str:
    return f"{PREFIX}/{topic.lstrip('/')}"


def _free_port() -> int:
    """A port below those that the system gives to outgoing connections: one of them could take it while the server is gone."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise BeingHError("no port is free for the policy server", allowed=f"{PORTS.start} to {PORTS.stop - 1}")
