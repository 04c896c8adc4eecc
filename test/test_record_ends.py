"""Why an episode ended, as its bag says it, and what a recorder says before its first one."""

import json
import signal

import pytest
from ros_support import ros_graph, wait_matched, wait_until

pytest.importorskip("rosbags")
pytest.importorskip("mcap")
from std_msgs.msg import Bool
from test_record import IMAGE_TOPICS, ended, events_in, recorder, trigger

from beingh_core.data.bags import open_bag
from beingh_core.data.doctor.events import Events
from beingh_core.data.doctor.facts import EpisodeFacts

NOTHING = ["/joint_states", *IMAGE_TOPICS]


def ends_in(paths):
    """(reason, whether it is complete, whether its metadata says so) of each bag."""
    found = []
    for path in paths:
        with open_bag(path) as bag:
            last = events_in(bag)[-1]
            assert last["event"] == "end" and bag.findings == []
            found.append((last["reason"], last["complete"], bag.complete))
    return found


def started(graph):
    wait_until(lambda: trigger(graph, "start").success, what="room for another bag")


def test_a_bag_says_who_or_what_has_ended_it_and_is_complete(tmp_path):
    with ros_graph() as graph:
        pedal = graph.create_publisher(Bool, "/pedal", 10)
        given = {"pedals": ["/pedal=stop"], "without": NOTHING, "max_s": 2.0}
        with recorder(graph, tmp_path, **given) as process:
            wait_matched(graph, pedal)
            assert trigger(graph, "start").success and trigger(graph, "stop").success
            ended(tmp_path, 1)
            started(graph)
            pedal.publish(Bool(data=True))
            ended(tmp_path, 2)
            started(graph)
            ended(tmp_path, 3)
            started(graph)
            assert process.end(signal.SIGTERM) == 0, process.output
        assert ends_in(ended(tmp_path, 4)) == [
            ("service", True, True),
            ("pedal /pedal", True, True),
            ("max_s: 2 s have passed", True, True),
            ("signal SIGTERM", True, True),
        ]
        assert "has ended:" not in process.output


@pytest.mark.parametrize("told, flawed", [({"complete": True}, False), ({"complete": False}, True), ({}, True)])
def test_the_doctor_calls_a_reason_a_flaw_only_where_the_bag_is_not_complete(told, flawed):
    events, facts = Events({}), EpisodeFacts(name="bag", source="bag")
    events.take(0, '{"event": "start", "task": "pick"}')
    events.take(1, json.dumps({"event": "end", "reason": "service", "topics": {}} | told))
    events.into(facts, 0, 1)
    assert any(finding.kind == "ended" for finding in facts.findings) == flawed


@pytest.mark.parametrize("given, told", [
    ({"out": "/dev/null"}, "/dev/null is a file"), ({"out": "/dev/null/episodes"}, "/dev/null is a file"),
    ({"out": "/proc/episodes"}, "/proc/episodes cannot be written"), ({"contract": "nosuch"}, "nosuch"),
])  # fmt: skip
def test_what_cannot_be_recorded_is_one_error_at_the_start(tmp_path, given, told):
    with ros_graph() as graph, recorder(graph, tmp_path, **given) as process:
        assert process.wait() == 2
        assert told in process.output and "Traceback" not in process.output and len(process.output.splitlines()) == 1


def test_the_first_line_says_what_is_recorded_where_and_how_it_starts(tmp_path):
    with ros_graph() as graph, recorder(graph, tmp_path, pedals=["/pedal=toggle"]) as process:
        wait_until(lambda: "GB free" in process.output)
        [line] = [line for line in process.output.splitlines() if "GB free" in line]
        for part in ("robot fr3 (give `contract`", str(tmp_path / "episodes"), "/record/start", "/record/stop",
                     "pedal /pedal", "nothing is recorded yet"):  # fmt: skip
            assert part in line
