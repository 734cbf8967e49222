"""What is reported of an evaluation: every metric with its interval, and by friends.

The summary of a `types.Evaluation` is a JSON-ready dictionary, the `summary` of a run's
summary.json; several of them side by side make a table.

    {"num_users": 187, "num_seeds": 3,
     "metrics": {"precision_at_32": {"mean": .34, "low": .32, "high": .36}, ...},
     "by_friends": {"0": {the same three keys}, "1-5": ..., "6-20": ..., ">20": ...}}

Intervals are those of bootstrap.py: 95%, over what `interval_sources` names. A number
that does not exist (recall over no likes, a group without users) is null.
"""

import math
import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from dlerse_jax.evaluation import bootstrap, metrics
from dlerse_jax.evaluation.variance_components import FEWEST_SPLITS
from dlerse_jax.types import Evaluation

ALPHAS = (0.0, 0.1)
CUTOFFS = (1, 5, 10, 20, 32)  # and the episode's own length
RANKING_CUTOFFS = (5, 10, 20)
FRIEND_GROUPS = {"0": (0, 0), "1-5": (1, 5), "6-20": (6, 20), ">20": (21, math.inf)}


def metric_names(summaries: Iterable[dict]) -> set[str]:
    """Names of what at least one of the agents summarised was measured by."""
    return set().union(*(summary["metrics"] for summary in summaries))


def cutoffs_in(names: Iterable[str]) -> list[int]:
    """Lengths of list that metrics of these names have a precision over, ascending."""
    found = {name.partition("precision_at_")[2] for name in names}
    return sorted(int(cutoff) for cutoff in found if cutoff)


def longest_precision(names: Iterable[str]) -> str | None:
    """Of metrics, the precision over the longest list: what validation decides by."""
    cutoffs = cutoffs_in(names)
    return f"precision_at_{cutoffs[-1]}" if cutoffs else None


def table_columns(names: Collection[str]) -> dict[str, str]:
    """What a table of episodes shows of metrics of these names: metric -> title."""
    cutoffs = cutoffs_in(names)
    columns = {"reward_alpha_0": "reward"}
    columns |= {f"precision_at_{k}": f"P@{k}" for k in cutoffs}
    columns |= {f"recall_at_{k}": f"R@{k}" for k in cutoffs[-1:]}
    return {name: title for name, title in columns.items() if name in names}


def user_metrics(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Every metric of an evaluation, one number per seed and user: name -> [S, B].

    reward_alpha_0, reward_alpha_0.1 (mean per step), precision_at_K and recall_at_K
    for the whole episode and each shorter K of CUTOFFS, like_streak_length and
    dislike_streak_length. nan where a user has no such number (metrics.py says when).
    """
    feedback = evaluation.feedback
    valid = evaluation.items < evaluation.num_items
    rewards = {
        f"reward_alpha_{alpha:g}": metrics.mean_reward(
            feedback, valid, alpha=alpha, miss_reward=evaluation.miss_reward
        )
        for alpha in ALPHAS
    }
    horizon = feedback.shape[-1]
    cutoffs = [*(k for k in CUTOFFS if k < horizon), horizon]
    precisions = {
        f"precision_at_{k}": metrics.precision_at(feedback, k) for k in cutoffs
    }
    recalls = {
        f"recall_at_{k}": metrics.recall_at(feedback, evaluation.num_likes, k)
        for k in cutoffs
    }
    liked = feedback.astype(bool)
    runs = {
        "like_streak_length": metrics.mean_streak_length(liked),
        "dislike_streak_length": metrics.mean_streak_length(~liked & valid),
    }
    return rewards | precisions | recalls | runs


def ranking_metrics(scores: np.ndarray, relevant: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of protocol `ranking`, one number per user: name -> [B].

    scores [B, N], -inf for items out of the competition; relevant [B, N] bool.
    precision_at_K, recall_at_K, ndcg_at_K for K of RANKING_CUTOFFS up to N, or N alone
    where that is less than all of them; mrr, auc.
    """
    num_items = scores.shape[-1]
    cutoffs = [k for k in RANKING_CUTOFFS if k <= num_items] or [num_items]
    hits = metrics.top_hits(scores, relevant, max(cutoffs))
    num_relevant = relevant.sum(axis=-1)
    by_cutoff = {}
    for k in cutoffs:
        by_cutoff[f"precision_at_{k}"] = metrics.precision_at(hits, k)
        by_cutoff[f"recall_at_{k}"] = metrics.recall_at(hits, num_relevant, k)
        by_cutoff[f"ndcg_at_{k}"] = metrics.ndcg_at(hits, num_relevant, k)
    return by_cutoff | {
        "mrr": metrics.reciprocal_rank(scores, relevant),
        "auc": metrics.auc(scores, relevant),
    }


def summarize(*evaluations: Evaluation) -> dict:
    """Summary of one evaluation, or of one agent's evaluations on several splits.

    Splits weigh the same; `num_users` counts each user once and `num_seeds` is that of
    the split with the fewest.
    """
    splits = [user_metrics(evaluation) for evaluation in evaluations]
    users = [evaluation.users for evaluation in evaluations]
    num_friends = [evaluation.num_friends for evaluation in evaluations]
    by_friends = {
        name: _summarize_group(splits, users, friend_masks(num_friends, name))
        for name in FRIEND_GROUPS
    }
    return summarize_metrics(splits, users) | {"by_friends": by_friends}


def _summarize_group(
    splits: Sequence[dict[str, np.ndarray]],
    users: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
) -> dict:
    """Summary of the users of each split for whom its mask is True."""
    inside = [
        {metric: values[:, mask] for metric, values in split.items()}
        for split, mask in zip(splits, masks, strict=True)
    ]
    return summarize_metrics(
        inside, [who[mask] for who, mask in zip(users, masks, strict=True)]
    )


def summarize_metrics(
    splits: Sequence[dict[str, np.ndarray]], users: Sequence[np.ndarray] | None = None
) -> dict:
    """Summary of numbers by user, without groups: one name -> [S, B] per split.

    users: who they are, [B] per split; None where no split shares users.
    """
    names = list(splits[0])
    tables = [np.stack([split[name] for name in names]) for split in splits]
    interval = bootstrap.bootstrap_interval(tables, users=users)
    bounds = zip(names, interval.mean, interval.low, interval.high, strict=True)
    sizes = sum(table.shape[-1] for table in tables)
    return {
        "num_users": sizes if users is None else len(np.unique(np.concatenate(users))),
        "num_seeds": min(table.shape[-2] for table in tables),
        "metrics": {
            name: {"mean": _number(mean), "low": _number(low), "high": _number(high)}
            for name, mean, low, high in bounds
        },
    }


def friend_masks(num_friends: Sequence[np.ndarray], group: str) -> list[np.ndarray]:
    """Which users of each split are in the group: [B] counts -> [B] bool, per split."""
    fewest, most = FRIEND_GROUPS[group]
    return [(fewest <= counts) & (counts <= most) for counts in num_friends]


def results_table(
    summaries: dict[str, dict], *, sort_by: str | None = None, bar: str | None = None
) -> Table:
    """The main table for a terminal: agents down, means with half their interval.

    Best first by the metric sort_by, the longest precision where None. bar: the agent
    that is marked as the best one without learning, if it is in the table.
    """
    names = metric_names(summaries.values())
    sort_by = sort_by or longest_precision(names)
    caption = terminal_caption(summaries, sort_by, bar)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=caption)
    table.add_column("agent", no_wrap=True)
    columns = table_columns(names)
    for title in columns.values():
        table.add_column(title, justify="right", no_wrap=True)
    for name in sorted_names(summaries, sort_by):
        cells = [summaries[name]["metrics"].get(metric) for metric in columns]
        table.add_row(escape(name) + " *" * (name == bar), *map(_terminal_cell, cells))
    return table


def sorted_names(summaries: dict[str, dict], metric: str | None) -> list[str]:
    """Agents by falling mean of a metric, those without one last."""
    return sorted(summaries, key=lambda name: -_mean_of(summaries[name], metric))


def best_of(
    names: Iterable[str], summaries: dict[str, dict], metric: str | None
) -> str | None:
    """Who of names has the highest mean of a metric; None where nobody has one."""
    measured = [
        n
        for n in names
        if n in summaries and _mean_of(summaries[n], metric) > -math.inf
    ]
    return next(iter(sorted_names({n: summaries[n] for n in measured}, metric)), None)


def _mean_of(summary: dict, metric: str | None) -> float:
    mean = summary["metrics"].get(metric, {}).get("mean")
    return -math.inf if mean is None else mean


def metric_title(metric: str | None) -> str:
    """How captions call a metric: P@32, R@32, or reward at its alpha."""
    kind, _, setting = (metric or "").rpartition("_")
    words = {"precision_at": "P@", "recall_at": "R@", "reward_alpha": "reward, α = "}
    return words[kind] + setting if kind in words else metric or ""


def markdown_cell(text: str) -> str:
    """Text that stays in one cell of a Markdown table and starts no markup."""
    line = " ".join(text.split())
    return re.sub(r"([\\|`*<\[$])", r"\\\1", line)


def interval_text(interval: dict | None) -> str:
    """`mean [low, high]` with three decimals; a dash where there is no number."""
    if interval is None or not _is_number(interval["mean"]):
        return "-"
    return "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**interval)


def _is_number(mean: float | None) -> bool:
    return mean is not None and not math.isnan(mean)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _terminal_cell(interval: dict | None) -> str:
    if interval is None or interval["mean"] is None:
        return "-"
    half_width = (interval["high"] - interval["low"]) / 2
    return f"{interval['mean']:.3f}\n[dim]±{half_width:.3f}[/dim]"


def interval_sources(seed_counts: Iterable[int], num_splits: int = 1) -> str:
    """What the intervals of agents with so many seeds are over, for captions.

    One seed shows no variance of seeds, so its interval is over users alone.
    """
    counts = sorted(set(seed_counts))
    few, most = counts[0], counts[-1]
    if most == 1:
        seeds = "one seed"
    elif few == most:
        seeds = f"{most} seeds"
    else:
        seeds = f"{few} to {most} seeds"
    if num_splits >= FEWEST_SPLITS:
        return f"over users and {num_splits} splits, {seeds} each"
    if num_splits > 1:
        return f"over users of {num_splits} splits, {seeds} each"
    return f"over users, {seeds}" if few == 1 else f"over users and {seeds}"


def terminal_caption(
    summaries: dict[str, dict], sort_by: str | None, bar: str | None
) -> str:
    """The caption of the terminal's table: users, order, bar, intervals."""
    users = sorted({summary["num_users"] for summary in summaries.values()})
    sources = interval_sources(s["num_seeds"] for s in summaries.values())
    marked = "; * best without learning" if bar in summaries else ""
    return (
        f"{' or '.join(map(str, users))} users; reward per step at α = 0; sorted by"
        f" {metric_title(sort_by)}{marked}; ± is half of the 95% interval {sources}"
    )


def average_summaries(summaries: Sequence[dict]) -> dict:
    """Mean of independent summaries, one per split, without a new bootstrap.

    The half widths of the intervals are added as independent errors are. A metric
    that one of them lacks, or has no number for, is left out.
    """
    names = set.intersection(*(set(summary["metrics"]) for summary in summaries))
    metrics = {}
    for name in summaries[0]["metrics"]:
        intervals = [summary["metrics"][name] for summary in summaries if name in names]
        if intervals and all(interval["mean"] is not None for interval in intervals):
            metrics[name] = _average_interval(intervals)
    return {
        "num_users": sum(summary["num_users"] for summary in summaries),
        "num_seeds": min(summary["num_seeds"] for summary in summaries),
        "metrics": metrics,
    }


def _average_interval(intervals: Sequence[dict]) -> dict[str, float]:
    mean = math.fsum(interval["mean"] for interval in intervals) / len(intervals)
    below = math.hypot(*(interval["mean"] - interval["low"] for interval in intervals))
    above = math.hypot(*(interval["high"] - interval["mean"] for interval in intervals))
    return {
        "mean": mean,
        "low": mean - below / len(intervals),
        "high": mean + above / len(intervals),
    }
