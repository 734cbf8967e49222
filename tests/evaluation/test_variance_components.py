"""What seeds and training sets add to the variance of a mean, by hand and by chance."""

import numpy as np
import pytest

from dlerse_jax.evaluation import bootstrap
from dlerse_jax.evaluation.variance_components import split_part


def test_users_whom_splits_share_do_not_hide_what_training_sets_change():
    """They make splits alike; what is found is the variance of training sets still."""
    rng = np.random.default_rng(10)
    taste = rng.normal(0, 1, (2_000, 1, 60))
    splits = [
        taste + rng.normal(0, 0.1, taste.shape) + rng.normal(0, 0.2, (2_000, 1, 1))
        for _ in range(5)
    ]
    parts = [bootstrap._Part(user_means=x[:, 0], seed_tables=[]) for x in splits]
    means = np.stack([x.mean(axis=(1, 2)) for x in splits])
    influences = bootstrap._influences(parts, means, [np.arange(60)] * 5)
    variance, freedom = split_part(means, influences, [])
    assert variance.mean() == pytest.approx(0.2**2 / 5, rel=0.05)
    assert (freedom == 4).all()


@pytest.mark.parametrize("is_shared, variance", [(False, 14.4), (True, 0)])
def test_of_what_splits_differ_by_users_and_seeds_take_their_part(is_shared, variance):
    """By hand: two people a split, who add 0.1 and -0.1 to the mean, or the same two in
    all of them; one split of four holds nothing. Variances are in units of 0.1^2: of
    each split 4, of six people together 7.2, of two who are in three splits 36."""
    means = np.array([0.0, 2.0, np.nan, 1.0])
    between = 2 / 3 / 2  # squares of the gaps over three splits and two degrees
    influences = np.full((4, 8), np.nan)
    for split in (0, 1, 3):
        first = 0 if is_shared else 2 * split
        influences[split, first : first + 2] = 0.1, -0.1
    seeds = [(np.float64(0.01), 2), (np.float64(0.02), 1)]
    found, freedom = split_part(means, influences, seeds)
    assert found == pytest.approx(between - variance * 0.1**2 - 0.03)
    assert freedom == 2
    assert split_part(means, 10 * influences, [(1.0, 2)])[0] == 0
    assert split_part(means[:2], influences[:2], seeds) == (0, 0)
    assert split_part(means[:3], influences[:3], seeds)[0] == 0  # two that hold some


def test_a_person_alone_in_a_split_stands_for_it():
    influences = np.diag([0.2, 0.2, 0.2]) + np.diag([np.nan] * 2, 1)
    influences[influences == 0] = np.nan
    found, _ = split_part(np.array([0.0, 2.0, 1.0]), influences, [])
    assert found == pytest.approx(1 / 3 - (0.12 - (0.18 - 0.12) / 2))


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_split_that_holds_nothing_is_as_if_left_out(seeds):
    """It gave the seeds of the others a degree of freedom more than they have."""
    draws = np.random.default_rng(0)
    values = draws.normal(size=(seeds, 40)) + draws.normal(size=(seeds, 1))
    for nothing in (np.full((seeds, 3), np.nan), np.zeros((seeds, 0))):
        alone = bootstrap.bootstrap_interval([values])
        beside = bootstrap.bootstrap_interval([values, nothing, nothing])
        assert beside.mean == pytest.approx(alone.mean)
        width = alone.high - alone.low
        assert beside.high - beside.low == pytest.approx(width, rel=0.05)
