"""The list of mutants can be applied as it stands; `make mutants` runs them."""

import pytest
from mutants import MUTANTS, ROOT, stale


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_place_and_names_tests_that_exist(mutant):
    assert stale(mutant) == ""
    assert mutant.old != mutant.new
    assert (ROOT / mutant.tests.partition(" ")[0]).exists()


def test_no_two_mutants_have_one_name():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
