"""From a robot contract to the processes that run it.

`make demo` starts them as subprocesses (`ProcessGroup`), the launch files as launch_ros nodes (`robots/launching.py`); both
take the same list, so both run the same system.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from beingh_core.contract import load_contract
from beingh_core.contract.schema import RobotContract
from beingh_core.contract.simulation import check_simulation
from beingh_core.errors import BeingHError
from beingh_core.inference.policy_loading import check_one_source
from beingh_core.policy.checkpoint_check import check_checkpoint
from beingh_core.policy.remote.connection import address_of
from beingh_core.policy.remote.protocol import read_token

PACKAGE = "beingh_ros"
G1_ARMS = "unitree_g1_arm_sdk"
_SOURCE_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """One node process.

    Attributes:
        name: Node name, unique in its namespace.
        executable: Module of this package and name of its console script.
        parameters: ROS parameters.
        remappings: (from, to) pairs of topic names.
        namespace: ROS namespace, "" for the root.
        essential: Whether the robot cannot do without it: its end ends the others.
    """

    name: str
    executable: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    namespace: str = ""
    essential: bool = True

    def command(self, python: str = sys.executable) -> list[str]:
        """Command line that runs the node without a ROS installation."""
        words = [python, "-m", f"{PACKAGE}.{self.executable}", "--ros-args", "-r", f"__node:={self.name}"]
        if self.namespace:
            words += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        for source, target in self.remappings:
            words += ["-r", f"{source}:={target}"]
        return words + self.parameter_words()

    def parameter_words(self) -> list[str]:
        """The parameters as words behind `--ros-args`."""
        # JSON is YAML that keeps "1" and "yes" strings.
        pairs = (f"{key}:={json.dumps(value, ensure_ascii=False)}" for key, value in self.parameters.items())
        return [word for pair in pairs for word in ("-p", pair)]


@dataclass(frozen=True, kw_only=True)
class BringupOptions:
    """What to start for a robot.

    Attributes:
        contract: Name or path of the robot contract.
        checkpoint: Checkpoint directory for a policy in this computer.
        dataset_name: Whose statistics of the checkpoint; "" takes the contract's.
        device: torch device of the policy in this computer.
        policy_url: Policy server, in place of a checkpoint; both empty start no policy.
        expert: Whether the scripted expert stands in for a checkpoint, in simulation.
        policy_token_file: File with the token that the policy server asks for; "" for none.
        policy_jpeg_quality: Of the pictures sent to the policy server; 0 sends pixels.
        instruction: First instruction; "" waits for one on the topic.
        simulate: Whether a simulator stands in for the robot's drivers.
        seed: Seed of the simulated scene and of the policy's noise.
        task: Tasks whose scenes the simulator has, as in `beingh_core.tasks`.
        spectator_fps: Rate of the simulator's spectator camera [1/s]; 0 for none.
        dry_run: Whether the controller keeps its commands to itself.
        autostart: Whether the nodes configure and activate themselves; else a lifecycle manager does.
        estop_topic: In place of the contract's; "" takes that one.
        torch_threads: CPU threads of the policy.
        namespace: ROS namespace of all nodes.
        use_sim_time: Whether all nodes follow /clock.
        markers: Whether paths, the end of the plan and the state are published for RViz.
        joint_states_hz: How often joint states are published in the URDF's words, for a robot state publisher [1/s]; 0: not.
        record: Whether a recorder waits for episodes; see docs/record.md.
        record_out: Folder of its bags.
    """

    contract: str
    checkpoint: str = ""
    dataset_name: str = ""
    device: str = "cpu"
    policy_url: str = ""
    expert: bool = False
    policy_token_file: str = ""
    policy_jpeg_quality: int = 0
    instruction: str = ""
    simulate: bool = False
    seed: int = 0
    task: str = "pick"
    spectator_fps: float = 0.0
    dry_run: bool = False
    autostart: bool = True
    estop_topic: str = ""
    torch_threads: int = 1
    namespace: str = ""
    use_sim_time: bool = False
    markers: bool = True
    joint_states_hz: float = 0.0
    record: bool = False
    record_out: str = "out/episodes"


def processes(options: BringupOptions) -> list[ProcessSpec]:
    """The node processes in starting order; stop them in the reverse order.

    Raises:
        BeingHError: For a contract that cannot be loaded or simulated, or options that exclude each other.
    """
    contract = load_contract(options.contract)
    common = {"contract": str(options.contract), "use_sim_time": options.use_sim_time}
    specs = [_simulator(options, contract)] if options.simulate else _drivers(options, contract)
    specs.append(
        ProcessSpec(
            name="controller",
            executable="controller_node",
            parameters=common | {"dry_run": options.dry_run, "autostart": options.autostart},
            remappings=_remappings(options, contract),
            namespace=options.namespace,
        )
    )
    check_one_source(str(options.checkpoint), options.policy_url)
    _check_expert(options)
    if options.checkpoint or options.policy_url or options.expert:
        specs.append(
            ProcessSpec(
                name="policy",
                executable="expert_node" if options.expert else "policy_node",
                parameters=common | _policy_parameters(options, contract.policy.dataset_name),
                namespace=options.namespace,
            )
        )
    return [*specs, *_onlookers(options, contract, common)]


def _simulator(options: BringupOptions, contract: RobotContract) -> ProcessSpec:
    """What plays the robot, in place of its drivers.

    Raises:
        BeingHError: A robot that cannot be simulated, or simulated time.
    """
    if options.use_sim_time:
        raise BeingHError("the simulator runs in real time and publishes no /clock", remedy="leave use_sim_time off")
    check_simulation(contract)
    from beingh_ros.drivers.interfaces import check_interfaces

    check_interfaces(contract)
    parameters = {
        "contract": str(options.contract),
        "seed": options.seed,
        "task": options.task,
        "spectator_fps": float(options.spectator_fps),
    }
    return ProcessSpec(name="sim", executable="sim_node", parameters=parameters, namespace=options.namespace)


def _drivers(options: BringupOptions, contract: RobotContract) -> list[ProcessSpec]:
    """What a robot's own drivers lack: the G1 publishes LowState, and no joint states."""
    if not any(driver.kind == G1_ARMS for driver in contract.drivers):
        return []
    parameters = {"use_sim_time": options.use_sim_time}
    name, node = "joint_states", "unitree_joint_states"
    return [ProcessSpec(name=name, executable=node, parameters=parameters, namespace=options.namespace)]


def check_start(options: BringupOptions) -> str:
    """Refuses what a node would die of after others have started; reads no weights.

    Returns:
        A warning to show, "" for none.

    Raises:
        BeingHError: For a contract that cannot be loaded, options that exclude each other, a checkpoint that is not
            there or belongs to another robot, an address or token of a server that cannot be read.
    """
    contract = load_contract(options.contract)
    check_one_source(str(options.checkpoint), options.policy_url)
    _check_expert(options)
    if options.expert:
        return ""
    if options.checkpoint:
        check_checkpoint(contract, options.checkpoint, options.dataset_name)
    elif options.policy_url:
        address_of(options.policy_url)
        if options.policy_token_file:
            read_token(options.policy_token_file)
    else:
        return "no policy is started: the robot holds its posture until somebody publishes policy/chunk"
    return ""


def _check_expert(options: BringupOptions) -> None:
    """Refuses the expert beside another policy, and where nobody tells it where the cubes are."""
    if options.expert and not options.simulate:
        raise BeingHError(
            "the expert works in simulation only: on a robot nobody tells it where the cubes are",
            remedy="start it with simulate, or give a checkpoint or policy_url",
        )
    if options.expert and (options.checkpoint or options.policy_url):
        raise BeingHError(
            f"both the expert and another policy ({options.checkpoint or options.policy_url}) are asked for",
            remedy="leave one of them out",
        )


def _onlookers(options: BringupOptions, contract: RobotContract, common: Mapping[str, object]) -> list[ProcessSpec]:
    """Processes that only subscribe: the robot can do without them."""
    specs = []
    if options.markers:
        parameters = {**common, "joint_states_hz": float(options.joint_states_hz)}
        specs.append(ProcessSpec(name="markers", executable="markers_node", parameters=parameters,
                                 namespace=options.namespace, essential=False))  # fmt: skip
    if options.record:
        parameters = {**common, "out": str(options.record_out), "task": options.instruction}
        specs.append(ProcessSpec(name="record", executable="record", parameters=parameters,
                                 remappings=_remappings(options, contract), namespace=options.namespace, essential=False))  # fmt: skip
    return specs


def _remappings(options: BringupOptions, contract: RobotContract) -> tuple[tuple[str, str], ...]:
    return ((contract.estop_topic, options.estop_topic),) if options.estop_topic else ()


def _policy_parameters(options: BringupOptions, dataset_name: str) -> dict[str, object]:
    parameters = {"instruction": options.instruction, "autostart": options.autostart}
    if options.expert:
        return parameters
    if options.policy_url:
        return parameters | {
            "policy_url": options.policy_url,
            "policy_token_file": str(options.policy_token_file),
            "policy_jpeg_quality": options.policy_jpeg_quality,
        }
    return parameters | {
        "checkpoint": str(options.checkpoint),
        "dataset_name": options.dataset_name or dataset_name,
        "device": options.device,
        "torch_threads": options.torch_threads,
        "seed": options.seed,
    }


class ProcessGroup:
    """Starts node processes in order, keeps their output in files, and stops them in the reverse order.

    Use as a context manager. One thread at a time.

    Args:
        specs: What to run.
        log_dir: Directory for one `NAME.log` per process; created.
        env: Extra environment variables.
    """

    def __init__(self, specs: Sequence[ProcessSpec], log_dir: str | Path, env: Mapping[str, str] | None = None) -> None:
        self.specs = tuple(specs)
        self.log_dir = Path(log_dir)
        path = os.pathsep.join(filter(None, [str(_SOURCE_ROOT), os.environ.get("PYTHONPATH", "")]))
        self._env = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._running: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> ProcessGroup:
        self.start()
        return self

    def __exit__(self, *_exc) -> None:
        self.stop()

    def start(self) -> None:
        """Start every process that is not running."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        for spec in self.specs:
            if spec.name not in self._running:
                with open(self.log_path(spec.name), "wb") as log:
                    # Its own session: a Ctrl-C in the terminal reaches the runner only, which then stops in order.
                    self._running[spec.name] = subprocess.Popen(
                        spec.command(),
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        stdin=subprocess.DEVNULL,
                        env=self._env,
                        start_new_session=True,
                    )

    def exited(self) -> dict[str, int]:
        """Exit status of every process that has ended by itself."""
        return {name: status for name, p in self._running.items() if (status := p.poll()) is not None}

    def check(self) -> None:
        """Raise BeingHError with the end of its log when a process has ended that the robot cannot do without."""
        essential = {spec.name for spec in self.specs if spec.essential}
        for name, status in self.exited().items():
            if name not in essential:
                continue
            raise BeingHError(
                f"process '{name}' ended with status {status}:\n{self.log_tail(name)}", where=self.log_path(name)
            )

    def log_path(self, name: str) -> Path:
        """File with the output of a process."""
        return self.log_dir / f"{name}.log"

    def log_tail(self, name: str, lines: int = 15) -> str:
        """The last lines a process has written."""
        path = self.log_path(name)
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def send(self, name: str, number: int) -> None:
        """Send a signal to a process."""
        self._running[name].send_signal(number)

    def wait(self, name: str, timeout_s: float = 20.0) -> int:
        """Exit status of a process that was told to end; `start` starts it again."""
        status = self._running[name].wait(timeout_s)
        del self._running[name]
        return status

    def stop(self, patience_s: float = 5.0) -> dict[str, int]:
        """End the processes, last started first, each with SIGINT, then SIGTERM, then SIGKILL.

        Args:
            patience_s: Longest wait after each signal [s].

        Returns:
            Exit status by name; the controller has sent its hold when its status is 0.
        """
        statuses = {}
        for spec in reversed(self.specs):
            process = self._running.pop(spec.name, None)
            if process is not None:
                statuses[spec.name] = _end(process, patience_s)
        return statuses


def _end(process: subprocess.Popen, patience_s: float) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            continue
    return process.wait()
