"""Statistics, their file, the choice among variants, and the contract check."""

from types import SimpleNamespace

import numpy as np
import pytest

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.policy.checkpoint_check import check_checkpoint
from beingh_core.policy.metadata import (
    check_contract,
    compute_statistics,
    load_metadata,
    write_metadata,
)


def test_missing_and_broken_files(tmp_path):
    write_metadata(tmp_path, "one", {}, embodiment_tag="arm")
    with pytest.raises(BeingHError, match="one"):
        load_metadata(tmp_path, "two")
    (tmp_path / "bad_metadata.json").write_text("{")
    with pytest.raises(BeingHError, match="JSON"):
        load_metadata(tmp_path, "bad")
    (tmp_path / "bad_metadata.json").write_text("[]")
    with pytest.raises(BeingHError, match="statistics"):
        load_metadata(tmp_path, "bad")


def test_statistics_of_a_known_set():
    statistics = compute_statistics(np.stack([np.arange(101.0), np.full(101, 2.0)], axis=1))
    assert statistics["min"] == [0.0, 2.0] and statistics["max"] == [100.0, 2.0]
    assert statistics["mean"] == [50.0, 2.0]
    assert statistics["q01"] == [1.0, 2.0] and statistics["q99"] == [99.0, 2.0]
    np.testing.assert_allclose(statistics["std"], [np.sqrt((101**2 - 1) / 12), 0.0])


@pytest.mark.parametrize("values", [np.zeros((0, 2)), np.zeros(3), np.array([[0.0], [np.nan]])])
def test_statistics_need_finite_rows(values):
    with pytest.raises(BeingHError):
        compute_statistics(values)


def test_only_the_trained_contract_passes(tmp_path):
    write_metadata(tmp_path, "d", {}, embodiment_tag="fr3", robot="fr3", contract_hash="a" * 64)
    metadata = load_metadata(tmp_path, "d")
    check_contract(metadata, SimpleNamespace(robot="fr3", hash="a" * 64))
    with pytest.raises(BeingHError, match="robot `fr3`"):
        check_contract(metadata, SimpleNamespace(robot="g1", hash="a" * 64))
    with pytest.raises(BeingHError, match="hash"):
        check_contract(metadata, SimpleNamespace(robot="fr3", hash="b" * 64))
    write_metadata(tmp_path, "released", {}, embodiment_tag="libero")
    check_contract(load_metadata(tmp_path, "released"), SimpleNamespace(robot="g1", hash="b" * 64))


def another_checkpoint(directory, **robots):
    (directory / "config.json").write_text("{}")
    for name, robot in robots.items():
        write_metadata(directory, name, {"state": {}, "action": {}}, embodiment_tag="x", robot=robot)


def test_a_checkpoint_of_another_robot_says_whose_it_is(tmp_path):
    another_checkpoint(tmp_path, so101_pens="so101", so101_cups="so101", released=None)
    with pytest.raises(BeingHError, match=r"for robot so101 \(data set so101_cups, so101_pens\).*`fr3`") as caught:
        check_checkpoint(load_contract("fr3"), tmp_path)
    assert "dataset_name" not in str(caught.value) and "so101" in caught.value.remedy


@pytest.mark.parametrize("robots", [{"cups": "fr3", "pens": "so101"}, {"released": None}, {}])
def test_without_statistics_of_the_contract_the_data_sets_are_named(tmp_path, robots):
    another_checkpoint(tmp_path, **robots)
    with pytest.raises(BeingHError, match="no metadata of dataset `fr3_cubes`") as caught:
        check_checkpoint(load_contract("fr3"), tmp_path)
    assert all(name in caught.value.allowed for name in robots)


def test_broken_files_beside_are_no_robot(tmp_path):
    another_checkpoint(tmp_path, so101_pens="so101")
    (tmp_path / "broken_metadata.json").write_text("{")
    (tmp_path / "odd_metadata.json").write_text('{"odd": {"statistics": {}, "robot": ["fr3"]}}')
    with pytest.raises(BeingHError, match="for robot so101"):
        check_checkpoint(load_contract("fr3"), tmp_path)
