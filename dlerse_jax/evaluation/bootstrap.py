"""95% intervals of means over users, seeds and splits, and of effects between agents.

The numbers are those of metrics.py: a table [..., S, B] per split, one number per seed
and user. Three things vary from one experiment to the next, and an interval is made of
`NUM_RESAMPLES` deviations of the mean, each the sum of one draw of all three:

- **users**: drawn with replacement, each with all that was measured of them: their
  mean over seeds, in every split that they are in (a cluster bootstrap; Davison and
  Hinkley, Bootstrap Methods, section 3.8). The deviations are stretched by
  sqrt(n / (n - 1)) t / z for n users: a percentile interval of few is too narrow
  (Hesterberg, What Teachers Should Know about the Bootstrap, 2015, section 4.3).
- **seeds**: a Student t with the degrees of freedom that the seeds leave (their number
  less one, added up over splits) times the standard error that seeds cause. Few seeds
  cannot be resampled: two give three different means, and intervals that cover .73.
  Of the variance between the means of seeds, what users alone explain is taken off:
  users x seeds is a crossed design, whose naive bootstrap counts the interaction twice
  (McCullagh, Resampling and Exchangeable Arrays, 2000; Owen, The Pigeonhole Bootstrap,
  2007). A sum of a normal and a t is the Behrens-Fisher interval for a mean with two
  sources of variance (Weerahandi, Generalized Confidence Intervals, 1993).
- **splits**: the same for the training sets, from `FEWEST_SPLITS` on. Of the variance
  between the means of splits, what users and seeds explain is taken off; the rest, if
  any, is what another training set would change. Two splits say too little of it (their
  t is 12.7), so intervals over two are over users and seeds alone.

So the levels are those of a hierarchical resampling of splits, seeds and users. With
one seed and one split there is no variance of seeds to see, and the interval is over
users alone: whoever prints it must say so (`summary.interval_sources`).

nan entries are left out of every mean, and so are splits that hold nothing else. Splits
weigh the same, and within one so do users.
"""

import dataclasses
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import ndtri, stdtrit

from dlerse_jax.evaluation.variance_components import (
    Spread,
    clustered,
    known_mean,
    num_splits,
    seed_parts,
    split_part,
)

NUM_RESAMPLES = 10_000
RESAMPLES_AT_ONCE = 1_000  # keeps the counts of thousands of users within memory
BOUNDS = (2.5, 97.5)  # percentiles

Table = np.ndarray
Tables = np.ndarray | Sequence[np.ndarray]
Users = Sequence[np.ndarray] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and its 95% bounds: numbers, or arrays over the leading axes given.

    All are nan where no user has a value. With a single user, seed and split the bounds
    fall on the mean: there is nothing that varies. p_value is nan with a single user.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray  # two-sided, that the mean is 0 (a ratio 1); from the draws


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Part:
    """What one split says of a quantity that is a sum over one or more tables."""

    user_means: np.ndarray  # [..., B] over seeds; nan for a user without a value
    seed_tables: list[Table]  # [..., S, B] each; their seeds are drawn independently


def bootstrap_interval(
    values: Tables, *, users: Users = None, seed: int = 0
) -> Interval:
    """Interval of the mean over users, seeds and splits.

    values [..., S, B], or a list of such tables, one per split, whose S and B may
    differ. users: for each split [B] who they are, so that somebody who is asked in
    several splits counts as one person; None where no split shares users.
    """
    parts = [
        _Part(user_means=known_mean(x, -2), seed_tables=[x]) for x in _listed(values)
    ]
    return _interval(parts, users, seed)


def paired_difference(
    first: Tables,
    second: Tables,
    *,
    users: Users = None,
    same_seeds: bool = False,
    seed: int = 0,
) -> Interval:
    """Interval of mean(first) - mean(second), on the same resampled users.

    first [..., S1, B], second [..., S2, B], same users in the same order (or lists of
    these, one pair per split). With same_seeds row s of both is the same seed, and what
    a seed does to both cancels; else their seeds are drawn independently. A user's
    nan in one leaves that user out of both. Raises ValueError when the number of
    users or splits differs, and with same_seeds of seeds.
    """
    pairs = _pairs(first, second)
    return _interval([_difference(x, y, same_seeds) for x, y in pairs], users, seed)


def paired_ratio(
    first: Tables,
    second: Tables,
    *,
    users: Users = None,
    same_seeds: bool = False,
    seed: int = 0,
) -> Interval:
    """Interval of mean(first) / mean(second): shapes, pairing and errors as above.

    The ratio R of two means over users and splits, not the mean of users' ratios, with
    the bounds of R + (first - R second) / mean(second): the delta method, good where
    the second mean is many standard errors from 0; nan where it is 0.
    """
    pairs = _pairs(first, second)
    with np.errstate(divide="ignore", invalid="ignore"):
        tops, bottoms = (
            [known_mean(known_mean(pair[side], -2), -1) for pair in pairs]
            for side in (0, 1)
        )
        bottom = known_mean(np.stack(bottoms), 0)
        bottom = np.where(bottom == 0, np.nan, bottom)
        ratio = known_mean(np.stack(tops), 0) / bottom
        scale, shift = (np.asarray(x)[..., None, None] for x in (bottom, ratio))
        parts = [
            _difference(x / scale, shift * y / scale, same_seeds) for x, y in pairs
        ]
    return _interval(parts, users, seed, origin=ratio, null=1.0)


def win_probability(
    first: Tables, second: Tables, *, users: Users = None, seed: int = 0
) -> Interval:
    """Chance that a random user does better with `first` than with `second`.

    Ties count half, so two equal agents give 1/2. Shapes, pairing and errors as in
    `paired_difference`; every seed of the one meets every seed of the other.
    """
    parts = []
    for x, y in _pairs(first, second):
        wins = _wins(x[..., :, None, :], y[..., None, :, :])
        by_seed = [known_mean(wins, -2), known_mean(wins, -3)]
        parts.append(_Part(user_means=known_mean(by_seed[0], -2), seed_tables=by_seed))
    interval = _interval(parts, users, seed, null=0.5)
    low, high = (np.clip(bound, 0, 1) for bound in (interval.low, interval.high))
    return dataclasses.replace(interval, low=low, high=high)


def _wins(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    wins = (first > second) + 0.5 * (first == second)
    return np.where(np.isnan(first) | np.isnan(second), np.nan, wins)


def _listed(values: Tables) -> list[Table]:
    return [values] if isinstance(values, np.ndarray) else list(values)


def _pairs(first: Tables, second: Tables) -> list[tuple[Table, Table]]:
    """Both tables of each split; a user without a value in one has none in both."""
    pairs = []
    for x, y in zip(_listed(first), _listed(second), strict=True):
        if x.shape[-1] != y.shape[-1]:
            raise ValueError(
                f"paired agents must share their users, got {x.shape[-1]} and"
                f" {y.shape[-1]}; evaluate both on the same split"
            )
        gap = 0 * (known_mean(x, -2) + known_mean(y, -2))[..., None, :]
        pairs.append((x + gap, y + gap))
    return pairs


def _difference(first: Table, second: Table, same_seeds: bool) -> _Part:
    if same_seeds:
        if first.shape[-2] != second.shape[-2]:
            raise ValueError(
                f"seeds are paired, got {first.shape[-2]} and {second.shape[-2]} of"
                " them; compare agents of the same seeds or let them be independent"
            )
        table = first - second
        return _Part(user_means=known_mean(table, -2), seed_tables=[table])
    means = known_mean(first, -2) - known_mean(second, -2)
    return _Part(user_means=means, seed_tables=[first, second])


def _interval(
    parts: Sequence[_Part],
    users: Users,
    seed: int,
    *,
    origin: np.ndarray | float = 0.0,
    null: float = 0.0,
) -> Interval:
    """Mean over splits with its bounds; origin is added to all, null is tested."""
    rng = np.random.default_rng(seed)
    split_means = np.stack(
        [known_mean(part.user_means, -1) for part in parts]
    )  # [K, ...]
    mean = origin + known_mean(split_means, 0)
    influences = _influences(parts, split_means, users)
    seeds = seed_parts([part.seed_tables for part in parts], split_means)
    spread = [*seeds, split_part(split_means, influences, seeds)]
    persons = clustered(influences)
    deviations = _user_deviations(persons, rng)
    deviations += _t_deviations(spread, rng)
    deviations[:, np.isnan(mean)] = np.nan
    with warnings.catch_warnings():  # nothing but nan: nan is the answer
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = mean + np.percentile(deviations, BOUNDS, axis=0)
    low, high = np.minimum(low, mean), np.maximum(high, mean)  # or rounding parts them
    is_one = (~np.isnan(persons)).sum(axis=-1) < 2
    p_value = np.where(is_one, np.nan, _two_sided(deviations, null - mean))
    return Interval(mean=mean[()], low=low, high=high, p_value=p_value[()])


# --- users ----------------------------------------------------------------------------


def _influences(
    parts: Sequence[_Part], split_means: np.ndarray, users: Users
) -> np.ndarray:
    """What each person adds to the mean, by split: [..., K, P], nan if not in it.

    A deviation of the mean is the sum of these over the persons who are drawn.
    """
    sizes = [part.user_means.shape[-1] for part in parts]
    if users is None:
        persons = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
        num_persons = sum(sizes)
    else:
        found, places = np.unique(np.concatenate(users), return_inverse=True)
        persons, num_persons = np.split(places, np.cumsum(sizes)[:-1]), len(found)
    table = np.full((*split_means.shape[1:], len(parts), num_persons), np.nan)
    share = 1 / num_splits(split_means)
    for place, (part, who) in enumerate(zip(parts, persons, strict=True)):
        centred = part.user_means - split_means[place][..., None]
        count = np.maximum((~np.isnan(centred)).sum(axis=-1), 1)
        table[..., place, who] = centred * (share / count)[..., None]
    return table


def _user_deviations(influences: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Deviations of the mean over resampled persons: [..., P] -> [R, ...]."""
    count = np.maximum((~np.isnan(influences)).sum(axis=-1), 2)
    student = stdtrit(count - 1, BOUNDS[1] / 100) / ndtri(BOUNDS[1] / 100)
    stretch = np.sqrt(count / (count - 1)) * student
    wide = np.nan_to_num(influences) * stretch[..., None]
    num_persons = wide.shape[-1]
    flat = wide.reshape(count.size, num_persons).T
    chunks = [
        _draw_counts(num_persons, rng) @ flat
        for _ in range(NUM_RESAMPLES // RESAMPLES_AT_ONCE)
    ]
    return np.concatenate(chunks).reshape(-1, *wide.shape[:-1])


def _draw_counts(size: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of `size` is drawn in `size` draws: [RESAMPLES_AT_ONCE, size]."""
    shape = (RESAMPLES_AT_ONCE, size)
    drawn = rng.integers(size, size=shape) if size else np.zeros(shape, np.int64)
    cells = drawn + np.arange(RESAMPLES_AT_ONCE)[:, None] * size
    counts = np.bincount(cells.ravel(), minlength=RESAMPLES_AT_ONCE * size)
    return counts.reshape(shape).astype(np.float64)


def _t_deviations(spreads: Sequence[Spread], rng: np.random.Generator) -> np.ndarray:
    """Draws of all sources together, with Welch's degrees of freedom: [R, ...]."""
    variances = np.stack([variance for variance, _ in spreads])
    total = variances.sum(axis=0)
    lost = sum(variance**2 / np.maximum(freedom, 1) for variance, freedom in spreads)
    with np.errstate(invalid="ignore"):
        freedom = np.where(total > 0, total**2 / lost, 1).round(1)
    order = rng.permutation(NUM_RESAMPLES // RESAMPLES_AT_ONCE * RESAMPLES_AT_ONCE)
    levels = (order + 0.5) / len(order)  # every quantile once: no luck in the tails
    draws = np.empty((len(order), *freedom.shape))
    for value in np.unique(freedom):
        draws[:, freedom == value] = stdtrit(value, levels)[:, None]
    return draws * np.sqrt(total)


def _two_sided(deviations: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Twice the share of deviations at or beyond distance, at most 1: [R, ...]."""
    beyond = [(compare(deviations, distance)).sum(axis=0) for compare in SIDES]
    p_value = np.minimum(2 * (1 + np.minimum(*beyond)) / (1 + len(deviations)), 1)
    return np.where(np.isnan(distance), np.nan, p_value)


SIDES: tuple[Callable, ...] = (np.less_equal, np.greater_equal)
