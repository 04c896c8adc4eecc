"""A stand-in of the released evaluation client drives `beingh serve --compat`; the options of the released server.

The stand-in does what the released scripts are seen to do: REQ socket, `torch.save`, plain `torch.load` with today's
defaults, an exception where the reply has `error`, and one array of all the lists in the reply, in their order.
"""

import io
import math
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
zmq = pytest.importorskip("zmq")
pytest.importorskip("msgpack")

from remote_support import ROOT, SET_A, TOKEN, Served, start_server

from beingh_core.cli import build_parser
from beingh_core.errors import BeingHError
from beingh_core.policy.loading import load_for_data_config
from beingh_core.policy.remote import settings

BENCHMARK = ("--data-config", "libero_nonorm", "--dataset-name", "uni_posttrain", "--embodiment", "libero")
LIBERO = {"dataset_name": "uni_posttrain", "embodiment_tag": "libero", "threads": 1}
H, WIDTHS, UNIFIED = 16, (3, 3, 1), 200


class ServerError(RuntimeError):
    """What the evaluation scripts make of an `error` in the reply."""


class EvaluationClient:
    """Asks for a chunk whenever `executed` of its actions have run."""

    def __init__(self, url, executed=8, token=None):
        self.executed, self.token, self.calls = executed, token, 0
        self.chunk, self.next = np.zeros((0, 0)), 0
        self.socket = zmq.Context.instance().socket(zmq.REQ)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, 20_000)
        self.socket.connect(url)

    def ask(self, **request):
        self.socket.send(saved(request | ({"api_token": self.token} if self.token else {})))
        reply = torch.load(io.BytesIO(self.socket.recv()))
        if "error" in reply:
            raise ServerError(reply["error"])
        return reply

    def action(self, observation):
        if self.next in (self.executed, len(self.chunk)):
            self.next = 0
        if self.next == 0:
            reply = self.ask(endpoint="get_action", data=observation)
            assert all(type(value) is list for value in reply.values())
            self.chunk = np.concatenate([np.array(value) for value in reply.values()], axis=-1)
            if self.chunk.ndim == 3 and self.chunk.shape[0] == 1:
                self.chunk = self.chunk.squeeze(0)
            self.calls += 1
        self.next += 1
        return self.chunk[self.next - 1]


def saved(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def libero_observation(rng, **changes):
    """As the released LIBERO script builds it: the whole state too, pictures as views of flipped ones."""
    pose, gripper = rng.normal(size=6) * 0.3, rng.normal(size=2) * 0.02
    pictures = rng.integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)[:, ::-1, ::-1]
    return {
        "state.state": np.concatenate([pose, gripper]).reshape(1, -1),
        "state.eef_position": pose[:3].reshape(1, -1),
        "state.eef_rotation": pose[3:].reshape(1, -1),
        "state.libero_gripper_position": gripper.reshape(1, -1),
        "video.top_view": np.expand_dims(np.ascontiguousarray(pictures[0]), axis=0),
        "video.wrist_view": np.expand_dims(np.ascontiguousarray(pictures[1]), axis=0),
        "language.instruction": ["pick up the black bowl"],
    } | changes


@pytest.fixture(scope="module")
def libero():
    return load_for_data_config("libero_nonorm", SET_A, **LIBERO)


def test_a_hundred_actions(libero):
    rng = np.random.default_rng(0)
    with Served(libero, compat=True, token=TOKEN) as served:
        client = EvaluationClient(served.url, token=TOKEN)
        actions = np.stack([client.action(libero_observation(rng)) for _ in range(100)])
        assert client.calls == math.ceil(100 / 8) == served.server.counts.served
    assert actions.shape == (100, sum(WIDTHS) + UNIFIED) and np.isfinite(actions).all()
    # LIBERO's actions are not normalised: they are the unified slots of position, rotation and gripper, in this order.
    slots = sum(WIDTHS) + np.array([0, 1, 2, 3, 4, 5, 18])
    np.testing.assert_array_equal(actions[:, : sum(WIDTHS)], actions[:, slots])
    assert np.abs(np.diff(actions[:, : sum(WIDTHS)], axis=0)).max() > 0


def test_the_last_chunk_locks_the_beginning_of_the_next(libero):
    rng = np.random.default_rng(1)
    with Served(libero, compat=True) as served:
        client = EvaluationClient(served.url)
        first = client.ask(endpoint="get_action", data=libero_observation(rng))["action_unified"]
        left = np.array(first)[:, 8:]
        for rest in (left, left[0], np.concatenate((left, left, left), axis=1)):
            asked = libero_observation(rng, prev_chunk=rest, inference_delay=3)
            second = np.array(client.ask(endpoint="get_action", data=asked)["action_unified"])
            np.testing.assert_allclose(second[0, :3], left[0, :3], atol=1e-6)
        for nonsense in (np.zeros(UNIFIED), np.zeros((1, 8, 7)), np.zeros((2, 3, UNIFIED))):
            with pytest.raises(ServerError, match="prev_chunk"):
                client.ask(endpoint="get_action", data=libero_observation(rng, prev_chunk=nonsense, inference_delay=3))


def test_an_observation_without_a_leading_dimension_has_such_an_answer(libero):
    plain = {name: value[0] for name, value in libero_observation(np.random.default_rng(2)).items()}
    with Served(libero, compat=True) as served:
        reply = EvaluationClient(served.url).ask(data=plain)  # without an endpoint, which means get_action
        shapes = [np.shape(value) for value in reply.values()]
        assert shapes == [*((H, width) for width in WIDTHS), (H, UNIFIED)]


def test_mistakes_are_raised_and_the_next_request_is_answered(libero):
    rng = np.random.default_rng(3)
    with Served(libero, compat=True) as served:
        client = EvaluationClient(served.url)
        with pytest.raises(ServerError, match="lacks `video.top_view`"):
            client.action({"state.eef_position": np.zeros((1, 3))})
        with pytest.raises(ServerError, match="cannot end this server"):
            client.ask(endpoint="kill")
        assert client.ask(endpoint="ping")["status"] == "ok"
        client.action(libero_observation(rng))


def test_the_options_of_the_released_server_reach_the_policy():
    options = (
        "--num-inference-timesteps 2 --mpg-lambda 0.3 --mpg-num-projections 5 --mpg-gate-temperature 3 --no-prefix-lock "
        "--prompt-template short --stats-selection-mode embodiment"
    ).split()
    local = load_for_data_config(
        "libero_nonorm", SET_A, seed=5, robots=4, num_inference_timesteps=2, mpg_lambda=0.3, mpg_num_projections=5,
        mpg_gate_temperature=3.0, instruction_template="{task_description}", stats_selection_mode="embodiment",
        enable_rtc=False, **LIBERO,
    )  # fmt: skip
    assert local.stats_source == "auto:embodiment:libero"
    observation = libero_observation(np.random.default_rng(4))
    expected = local.get_action(observation)
    process, url = start_server(SET_A, 0, "--compat", "--seed", "5", *options, served=BENCHMARK)
    try:
        reply = EvaluationClient(url).ask(endpoint="get_action", data=observation)
        assert list(reply) == ["action.eef_position", "action.eef_rotation", "action.gripper_position"]
        for name, value in expected.items():
            np.testing.assert_array_equal(np.array(reply[name], np.float32), value, err_msg=name)
    finally:
        process.kill()
        process.wait()


def parsed(*options):
    return build_parser().parse_args(["serve", "--checkpoint", "DIR", *options])


def test_options_and_arguments():
    of_model = settings.of_model(parsed("--use-mpg", "off", "--mpg-refinement-iters", "2"))
    assert of_model["use_mpg"] is False and of_model["mpg_refinement_iters"] == 2
    assert set(of_model.values()) == {False, 2, None}
    plain = settings.of_benchmark(parsed(*BENCHMARK))
    assert plain["enable_rtc"] is True and plain["metadata_variant"] is None and "instruction_template" not in plain
    options = (*BENCHMARK, "--variant", "a", "--allow-unknown-variant", "--max-view-num", "1")
    chosen = settings.of_benchmark(parsed(*options))
    assert (chosen["metadata_variant"], chosen["allow_unknown_variant"], chosen["max_view_num"]) == ("a", True, 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--contract", "fr3", "--variant", "a"), "--variant belong to --data-config"),
        (("--contract", "fr3", "--prompt-template", "short", "--use-fixed-view"), "--prompt-template"),
        ((*BENCHMARK, "--no-prefix-lock"), "together with --compat"),
    ],
)
def test_options_that_do_not_go_together(options, said):
    with pytest.raises(BeingHError) as caught:
        settings.check(parsed(*options))
    assert said in str(caught.value)


def test_a_wrong_value_is_one_line(tmp_path):
    command = [sys.executable, "-m", "beingh_core.cli", "serve", "--checkpoint", str(SET_A), *BENCHMARK, "--compat"]
    done = subprocess.run(
        [*command, "--num-inference-timesteps", "0"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "num_inference_timesteps: 0 is not allowed here. Allowed: a whole number from 1 to 100" in done.stderr
