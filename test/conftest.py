"""For every test: one thread for numerics, software rendering, a ROS domain of its own on this machine only.

Parallel runs (`make test`) give one worker every test that runs nodes or servers.
"""

import os

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

# Whoever imports one of these runs nodes or servers, whose clocks go on while others have the processor.
STARTERS = {"NodeProcess", "Served", "controller_beside_robot", "next_domain", "ros_graph", "start_server", "two_nodes"}
_begun = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)  # wrappers come first: xdist reads the groups in this hook
def pytest_collection_modifyitems(config, items):
    """Marks the tests that run nodes. In parallel runs one worker has these, and the others share the rest by file."""
    for item in items:
        if not STARTERS.isdisjoint(vars(item.module)):
            item.add_marker("nodes")
    if config.getoption("loadgroup", False):
        for item in items:
            item.add_marker(pytest.mark.xdist_group("nodes" if _runs_nodes(item) else item.path.stem))
        items.sort(key=_runs_nodes, reverse=True)  # the longest group begins first
    return (yield)


def pytest_runtest_setup(item):
    """A worker that does not run the nodes leaves the processor to them."""
    if "PYTEST_XDIST_WORKER" in os.environ and _begun not in item.config.stash:
        item.config.stash[_begun] = True
        if not _runs_nodes(item):
            os.nice(10)


def _runs_nodes(item) -> bool:
    return item.get_closest_marker("nodes") is not None


@pytest.fixture(autouse=True)
def ros_domain(monkeypatch):
    """The test's ROS domain, for it and the processes it starts."""
    domain = next_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    yield domain
    free_domain(domain)
