"""The remote policy over real sockets: same numbers as the local one, refusals, hostile input, a killed server."""

import json
import re
import signal
import socket
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
zmq = pytest.importorskip("zmq")
msgpack = pytest.importorskip("msgpack")

from remote_support import FR3, SET_A, TOKEN, Served, make_checkpoint, observation, start_server

from beingh_core.errors import BeingHError
from beingh_core.inference.policy_loading import load_policy
from beingh_core.policy import BeingHPolicy, data_config_for
from beingh_core.policy.remote import protocol
from beingh_core.policy.remote.client import RemotePolicy
from beingh_core.policy.remote.connection import Lost, _connected
from beingh_core.policy.remote.server import PolicyServer

CASES = ("libero", "libero_rtc")


@pytest.fixture(scope="module")
def cases():
    with np.load(SET_A / "policy_cases.npz") as stored:
        return dict(stored)


def golden_policy(cases, name):
    meta = json.loads(str(cases[f"{name}.meta"]))
    del meta["stats_source"]
    return BeingHPolicy(model_path=SET_A, device="cpu", **meta)


def golden_inputs(cases, name):
    obs = {key.split(".obs.")[1]: value for key, value in cases.items() if key.startswith(f"{name}.obs.")}
    obs |= {k: cases[f"{name}.{k}"] for k in ("prev_chunk", "inference_delay") if f"{name}.{k}" in cases}
    return obs, {"noise": cases[f"{name}.noise"], "projections": cases.get(f"{name}.projections")}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def local(checkpoint):
    torch.set_num_threads(1)
    return BeingHPolicy(checkpoint, data_config_for(FR3), FR3.policy.dataset_name, "fr3")


class Slow:
    """The policy, with a pause before each chunk."""

    def __init__(self, policy, seconds):
        self._policy, self.seconds, self.calls = policy, seconds, 0

    def __getattr__(self, name):
        return getattr(self._policy, name)

    def get_action(self, *args, **kwargs):
        self.calls += 1
        time.sleep(self.seconds)
        return self._policy.get_action(*args, **kwargs)


@pytest.mark.parametrize("name", CASES)
def test_same_numbers_as_the_released_and_the_local_policy(cases, name):
    policy = golden_policy(cases, name)
    obs, randomness = golden_inputs(cases, name)
    expected = policy.get_action(obs, **randomness)
    with Served(policy) as served:
        remote = RemotePolicy(served.url, deadline_s=20)
        output = remote.get_action(obs, **randomness)
        assert remote.views == policy.views and remote.model_facts == policy.model_facts
        assert (remote.chunk_length, remote.trained_delay) == (policy.chunk_length, policy.trained_delay)
        remote.close()
    assert output.keys() == expected.keys()
    for key, value in expected.items():
        assert output[key].dtype == value.dtype
        np.testing.assert_array_equal(output[key], value, err_msg=key)
        np.testing.assert_allclose(output[key], cases[f"{name}.out.{key}"], atol=1e-4, err_msg=key)


def test_an_observation_without_a_leading_dimension_has_such_a_chunk(local):
    plain = {key: value[0] if key != "language.instruction" else value for key, value in observation(local).items()}
    with Served(local, FR3) as served:
        remote = RemotePolicy(served.url, FR3, deadline_s=20)
        found, expected = remote.get_action(plain), local.get_action(plain)
        assert {key: value.shape for key, value in found.items()} == {k: v.shape for k, v in expected.items()}
        assert found["action_unified"].shape == (16, 200)


def test_the_prefix_is_encoded_as_the_local_policy_does(local):
    rng = np.random.default_rng(1)
    prefix = {spec.key: rng.normal(size=(4, spec.data_width("action"))) for spec in local.data_config.action}
    with Served(local, FR3) as served:
        remote = RemotePolicy(served.url, FR3)
        remote.check_contract(FR3)
        np.testing.assert_array_equal(remote.encode_prefix(prefix), local.encode_prefix(prefix))
        assert remote.data_config == local.data_config
        with pytest.raises(BeingHError, match="use one contract"):
            remote.check_contract(replace(FR3, rate_hz=10.0))


def test_jpeg_pictures_are_close_and_smaller(local):
    ramp = np.linspace(0, 255, 224)[None, :, None] * np.ones((224, 1, 3))
    picture = ramp.astype(np.uint8)[None]
    raw, jpeg = (protocol.pack({"id": 1}, {"video.a": picture}, jpeg_quality=q) for q in (0, 90))
    assert len(jpeg) < len(raw) / 5
    decoded = protocol.unpack_arrays(*protocol.unpack_header(jpeg))["video.a"]
    assert decoded.shape == picture.shape and np.abs(decoded.astype(int) - picture.astype(int)).max() <= 4
    with Served(local, FR3) as served:
        RemotePolicy(served.url, FR3, jpeg_quality=90, deadline_s=20).get_action(observation(local))
    with Served(local, FR3, jpeg=False) as served:
        remote = RemotePolicy(served.url, FR3, jpeg_quality=90, deadline_s=20)
        with pytest.raises(BeingHError, match="allowed codecs: raw"):
            remote.get_action(observation(local))
        RemotePolicy(served.url, FR3, deadline_s=20).get_action(observation(local))


def test_refusals_tell_the_reason(local, monkeypatch):
    with Served(local, FR3, token=TOKEN) as served:
        assert RemotePolicy(served.url, FR3, token=TOKEN).trained_delay == 8
        other_rate = replace(FR3, rate_hz=10.0)
        other_joints = replace(FR3, joint_names=FR3.joint_names[::-1])
        for contract, token, reason in (
            (FR3, None, "token is missing or wrong"),
            (FR3, TOKEN + "x", "token is missing or wrong"),
            (FR3, "schlüssel", "token is missing or wrong"),
            (other_rate, TOKEN, f"contract's hash differs.*{other_rate.hash[:12]}.*{FR3.hash[:12]}"),
            (other_joints, TOKEN, "order of the joints differs"),
            (None, TOKEN, "differs"),
        ):
            with pytest.raises(BeingHError, match=reason):
                RemotePolicy(served.url, contract, token=token)
        monkeypatch.setattr(protocol, "VERSION", 7)
        with pytest.raises(BeingHError, match="protocol version 7, this server 1"):
            RemotePolicy(served.url, FR3, token=TOKEN)
        assert served.server.counts.served == 0


def test_a_bad_observation_is_named_as_by_the_local_policy(local):
    obs = observation(local)
    del obs[f"video.{local.views[0]}"]
    with pytest.raises(BeingHError) as expected:
        local.get_action(obs)
    with Served(local, FR3) as served:
        remote = RemotePolicy(served.url, FR3, deadline_s=20)
        with pytest.raises(BeingHError) as given:
            remote.get_action(obs)
        assert str(given.value) == str(expected.value)
        remote.get_action(observation(local))


def test_an_open_address_needs_a_token(local):
    for host in ("0.0.0.0", "*", "::", "example.org"):
        with pytest.raises(BeingHError, match="without a token"):
            PolicyServer(local, FR3, host=host, port=0)


def test_the_deadline_holds_on_both_ends(local):
    slow = Slow(local, 0.0)
    with Served(slow, FR3) as served:
        remote, other = RemotePolicy(served.url, FR3, deadline_s=0.3), RemotePolicy(served.url, FR3, deadline_s=20)
        slow.seconds = 1.0
        start = time.monotonic()
        with pytest.raises(BeingHError, match="did not answer within 0.3 s"):
            remote.get_action(observation(local))
        assert time.monotonic() - start < 0.8
        with pytest.raises(BeingHError, match="did not answer within"):  # waits behind the first: never begun
            remote.get_action(observation(local))
        slow.seconds = 0.0
        other.get_action(observation(local))
        counts = served.server.counts
        assert (slow.calls, counts.expired, counts.abandoned, counts.served) == (2, 1, 1, 1)


class Lying:
    """The policy, with something else in place of its output."""

    def __init__(self, policy):
        self._policy, self.change = policy, lambda output: output

    def __getattr__(self, name):
        return getattr(self._policy, name)

    def get_action(self, *args, **kwargs):
        return self.change(self._policy.get_action(*args, **kwargs))


def test_a_server_that_answers_nonsense_is_an_error_of_the_chunk(local):
    lying = Lying(local)
    key = f"action.{local.data_config.action[0].key}"
    with Served(lying, FR3) as served:
        remote = RemotePolicy(served.url, FR3, deadline_s=20)
        for change in (
            lambda out: {},
            lambda out: out | {key: out[key][:, :3]},
            lambda out: out | {key: out[key] * np.nan},
            lambda out: out | {"action.extra": out[key]},
        ):
            lying.change = change
            with pytest.raises(BeingHError, match="answers nonsense"):
                remote.get_action(observation(local))
        lying.change = lambda out: {"action_unified": np.array([object()])}
        with pytest.raises(BeingHError, match="refused: malformed|refused: .*object"):
            remote.get_action(observation(local))
        lying.change = lambda out: 1 / 0
        with pytest.raises(BeingHError, match="the server failed: ZeroDivisionError"):
            remote.get_action(observation(local))
        lying.change = lambda out: out
        remote.get_action(observation(local))


def array_entry(**changes):
    return {"name": "a", "dtype": "uint8", "shape": [4], "codec": "raw", "bytes": 4} | changes


@pytest.mark.parametrize(
    "entry",
    [
        array_entry(dtype="object"),
        array_entry(dtype="<u1"),
        array_entry(shape=[-4]),
        array_entry(shape=[True, 4]),
        array_entry(shape=[2**30, 2**30], bytes=4),
        array_entry(shape=[5]),
        array_entry(bytes=5),
        array_entry(codec="zip"),
        array_entry(codec="jpeg"),
        array_entry(codec="jpeg", shape=[2000, 2000, 3]),
        array_entry(codec="jpeg", shape=[16000, 16000, 3]),
    ],
    ids=str,
)
def test_arrays_that_are_not_what_they_declare_are_refused(entry):
    with pytest.raises(protocol.ProtocolError):
        protocol.unpack_arrays({"arrays": [entry]}, memoryview(b"\xff\xd8\xff\xe0"))


@pytest.mark.parametrize("shape", [[0], [1, 0, 3], [0] + [2**24] * 4], ids=str)
def test_arrays_of_nothing_are_refused(shape):
    with pytest.raises(protocol.ProtocolError, match="shape"):
        protocol.unpack_arrays({"arrays": [array_entry(shape=shape, bytes=0)]}, memoryview(b""))
    with pytest.raises(protocol.ProtocolError, match="shape"):
        protocol.unpack_arrays({"arrays": [array_entry(shape=shape)]}, memoryview(b"1234"))


def test_two_arrays_of_one_name_are_refused_before_they_are_read():
    with pytest.raises(protocol.ProtocolError, match="one name"):
        protocol.check_arrays({"arrays": [array_entry(), array_entry()]}, memoryview(b"12345678"))


def test_messages_beyond_the_limits_are_not_packed():
    with pytest.raises(protocol.ProtocolError, match="too long"):
        protocol.pack({}, {"a": np.zeros(protocol.MAX_MESSAGE_BYTES, dtype=np.uint8)})
    with pytest.raises(protocol.ProtocolError, match="object"):
        protocol.pack({}, {"a": np.array([object()])})


@pytest.mark.parametrize(
    "options, words",
    [
        ({"--checkpoint": "/nowhere"}, "no config.json"),
        ({"--contract": "nobody"}, "there is no robot contract `nobody`"),
        ({"--contract": "ur5e"}, "ur5e"),
        ({"--host": "0.0.0.0"}, "without a token"),
        ({"--token-file": "/nowhere"}, "the token cannot be read"),
        ({"--jpeg": "maybe"}, "--jpeg.*accept, none"),
        ({"--dtype": "int8"}, "float32, bfloat16"),
        ({"--max-batch": "9"}, "1 to 8"),
        ({"--data-config": "libero_nonorm"}, "either a robot or a benchmark.*--contract"),
        ({"--contract": ""}, "either a robot or a benchmark.*--data-config"),
        ({"--contract": "", "--data-config": "libero_nonorm"}, "needs --dataset-name"),
        ({"--contract": "", "--data-config": "libero", "--dataset-name": "fr3_cubes"}, "libero_nonorm"),
        ({"--variant": "x"}, "belong to --data-config"),
    ],
    ids=str,
)
def test_the_command_tells_what_does_not_fit(checkpoint, capsys, options, words):
    from beingh_core.cli import main

    given = {"--checkpoint": str(checkpoint), "--contract": "fr3", "--port": "0"} | options
    assert main(["serve", *(word for pair in given.items() for word in pair)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.strip().splitlines()) == 1 and re.search(words, err)


def test_a_seed_makes_the_served_chunks_repeatable(checkpoint, local):
    chunks = []
    for _ in range(2):
        process, url = start_server(checkpoint, 0, "--seed", "3")
        try:
            chunks.append(RemotePolicy(url, FR3, deadline_s=20).get_action(observation(local))["action_unified"])
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
    np.testing.assert_array_equal(*chunks)


def test_a_killed_server_is_missed_at_once_and_used_again_when_it_returns(checkpoint, local):
    process, url = start_server(checkpoint, 0)
    try:
        policy = load_policy(FR3, "", url=url)
        obs = observation(local)
        policy.get_action(obs)
        threading.Timer(0.002, process.kill).start()  # in the middle of a chunk, or of the next
        start = time.monotonic()
        with pytest.raises(BeingHError, match="is gone or does not answer"):
            while time.monotonic() - start < 10:
                policy.get_action(obs)
        process.wait()
        for _ in range(3):
            start = time.monotonic()
            with pytest.raises(BeingHError, match="is gone or does not answer"):
                policy.get_action(obs)
            assert time.monotonic() - start < 1.0
        process, _ = start_server(checkpoint, url.rsplit(":", 1)[1])
        returned, output = time.monotonic(), None
        while output is None and time.monotonic() - returned < 10:
            try:
                output = policy.get_action(obs)
            except BeingHError:
                continue
        assert output is not None and time.monotonic() - returned < 2.0
    finally:
        process.kill()
        process.wait()


def test_a_client_does_not_meet_itself(monkeypatch):
    """On a port for outgoing connections that nobody subscribes to, a system may connect a socket with itself."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
        probe.connect(address)
        assert probe.getsockname() == probe.getpeername(), "this system does it"
    met = []

    def itself(target, timeout):
        met.append(socket.socket())
        met[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        met[-1].bind(target)
        met[-1].connect(target)
        return met[-1]

    monkeypatch.setattr(socket, "create_connection", itself)
    with pytest.raises(Lost):
        _connected(address, time.monotonic() + 0.2)
    assert met and all(one.fileno() == -1 for one in met), "it lets go of the port"
