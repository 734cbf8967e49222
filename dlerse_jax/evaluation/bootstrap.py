"""Intervals for means over users and seeds, and for differences between agents.

In go the per-user numbers of metrics.py, one table [..., S, B] a split; out come
means with the bounds of a 95% percentile bootstrap. What is resampled: users within
each split, and seeds where there are several, crossed (a drawn seed counts for every
drawn user). Several splits are resampled apart and their means averaged, each split
weighing the same. nan entries are left out of every mean, and so are splits and
resamples that hold nothing else.

A resample is a vector of counts, so 10,000 of them are a few matrix products, and
the quantities along the leading axes of a table share them.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np

NUM_RESAMPLES = 10_000
RESAMPLES_AT_ONCE = 1_000  # keeps the counts of thousands of users within memory
BOUNDS = (2.5, 97.5)  # percentiles

Table = np.ndarray
Tables = np.ndarray | Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and its 95% bounds: numbers, or arrays over the leading axes given.

    All three are nan where no user has a value. With a single user and seed the
    bounds fall on the mean: there is nothing to resample.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bootstrap_interval(values: Tables, *, seed: int = 0) -> Interval:
    """Interval of the mean over users and seeds.

    values [..., S, B], or a list of such tables, one a split, whose B may differ.
    """
    tables = _per_split(values)
    return _interval(tables, [table.shape[-2:-1] for table in tables], seed)


def paired_difference(first: Tables, second: Tables, *, seed: int = 0) -> Interval:
    """Interval of mean(first) - mean(second), on the same resampled users.

    first [..., S1, B], second [..., S2, B], same users in the same order (or lists of
    these, one pair a split); the seeds of the two are drawn independently. A user's
    nan in one leaves that user out of both. Raises ValueError when the number of
    users or splits differs.
    """
    return _pair_interval(np.subtract, first, second, seed)


def paired_ratio(first: Tables, second: Tables, *, seed: int = 0) -> Interval:
    """Interval of mean(first) / mean(second): shapes, pairing and errors as above.

    The ratio of two means over users and splits, not the mean of users' ratios. nan or
    infinite where the second mean is 0.
    """
    return _pair_interval(_side_by_side, first, second, seed, finish=_ratio)


def _side_by_side(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[..., 2, S1, S2, B]; a user's nan in one is a nan in both."""
    gap = 0 * (first + second)
    return np.stack([first + gap, second + gap], axis=-4)


def _ratio(means: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return means[..., 0] / means[..., 1]


def win_probability(first: Tables, second: Tables, *, seed: int = 0) -> Interval:
    """Chance that a random user does better with `first` than with `second`.

    Ties count half, so two equal agents give 1/2. Shapes, pairing and errors as in
    `paired_difference`; every seed of the one meets every seed of the other.
    """
    return _pair_interval(_wins, first, second, seed)


def _wins(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    wins = (first > second) + 0.5 * (first == second)
    return np.where(np.isnan(first) | np.isnan(second), np.nan, wins)


def _per_split(values: Tables) -> list[Table]:
    return [values] if isinstance(values, np.ndarray) else list(values)


def _pair_interval(
    compare: Callable,
    first: Tables,
    second: Tables,
    seed: int,
    finish: Callable = np.asarray,
) -> Interval:
    """Interval of compare(first, second) over users and all pairs of seeds.

    finish makes one number of the means of what compare sets side by side.
    """
    tables, seed_counts = [], []
    for x, y in zip(_per_split(first), _per_split(second), strict=True):
        if x.shape[-1] != y.shape[-1]:
            raise ValueError(
                f"paired agents must share their users, got {x.shape[-1]} and"
                f" {y.shape[-1]}; evaluate both on the same split"
            )
        pairs = compare(x[..., :, None, :], y[..., None, :, :])
        tables.append(pairs.reshape(*pairs.shape[:-3], -1, pairs.shape[-1]))
        seed_counts.append(pairs.shape[-3:-1])
    return _interval(tables, seed_counts, seed, finish)


def _interval(
    tables: Sequence[Table],
    seed_counts: Sequence[tuple[int, ...]],
    seed: int,
    finish: Callable = np.asarray,
) -> Interval:
    """Mean over splits with its bounds. tables [..., P, B], P all pairs of seeds."""
    rng = np.random.default_rng(seed)
    means, resampled = [], []
    for table, counts in zip(tables, seed_counts, strict=True):
        whole = [np.ones((1, size)) for size in (table.shape[-2], table.shape[-1])]
        means.append(_weighted_means(table, *whole)[0])
        resampled.append(_resampled_means(table, counts, rng))
    with warnings.catch_warnings():  # nothing but nan: nan is the answer
        warnings.simplefilter("ignore", RuntimeWarning)
        mean = finish(np.nanmean(means, axis=0))[()]
        drawn = finish(np.nanmean(resampled, axis=0))
        low, high = np.nanpercentile(drawn, BOUNDS, axis=0)
    return Interval(mean=mean, low=low, high=high)


def _resampled_means(
    table: Table, seed_counts: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """Means of NUM_RESAMPLES draws of users and seeds: [..., P, B] -> [R, ...]."""
    chunks = []
    for _ in range(NUM_RESAMPLES // RESAMPLES_AT_ONCE):
        pairs = np.ones((RESAMPLES_AT_ONCE, 1))
        for num_seeds in seed_counts:
            seeds = _draw_counts(num_seeds, rng)
            pairs = (pairs[:, :, None] * seeds[:, None, :]).reshape(len(pairs), -1)
        users = _draw_counts(table.shape[-1], rng)
        chunks.append(_weighted_means(table, pairs, users))
    return np.concatenate(chunks)


def _draw_counts(size: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of `size` is drawn in `size` draws: [RESAMPLES_AT_ONCE, size]."""
    shape = (RESAMPLES_AT_ONCE, size)
    drawn = rng.integers(size, size=shape) if size else np.zeros(shape, np.int64)
    cells = drawn + np.arange(RESAMPLES_AT_ONCE)[:, None] * size
    counts = np.bincount(cells.ravel(), minlength=RESAMPLES_AT_ONCE * size)
    return counts.reshape(shape).astype(np.float64)


def _weighted_means(
    table: Table, pair_weights: np.ndarray, user_weights: np.ndarray
) -> np.ndarray:
    """nan-means under weights: table [..., P, B], [R, P], [R, B] -> [R, ...].

    nan for a draw that holds no value at all.
    """
    known = ~np.isnan(table)
    totals = _weighted_sums(np.where(known, table, 0), pair_weights, user_weights)
    counts = np.empty_like(totals)
    counts.T[:] = pair_weights.sum(axis=1) * user_weights.sum(axis=1)
    gaps = ~known.all(axis=(-2, -1))  # only these need a product of their own
    if gaps.any():
        held = known[gaps].astype(float)
        counts[:, gaps] = _weighted_sums(held, pair_weights, user_weights)
    with np.errstate(invalid="ignore"):
        return totals / counts


def _weighted_sums(
    table: Table, pair_weights: np.ndarray, user_weights: np.ndarray
) -> np.ndarray:
    *lead, num_pairs, num_users = table.shape
    rows = math.prod(lead) * num_pairs
    over_users = user_weights @ table.reshape(rows, num_users).T
    over_users = over_users.reshape(len(user_weights), *lead, num_pairs)
    return np.einsum("r...p,rp->r...", over_users, pair_weights)
