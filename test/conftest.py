"""For every test: one thread for numerics, software rendering, a ROS domain of its own on this machine only."""

import itertools
import os

# Before torch and mujoco are imported anywhere. More threads than free cores make small models slower, not faster.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

import hypothesis
import pytest

hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")
# For `make mutants`: that a test fails is enough.
phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
hypothesis.settings.register_profile("no_shrinking", deadline=None, derandomize=True, phases=phases)

# Domains 1..101 have portable ports; the process id keeps parallel runs of the suite apart.
_domains = itertools.count(os.getpid())


@pytest.fixture(autouse=True)
def ros_domain(monkeypatch):
    """The test's ROS domain, for it and the processes it starts."""
    domain = 1 + next(_domains) % 101
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    return domain
