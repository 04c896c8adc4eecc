"""Label files: what they hold, who may replace them, and what of them the export takes."""

import os
import threading
import time

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from beingh_core.data.annotate import labels as files
from beingh_core.data.annotate.accepted import subtasks_of
from beingh_core.data.annotate.labels import Labels, SegmentLabel, SuccessLabel
from beingh_core.errors import BeingHError

NS = 1_000_000_000
ORIGIN = 1_700_000_000 * NS


def made(*segments, duration_s=10.0, **more):
    """Labels of (start [s], text, state)."""
    found = tuple(SegmentLabel(start_s=start, text=text, state=state) for start, text, state in segments)
    given = {"version": 1, "bag": "b", "fingerprint": "f", "robot": "fr3", "origin_ns": ORIGIN}
    return Labels(**given, duration_s=duration_s, segments=found, **more)


THREE = made((0.0, "reach", "accepted"), (2.0, "grasp", "proposed"), (4.5, "lift", "accepted"))


def test_a_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "b.labels.yaml"
    labels = made(
        (0.0, "reach: `it` # 日本", "accepted"), (0.125, "yes", "rejected"), success=SuccessLabel(value=None, because="no")
    )  # fmt: skip
    files.write(path, labels)
    assert files.load(path) == labels
    assert yaml.safe_load(path.read_text())["segments"][1]["text"] == "yes"
    assert os.listdir(tmp_path) == [path.name]


def test_labels_that_count_from_another_stamp_are_shown_at_the_same_moments():
    moved = THREE.counted_from(ORIGIN - 1_500_000_000)
    assert [s.start_s for s in moved.segments] == [0.0, 3.5, 6.0] and moved.duration_s == 11.5
    assert moved.origin_ns == ORIGIN - 1_500_000_000 and files.parse(moved.model_dump(mode="json")) == moved
    assert THREE.counted_from(ORIGIN) == THREE
    with pytest.raises(BeingHError, match="where the bag begins"):
        THREE.counted_from(ORIGIN + 3_000_000_000)


@settings(max_examples=25)
@given(
    st.lists(st.floats(0.001, 9.9).map(lambda s: round(s, 3)), unique=True, max_size=20),
    st.text(max_size=50).filter(lambda text: text.isprintable() and text.strip()),
)
def test_any_labels_survive_the_file(tmp_path_factory, starts, text):
    path = tmp_path_factory.mktemp("l") / "x.labels.yaml"
    labels = made(*((start, text, "accepted") for start in [0.0, *sorted(starts)]))
    files.write(path, labels)
    assert files.load(path) == labels


def test_only_an_untouched_proposal_is_replaced(tmp_path):
    path, calls = tmp_path / "b.labels.yaml", []

    def proposal(text):
        def make():
            calls.append(text)
            return made((0.0, text, "proposed"))

        return make

    assert files.write_proposal(path, proposal("one")) and files.load(path).segments[0].text == "one"
    assert files.write_proposal(path, proposal("two")) and files.load(path).segments[0].text == "two"
    untouched = path.read_bytes()
    for changed in (
        untouched + b"# mine\n", untouched.replace(b"two", b"too"), untouched.split(b"\n", 1)[1], b"", b"not: [yaml",
        untouched.replace(b"proposed", b"accepted"), untouched[:-1],
    ):  # fmt: skip
        path.write_bytes(changed)
        assert not files.write_proposal(path, proposal("three")) and path.read_bytes() == changed
    assert calls == ["one", "two"]
    path.write_bytes(untouched)

    def edited_meanwhile():
        path.write_bytes(untouched + b"#\n")
        return made((0.0, "late", "proposed"))

    assert not files.write_proposal(path, edited_meanwhile) and path.read_bytes() == untouched + b"#\n"


def test_two_processes_write_one_after_the_other(tmp_path):
    path, order = tmp_path / "new" / "b.labels.yaml", []

    def second():
        with files.only_writer(path):
            order.append("second")

    with files.only_writer(path):
        other = threading.Thread(target=second)
        other.start()
        time.sleep(0.1)
        order.append("first")
    other.join(5)
    assert order == ["first", "second"]


def test_what_a_page_saves_is_a_persons(tmp_path):
    path = tmp_path / "b.labels.yaml"
    files.write(path, THREE)
    assert not files.write_proposal(path, lambda: pytest.fail("it was asked"))


def entry(**more):
    return {"start_s": 0.0, "text": "a", **more}


@pytest.mark.parametrize(
    "change, told",
    [
        ({"version": 2}, "version 2"),
        ({"version": None}, "version None"),
        ({"segments": []}, "segments begin at"),
        ({"segments": [entry(start_s=0.5)]}, "begin at 0.5 s"),
        ({"segments": [entry(), entry()]}, "begin at 0, 0 s"),
        ({"segments": [entry(), entry(start_s=10.0)]}, "all before 10 s"),
        ({"segments": [entry(), entry(start_s=3), entry(start_s=2)]}, "begin at 0, 3, 2 s"),
        ({"segments": [entry(), entry(start_s=-1.0)]}, "segments.1.start_s: -1.0"),
        ({"segments": [entry(start_s=float("nan"))]}, "segments.0.start_s"),
        ({"segments": [entry(state="fine")]}, "'proposed', 'accepted' or 'rejected'"),
        ({"segments": [entry(text="  ")]}, "segment 1 has no text"),
        ({"segments": [entry(text="a\nb")]}, "printable text"),
        ({"segments": [entry(text="x" * 301)]}, "at most 300"),
        ({"segments": [entry(txt="a")]}, "the key 'txt' is unknown"),
        ({"segments": [{"text": "a"}]}, "`start_s` is missing"),
        ({"segments": [entry()] * 301}, "more than 300"),
        ({"segments": "abc"}, "segments"),
        ({"success": {"value": "yes"}}, "success.value"),
        ({"success": True}, "success"),
        ({"origin_ns": 1.5}, "origin_ns"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, change, told):
    path = tmp_path / "b.labels.yaml"
    path.write_text(yaml.safe_dump(THREE.model_dump(mode="json") | change))
    with pytest.raises(BeingHError) as caught:
        files.load(path)
    assert told in str(caught.value) and str(path) in str(caught.value) and "To fix" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"a: [", b"\xff\xfe\x00", b"- 1", b"x" * 300_000, b"version: 1\nversion: 1"])
def test_a_file_that_is_none_is_one_error(tmp_path, content):
    path = tmp_path / "b.labels.yaml"
    path.write_bytes(content)
    with pytest.raises(BeingHError, match=str(path)):
        files.load(path)
    with pytest.raises(BeingHError, match="beingh annotate"):
        files.load(tmp_path / "absent.labels.yaml")


def test_the_largest_file_can_be_read_again(tmp_path):
    full = Labels(
        version=1, bag="b", fingerprint="f", robot="r", origin_ns=ORIGIN, duration_s=1000.0,
        segments=tuple(
            SegmentLabel(start_s=n / 2, text=f"{n} " + "t" * 290, because=("r" * 40,) * files.MOST_REASONS)
            for n in range(files.MOST_SEGMENTS)
        ),
    )  # fmt: skip
    files.write(tmp_path / "b.labels.yaml", full)
    assert files.load(tmp_path / "b.labels.yaml") == full


def test_labels_of_another_recording_are_refused():
    files.check_bag(THREE, "renamed", "f", "x")
    with pytest.raises(BeingHError, match="another recording.*fingerprint f.*of b2 .g."):
        files.check_bag(THREE, "b2", "g", "x.labels.yaml")


def test_a_file_that_is_set_aside_keeps_its_content(tmp_path):
    path = tmp_path / "b.labels.yaml"
    for number in (1, 2):
        path.write_text(f"content {number}")
        copy = files.set_aside(path)
        assert copy.read_text() == f"content {number}" and copy.name == f"b.labels.replaced-{number}.yaml"


def test_a_folder_in_the_place_of_the_file_is_one_error(tmp_path):
    (tmp_path / "b.labels.yaml").mkdir()
    with pytest.raises(BeingHError, match="cannot be read"):
        files.write_proposal(tmp_path / "b.labels.yaml", lambda: THREE)


def test_a_folder_that_is_none_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BeingHError, match="no folder can be made.*another folder"):
        files.write(tmp_path / "file" / "b.labels.yaml", THREE)


def rows(first_s, count, fps=20, skip=()):
    return [ORIGIN + round((first_s + n / fps) * NS) for n in range(count) if n not in skip]


def found(labels, stamps):
    return [(subtask.start_s, subtask.text) for subtask in subtasks_of(labels, stamps, fps=20)]


def test_only_what_is_accepted_stands_on_the_rows():
    # Rows from 1 s on: "reach" until 2 s, nothing until 4.5 s, "lift" until 10 s, nothing behind the labels.
    assert found(THREE, rows(1.0, 200)) == [(0.0, "reach"), (1.0, ""), (3.5, "lift"), (9.0, "")]
    assert found(THREE, rows(5.0, 20)) == [(0.0, "lift")]
    assert found(THREE, rows(2.5, 20)) == []
    assert found(THREE, rows(-0.5, 30)) == [(0.5, "reach")]
    assert found(made((0.0, "a", "proposed"), (2.0, "b", "rejected")), rows(0, 100)) == []
    assert found(None, rows(0, 5)) == [] and found(THREE, []) == []


def test_rows_that_were_left_out_move_no_border():
    """With `drop`, a row's time in the dataset is its number / fps, not the time of the recording."""
    stamps = rows(1.0, 200, skip=range(5, 15))
    assert found(THREE, stamps)[1] == (0.5, "") and found(THREE, stamps)[2] == (3.0, "lift")


def test_neighbours_with_one_text_stay_two_subtasks():
    twice = made((0.0, "push", "accepted"), (1.0, "push", "accepted"))
    assert found(twice, rows(0, 40)) == [(0.0, "push"), (1.0, "push")]
    np.testing.assert_equal([e for _, e, _ in twice.spans()], [1.0, 10.0])
