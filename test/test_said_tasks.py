"""The task of a recording: where it is taken from when the recorder was killed, and what several of them mean."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace as Message

import pytest
from recording_support import BEGIN, NS, FakeBag, Recorded

from beingh_core.data.said_tasks import INSTRUCTION, SaidTasks

pytest.importorskip("pyarrow")
pytest.importorskip("av")
pytest.importorskip("rosbags")
pytest.importorskip("mcap")
from doctor_support import BEGIN_NS, CONTRACT, EVENTS, KINDS, Told, recording, write

from beingh_core.data.annotate.recording import read
from beingh_core.data.bag_files import open_bag
from beingh_core.data.bags.finish import finish
from beingh_core.data.bags.message import text_data
from beingh_core.data.doctor.bag_reader import read_bag
from beingh_core.data.doctor.facts import FLAW, NOTE
from beingh_core.data.export import Export, export

RED, BLUE = "pick up the red cube", "pick up the blue cube"
START = {"event": "start", "task": RED}


def bag(events=(), said=(), custom=None):
    """A recording with the recorder's events and instructions at times [s]."""
    made = FakeBag(custom=custom or {}, events=tuple(events))
    for at_s, text in said:
        made.recorded.append(Recorded(f"/{INSTRUCTION}", BEGIN + round(at_s * NS), 0, Message(data=text)))
        made.topics[f"/{INSTRUCTION}"] = Message(type="std_msgs/msg/String", count=len(said))
    made.recorded.sort(key=lambda message: message.log_ns)
    made.topics = {("/" + name if name == "record/events" else name): told for name, told in made.topics.items()}
    made.recorded = [
        replace(message, topic="/" + message.topic) if message.topic == "record/events" else message
        for message in made.recorded
    ]
    return made


# (bag, the words of --task) -> (state, what its line says, tasks)
EXPORTS = {
    "killed": (bag([(0.1, START)]), None, "exported", f"`{RED}` taken from the recorder's events"),
    "killed later": (bag([(0.1, {"event": "start", "task": ""}), (0.4, {"event": "task", "task": BLUE})]), None,
                     "exported", f"`{BLUE}` taken from the recorder's events"),
    "killed, instructed": (bag([(0.1, {"event": "start", "task": ""})], [(0.1, BLUE)]), None, "exported",
                           f"`{BLUE}` taken from the last policy/instruction"),
    "same again": (bag([(0.1, START)], [(0.05, RED), (0.5, f"{RED} ")], {"beingh_task": RED}), None, "exported", ""),
    "of the pre-roll": (bag([(0.5, START)], [(0.1, BLUE)], {"beingh_task": RED}), None, "exported", ""),
    "two": (bag([(0.1, START)], [(0.1, RED), (0.9, BLUE)], {"beingh_task": BLUE}), None, "refused",
            f"several instructions: `{RED}`, `{BLUE}`"),
    "two, named": (bag([(0.1, START)], [(0.1, RED), (0.9, BLUE)], {"beingh_task": BLUE}), RED, "exported", "--task"),
    "two, no events": (bag((), [(0.1, RED), (0.9, BLUE)]), None, "refused", "--task"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPORTS)
def test_export_finds_the_task_or_refuses_several(tmp_path, name):
    made, task, state, told = EXPORTS[name]
    settings = Export(contract="fr3", out=tmp_path / "d", task=task, workers=1)
    [outcome] = export([Path("/bags/one")], settings, lambda path: made)
    text = " ".join((*outcome.findings, *outcome.notes))
    assert (outcome.state, told in text) == (state, True), text
    assert bool(text) == bool(told)


def test_the_doctor_says_where_a_task_comes_from_and_that_there_are_several(tmp_path):
    killed = [told for told in recording() if not (told.topic == EVENTS and told.s > 3.9)]
    facts = read_bag(write(tmp_path / "killed", killed))
    assert facts.task == "put <i>it</i> there"
    assert [(f.weight, "events" in f.text) for f in facts.findings if f.kind == "task_source"] == [(NOTE, True)]
    two = [replace(t, content=t.content | {"event": "task", "task": "x"}) if t.topic == EVENTS and 1 < t.s < 2 else t
           for t in recording()]  # fmt: skip
    facts = read_bag(write(tmp_path / "two", two))
    assert [(f.weight, "--task" in f.text) for f in facts.findings if f.kind == "tasks"] == [(FLAW, True)]


def test_an_old_instruction_that_is_repeated_does_not_contradict_the_recorders_task():
    said = SaidTasks()
    said.instruct(BLUE)
    said.event(START)
    said.instruct(BLUE)
    assert said.different == (RED,) and said.task == RED
    said.instruct("")
    said.instruct(BLUE)
    assert said.different == (RED, BLUE)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_finished_bag_has_the_task_and_the_verdict_that_were_said(tmp_path, storage):
    judged = Told(EVENTS, BEGIN_NS + 2 * NS, 0, {"event": "success", "stamp_ns": BEGIN_NS, "success": False})
    killed = [told for told in recording() if not (told.topic == EVENTS and told.s > 3.9)] + [judged]
    made = write(tmp_path / "one", sorted(killed, key=lambda told: told.log_ns), storage)
    (made / "metadata.yaml").unlink()
    with open_bag(finish(made.rename(tmp_path / "one.recording"))) as bag:
        assert bag.custom["beingh_task"] == "put <i>it</i> there" and bag.custom["beingh_success"] == "false"
        assert not bag.complete


def test_annotate_takes_the_task_of_an_instruction_where_nothing_else_tells_it(tmp_path):
    said = Told(f"/{INSTRUCTION}", BEGIN_NS + NS, 0, text_data(RED))
    messages = sorted([*(t for t in recording() if t.topic != EVENTS), said], key=lambda told: told.log_ns)
    path = write(tmp_path / "one", messages, kinds=KINDS | {said.topic: "std_msgs/msg/String"})
    assert read(path, CONTRACT, open_bag).signals.task == RED
