"""The policy node and what is around it: a lifecycle manager, checkpoints that do not fit, a policy server."""

import json
import re
import shutil
import signal
import threading
import time

import pytest
import yaml
from lifecycle_msgs.msg import Transition
from policy_node_support import FR3, D, checkpoint, policy_bench
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_support import tiny_checkpoint, wait_until

pytest.importorskip("torch")
checkpoint, policy_bench = checkpoint, policy_bench


def test_statistics_in_other_units_close_the_gate_of_a_remote_policy_too_unless_allowed(bench, tmp_path):
    from remote_support import start_server

    directory = tiny_checkpoint(tmp_path / "millimetres", FR3)
    path = directory / f"{FR3.policy.dataset_name}_metadata.json"
    content = json.loads(path.read_text())
    rows = content[FR3.policy.dataset_name]["statistics"]["state"]["eef_position"]
    rows |= {name: [1000 * value for value in row] for name, row in rows.items()}
    path.write_text(json.dumps(content))
    server, url = start_server(directory, 0)
    try:
        around, process = bench(policy_url=url, checkpoint="")
        around.wait_status("gate", "statistics: the measured state.eef_position is far outside.*millimetres")
        assert not around.chunks.messages
        client = around.node.create_client(SetParameters, "/policy/set_parameters")
        allow = Parameter("allow_state_outside_statistics", value=True).to_parameter_msg()
        assert client.wait_for_service(10.0)
        future = client.call_async(SetParameters.Request(parameters=[allow]))
        wait_until(future.done, what="the parameter")
        assert future.result().results[0].successful
        around.chunks.wait_for(1, 30.0)
        around.wait_status("message", "allowed by allow_state_outside_statistics: the measured state.eef_position")
    finally:
        server.kill()
        server.wait()


def test_a_lifecycle_manager_starts_and_pauses_it(bench):
    around, process = bench(autostart=False)
    around.wait_status("message", "not configured")
    assert process.output.count("ros2 lifecycle set /policy configure") == 1
    assert around.change_state(Transition.TRANSITION_CONFIGURE)
    around.wait_status("gate", "^lifecycle: the node is not active$")
    assert not around.chunks.messages
    assert around.change_state(Transition.TRANSITION_ACTIVATE)
    around.accept(around.chunks.wait_for(1, 30.0)[0])
    assert around.change_state(Transition.TRANSITION_DEACTIVATE)
    around.wait_status("gate", "^lifecycle: the node is not active$")
    count = len(around.chunks.messages)
    around.wait_status("gate", "^lifecycle: the node is not active$")
    assert len(around.chunks.messages) == count
    assert around.change_state(Transition.TRANSITION_ACTIVATE)
    around.chunks.wait_for(count + 1, 30.0)
    assert around.change_state(Transition.TRANSITION_DEACTIVATE)
    assert around.change_state(Transition.TRANSITION_CLEANUP)
    around.wait_status("message", "not configured")
    assert around.change_state(Transition.TRANSITION_CONFIGURE)


def missing_tensor(checkpoint, target):
    from safetensors.numpy import load_file, save_file

    shutil.copytree(checkpoint, target)
    tensors = load_file(target / "model.safetensors")
    name = sorted(tensors)[3]
    del tensors[name]
    save_file(tensors, target / "model.safetensors")
    return {"checkpoint": str(target)}, re.escape(name)


def another_robot(checkpoint, target):
    tiny_checkpoint(target, FR3, robot="ur5e")
    return {"checkpoint": str(target)}, "ur5e"


def long_delay(checkpoint, target):
    raw = yaml.safe_load(FR3.path.read_text())
    raw["urdf"] = str(FR3.urdf_path)
    raw["uac"]["latency_budget_s"] = 0.6
    target.mkdir()
    (target / "slow.yaml").write_text(json.dumps(raw))
    return {"contract": str(target / "slow.yaml")}, "latency_budget_s"


def short_training(checkpoint, target):
    tiny_checkpoint(target, FR3, trained_delay=D - 1)
    return {"checkpoint": str(target)}, f"trained for delays up to {D - 1}"


@pytest.mark.parametrize("case", [missing_tensor, another_robot, long_delay, short_training])
def test_what_does_not_fit_is_one_error_and_nothing_is_published(bench, checkpoint, tmp_path, case):
    parameters, words = case(checkpoint, tmp_path / "case")
    around, process = bench(**parameters)
    assert process.wait() == 2
    errors = [line for line in process.output.splitlines() if "ERROR" in line]
    assert len(errors) == 1 and re.search(words, errors[0]) and "Traceback" not in process.output
    assert not around.chunks.messages and threading.active_count() < 20


def test_a_policy_server_that_goes_away_is_missed_once_and_used_again(bench, checkpoint):
    from remote_support import start_server

    server, url = start_server(checkpoint, 0)
    try:
        around, process = bench(policy_url=url, checkpoint="")
        around.accept(around.chunks.wait_for(1, 60.0)[-1])
        around.accept(around.chunks.wait_for(2, 60.0)[-1])
        server.kill()
        server.wait()
        wait_until(lambda: "is gone or does not answer" in process.output, 10.0, "the loss to be logged")
        time.sleep(0.3)  # what was published before the loss arrives
        made = len(around.chunks.messages)
        around.accept(around.chunks.messages[-1])
        time.sleep(1.0)
        assert len(around.chunks.messages) == made
        server, _ = start_server(checkpoint, url.rsplit(":", 1)[1])
        returned = time.monotonic()
        around.chunks.wait_for(made + 1, 10.0)
        assert time.monotonic() - returned < 2.0
        assert process.output.count("is gone or does not answer") == 1
        assert process.end(signal.SIGTERM) == 0 and "Traceback" not in process.output
    finally:
        server.kill()
        server.wait()
