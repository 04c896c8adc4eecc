"""The `watchdog` section of a contract: defaults, and every mistake one error with key and remedy."""

import math

import pytest
import yaml
from ros_support import ROOT

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError

FR3 = yaml.safe_load((ROOT / "config" / "robots" / "fr3.yaml").read_text())


def load(tmp_path, watchdog=None):
    document = dict(FR3)
    if watchdog is not None:
        document["watchdog"] = watchdog
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_contract(path)


def test_arms_are_watched_by_default_and_grippers_are_not(tmp_path):
    contract = load(tmp_path)
    assert contract.watchdog.tracking_error == (0.2,) * 7 + (math.inf,)
    assert (contract.watchdog.joint_states_s, contract.watchdog.tracking_delay_s) == (0.5, 0.2)
    assert load(tmp_path, {"joint_states_s": 0.1}).hash == contract.hash, "a checkpoint does not depend on it"


def test_one_number_is_for_the_arms_and_a_table_for_the_joints_that_it_names(tmp_path):
    assert load(tmp_path, {"tracking_error": 0.1}).watchdog.tracking_error == (0.1,) * 7 + (math.inf,)
    table = {"fr3_joint2": 0.3, "fr3_joint3": math.inf, "fr3_finger_joint1": 0.02}
    assert load(tmp_path, {"tracking_error": table}).watchdog.tracking_error == (
        *(0.2, 0.3, math.inf, 0.2, 0.2, 0.2, 0.2),
        0.02,
    )


@pytest.mark.parametrize(
    "watchdog, words",
    [
        ({"tracking": 0.1}, "tracking_error"),
        ({"tracking_error": 0.0}, "more than 0"),
        ({"tracking_error": {"fr3_joint2": -1.0}}, "more than 0"),
        ({"tracking_error": {"fr3_joint2": math.nan}}, "more than 0"),
        ({"tracking_error": {"joint2": 0.1}}, "fr3_joint2"),
        ({"tracking_error": "little"}, "not a number"),
        ({"joint_states_s": -1}, "more than 0"),
        ({"tracking_time_s": math.inf}, "not finite"),
    ],
)
def test_mistakes_name_the_key(tmp_path, watchdog, words):
    with pytest.raises(BeingHError, match="watchdog") as error:
        load(tmp_path, watchdog)
    assert words in str(error.value)
