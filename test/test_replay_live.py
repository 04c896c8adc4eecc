"""A whole session: the demo runs and is recorded, then its bag is replayed; thorough, for `make test-slow`."""

import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ros_support import ros_graph, wait_until
from std_msgs.msg import String
from untrained_checkpoint import write_untrained

from beingh_ros.bringup import BringupOptions, ProcessGroup, ProcessSpec, processes

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT, TASK = ROOT / "checkpoints/fr3_cubes", "pick up the red cube"
pytestmark = pytest.mark.slow


class ObservedPolicy(ProcessSpec):
    """The policy node that writes down what it infers on."""

    def command(self, python: str = sys.executable) -> list[str]:
        """As the node's, with another main program."""
        return [python, str(ROOT / "test/observed_policy.py"), *super().command(python)[3:]]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """(bag, file of what the live policy has inferred on)."""
    out = tmp_path_factory.mktemp("live")
    options = BringupOptions(
        contract="fr3", checkpoint=str(CHECKPOINT), simulate=True, instruction=TASK, record=True, markers=False,
        record_out=str(out / "episodes"), seed=3,
    )  # fmt: skip
    specs = [
        ObservedPolicy(**vars(spec)) if spec.name == "policy" else spec for spec in processes(options)
    ]  # fmt: skip
    observed = out / "observed.jsonl"
    with ros_graph() as node:
        env = node.environment | {"OBSERVED_FILE": str(observed), "FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}
        with ProcessGroup(specs, out / "logs", env) as group:
            commands = node.create_publisher(String, "record/command", 10)
            wait_until(lambda: commands.get_subscription_count() or group.check(), 60.0, "a recorder")
            commands.publish(String(data=f"start {TASK}"))
            wait_until(lambda: observed.exists() or group.check(), 60.0, "an inference")
            time.sleep(8.0)
            commands.publish(String(data="stop success"))
            finished = lambda: [p for p in (out / "episodes").glob("*") if not p.name.endswith(".recording")]
            wait_until(finished, 20.0, "a bag")
    [bag] = (out / "episodes").glob("*")
    return bag, observed


def replay(bag, checkpoint, out, *more):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "test")])}
    words = [sys.executable, str(ROOT / "test/replay_child.py"), str(bag), str(checkpoint), str(out), *more]
    subprocess.run(words, env=env, check=True, timeout=300)
    return json.loads((out / "report.json").read_text()), pickle.loads((out / "seen.pkl").read_bytes())


def test_a_session_is_seen_again_and_its_policy_recognised(session, tmp_path):
    bag, observed = session
    untrained = write_untrained(tmp_path / "untrained")
    report, seen = replay(bag, CHECKPOINT, tmp_path / "out", "--checkpoint", str(untrained), "--spread")
    live = [json.loads(line) for line in observed.read_text().splitlines()]
    stamps = sorted(seen["seen"])
    compared = [one for one in live if stamps[0] < one["stamp_ns"] < stamps[-1]]
    assert len(compared) >= 12
    assert [seen["seen"].get(one["stamp_ns"]) for one in compared] == compared
    errors = report["errors"]["policy"]["quantities"]["hand:fr3_hand_tcp"]["errors"]
    executed = {source: by_step["1..s"]["mean"] for source, by_step in errors.items()}
    own = executed.pop("fr3_cubes")
    # Near what chance gives, far below everything else.
    assert own < 4 * report["noise_spread"]["fr3_cubes"]["1..s"] and own < 3.0, (own, report["noise_spread"])
    assert all(other > 2.5 * own for other in executed.values()), (own, executed)
    assert report["compared"]["verdict"] == "A is better"
