"""For every test: one thread for numerics, software rendering, a ROS domain of its own on this machine only."""

import os
import signal

# A shell that starts the tests in its background lets them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before torch and mujoco are imported anywhere. More threads than free cores make small models slower, not faster.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

import hypothesis
import pytest
from ros_domains import free_domain, next_domain

hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")
# For `make mutants`: that a test fails is enough.
phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
hypothesis.settings.register_profile("no_shrinking", deadline=None, derandomize=True, phases=phases)

# Whoever imports one of these runs nodes, whose clocks go on while others have the processor.
STARTERS = {
    "NodeProcess",
    "controller_beside_robot",
    "next_domain",
    "policy_bench",
    "ros_graph",
    "two_nodes",
}


def pytest_addoption(parser):
    """The two halves of `make test` (test/side_by_side.py)."""
    parser.addoption("--part", choices=["nodes", "rest"], help="only the tests that run nodes, or the rest")


@pytest.hookimpl(wrapper=True)  # before `-m` reads the markers
def pytest_collection_modifyitems(config, items):
    """Marks the tests that run nodes, and leaves out those of the other part."""
    for item in items:
        if not STARTERS.isdisjoint(vars(item.module)):
            item.add_marker("nodes")
    if part := config.getoption("part", None):
        items[:] = [item for item in items if (item.get_closest_marker("nodes") is not None) == (part == "nodes")]
    return (yield)


@pytest.fixture(autouse=True)
def ros_domain(monkeypatch):
    """The test's ROS domain, for it and the processes it starts."""
    domain = next_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    yield domain
    free_domain(domain)


@pytest.fixture
def one_thread():
    """Two threads of torch on a busy machine wait for each other; the tensors of small models are too small to share."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
