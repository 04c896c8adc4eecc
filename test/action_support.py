"""What tests of drivers with action servers share."""

import pytest
from interface_builder import provide
from ros_support import wait_until

TICK_NS = 50_000_000


@pytest.fixture(scope="module", autouse=True)
def interfaces():
    for package in ("control_msgs", "franka_msgs"):
        provide(package)


def connected(driver):
    """Wait until a driver has found its servers."""
    for goals, *_ in getattr(driver, "_groups", None) or driver._grippers:
        wait_until(lambda g=goals: all(c.server_is_ready() for c in g._clients.values()), what="an action server")
    return driver
