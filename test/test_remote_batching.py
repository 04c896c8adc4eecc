"""Several robots on one server: computed in one call, each with its own answer, refusal and deadline."""

import threading
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
zmq = pytest.importorskip("zmq")
pytest.importorskip("msgpack")

from remote_support import FR3, Served, Wrapped, make_checkpoint, observation, wait_until

from beingh_core.errors import BeingHError
from beingh_core.policy.loading import load_for_contract
from beingh_core.policy.remote.client import RemotePolicy
from beingh_core.policy.remote.server import PolicyServer


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return load_for_contract(FR3, make_checkpoint(tmp_path_factory.mktemp("checkpoint")), threads=1)


class Gated(Wrapped):
    """The policy, whose computations of one robot wait for `gate`; tells what it was asked in one call."""

    def __init__(self, policy):
        super().__init__(policy)
        self.gate, self.together, self.fail = threading.Event(), [], None

    def get_action(self, *args, **kwargs):
        assert self.gate.wait(20)
        return super().get_action(*args, **kwargs)

    def get_actions(self, observations):
        self.together.append([one["language.instruction"] for one in observations])
        if self.fail is not None:
            raise self.fail
        return self._policy.get_actions(observations)


class Asking:
    """Robots that ask at the same time, each in a thread."""

    def __init__(self, url):
        self.url, self.results, self._threads = url, {}, []

    def ask(self, words, deadline_s=20.0, change=None, **randomness):
        remote = RemotePolicy(self.url, FR3, deadline_s=deadline_s)
        obs = observation(remote) | {"language.instruction": words} | (change or {})

        def run():
            try:
                self.results[words] = remote.get_action(obs, **randomness)
            except BeingHError as error:
                self.results[words] = str(error)
            remote.close()

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def wait(self):
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()
        return self.results


@pytest.fixture
def gated(local):
    """(policy, server, robots), with one robot's chunk being computed until the gate is opened."""
    policy = Gated(local)
    with Served(policy, FR3, max_batch=3) as served:
        robots = Asking(served.url)
        robots.ask("first")
        wait_until(lambda: served.server.counts.received == 1, what="the first request")
        # Taken by the policy's thread, or else it would be computed with the next ones.
        wait_until(served.server._batcher._jobs.empty, what="the first computation")
        yield policy, served.server, robots
        policy.gate.set()


def ask_in_turn(server, robots, *words, **options):
    for one in words:
        received = server.counts.received
        robots.ask(one, **options)
        wait_until(lambda: server.counts.received == received + 1, what=one)


def test_what_waits_is_computed_in_one_call(gated, local):
    policy, server, robots = gated
    ask_in_turn(server, robots, "a", "b", "c", "d")
    policy.gate.set()
    results = robots.wait()
    assert policy.together == [["a", "b", "c"]] and policy.calls == 2  # at most three; "first" and "d" alone
    assert dict(server.counts.batches) == {1: 2, 3: 1} and server.counts.served == 5
    assert all(results[words]["action_unified"].shape == (1, 16, 200) for words in ("first", *"abcd"))
    assert "calls by number of robots: 2 of 1, 1 of 3" in server.report()


def test_each_robot_gets_its_own_chunk(gated, local):
    policy, server, robots = gated
    given = {}

    def get_actions(observations):
        outputs = local.get_actions(observations)
        given.update({one["language.instruction"]: output for one, output in zip(observations, outputs)})
        return outputs

    policy.get_actions = get_actions
    ask_in_turn(server, robots, "a", "b")
    policy.gate.set()
    results = robots.wait()
    assert not np.array_equal(given["a"]["action_unified"], given["b"]["action_unified"])
    for words, output in given.items():
        for name, array in output.items():
            np.testing.assert_array_equal(results[words][name], array)


def test_a_bad_request_spoils_no_other(gated):
    policy, server, robots = gated
    wrong = {"inference_delay": 99}
    ask_in_turn(server, robots, "a")
    ask_in_turn(server, robots, "bad", change=wrong)
    ask_in_turn(server, robots, "c")
    policy.gate.set()
    results = robots.wait()
    assert policy.together == [["a", "c"]]
    assert "inference_delay" in results["bad"] and server.counts.refused == 1
    assert "action_unified" in results["a"] and "action_unified" in results["c"]


@pytest.mark.parametrize("error", [BeingHError("not finite"), RuntimeError("out of memory")], ids=repr)
def test_a_call_that_fails_is_made_for_each_alone(gated, error):
    policy, server, robots = gated
    policy.fail = error
    ask_in_turn(server, robots, "a", "b")
    policy.gate.set()
    results = robots.wait()
    assert policy.together == [["a", "b"]] and policy.calls == 3
    assert "action_unified" in results["a"] and "action_unified" in results["b"]


def test_a_deadline_is_each_requests_own(gated):
    policy, server, robots = gated
    ask_in_turn(server, robots, "late", deadline_s=0.2)
    ask_in_turn(server, robots, "a", "b")
    wait_until(lambda: "late" in robots.results, what="the robot to give up")
    policy.gate.set()
    results = robots.wait()
    assert "did not answer within 0.2 s" in results["late"]
    assert policy.together == [["a", "b"]] and server.counts.expired + server.counts.abandoned == 1
    assert "action_unified" in results["a"] and "action_unified" in results["b"]


def test_requests_with_their_own_noise_go_alone(gated, local):
    policy, server, robots = gated
    noise = np.random.default_rng(0).normal(size=(2, 1, 16, 200)).astype(np.float32)
    projections = np.random.default_rng(1).normal(size=(4, 32, 64)).astype(np.float32)
    ask_in_turn(server, robots, "a")
    ask_in_turn(server, robots, "exact", noise=noise, projections=projections)
    ask_in_turn(server, robots, "b")
    policy.gate.set()
    results = robots.wait()
    assert policy.together == [["a", "b"]]
    expected = local.get_action(
        observation(local) | {"language.instruction": "exact"}, noise=noise, projections=projections
    )
    np.testing.assert_array_equal(results["exact"]["action_unified"], expected["action_unified"])


def test_a_full_queue_is_told_at_once(gated):
    policy, server, robots = gated
    ask_in_turn(server, robots, *"abcdefgh")
    began = time.monotonic()
    robots.ask("one too many")
    wait_until(lambda: "one too many" in robots.results, what="the refusal")
    assert "8 requests are waiting" in robots.results["one too many"] and time.monotonic() - began < 5
    policy.gate.set()
    assert all("action_unified" in robots.wait()[words] for words in "abcdefgh")


def test_a_batch_of_another_size_is_refused(local):
    for size in (0, 9):
        with pytest.raises(BeingHError, match="1 to 8"):
            PolicyServer(local, FR3, port=0, max_batch=size)
