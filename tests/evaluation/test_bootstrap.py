"""Promises of evaluation/bootstrap.py: intervals that cover, pairs that pair."""

import numpy as np
import pytest
import scipy.stats

from dlerse_jax.evaluation import bootstrap
from dlerse_jax.evaluation.summary import interval_text
from dlerse_jax.reporting.effects import as_dict, signed


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


@pytest.mark.parametrize("value", [0.1, 1.1])
def test_users_who_are_all_alike_have_an_interval_that_holds_their_mean(value):
    """Whatever rounding does to the mean: what draws an interval needs that."""
    for count in range(2, 50):
        found = bootstrap.bootstrap_interval(np.full((1, count), value))
        assert found.low <= found.mean <= found.high


def test_one_user_differs_from_nobody():
    several = bootstrap.bootstrap_interval(np.array([[0.5, 0.5]]))
    assert several.p_value < 0.01
    alone = bootstrap.bootstrap_interval(np.array([[0.5], [0.6]]))
    assert np.isnan(alone.p_value) and alone.low < alone.mean


def test_splits_weigh_the_same_whatever_their_size():
    small, large = np.zeros((1, 10)), np.ones((1, 1_000))
    two = bootstrap.bootstrap_interval([small, large])
    assert (two.mean, two.low, two.high) == (0.5, 0.5, 0.5)
    three = bootstrap.bootstrap_interval([small, large, small + 0.5])
    assert three.low < 0 < 1 < three.high  # training sets that matter so much


def crossed(rng, samples, seeds, users, *, by_user, by_seed, noise):
    """Tables [samples, seeds, users] of mean 0 with three sources of variance."""
    return (
        rng.normal(0, by_user, (samples, 1, users))
        + rng.normal(0, by_seed, (samples, seeds, 1))
        + rng.normal(0, noise, (samples, seeds, users))
    )


@pytest.fixture
def fast(monkeypatch):
    """A fifth of the resamples, for thousands of intervals at once."""
    monkeypatch.setattr(bootstrap, "NUM_RESAMPLES", 2_000)


def coverage(interval, truth=0.0):
    return ((interval.low <= truth) & (truth <= interval.high)).mean()


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(
    "by_user, by_seed, most", [(1, 0, 0.97), (1, 0.2, 0.98), (0.3, 1, 0.97)]
)
def test_intervals_of_few_seeds_cover(fast, seeds, by_user, by_seed, most):
    """From users alone, over a mixture, to seeds that are all that matters."""
    sources = {"by_user": by_user, "by_seed": by_seed, "noise": 0.4}
    tables = crossed(np.random.default_rng(1), 4_000, seeds, 80, **sources)
    assert 0.93 <= coverage(bootstrap.bootstrap_interval(tables)) <= most


@pytest.mark.parametrize("by_split", [0, 0.3])
def test_intervals_over_splits_cover_whether_training_sets_matter_or_not(
    fast, by_split
):
    rng = np.random.default_rng(2)
    sources = {"by_user": 1, "by_seed": 0.1, "noise": 0.4}
    splits = [
        crossed(rng, 500, 2, 60, **sources) + rng.normal(0, by_split, (500, 1, 1))
        for _ in range(5)
    ]
    assert 0.93 <= coverage(bootstrap.bootstrap_interval(splits)) <= 0.98


def test_a_user_of_several_splits_is_one_user(fast):
    """In each of five splits the same users do the same: nothing is learnt anew."""
    rng = np.random.default_rng(3)
    taste = rng.normal(0, 1, (500, 1, 60))
    splits = [taste + rng.normal(0, 0.1, (500, 1, 60)) for _ in range(5)]
    same = [np.arange(60)] * 5
    told = bootstrap.bootstrap_interval(splits, users=same)
    untold = bootstrap.bootstrap_interval(splits)
    assert 0.93 <= coverage(told) <= 0.97
    assert coverage(untold) < 0.7


def test_users_are_known_by_name_not_by_place():
    rng = np.random.default_rng(4)
    taste = rng.normal(0, 1, 60)
    there = rng.permutation(60)
    splits = [taste[None], taste[None, there]]
    together = bootstrap.bootstrap_interval(splits, users=[np.arange(60), there])
    alone = bootstrap.bootstrap_interval(taste[None])
    assert together.high - together.low == pytest.approx(
        alone.high - alone.low, rel=0.05
    )


def test_differences_of_agents_with_few_seeds_cover(fast):
    rng = np.random.default_rng(5)
    easy = rng.normal(0, 3, (1_000, 1, 80))
    sources = {"by_user": 0.3, "by_seed": 0.5, "noise": 0.4}
    first = easy + crossed(rng, 1_000, 3, 80, **sources)
    second = easy + crossed(rng, 1_000, 2, 80, **sources)
    assert 0.93 <= coverage(bootstrap.paired_difference(first, second)) <= 0.98
    ratio = bootstrap.paired_ratio(first + 60, second + 60)
    assert 0.93 <= coverage(ratio, 1.0) <= 0.98


def test_what_a_seed_does_to_both_agents_cancels():
    rng = np.random.default_rng(6)
    luck = rng.normal(0, 5, (3, 1))
    first, second = normal((3, 80), 0.5, seed=7) + luck, normal((3, 80), seed=8) + luck
    paired = bootstrap.paired_difference(first, second, same_seeds=True)
    apart = bootstrap.paired_difference(first, second)
    assert paired.mean == pytest.approx(apart.mean)
    assert paired.high - paired.low < 0.2 * (apart.high - apart.low)
    ratio = bootstrap.paired_ratio(first + 50, second + 50, same_seeds=True)
    assert ratio.high - ratio.low < 0.05
    with pytest.raises(ValueError, match="seeds are paired, got 3 and 2"):
        bootstrap.paired_difference(first, second[:2], same_seeds=True)


def test_p_values_are_even_where_nothing_differs_and_small_where_it_does(fast):
    rng = np.random.default_rng(9)
    nothing = bootstrap.bootstrap_interval(rng.normal(0, 1, (1_000, 1, 60)))
    for level in (0.05, 0.2, 0.5):
        assert (nothing.p_value <= level).mean() == pytest.approx(level, abs=0.03)
    something = bootstrap.bootstrap_interval(rng.normal(1, 1, (1, 60)))
    assert something.p_value < 0.001
    outside = (nothing.low > 0) | (nothing.high < 0)
    assert ((nothing.p_value < 0.05) == outside).mean() > 0.995
    tens = np.full((1, 9), 10.0)
    assert bootstrap.paired_ratio(tens, tens).p_value == 1


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


def test_a_ratio_over_splits_is_that_of_the_means_over_all_of_them():
    """As are its bounds: the ratios of the splits, 2 and 1, are in none of them."""
    small, large = normal((1, 200), 1.0), normal((1, 200), 4.0, seed=1)
    found = bootstrap.paired_ratio([2 * small, large], [small, large])
    whole = small.mean() + large.mean()
    ratio = (2 * small.mean() + large.mean()) / whole
    assert found.mean == pytest.approx(ratio)
    gaps = np.array([(2 - ratio) * small.std(), (1 - ratio) * large.std()])
    error = np.linalg.norm(gaps) / np.sqrt(200) / whole
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_a_ratio_to_nothing_is_no_number():
    """It was infinite with bounds of nan, and differed from 1 beyond any doubt."""
    found = bootstrap.paired_ratio(normal((2, 30), mean=1.0), np.zeros((1, 30)))
    assert np.isnan([found.mean, found.low, found.high, found.p_value]).all()
    assert signed(as_dict(found)) == interval_text(as_dict(found)) == "-"


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


def test_seeds_of_either_agent_widen_the_chance_of_winning():
    steady, other = np.repeat(normal((1, 200)), 3, axis=0), normal((1, 200), seed=1)
    shaky = steady + np.array([[-2.0], [0.0], [2.0]])
    for first, second in ((shaky, other), (other, shaky)):
        found = bootstrap.win_probability(first, second)
        assert (found.low, found.high) == (0, 1)  # a chance is no less and no more
    calm = bootstrap.win_probability(steady, other)
    assert calm.high - calm.low < 0.2


def test_chances_of_winning_cover_and_tell_from_a_half(fast):
    rng = np.random.default_rng(11)
    sources = {"by_user": 0.3, "by_seed": 0.3, "noise": 0.4}
    first, second = (crossed(rng, 500, seeds, 60, **sources) for seeds in (4, 3))
    found = bootstrap.win_probability(first, second)
    assert 0.93 <= coverage(found, 0.5) <= 0.99
    assert 0.01 <= (found.p_value < 0.05).mean() <= 0.07


def test_who_wins_in_several_splits_wins_once():
    first, second = normal((1, 60), 0.3), normal((1, 60), seed=1)
    alone = bootstrap.win_probability(first, second)
    same = [np.arange(60)] * 5
    told = bootstrap.win_probability([first] * 5, [second] * 5, users=same)
    assert told.high - told.low == pytest.approx(alone.high - alone.low, rel=0.05)


def test_agents_on_different_users_are_not_paired():
    with pytest.raises(ValueError, match="got 3 and 4; evaluate both on the same"):
        bootstrap.paired_difference(np.zeros((1, 3)), np.zeros((1, 4)))


@pytest.mark.parametrize("count", [4, 8])
def test_of_few_users_the_interval_is_as_wide_as_students(count):
    levels = (np.arange(count) + 0.5) / count
    values = scipy.stats.norm.ppf(levels)
    found = bootstrap.bootstrap_interval(values[None])
    width = scipy.stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count)
    assert found.high - found.mean == pytest.approx(width, rel=0.06)


def test_users_without_a_number_on_either_side_count_on_none():
    first, second = [[0.0, 1.0, np.nan, 0.5]], [[1.0, 0.0, 0.2, np.nan]]
    found = bootstrap.paired_ratio(np.array(first), np.array(second))
    assert found.mean == pytest.approx(1.0)
