"""Shared by the tests that run real nodes: isolation, waiting on the graph, processes, a tiny checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from ros_domains import free_domain, next_domain

ROOT = Path(__file__).resolve().parent.parent
TINY = Path(__file__).parent / "data" / "set_a"


@contextmanager
def ros_graph():
    """A node in a domain of its own, spun by a thread; yields the node. Children must get `node.environment`."""
    domain = next_domain()
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if os.environ.get("ROS_DISTRO") == "humble":
        os.environ["ROS_LOCALHOST_ONLY"] = "1"
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    node = Node("observer", context=context)
    node.environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(domain),
        "PYTHONUNBUFFERED": "1",
        "MUJOCO_GL": "egl",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    try:
        with spun(node):
            yield node
    finally:
        rclpy.try_shutdown(context=context)
        free_domain(domain)


@contextmanager
def spun(node):
    """A node whose callbacks run in a thread of their own; destroyed at the end."""
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    ending = threading.Event()

    def spin():
        while not ending.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield node
    finally:
        ending.set()
        thread.join()
        node.destroy_node()


def in_executor(node: Node, act) -> None:
    """Call something in the thread that spins a node: an action server that is destroyed beside it may crash it."""
    task = node.executor.create_task(act)
    wait_until(task.done, what="the executor")


def wait_until(condition, timeout_s: float = 60.0, what: str = "condition"):
    """Poll until `condition()` is truthy and return it; fail with `what` after the timeout."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    pytest.fail(f"not within {timeout_s} s: {what() if callable(what) else what}")


def wait_matched(node: Node, *publishers) -> None:
    """Wait until every publisher has a subscriber."""
    for publisher in publishers:
        wait_until(lambda: publisher.get_subscription_count() > 0, what=f"a subscriber of {publisher.topic_name}")


class Recorder:
    """Keeps every message of a topic with the monotonic time of its receipt; `messages` is append-only."""

    def __init__(self, node: Node, message_type, topic: str, depth: int | QoSProfile = 1000) -> None:
        self.qos = depth
        self.messages: list = []
        self.times_s: list[float] = []
        self._subscription = node.create_subscription(message_type, topic, self._receive, depth)

    def _receive(self, message) -> None:
        self.times_s.append(time.monotonic())
        self.messages.append(message)

    def wait_for(self, count: int, timeout_s: float = 60.0):
        """The first `count` messages."""
        wait_until(lambda: len(self.messages) >= count, timeout_s, f"{count} messages, {len(self.messages)} came")
        return self.messages[:count]

    def wait_next(self, timeout_s: float = 60.0):
        """The next message from now on."""
        return self.wait_for(len(self.messages) + 1, timeout_s)[-1]


class NodeProcess:
    """A node of this package (its module), or a script with one, as a child process; its output is kept."""

    def __init__(self, graph: Node, module: str, parameters: dict, log: Path, remap=()) -> None:
        if Path(module).stem.endswith(("controller", "controller_node")):
            parameters = {"subscriber_settle_s": 0.3} | parameters
        program = [module] if module.endswith(".py") else ["-m", f"beingh_ros.{module}"]
        words = []
        for key, value in parameters.items():
            words += ["-p", f"{key}:={json.dumps(value)}"]
        words += [word for rule in remap for word in ("-r", rule)]
        self.log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *program, "--ros-args", *words],
                env=graph.environment | {"PYTHONFAULTHANDLER": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
            )

    @property
    def output(self) -> str:
        """What it has written."""
        return self.log.read_text(errors="replace")

    def end(self, number: int, timeout_s: float = 30.0) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 60.0) -> int:
        """The exit status; where it does not end, the failure shows what it has written and where every thread is."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(10)
            raise AssertionError(f"it has not ended within {timeout_s} s:\n{self.output}") from None

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_exc) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def tiny_checkpoint(directory: Path, contract, *, robot: str | None = None, trained_delay: int = 8) -> Path:
    """The golden checkpoint with statistics for a contract, and trained (so its config says) to continue a prefix."""
    from beingh_core.policy.metadata import compute_statistics, write_metadata

    directory.mkdir(parents=True)
    for name in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    ):
        shutil.copy(TINY / name, directory / name)
    config = json.loads((directory / "config.json").read_text())
    config |= {"use_training_time_rtc": True, "trained_delay": trained_delay}
    (directory / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(0)
    statistics = {
        "state": {"eef_position": compute_statistics(rng.uniform([0.3, -0.2, 0.0], [0.7, 0.2, 0.5], (500, 3)))},
        "action": {"eef_position": compute_statistics(rng.uniform(-0.01, 0.01, (500, 3)))},
    }
    write_metadata(
        directory,
        contract.policy.dataset_name,
        statistics,
        embodiment_tag=contract.robot,
        robot=robot or contract.robot,
        contract_hash=contract.hash,
    )
    return directory
