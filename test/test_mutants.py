"""The mutants of `make mutants` still fit the tree. Whether the tests find them takes minutes."""

import sys
from collections import Counter

import pytest
from ros_support import ROOT

sys.path.insert(0, str(ROOT / "test" / "mutants"))
from mutants import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file.rsplit('/', 1)[1]}: {mutant.old[:40]}")
def test_a_mutant_fits_its_file_once(mutant):
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1 and mutant.new != mutant.old
    assert (ROOT / "test" / mutant.tests).is_file()


def test_there_are_forty_and_none_twice():
    assert len(MUTANTS) >= 40
    assert max(Counter((mutant.file, mutant.old) for mutant in MUTANTS).values()) == 1
