"""Metrics of episodes and of rankings: one number per user, never a mean over users.

They read the answers of an episode or scores of the catalogue, as NumPy arrays, and
give arrays with one value per user, so that any mean can have an interval.
A user for whom a metric has no meaning gets nan, and means are nan-means: recall,
NDCG, reciprocal rank and AUC of a user without a relevant item, the reward of an
episode without a valid step, the length of streaks that never were.

A list is its hits: `hits[..., i]` is 1 when the item at place i is one the user
likes. The feedback of an episode is such a list, and so is the top of a ranking
(`top_hits`), so precision and recall are the same functions for both.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dlerse_jax.environment.reward import (
    episode_rewards,
    streaks_after,
    streaks_before,
)

# Scores are ranked in slices of rows, one slice per thread: within these bounds as many
# rows as stay in the cache.
LEAST_ROWS, MOST_ROWS, SLICE_SCORES = 16, 256, 2**20


def precision_at(hits: np.ndarray, k: int) -> np.ndarray:
    """Hits among the first k, over k. hits [..., T] of 0/1 -> [...].

    Places left empty (a short candidate list) count as misses. Raises ValueError
    when k is not in 1..T.
    """
    return _hits_at(hits, k) / k


def recall_at(hits: np.ndarray, num_relevant: np.ndarray, k: int) -> np.ndarray:
    """Hits among the first k, over all items the user likes.

    hits [..., B, T], num_relevant [B] -> [..., B]; nan where num_relevant is 0.
    """
    return _ratio(_hits_at(hits, k), num_relevant)


def ndcg_at(hits: np.ndarray, num_relevant: np.ndarray, k: int) -> np.ndarray:
    """DCG of the first k over that of the best possible list of min(k, relevant).

    hits [..., B, T], num_relevant [B] -> [..., B]; nan where num_relevant is 0.
    A hit at place i (from 1) is worth 1 / log2(i + 1).
    """
    _check_cutoff(hits, k)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[0.0], np.cumsum(discounts)])
    return _ratio(hits[..., :k] @ discounts, best[np.minimum(num_relevant, k)])


def reciprocal_rank(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """1 / place of the user's first relevant item in the whole ranking.

    scores [B, N], relevant [B, N] bool -> [B]; nan for a user without a relevant
    item. Items with the same score as the first hit are placed before it, so that
    a ranker gains nothing by giving every item the same score.
    """
    best = np.max(scores, axis=-1, where=relevant, initial=-np.inf)[:, None]
    above = np.sum((scores >= best) & ~relevant, axis=-1)
    return np.where(relevant.any(axis=-1), 1 / (1 + above), np.nan)


def auc(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Chance that a relevant item scores above another item, ties counting half.

    scores [B, N], relevant [B, N] bool -> [B]. Items scored -inf are not in the
    competition and left out. nan for a user whose items are all of one kind.
    """
    return np.array([_user_auc(*row) for row in zip(scores, relevant, strict=True)])


def top_hits(scores: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Which of the k best scored items are relevant, best first: [B, k] float32.

    scores [B, N], relevant [B, N] bool. An item scored -inf (one seen in training,
    say) is never a hit. Errors and ties as in `top_items`.
    """
    items = top_items(scores, k)
    hits = np.take_along_axis(relevant, items, axis=-1)
    offered = np.take_along_axis(scores, items, axis=-1) > -np.inf
    return (hits & offered).astype(np.float32)


def top_items(scores: np.ndarray, k: int) -> np.ndarray:
    """The k best items of each user, best first: scores [B, N] -> [B, k] int64.

    Equal scores come in an order that is arbitrary, but the same in every call.
    Raises ValueError when k is not in 1..N or a score is NaN.
    """
    _check_cutoff(scores, k)
    rows = int(np.clip(SLICE_SCORES // scores.shape[-1], LEAST_ROWS, MOST_ROWS))
    starts = range(0, len(scores), rows)
    slices = [scores[start : start + rows] for start in starts]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        tops = list(threads.map(lambda rows: _sorted_top(rows, k), slices))
    return np.concatenate(tops) if tops else np.zeros((0, k), np.int64)


def mean_reward(
    feedback: np.ndarray, valid: np.ndarray, *, alpha: float, miss_reward: float
) -> np.ndarray:
    """Mean of `episode_rewards` over the valid steps: [..., T] -> [...].

    nan for an episode without a valid step. At alpha 0 and miss_reward -1, and with
    every step valid, this is 2 * precision - 1.
    """
    liked = feedback.astype(np.float64)
    rewards = episode_rewards(liked, valid, alpha=alpha, miss_reward=miss_reward)
    return _ratio(rewards.sum(axis=-1), valid.sum(axis=-1))


def mean_streak_length(answers: np.ndarray) -> np.ndarray:
    """Mean length of the streaks of True: answers [..., T] bool -> [...].

    nan for an episode without one. Give likes for the length of like streaks, valid
    dislikes for that of dislike streaks.
    """
    starts = answers.copy()
    starts[..., 1:] &= ~answers[..., :-1]
    return _ratio(answers.sum(axis=-1), starts.sum(axis=-1))


def longest_streak(answers: np.ndarray) -> np.ndarray:
    """Length of the longest streak of True: answers [..., T] bool -> [...].

    0 for an episode without one.
    """
    streaks, _ = streaks_after(*streaks_before(answers), answers)
    return streaks.max(axis=-1)


def _hits_at(hits: np.ndarray, k: int) -> np.ndarray:
    _check_cutoff(hits, k)
    return hits[..., :k].sum(axis=-1, dtype=np.float64)


def _check_cutoff(hits: np.ndarray, k: int) -> None:
    if not 1 <= k <= hits.shape[-1]:
        raise ValueError(
            f"cut-off k must be between 1 and the {hits.shape[-1]} places of the"
            f" list, got {k}; ask for fewer places or longer lists"
        )


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, nan where the denominator is 0."""
    with np.errstate(invalid="ignore"):
        return np.where(
            denominator > 0, numerator / np.maximum(denominator, 1e-9), np.nan
        )


def _user_auc(scores: np.ndarray, relevant: np.ndarray) -> float:
    """AUC of one user: scores [N], relevant [N] bool, by ranks in the sorted scores."""
    offered = np.sort(scores[scores > -np.inf])
    liked = scores[relevant & (scores > -np.inf)]
    num_pairs = len(liked) * (len(offered) - len(liked))
    if num_pairs == 0:
        return np.nan
    below = np.searchsorted(offered, liked, "left")
    not_above = np.searchsorted(offered, liked, "right")
    # Liked items won or tied against each other len(liked)^2 / 2 times, self included.
    wins = (below + not_above).sum() / 2 - len(liked) ** 2 / 2
    return float(wins / num_pairs)


def _sorted_top(scores: np.ndarray, k: int) -> np.ndarray:
    """Top k of one slice of rows, best first. scores [R, N] -> [R, k]."""
    top = _unsorted_top(scores, k)
    values = np.take_along_axis(scores, top, axis=-1)
    if np.isnan(values).any():
        raise ValueError("scores hold NaN, which cannot be ranked; correct the agent")
    return np.take_along_axis(top, np.argsort(-values, axis=-1, kind="stable"), axis=-1)


def _unsorted_top(scores: np.ndarray, k: int) -> np.ndarray:
    """Top k in any order. NaN counts as the best score, so that it is not missed.

    Columns are cut into groups first: column c belongs to group c % num_groups. The k
    best items lie in the k groups with the best maxima, and a maximum over groups laid
    out like this runs at the speed of memory; selection does not. The size of a group
    keeps the maxima about four times as many as the members that are looked through.
    """
    num_columns = scores.shape[-1]
    group_size = math.isqrt(num_columns // (4 * k))
    if group_size < 2:
        return _best_columns(scores, k)
    num_groups = num_columns // group_size
    grouped = scores[:, : num_groups * group_size].reshape(-1, group_size, num_groups)
    groups = _best_columns(grouped.max(axis=1), k)
    places = np.arange(group_size) * num_groups
    members = (groups[..., None] + places).reshape(len(scores), -1)
    rest = np.arange(num_groups * group_size, num_columns)
    rest = np.broadcast_to(rest, (len(scores), len(rest)))
    candidates = np.concatenate([members, rest], axis=-1)
    best = _best_columns(np.take_along_axis(scores, candidates, axis=-1), k)
    return np.take_along_axis(candidates, best, axis=-1)


def _best_columns(scores: np.ndarray, k: int) -> np.ndarray:
    """The same by NumPy's selection, whatever the width."""
    first = scores.shape[-1] - k
    return np.argpartition(scores, first, axis=-1)[:, first:]
