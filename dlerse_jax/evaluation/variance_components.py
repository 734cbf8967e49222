"""What seeds and training sets add to the variance of a mean, over what users explain.

Mean squares of a crossed design, users x seeds, in splits: bootstrap.py says why.
"""

from collections.abc import Sequence

import numpy as np

FEWEST_SPLITS = 3  # that tell how much training sets differ

# Variance of the mean, and the degrees of freedom that it is found with: [...] both.
Spread = tuple[np.ndarray, np.ndarray | int]


def known_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """nan-mean, nan where there is nothing else, without a warning."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=axis) / known.sum(axis=axis)


def num_splits(split_means: np.ndarray) -> np.ndarray:
    """Splits that have a value, at least 1 to divide by: [K, ...] -> [...]."""
    return np.maximum((~np.isnan(split_means)).sum(axis=0), 1)


def clustered(influences: np.ndarray) -> np.ndarray:
    """Each person's in all splits together: [..., K, P] -> [..., P], nan if in none."""
    total = np.nansum(influences, axis=-2)
    return np.where(np.isnan(influences).all(axis=-2), np.nan, total)


def _variance(influences: np.ndarray) -> np.ndarray:
    """Variance of a sum over drawn persons: [..., P] -> [...]."""
    count = (~np.isnan(influences)).sum(axis=-1)
    return np.nansum(influences**2, axis=-1) * count / np.maximum(count - 1, 1)


def seed_parts(
    splits: Sequence[Sequence[np.ndarray]], split_means: np.ndarray
) -> list[Spread]:
    """What independent sets of seeds add to the variance of the mean, pooled.

    splits: the tables [..., S, B] of each split, one per set.
    """
    spreads: list[Spread] = []
    for tables in zip(*splits, strict=True):
        freedom = sum(_seed_freedom(table) for table in tables)
        variance = np.nansum([_seed_variance(table) for table in tables], axis=0)
        whole = np.maximum(variance / num_splits(split_means) ** 2, 0)
        spreads.append((whole, freedom))
    return spreads


def _seed_freedom(table: np.ndarray) -> np.ndarray:
    """Seeds of a table [..., S, B] less one; 0 where it holds nothing: [...]."""
    return (table.shape[-2] - 1) * ~np.isnan(table).all(axis=(-2, -1))


def _seed_variance(table: np.ndarray) -> np.ndarray:
    """Variance that seeds add to the mean of a table [..., S, B]; it may be negative.

    Mean squares of the crossed design: between seeds, less the interaction.
    """
    num_seeds = table.shape[-2]
    if num_seeds == 1:
        return np.zeros(table.shape[:-2])
    rest = table - known_mean(table, -2)[..., None, :]
    effects = known_mean(rest, -1)
    rest = rest - effects[..., None]
    known = ~np.isnan(table)
    cells = np.maximum(known.sum(axis=(-2, -1)), 1)
    freedom = cells - known.any(axis=-2).sum(axis=-1) - (num_seeds - 1)
    noise = np.nansum(rest**2, axis=(-2, -1)) / np.maximum(freedom, 1) / cells
    return np.nansum(effects**2, axis=-1) / (num_seeds - 1) / num_seeds - noise


def split_part(
    split_means: np.ndarray, influences: np.ndarray, seeds: Sequence[Spread]
) -> Spread:
    """What training sets add to the variance of the mean over splits.

    That between splits less what their own users and seeds explain. Persons who are in
    several splits make these alike, which the last term gives back. Splits that hold
    nothing count as if they were not there.
    """
    if len(split_means) < FEWEST_SPLITS:
        return np.zeros(split_means.shape[1:]), 0
    count = num_splits(split_means)
    others = np.maximum(count - 1, 1)
    gaps = np.nansum((split_means - known_mean(split_means, 0)) ** 2, axis=0)
    apart = _variance(influences).sum(axis=-1)
    shared = _variance(clustered(influences)) - apart
    explained = apart + sum(variance for variance, _ in seeds) - shared / others
    found = np.maximum(gaps / (count * others) - explained, 0)
    return np.where(count < FEWEST_SPLITS, 0, found), count - 1
