"""The recorder's parts that need no ROS: losses, pre-roll, queue, commands, who is in charge."""

import random
import threading

import pytest

from beingh_core.data.bags.message import header_data
from beingh_core.errors import BeingHError
from beingh_ros.record.buffers import Item, PreRoll, WriteQueue
from beingh_ros.record.commands import Command, Edges, bindings, buttons, parse
from beingh_ros.record.in_charge import InCharge
from beingh_ros.record.losses import Losses


def item(log_s, size=10):
    return Item("topic", round(log_s * 1e9), 0, 0, bytes(size))


def test_losses_of_one_publisher_are_counted_exactly():
    for seed in range(20):
        rng = random.Random(seed)
        numbers = list(range(1, 200))
        received = [n for n in numbers if rng.random() > 0.2]
        losses = Losses()
        for number in received:
            losses.received(number, 1)
        # What came before the first one received was sent before there was a subscription.
        assert losses.lost == received[-1] - received[0] + 1 - len(received)


def test_a_publisher_that_starts_again_has_lost_nothing_and_an_unknown_number_neither():
    losses = Losses()
    for number in [5, 6, 7, 1, 2, 3, None, 4]:
        losses.received(number, 1)
    assert losses.lost == 0


def test_several_publishers_are_told_apart_by_their_numbers():
    rng, losses, lost = random.Random(4), Losses(), 0
    numbers = [1, 1000, 50_000]
    for number in numbers:
        losses.received(number, 3)
    for _ in range(500):
        which = rng.randrange(3)
        skipped = rng.random() < 0.1
        numbers[which] += 1 + skipped
        lost += skipped
        losses.received(numbers[which], 3)
    assert losses.lost == lost > 20


def test_the_pre_roll_is_bounded_in_time_and_in_bytes():
    ring = PreRoll(1.0, 1000)
    for index in range(50):
        ring.add(item(index / 10))
    ring.cut(round(5.2e9))
    assert [kept.log_ns / 1e9 for kept in ring.take()] == pytest.approx([4.2, 4.3, 4.4, 4.5, 4.6, 4.7, 4.8, 4.9])
    for index in range(50):
        ring.add(item(index / 1000, size=99))
    assert len(ring.take()) == 10 and ring.take() == []
    none = PreRoll(0.0, 1000)
    none.add(item(1))
    assert none.take() == []


def test_a_clock_that_is_set_back_empties_the_pre_roll():
    ring = PreRoll(1.0, 1000)
    ring.add(item(100.0))
    ring.add(item(1.0))
    assert [kept.log_ns for kept in ring.take()] == [10**9]


def test_the_queue_refuses_what_is_too_much_and_keeps_the_order():
    queue = WriteQueue(100)
    assert [queue.put(item(index)) for index in range(12)] == [True] * 10 + [False] * 2
    assert queue.fill == 1.0
    queue.put_all([item(99, size=50)])  # the pre-roll is bounded otherwise
    items, more = queue.take(0.0)
    assert [i.log_ns // 10**9 for i in items] == [*range(10), 99] and more and queue.fill == 0.0
    queue.close()
    assert queue.take(1.0) == ([], False) and not queue.put(item(1))


def test_nothing_is_lost_between_two_threads():
    queue, taken = WriteQueue(10**9), []

    def drain():
        more = True
        while more:
            items, more = queue.take(0.05)
            taken.extend(items)

    thread = threading.Thread(target=drain)
    thread.start()
    sent = [item(index) for index in range(20_000)]
    assert all(queue.put(one) for one in sent)
    queue.close()
    thread.join(10)
    assert taken == sent


def test_commands_are_read_and_wrong_ones_refused():
    assert parse("start pick up the cube") == Command("start", "pick up the cube")
    assert parse(" stop success ") == Command("stop", "success") and parse("mark contact") == Command("mark", "contact")
    for wrong, why in (("strat", "did you mean"), ("stop maybe", "maybe"), ("mark", "followed by nothing"), ("", "no command"),
                       ("discard all", "all"), ("task " + "x" * 3000, "3000 characters")):  # fmt: skip
        with pytest.raises(BeingHError, match=why):
            parse(wrong)


def test_bindings_name_what_is_wrong_with_them():
    assert bindings(["/pedal=toggle", ""], "p") == {"/pedal": Command("toggle")}
    assert buttons(["0=toggle", "11=mark release"], "b") == {0: Command("toggle"), 11: Command("mark", "release")}
    for wrong, why in ((["toggle"], "NAME=COMMAND"), (["a=go"], "no command"), (["a=toggle", "a=stop"], "twice")):
        with pytest.raises(BeingHError, match=why) as caught:
            bindings(wrong, "parameter pedals")
        assert "parameter pedals" in str(caught.value)
    with pytest.raises(BeingHError, match="no button"):
        buttons(["A=toggle"], "b")


def test_a_button_commands_once_for_each_press():
    edges = Edges({0: Command("toggle"), 1: Command("hold", "person")})
    given = [edges.commands(0, pressed) for pressed in (False, True, True, False, True)]
    assert given == [[], [Command("toggle")], [], [], [Command("toggle")]]
    assert [edges.commands(1, pressed) for pressed in (True, True, False)] == [
        [Command("person")],
        [],
        [Command("policy")],
    ]
    assert edges.commands(7, True) == []


def test_the_policy_is_in_charge_within_its_chunk_and_a_person_who_takes_over_before_it():
    charge, second = InCharge("auto", 500_000_000), 10**9

    def who(stamp_s, epoch="a"):
        stamp_ns = round(stamp_s * second)
        assert charge.of_plan(header_data(stamp_ns, epoch))[0] == stamp_ns
        return charge.of_plan(header_data(stamp_ns, epoch))[1]

    assert who(10) == "nobody"
    charge.accepted(header_data(10 * second, "a"))
    assert [who(9.9), who(10), who(10.499), who(10.5)] == ["nobody", "policy", "policy", "nobody"]
    assert who(10.1, epoch="b") == "nobody" and charge.of_time() == "nobody"
    charge.person = True
    assert who(10.1) == "person" == charge.of_time()
    charge.person = False
    assert who(10.1) == "policy"
    assert InCharge("person", 1).of_plan(header_data(1, "a")) == (1, "person")
