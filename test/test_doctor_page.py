"""What the page of `beingh doctor` says of a dataset's actions and of who was in charge."""

import re

import numpy as np
import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap")
pytest.importorskip("pyarrow")
pytest.importorskip("av")
from doctor_support import recording, write
from test_doctor_datasets import ACTION, FPS, NAMES, STATE, frames
from test_doctor_datasets import looked_at as looked_at_dataset

from beingh_core.data.bag_files import open_bag
from beingh_core.data.doctor.page import section
from beingh_core.data.export import Export, export
from beingh_core.data.in_charge import WHO
from beingh_core.data.lerobot import Camera, DatasetSpec, DatasetWriter, Frame, Vector, VideoSettings


def captions(text):
    """Name and range of each chart."""
    found = re.findall(r"<figcaption><b>(.*?)</b>(.*?) <span>(.*?)</span>", text)
    return {name + more: values for name, more, values in found}


def dataset(root, rows=60, more=(), in_charge=None, scale=1.0):
    """A dataset of one episode with `action` as differences, and further columns of one number."""
    vectors = [Vector(key=key, names=NAMES) for key in (STATE, ACTION)] + [
        Vector(key=key, names=(key,), dtype=dtype) for key, dtype, _ in more
    ]
    cameras = (Camera(key="observation.images.scene", height=48, width=64),)
    spec = DatasetSpec(
        fps=FPS, robot="toy", vectors=tuple(vectors), cameras=cameras, video=VideoSettings(encoder="software")
    )

    def change(index, frame):
        numbers = {key: np.array([values[index]], dtype) for key, dtype, values in more}
        vectors = {**frame.vectors, ACTION: scale * frame.vectors[ACTION], **numbers}
        return Frame(vectors=vectors, images={k: v for k, v in frame.images.items() if "scene" in k}, task=frame.task)

    with DatasetWriter(root, spec) as writer:
        writer.add(frames(change, rows), source="0")
    return root


def test_actions_that_are_differences_have_charts_of_their_own(tmp_path):
    [facts] = looked_at_dataset(dataset(tmp_path / "differences", scale=0.01))
    assert set(captions(section(0, facts))) == {*NAMES, *(f"{name} action" for name in NAMES)}
    [facts] = looked_at_dataset(dataset(tmp_path / "positions"))
    assert set(captions(section(0, facts))) == set(NAMES)


def test_who_was_in_charge_is_read_from_its_column_and_is_no_motion(tmp_path):
    """A column that changes while the robot rests tells of nothing that moved."""
    numbers = [0] * 10 + [2] * 30 + [3] * 20
    more = (("in_charge", "int64", numbers), ("intervention", "bool", [n == 3 for n in numbers]))
    [facts] = looked_at_dataset(dataset(tmp_path / "data", more=more))
    spans = [(charge.who, charge.start_s, charge.end_s) for charge in facts.in_charge]
    assert spans == [(WHO[0], 0.0, 0.5), (WHO[2], 0.5, 2.0), (WHO[3], 2.0, 3.0)]
    assert {curve.group for curve in facts.curves} == {STATE, ACTION}


def test_an_export_says_who_was_in_charge_of_its_rows(tmp_path):
    bag = write(tmp_path / "bag", recording())
    export([bag], Export(contract="fr3", out=tmp_path / "data", task="move", workers=1), open_bag)
    [facts] = looked_at_dataset(tmp_path / "data")
    assert [charge.who for charge in facts.in_charge] == ["policy", "person", "policy"]
    assert not {"in_charge", "intervention"} & {curve.group for curve in facts.curves}
