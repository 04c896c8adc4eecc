"""Who presses and who releases an emergency stop: panels that come, go, restart and lose messages."""

import pytest

from beingh_core.control.estop_sources import EstopSources


def test_a_publisher_that_has_not_spoken_is_known_to_be_silent_since_the_newest_came():
    panels = Panels("ab")
    assert panels.sources.silent_s(panels.now_s) == pytest.approx(0.1, abs=0.11)
    panels.say("a", False)
    panels.wait(2.0)
    assert panels.sources.silent_s(panels.now_s) > 2.0
    panels.say("b", True)
    assert panels.sources.silent_s(panels.now_s) is None
    panels.present.add("c")
    panels.wait(0.3)
    assert panels.sources.silent_s(panels.now_s) < 0.5


class Panels:
    """Publishers of an emergency stop that come, speak and go, and the controller that receives them.

    Args:
        present: Names of those that are there at first.
    """

    def __init__(self, present=""):
        self.sources, self.present, self.now_s, self._sent, self.numbers = EstopSources(), set(present), 10.0, 0, {}
        self.wait(0.1)

    def wait(self, seconds=1.0):
        for _ in range(round(seconds * 10)):
            self.now_s += 0.1
            self.sources.look(self.present, self.now_s)

    def say(self, name, active, *, lost=0, times=1):
        """One that is not there yet comes."""
        if name not in self.present:
            self.present.add(name)
            self.wait(0.1)
        self.numbers[name] = self.numbers.get(name, 0) + lost
        for _ in range(times):
            self.numbers[name] += 1
            self.receive(active, self.numbers[name])
            self.wait(0.1)

    def receive(self, active, number, sent=None, replayed=False):
        self._sent += 1
        sent = self._sent if sent is None else sent
        self.sources.received(active, number, sent, self.present, self.now_s, replayed=replayed)

    def go(self, *names):
        self.present -= set(names)
        self.wait()

    @property
    def held(self):
        return self.sources.active


@pytest.mark.parametrize(
    "present, messages, held",
    [
        ("A", [(True, 1, 10)], True),
        ("A", [(True, 1, 10), (True, 1, 10), (False, 2, 20), (True, 1, 10)], False),  # the press comes again
        ("A", [(False, 1, 5, True), (True, 2, 10, True)], True),
        ("A", [(True, 4, 5, True), (False, 5, 10, True)], False),
        ("AB", [(True, 1, 10), (False, 1, 5, True)], True),  # another's latched release comes late
        ("AB", [(True, 1, 10, True), (False, 1, 20, True)], True),  # two latched publishers
        ("AB", [(False, 1, 20, True), (True, 1, 10, True)], True),
        ("AB", [(True, 7, 10), (False, 100, 11), (False, 101, 12)], True),  # another's heartbeat
        ("AB", [(True, 7, 10), (False, 100, 11), (False, 8, 12)], False),
        ("AB", [(True, 7, 10), (False, 100, 11), (False, 10, 12)], False),  # two were lost
        ("AB", [(True, None, 10), (False, None, 20)], False),  # no numbers: the newest holds
        ("AB", [(True, None, 10), (False, None, 5, True)], True),
        ("", [(True, None, 0), (False, None, 0)], False),
    ],
)
def test_a_press_holds_until_its_own_release(present, messages, held):
    panels = Panels(present)
    for message in messages:
        panels.receive(*message)
    assert panels.held == held


@pytest.mark.parametrize("times", [1, 2, 5, 40])
@pytest.mark.parametrize("there", ["A", "AB"])
def test_others_that_restart_release_no_panel_that_is_there(there, times):
    panels = Panels(there)
    panels.say("A", True, times=times)
    panels.say("B", False, times=20)
    for n, (lost, wait_s) in enumerate([(0, 0.1), (1, 0.1), (4, 10.0), (45, 0.1), (0, 0.0)]):
        panels.go(*panels.present - {"A"})
        panels.wait(wait_s)
        panels.say(f"B{n}", False, lost=lost, times=30)
        assert panels.held, f"restart {n}"
    panels.say("A", True)
    panels.say("A", False)
    assert not panels.held


def test_a_loss_makes_no_second_publisher_of_one():
    panels = Panels("AB")
    panels.say("A", True)
    for lost in (0, 20, 30, 15):
        panels.say("B", False, lost=lost, times=5)
        assert panels.held
    panels.say("A", False, lost=2)
    assert not panels.held


def test_a_panel_that_has_gone_is_released_by_anybody():
    for others in ("B", "", "BC"):
        panels = Panels("A")
        for name in others:
            panels.say(name, False, times=2)
        panels.say("A", True)
        panels.say("B", False, times=3)
        assert panels.held, "killed: for a while the graph still shows it"
        panels.wait(20)
        panels.go("A")
        panels.wait(5)
        assert panels.held, "nothing releases it by itself"
        for name in others or "B":
            panels.say(name, False)
        assert not panels.held


def test_a_panel_that_was_there_with_others_and_has_gone_is_released_once_they_speak():
    for silent in (False, True):
        panels = Panels("AB")
        panels.say("A", True)
        if not silent:
            panels.say("B", False)
        panels.go("A")
        panels.wait(5)
        panels.say("C", False)
        assert panels.held, "B may be the one that pressed"
        panels.say("B", False)
        panels.say("C", False)
        assert not panels.held


@pytest.mark.parametrize("ends", ["speaks", "goes"])
def test_a_publisher_that_never_spoke_may_be_the_one_that_pressed(ends):
    panels = Panels("AQ")
    panels.say("A", True)
    panels.go("A")
    panels.wait(5)
    panels.say("B", False, times=30)
    assert panels.held
    if ends == "goes":
        panels.go("Q")
        panels.say("B", False)
    else:
        panels.say("Q", False)
    assert not panels.held


def test_a_relay_with_a_publisher_for_every_message_presses_and_releases():
    for panel in ("", "P"):
        panels = Panels(panel)
        for name in panel:
            panels.say(name, False)
        panels.wait()
        for n in range(100):
            panels.say(f"R{n}", True)
            panels.go(f"R{n}")
            panels.wait(n % 3)
            assert panels.held
            panels.say(f"S{n}", False)
            assert not panels.held, n
            panels.go(f"S{n}")


def test_two_panels_release_each_its_own_press():
    panels = Panels("AB")
    panels.say("A", False)
    panels.say("B", False)
    panels.say("A", True)
    panels.say("B", True)
    panels.say("B", False, times=3)
    assert panels.held
    panels.say("A", False)
    assert not panels.held


def test_a_message_that_is_read_when_its_publisher_has_gone_releases_nobody_else():
    panels = Panels("A")
    panels.say("A", True)
    panels.present.add("R")
    panels.wait(0.1)
    panels.go("R")
    panels.receive(False, 1)
    panels.receive(False, 2)
    assert panels.held
    panels.receive(False, 1)  # of one that was never seen
    assert panels.held


def test_any_number_of_publishers_is_bounded():
    panels = Panels("A")
    panels.say("A", True)
    for k in range(500):
        panels.present = {"A", f"B{k}"}
        panels.sources.look(panels.present, panels.now_s)
        panels.receive(False, 1)
        panels.now_s += 0.1
    assert panels.held and len(panels.sources._sources) < 100 and len(panels.sources._publishers) < 300
    panels.go("A")
    panels.receive(False, 1)
    assert not panels.held
