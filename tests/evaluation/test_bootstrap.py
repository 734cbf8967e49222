"""Promises of evaluation/statistics.py: intervals that cover, pairs that pair."""

import numpy as np
import pytest
import scipy.stats

from dlerse_jax.evaluation import bootstrap


def normal(shape, mean=0.0, seed=0):
    return np.random.default_rng(seed).normal(mean, 1, shape)


def test_interval_over_users_equals_scipy():
    values = normal((1, 187), mean=3)
    ours = bootstrap.bootstrap_interval(values)
    reference = scipy.stats.bootstrap(
        (values[0],), np.mean, n_resamples=9_999, method="percentile", rng=1
    ).confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low == pytest.approx(reference.low, abs=0.01)
    assert ours.high == pytest.approx(reference.high, abs=0.01)


def test_interval_holds_the_true_mean_in_about_95_of_100_samples():
    samples = normal((300, 1, 60))
    interval = bootstrap.bootstrap_interval(samples)
    covered = (interval.low <= 0) & (interval.high >= 0)
    assert 0.90 <= covered.mean() <= 0.98


def test_seeds_that_disagree_widen_the_interval():
    users = normal((1, 100))
    shifts = np.array([[-1.0], [0.0], [1.0]])
    steady = bootstrap.bootstrap_interval(np.repeat(users, 3, axis=0))
    shaky = bootstrap.bootstrap_interval(users + shifts)
    assert steady.mean == pytest.approx(shaky.mean)
    assert shaky.high - shaky.low > 2 * (steady.high - steady.low)


def test_a_repeated_deterministic_run_does_not_narrow_the_interval():
    users = normal((1, 100))
    once = bootstrap.bootstrap_interval(users)
    thrice = bootstrap.bootstrap_interval(np.repeat(users, 3, axis=0))
    width = once.high - once.low
    assert thrice.high - thrice.low == pytest.approx(width, rel=0.05)


def test_the_same_seed_gives_the_same_bounds_and_another_does_not():
    values = normal((2, 30))
    first, again, other = (
        bootstrap.bootstrap_interval(values, seed=seed) for seed in (1, 1, 2)
    )
    assert (first.low, first.high) == (again.low, again.high)
    assert first.low != other.low


def test_quantities_stacked_in_front_get_the_interval_each_has_alone():
    values = normal((3, 2, 40))
    stacked = bootstrap.bootstrap_interval(values)
    alone = [bootstrap.bootstrap_interval(table) for table in values]
    np.testing.assert_allclose(stacked.low, [interval.low for interval in alone])
    np.testing.assert_allclose(stacked.high, [interval.high for interval in alone])


def test_users_without_a_value_are_left_out():
    values = normal((1, 30))
    padded = np.concatenate([values, np.full((1, 5), np.nan)], axis=1)
    interval = bootstrap.bootstrap_interval(padded)
    assert interval.mean == pytest.approx(values.mean())
    assert np.isfinite([interval.low, interval.high]).all()


@pytest.mark.parametrize("values", [np.zeros((1, 0)), np.full((2, 3), np.nan)])
def test_nobody_has_no_interval(values):
    interval = bootstrap.bootstrap_interval(values)
    assert np.isnan([interval.mean, interval.low, interval.high]).all()


def test_one_user_and_seed_has_an_interval_without_width():
    interval = bootstrap.bootstrap_interval(np.array([[0.5]]))
    assert (interval.mean, interval.low, interval.high) == (0.5, 0.5, 0.5)


def test_splits_weigh_the_same_and_are_resampled_apart():
    low_split, high_split = np.zeros((1, 10)), np.ones((1, 1_000))
    interval = bootstrap.bootstrap_interval([low_split, high_split])
    assert (interval.mean, interval.low, interval.high) == (0.5, 0.5, 0.5)


def test_pairing_removes_what_two_agents_share():
    easy_users = 10 * normal((1, 200), seed=1)
    better = easy_users + 0.3 + 0.1 * normal((3, 200), seed=2)
    worse = easy_users + 0.1 * normal((2, 200), seed=3)
    interval = bootstrap.paired_difference(better, worse)
    assert interval.mean == pytest.approx(better.mean() - worse.mean())
    assert 0.25 < interval.low < interval.high < 0.35


def scipy_bounds(first, second, statistic):
    """SciPy's paired percentile bootstrap of two tables [1, B]."""
    return scipy.stats.bootstrap(
        (first[0], second[0]), statistic, paired=True, method="percentile", rng=1
    ).confidence_interval


def test_paired_difference_equals_scipy():
    first, second = normal((1, 150), mean=0.2, seed=4), normal((1, 150), seed=5)
    ours = bootstrap.paired_difference(first, second)
    reference = scipy_bounds(
        first, second, lambda x, y, axis: np.mean(x - y, axis=axis)
    )
    np.testing.assert_allclose([ours.low, ours.high], reference, atol=0.02)


def test_paired_ratio_is_that_of_the_means_and_equals_scipy():
    second = normal((1, 150), mean=5.0, seed=8)
    first = 1.1 * second + normal((1, 150), seed=9)
    ours = bootstrap.paired_ratio(first, second)
    assert ours.mean == pytest.approx(first.mean() / second.mean())
    reference = scipy_bounds(
        first, second, lambda x, y, axis: np.mean(x, axis=axis) / np.mean(y, axis=axis)
    )
    np.testing.assert_allclose([ours.low, ours.high], reference, atol=0.005)


def test_paired_ratio_weighs_splits_and_meets_every_seed_with_every_seed():
    first = [np.full((3, 10), 2.0), np.full((3, 20), 4.0)]
    second = [np.full((2, 10), 1.0), np.full((2, 20), np.nan)]
    interval = bootstrap.paired_ratio(first, second)
    # The second split has no user that both have a value for.
    assert (interval.mean, interval.low, interval.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    "first, second, chance",
    [
        ([3, 3, 3, 3], [1, 1, 1, 1], 1),
        ([1, 2, 3, 4], [1, 2, 3, 4], 0.5),
        ([5, 0, 2, 2], [1, 1, 2, 2], 0.5),
        ([5, 5, 2, 0], [1, 1, 2, 1], 0.625),
    ],
)
def test_win_probability_counts_ties_half(first, second, chance):
    first, second = np.array([first], float), np.array([second], float)
    assert bootstrap.win_probability(first, second).mean == chance
    assert bootstrap.win_probability(second, first).mean == 1 - chance


def test_win_probability_meets_every_seed_with_every_seed():
    first, second = normal((3, 20), seed=6), normal((2, 20), seed=7)
    expected = np.mean([x > y for x in first for y in second])
    assert bootstrap.win_probability(first, second).mean == pytest.approx(expected)


def test_agents_on_different_users_are_not_paired():
    with pytest.raises(ValueError, match="got 3 and 4; evaluate both on the same"):
        bootstrap.paired_difference(np.zeros((1, 3)), np.zeros((1, 4)))
