"""Promises of evaluation/multiple_tests.py: Holm's p-values, as others compute them."""

import numpy as np

from dlerse_jax.evaluation.multiple_tests import holm

P_VALUES = [0.01, 0.04, 0.03, 0.005, 0.5, 0.04, 0.0002, 0.9]
# statsmodels 0.14, multipletests(P_VALUES, method="holm")[1]
STATSMODELS = [0.06, 0.16, 0.15, 0.035, 1.0, 0.16, 0.0016, 1.0]


def test_holm_equals_statsmodels():
    np.testing.assert_allclose(holm(P_VALUES), STATSMODELS)


def test_rows_without_a_p_value_count_not():
    np.testing.assert_allclose(holm([np.nan, 0.01, 0.04]), [np.nan, 0.02, 0.04])
    assert holm([]).shape == (0,)


def test_the_largest_is_never_below_a_smaller_one():
    adjusted = holm([0.02, 0.021, 0.022])
    np.testing.assert_allclose(adjusted, [0.06, 0.06, 0.06])


def test_of_many_agents_that_differ_in_nothing_one_is_found_in_a_twentieth_of_tables():
    tables = np.random.default_rng(0).uniform(size=(2_000, 28))
    assert (tables < 0.05).any(axis=1).mean() > 0.7
    found = np.array([(holm(table) < 0.05).any() for table in tables])
    assert 0.03 < found.mean() < 0.07
