"""What `beingh doctor` finds in bags: every kind of damage with its topic and time, and nothing in a healthy episode."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap")
from bag_support import STORE
from doctor_support import (
    BEGIN_NS,
    BUFFER,
    CONTRACT,
    EVENTS,
    KINDS,
    NS,
    SCENE,
    SIZE,
    STATES,
    WRIST,
    Told,
    header,
    picture,
    posture,
    recording,
    serialised,
    write,
)

from beingh_core.contract import load_contract
from beingh_core.data.doctor.charts import joint_chart
from beingh_core.data.doctor.checks import check
from beingh_core.data.doctor.examine import examine
from beingh_core.data.doctor.facts import BAD, FAULT, FLAW, GOOD, NOTE, USABLE
from beingh_core.data.doctor.film import moments
from beingh_core.data.doctor.looks import Looker
from beingh_core.data.doctor.page import section
from beingh_core.data.doctor.sources import find_sources


def looked_at(path, contract=None):
    """The only episode of a bag."""
    [facts] = examine(find_sources([path]), contract, "", lambda name, share: None)
    return facts


def changed(topic, change, low_s=0.0, high_s=1e9):
    """Messages of a topic between two times, replaced by what `change` gives (a list, or one, or None)."""
    found = []
    for told in recording():
        if told.topic != topic or not low_s <= told.s < high_s:
            found.append(told)
            continue
        new = change(told)
        found += new if isinstance(new, list) else [] if new is None else [new]
    return sorted(found, key=lambda told: told.log_ns)


def gone(topic, low_s=0.0, high_s=1e9):
    return changed(topic, lambda told: None, low_s, high_s)


def shifted(topic, by_s, low_s=0.0, high_s=1e9):
    return changed(topic, lambda told: replace(told, stamp_ns=told.stamp_ns + round(by_s * NS)), low_s, high_s)


def positions(change, low_s=0.0, high_s=1e9, topic=STATES):
    return changed(topic, lambda told: replace(told, content=change(told.content.copy())), low_s, high_s)


def with_value(joint, value):
    def change(values):
        values[joint] = value
        return values

    return change


def event(**values):
    return changed(EVENTS, lambda told: replace(told, content=told.content | values), low_s=3.9)


FROZEN, BLACK = recording()[0].content, np.zeros((*SIZE, 3), np.uint8)
BEYOND = float(CONTRACT.limits.upper[1]) + 0.2
# Name: (messages, kind, weight, topic, time [s] or None, what the text says).
FAULTS = {
    "gap": (gone(WRIST, 2.0, 2.55), "gap", FLAW, WRIST, 1.9, "nothing for 0.70 s"),
    "starts late": (gone(SCENE, 0.0, 1.4), "gap", FAULT, SCENE, None, "silent for"),
    "ends early": (gone(WRIST, 1.5), "gap", FAULT, WRIST, None, "silent for 65%"),
    "gap recorded at once": ([replace(t, log_ns=BEGIN_NS + round(2.56 * NS)) if t.topic == SCENE and 1.85 < t.s < 1.95 else t for t in gone(SCENE, 1.95, 2.55)], "gap", FLAW, SCENE, 2.56, "its stamps leave out 0.70 s"),
    "gap by stamps": ([replace(t, log_ns=t.log_ns + 400_000_000 * (t.topic == SCENE and 1.85 < t.s < 1.95)) for t in gone(SCENE, 1.95, 2.55)], "gap", FLAW, SCENE, 2.3, "nothing for 0.70 s"),
    "gap of joints": (gone(STATES, 1.0, 1.5), "gap", FLAW, STATES, 0.98, "nothing for"),
    "topic gone": (gone(WRIST), "missing", FAULT, WRIST, None, "not in the bag"),
    "no commands": (gone(BUFFER), "missing", FLAW, BUFFER, None, "no commands"),
    "clock back": (shifted(STATES, -3.0, 2.0), "clock", FAULT, STATES, 2.0, "jumps back by 2.98"),
    "clock ahead": (shifted(SCENE, 7.0, 2.0), "clock", FAULT, SCENE, 2.0, "jumps ahead by 7.00"),
    "clock differs": (shifted(WRIST, -30.0), "clock", FAULT, WRIST, None, "30.00 s behind"),
    "recorder's clock": ([replace(t, log_ns=t.log_ns + 3 * NS * (t.s >= 2.0)) for t in recording()], "clock", FAULT, WRIST, 5.0, "come 3.00 s later"),
    "year 2038": (shifted(SCENE, 4.4e8, 3.0), "clock", FAULT, SCENE, 3.0, "jumps ahead by 440000000"),
    "before 1970": (shifted(SCENE, -1.7e9 - 50, 3.0), "clock", FAULT, SCENE, 3.0, "before 1970"),
    "order": (shifted(SCENE, -0.15, 2.0, 2.35), "order", FLAW, SCENE, 2.0, "out of order, by up to 0.05"),
    "order of a few": (shifted(STATES, -0.03, 2.0, 2.01), "order", NOTE, STATES, 2.0, "1 stamps are out of order"),
    "same stamp": (changed(SCENE, lambda t: [t, replace(t, log_ns=t.log_ns + 1)], 1.0, 2.0), "order", FLAW, SCENE, 1.0, "stamps are those"),
    "no stamps": (changed(SCENE, lambda t: replace(t, stamp_ns=0)), "stamp", NOTE, SCENE, None, "no stamps"),
    "frozen": (changed(SCENE, lambda t: replace(t, content=FROZEN), 1.5, 2.25), "frozen", FLAW, SCENE, 1.5, "8 equal pictures in a row while"),
    "long frozen": (changed(SCENE, lambda t: replace(t, content=FROZEN), 1.5), "frozen", FAULT, SCENE, None, "of the episode"),
    "repeats": (changed(SCENE, lambda t: replace(t, content=picture(round(t.s * 10) // 2, 0))), "repeats", FLAW, SCENE, None, "20 of 40 pictures repeat"),
    "one black": (changed(WRIST, lambda t: replace(t, content=BLACK), 2.3, 2.35), "black", FLAW, WRIST, 2.3, "black at 2.30"),
    "black": (changed(WRIST, lambda t: replace(t, content=BLACK), 1.0, 1.65), "black", FLAW, WRIST, 1.0, "7 black pictures"),
    "limits": (positions(with_value(1, BEYOND), 1.0, 1.1), "limits", FLAW, f"{STATES} fr3_joint2", 1.0, "5 values outside"),
    "far outside": (positions(with_value(1, BEYOND), 0.0, 2.0), "limits", FAULT, f"{STATES} fr3_joint2", 0.0, "outside of"),
    "nan": (positions(with_value(3, np.nan), 3.0, 3.1), "nan", FAULT, f"{STATES} fr3_joint4", 3.0, "5 values are no numbers"),
    "infinite": (positions(with_value(3, np.inf), 3.0, 3.1), "nan", FAULT, f"{STATES} fr3_joint4", 3.0, "no numbers"),
    "commands outside": (positions(with_value(0, 9.0), 2.0, 2.1, BUFFER), "limits", FLAW, f"{BUFFER} fr3_joint1", 2.0, "worst one 9"),
    "still": (positions(lambda values: posture(0.0)), "idle", FAULT, "", 0.0, "nothing ever moves"),
    "no joint": (changed(STATES, lambda t: replace(t, content=b"\0\1\0\0junk"), 2.0, 2.05), "message", FLAW, STATES, 2.0, "cannot be read"),
    "all junk": (changed(STATES, lambda t: replace(t, content=b"\0\1\0\0junk")), "message", FAULT, STATES, 0.0, "200 of 200"),
    "bad picture": (changed(SCENE, lambda t: replace(t, content=serialised(t)[:200])), "pictures", FAULT, SCENE, None, "cannot be decoded"),
    "encoding": (changed(SCENE, lambda t: replace(t, content=serialised(t).replace(b"rgb8", b"bgr8"))), "encoding", FAULT, SCENE, None, "bgr8"),
    "lost": (event(topics={STATES: {"received": 150, "lost": 10, "dropped": 0}}), "lost", FLAW, STATES, None, "10 lost and 0 dropped"),
    "dropped": (event(topics={SCENE: {"received": 40, "lost": 0, "dropped": 30}}), "lost", FAULT, SCENE, None, "30 dropped"),
    "lost elsewhere": (event(topics={"/odd": {"received": 4, "lost": 30, "dropped": 0}}), "lost", NOTE, "/odd", None, "30 lost"),
    "ended": (event(reason="the disk failed"), "ended", FLAW, "", None, "the disk failed"),
    "failure": (event(success=False), "failure", NOTE, "", None, "failure"),
    "no end": (gone(EVENTS, 3.9), "end", FLAW, "", None, "has not written its end"),
    "no task": (changed(EVENTS, lambda t: replace(t, content=t.content | {"task": ""})), "task", FLAW, "", None, "its task"),
    "short": ([t for t in recording() if t.s < 0.5], "short", FLAW, "", None, "only 0.4"),
    "log time": (changed(STATES, lambda t: replace(t, log_ns=5), 3.0, 3.03), "log_time", FAULT, STATES, None, "more than a day away"),
    "events are junk": (changed(EVENTS, lambda t: replace(t, content={"event": ["x"], "topics": 3, "stamp_ns": "y"}), 1.0, 2.0), "", GOOD, "", None, ""),
    "end is junk": (event(topics=[1], reason=None, success="maybe"), "", GOOD, "", None, ""),
}  # fmt: skip
VERDICTS = {FAULT: BAD, FLAW: USABLE, NOTE: GOOD, GOOD: GOOD}


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_healthy_episode_has_no_finding(tmp_path, storage):
    facts = looked_at(write(tmp_path / "bag", recording(), storage=storage))
    assert facts.findings == [] and facts.verdict == GOOD
    assert (facts.task, facts.operator, facts.success, facts.judged_by) == ("put <i>it</i> there", "Ada", True, "fr3")
    marks = [(mark.name, pytest.approx(mark.time_s, abs=0.03)) for mark in facts.marks]
    assert marks == [("recording starts", 0.0), ("contact", 1.63), ("gripper closes", 2.0)]
    spans = [(charge.who, pytest.approx(charge.start_s, abs=0.01)) for charge in facts.in_charge]
    assert spans == [("policy", 0.0), ("person", 1.0), ("policy", 2.0)]
    assert {view.label: view.detail for view in facts.views} == dict.fromkeys(
        ("scene_view", "wrist_view"), "32x24 rgb8"
    )
    [curve] = [c for c in facts.curves if c.name == "fr3_joint2" and not c.commanded]
    np.testing.assert_allclose(curve.values, [posture(index / 50)[1] for index in range(200)])
    assert (curve.lower, curve.upper) == (CONTRACT.limits.lower[1], CONTRACT.limits.upper[1])
    contact = next(k for k in facts.views[0].looks if 1.55 <= k.time_s <= 1.65)
    assert contact.jpeg[:2] == b"\xff\xd8"  # the newest picture before the mark is kept, beside one each half second
    assert {(s.name, s.count) for s in facts.streams} >= {(STATES, 200), (SCENE, 40), (BUFFER, 80)}


@pytest.mark.parametrize("name", FAULTS)
def test_damage_is_found_where_it_is(tmp_path, name):
    messages, kind, weight, topic, time_s, text = FAULTS[name]
    facts = looked_at(write(tmp_path / "bag", messages))
    told = [str(finding) for finding in facts.findings]
    assert facts.verdict == VERDICTS[weight], told
    found = [f for f in facts.findings if (f.kind, f.weight, f.topic) == (kind, weight, topic) and text in str(f)]
    assert bool(found) == bool(kind), told
    if time_s is not None:
        assert found[0].start_s == pytest.approx(time_s, abs=0.03)
    if kind not in ("missing", "message", "short"):  # nothing else is said to be wrong
        assert {f.kind for f in facts.findings if f.weight != NOTE} <= {kind}, told


def test_a_picture_that_does_not_change_while_nothing_moves_is_no_fault(tmp_path):
    messages = recording(8.0)
    for told in messages:
        if 2.0 < told.s < 4.5 and told.topic in (SCENE, WRIST):
            told.content = FROZEN
        if told.topic in (STATES, BUFFER):
            told.content = posture(min(told.s, 2.0) if told.s < 4.5 else told.s - 2.5)
    facts = looked_at(write(tmp_path / "bag", messages))
    assert [f.kind for f in facts.findings] == [] and facts.verdict == GOOD


@pytest.mark.parametrize("by", ["state", "epoch", "nobody"])
def test_commands_that_pause_without_an_epoch_are_no_gap(tmp_path, by):
    """What `controller/state` says, or another epoch in the buffer's frame_id; without either it stays a gap."""
    driver, state, kinds = "/arm/joint_trajectory", "/controller/state", "diagnostic_msgs/msg/DiagnosticStatus"
    messages = [told for told in recording(8.0) if told.topic != BUFFER or not 3.0 < told.s < 6.0]
    for told in [told for told in messages if told.topic == BUFFER]:
        messages.append(replace(told, topic=driver, content=serialised(told)))
        if by == "epoch":
            message = serialised(told, epoch="1@5" if told.s < 4.0 else "2@9")
            told.content = message
    pair = STORE.types["diagnostic_msgs/msg/KeyValue"]
    for time_s, word in ((0.0, "running"), (3.0, "stopping"), (3.05, "stopped"), (5.8, "waiting"), (6.0, "running")):
        level, at_ns = 0, BEGIN_NS + round(time_s * NS)
        content = STORE.types[kinds](level, "fr3", "", "fr3", [pair("cause", ""), pair("state", word)])
        if by == "state":
            messages.append(Told(state, at_ns, at_ns, bytes(STORE.serialize_cdr(content, kinds))))
    messages.sort(key=lambda told: told.log_ns)
    facts = looked_at(write(tmp_path / "bag", messages, kinds=KINDS | {driver: KINDS[BUFFER], state: kinds}))
    if by == "nobody":
        assert facts.verdict == BAD and {f.topic for f in facts.findings if f.kind == "gap"} == {BUFFER, driver}
        return
    [pause] = facts.findings
    assert (pause.kind, pause.weight, facts.verdict) == ("pause", NOTE, GOOD)
    assert (pause.start_s, pause.end_s) == (pytest.approx(3.0, abs=0.06), pytest.approx(6.0, abs=0.06))
    assert "class=pause" in section(0, facts)


def test_strip_and_events_cover_the_whole_episode(tmp_path):
    """However often the gripper closes at the beginning, and also when nothing at all happens later."""
    for last_s in (8.0, 31.0):
        messages = recording(31.0)
        for told in messages:
            if told.topic in (STATES, BUFFER):
                told.content[-1] = 0.04 if round(told.s) % 2 or told.s > last_s else 0.01
        facts = looked_at(write(tmp_path / f"bag{last_s}", messages))
        grips = [mark.time_s for mark in facts.marks if mark.name.startswith("gripper")]
        assert len(grips) >= 7 and grips[-1] > last_s - 2.0
        shown = [mark.time_s for mark in moments(facts)]
        assert shown[0] == 0.0 and shown[-1] == facts.duration_s and 8 <= len(shown) <= 12
        assert max(b - a for a, b in zip(shown, shown[1:])) <= 0.25 * facts.duration_s + 1e-6
        assert any(mark.name == "contact" for mark in moments(facts))
        assert all(curve.times_s[-1] > 30.9 for curve in facts.curves)


def test_the_page_tells_units_preroll_allowed_gaps_and_what_is_left_out(tmp_path):
    facts = looked_at(write(tmp_path / "bag", started(1.0, recording())))
    assert [mark.name for mark in moments(facts)][:2] == ["pre-roll", "recording starts"]
    text = section(0, facts)
    assert "rad, sliding joints in m" in text and "from 0 to 4.0 s" in text
    assert "allowed [s]" in text and "<td>0.25</td>" in text
    holes = [told for told in recording(10.0) if told.topic != WRIST or round(told.s * 10) % 10 > 4]
    told = [str(finding) for finding in looked_at(write(tmp_path / "holes", holes)).findings]
    assert any(f"{WRIST}: and " in text and text.endswith("more: gap") for text in told), told


def test_silence_is_drawn_as_long_as_it_is_and_no_line_crosses_it(tmp_path):
    """At the end of an episode, too."""
    messages = [
        t for t in recording(10.0) if (t.topic != BUFFER or not 3.0 < t.s < 6.0) and (t.topic != SCENE or t.s < 7.0)
    ]
    facts = looked_at(write(tmp_path / "bag", messages))
    [silent] = [f for f in facts.findings if f.kind == "gap" and f.topic == SCENE and f.end_s]
    assert (silent.text, silent.start_s, silent.end_s) == ("nothing for 3.10 s", pytest.approx(6.9, abs=0.01), 10.0)
    assert "<rect class=gap x=414.0 y=0 height=12 width=186.0>" in section(0, facts)
    [joint] = [c for c in facts.curves if c.name == "fr3_joint1" and c.commanded]
    chart = joint_chart(None, joint, facts.duration_s, (), ())
    assert chart.split('class=commanded d="')[1].split('"')[0].count("M") == 2


def started(at_s, messages):
    """With the start event at a later time: what comes before it is pre-roll."""
    for told in messages:
        if told.topic == EVENTS and told.content["event"] == "start":
            told.log_ns = told.stamp_ns = BEGIN_NS + round(at_s * NS)
    return sorted(messages, key=lambda told: told.log_ns)


def test_rates_and_gaps_are_judged_from_the_start_event_on(tmp_path):
    """A pre-roll may have holes, and one camera may begin in it."""
    hole = lambda told: (
        not (told.topic == SCENE and told.s < 0.85) and not (told.topic == STATES and 0.2 < told.s < 0.7)
    )
    facts = looked_at(write(tmp_path / "preroll", started(1.0, [told for told in recording() if hole(told)])))
    assert facts.findings == [] and facts.begin_s == pytest.approx(1.0, abs=0.01)
    late = lambda told: not (told.topic == SCENE and 0.8 < told.s < 1.85)
    facts = looked_at(write(tmp_path / "late", started(1.0, [told for told in recording() if late(told)])))
    [share, gap] = facts.findings
    assert (gap.text, gap.start_s) == ("nothing for 0.90 s", pytest.approx(1.0, abs=0.01)) and "30%" in share.text


def test_without_a_start_event_it_is_when_all_inputs_are_there(tmp_path):
    for begin_s, begin, verdict in ((0.7, 0.7, GOOD), (1.4, 0.0, BAD)):
        messages = [t for t in recording() if not t.topic.startswith("/record") and (t.topic != SCENE or t.s > begin_s)]
        messages = [told for told in messages if told.topic != STATES or not 0.1 < told.s < 0.6 or begin_s > 1]
        facts = looked_at(write(tmp_path / f"bag{begin_s}", messages), CONTRACT)
        assert facts.verdict == verdict and facts.begin_s == pytest.approx(begin, abs=0.11)


def test_a_long_pause_is_told_and_a_longer_one_is_a_flaw(tmp_path):
    for pause_s, weight in ((4.0, NOTE), (9.0, FLAW)):
        messages = recording(20.0)
        for told in messages:
            if told.topic in (STATES, BUFFER):
                told.content = posture(told.s if told.s < 5.0 else max(5.0, told.s - pause_s))
        facts = looked_at(write(tmp_path / f"bag{pause_s}", messages))
        [finding] = facts.findings
        assert (finding.kind, finding.weight) == ("idle", weight)
        assert finding.start_s == pytest.approx(5.0, abs=0.6) and finding.end_s == pytest.approx(5 + pause_s, abs=0.6)


def test_a_cut_bag_is_salvaged_and_says_so(tmp_path):
    path = write(tmp_path / "bag", recording())
    [file] = path.glob("*.mcap")
    file.write_bytes(file.read_bytes()[:-40_000])
    (path / "metadata.yaml").unlink()
    facts = looked_at(path)
    told = [f.text for f in facts.findings if f.kind == "damage"]
    assert facts.verdict == USABLE and any("cut off" in text for text in told) and len(told) >= 2
    assert next(s.count for s in facts.streams if s.name == STATES) > 50 and facts.views[0].looks


def test_a_contract_that_is_given_judges_bags_of_others(tmp_path):
    messages = [told for told in recording() if not told.topic.startswith("/record")]
    for told in messages:
        if told.topic == STATES and told.s > 3.5:
            told.content[0] = 9.0
    path = write(tmp_path / "bag", messages)
    assert looked_at(path).findings == []  # nobody says what the limits are
    facts = looked_at(path, CONTRACT)
    assert {(f.kind, f.topic) for f in facts.findings} == {("limits", f"{STATES} fr3_joint1")}


def test_joints_in_several_messages_and_one_that_nobody_uses(tmp_path):
    """Arm and gripper publish on one topic; another joint never has a position."""
    names = list(CONTRACT.joint_names)
    split = lambda told: [
        replace(told, content=(names[:7], told.content[:7])),
        replace(told, content=([*names[7:], "spare"], [*told.content[7:], np.nan]), log_ns=told.log_ns + 1000),
    ]
    facts = looked_at(write(tmp_path / "bag", changed(STATES, split)))
    assert [(f.kind, f.weight, f.topic) for f in facts.findings] == [("nan", NOTE, f"{STATES} spare")]
    measured = {curve.name: curve.values for curve in facts.curves if not curve.commanded}
    assert list(measured) == [*names, "spare"]
    np.testing.assert_allclose(measured[names[7]], [posture(index / 50)[7] for index in range(200)])
    late = changed(STATES, lambda told: split(told)[: 1 if 1.0 < told.s < 2.0 else 2])
    facts = looked_at(write(tmp_path / "late", late))
    [gap] = [f for f in facts.findings if f.weight != NOTE]
    assert (gap.kind, gap.topic, round(gap.start_s, 1)) == ("gap", f"{STATES} fr3_finger_joint1", 1.0)
    facts = looked_at(write(tmp_path / "less", changed(STATES, lambda told: split(told)[0])))
    assert [(f.kind, f.text) for f in facts.findings] == [("joints", "the joints fr3_finger_joint1 never come")]


@pytest.mark.parametrize("value", [1.7e308, -1.7e308, 5e-324, np.nan, np.inf])
def test_odd_numbers_make_no_noise_beside_their_finding(tmp_path, value, capsys):
    messages = positions(with_value(3, value), 3.0)
    for told in messages:
        if told.topic == STATES and told.s < 1.0:
            told.content[3] = -value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        facts = looked_at(write(tmp_path / "bag", messages))
        text = section(0, facts)
    assert (
        facts.verdict == BAD and {f.topic for f in facts.findings} == {f"{STATES} fr3_joint4"} and len(text) < 200_000
    )


@pytest.mark.parametrize("colour", [(0, 0, 90), (0, 90, 0), (90, 0, 0), (0, 0, 0)])
def test_one_colour_is_not_black(colour):
    """Of a large picture only some bytes are looked at, of every colour."""
    looker = Looker("camera", "camera", exact=True)
    pixels = np.tile(np.uint8(colour), (480, 640, 1))
    for index in range(4):
        pixels[0, 0, 0] = index
        looker.message(index / 10, memoryview(bytes(40) + pixels.tobytes()), lambda: pixels, plain=index > 0)
    assert bool(looker.finish().black) == (colour == (0, 0, 0))


def test_a_namespace_is_found_by_the_events(tmp_path):
    messages = [replace(told, topic=f"/left{told.topic}", content=serialised(told)) for told in recording()]
    kinds = {f"/left{name}": kind for name, kind in KINDS.items()}
    facts = looked_at(write(tmp_path / "bag", messages, kinds=kinds))
    assert facts.findings == [] and facts.judged_by == "fr3" and facts.views[0].label == "scene_view"


@pytest.mark.parametrize("robot", ["g1", "so101", "ur5e", "xarm7"])
def test_positions_and_limits_of_other_robots_are_in_radians_and_metres(tmp_path, robot):
    """Messages have the names and units that the contract says; here at home, and one joint of it beyond its limit."""
    contract = load_contract(robot)
    home, kind = dict(zip(contract.joint_names, contract.home)), "sensor_msgs/msg/JointState"
    [topic] = contract.joint_state_topics
    wire = contract.wire_of(topic)
    inside = [joint for joint in wire.joints if joint in home]
    beyond = home | {inside[0]: contract.limits.upper[contract.joint_names.index(inside[0])] + 0.5}
    messages = []
    for index in range(40):
        values = home if index < 30 else beyond
        numbers = wire.values(np.array([values.get(joint, 0.0) for joint in wire.joints]))
        message = STORE.types[kind](
            header(BEGIN_NS + index * NS // 10), list(wire.names), numbers, np.zeros(0), np.zeros(0)
        )
        stamp_ns = BEGIN_NS + index * NS // 10
        messages.append(Told(f"/{topic}", stamp_ns, stamp_ns, bytes(STORE.serialize_cdr(message, kind))))
    facts = looked_at(write(tmp_path / "bag", messages, kinds={f"/{topic}": kind}), contract)
    assert {f.topic for f in facts.findings if f.kind == "limits"} == {f"/{topic} {inside[0]}"}
    curves = {curve.name: curve for curve in facts.curves}
    for joint in inside[1:]:
        assert curves[joint].values[0] == pytest.approx(home[joint], abs=1e-6)


def test_without_joints_another_camera_tells_whether_something_moved(tmp_path):
    messages = [told for told in recording() if told.topic in (SCENE, WRIST)]
    for told in messages:
        if told.topic == SCENE and 1.0 < told.s < 2.0:
            told.content = FROZEN
    facts = looked_at(write(tmp_path / "two", messages))
    assert [(f.kind, f.topic) for f in facts.findings if f.weight != NOTE][0] == ("frozen", SCENE)
    alone = looked_at(write(tmp_path / "one", [told for told in messages if told.topic == SCENE]))
    assert {(f.kind, f.weight) for f in alone.findings} == {("still", NOTE), ("joints", NOTE)}


def test_the_same_check_twice_finds_the_same(tmp_path):
    facts = looked_at(write(tmp_path / "bag", FAULTS["gap"][0]))
    before = [str(finding) for finding in facts.findings]
    facts.findings, facts.marks = [], []
    check(facts)
    assert [str(finding) for finding in facts.findings] == before


def test_compressed_pictures(tmp_path):
    """A black one is found by how small it is; all of them are compared as files."""
    import io

    from mcap.writer import Writer
    from PIL import Image

    kind = "sensor_msgs/msg/CompressedImage"
    definition, _ = STORE.generate_msgdef(kind, ros_version=2)
    with open(tmp_path / "camera.mcap", "wb") as file:
        writer = Writer(file)
        writer.start("ros2")
        channel = writer.register_channel(
            "/cam/compressed", "cdr", writer.register_schema(kind, "ros2msg", definition.encode())
        )
        for told in [t for t in recording() if t.topic == SCENE]:
            pixels = BLACK if 2.25 < told.s < 2.35 else FROZEN if 1.0 < told.s < 1.9 else told.content
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
            data = np.frombuffer(buffer.getvalue(), np.uint8)
            message = STORE.types[kind](header(told.stamp_ns), "rgb8; jpeg compressed bgr8", data)
            writer.add_message(channel, told.log_ns, bytes(STORE.serialize_cdr(message, kind)), told.log_ns)
        writer.finish()
    facts = looked_at(tmp_path / "camera.mcap")
    assert facts.views[0].detail == "32x24 rgb8" and len(facts.views[0].looks) >= 8
    assert [(f.kind, round(f.start_s or 0, 1)) for f in facts.findings] == [
        ("black", 2.3),
        ("still", 1.0),
        ("joints", 0.0),
    ]
