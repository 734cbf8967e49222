"""What is reported of an evaluation: every metric with its interval, and by friends.

In goes what an agent did (types.Evaluation), out comes a JSON-ready dictionary, the
`summary` of a run's summary.json, and tables of several of them side by side.

    {"num_users": 187, "num_seeds": 3,
     "metrics": {"precision_at_32": {"mean": .34, "low": .32, "high": .36}, ...},
     "by_friends": {"0": {the same three keys}, "1-5": ..., "6-20": ..., ">20": ...}}

Intervals are those of statistics.py: 95%, bootstrap over users and seeds. A number
that does not exist (recall over no likes, a group without users) is null.
"""

import math
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from rich import box
from rich.table import Table

from dlerse_jax.evaluation import bootstrap, metrics
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
    """Every metric of an evaluation, one number a seed and user: name -> [S, B].

    reward_alpha_0, reward_alpha_0.1 (mean a step), precision_at_K and recall_at_K
    for the whole episode and each shorter K of CUTOFFS, like_run_length and
    dislike_run_length. nan where a user has no such number (metrics.py says when).
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
        "like_run_length": metrics.mean_streak_length(liked),
        "dislike_run_length": metrics.mean_streak_length(~liked & valid),
    }
    return rewards | precisions | recalls | runs


def ranking_metrics(scores: np.ndarray, relevant: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of protocol `ranking`, one number a user: name -> [B].

    scores [B, N], -inf for items out of the competition; relevant [B, N] bool.
    precision_at_K, recall_at_K, ndcg_at_K for K of RANKING_CUTOFFS up to N, mrr, auc.
    """
    cutoffs = [k for k in RANKING_CUTOFFS if k <= scores.shape[-1]]
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

    Splits are resampled apart and weigh the same; `num_users` adds up over them and
    `num_seeds` is that of the split with the fewest.
    """
    splits = [user_metrics(evaluation) for evaluation in evaluations]
    num_friends = [evaluation.num_friends for evaluation in evaluations]
    by_friends = {
        name: summarize_metrics(
            [
                {metric: values[:, mask] for metric, values in split.items()}
                for split, mask in zip(
                    splits, friend_masks(num_friends, name), strict=True
                )
            ]
        )
        for name in FRIEND_GROUPS
    }
    return summarize_metrics(splits) | {"by_friends": by_friends}


def summarize_metrics(splits: Sequence[dict[str, np.ndarray]]) -> dict:
    """Summary of numbers by user, without groups: one name -> [S, B] a split."""
    names = list(splits[0])
    tables = [np.stack([split[name] for name in names]) for split in splits]
    interval = bootstrap.bootstrap_interval(tables)
    bounds = zip(names, interval.mean, interval.low, interval.high, strict=True)
    return {
        "num_users": sum(table.shape[-1] for table in tables),
        "num_seeds": min(table.shape[-2] for table in tables),
        "metrics": {
            name: {"mean": _number(mean), "low": _number(low), "high": _number(high)}
            for name, mean, low, high in bounds
        },
    }


def friend_masks(num_friends: Sequence[np.ndarray], group: str) -> list[np.ndarray]:
    """Which users of each split are in the group: [B] counts -> [B] bool, a split."""
    fewest, most = FRIEND_GROUPS[group]
    return [(fewest <= counts) & (counts <= most) for counts in num_friends]


def results_table(summaries: dict[str, dict]) -> Table:
    """The main table for a terminal: agents down, means with half their interval."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=_caption(summaries))
    table.add_column("agent", no_wrap=True)
    columns = table_columns(metric_names(summaries.values()))
    for title in columns.values():
        table.add_column(title, justify="right", no_wrap=True)
    for name, summary in summaries.items():
        cells = [summary["metrics"].get(metric) for metric in columns]
        table.add_row(name, *map(_terminal_cell, cells))
    return table


def markdown_table(summaries: dict[str, dict]) -> str:
    """The main table as Markdown: agents down, `mean [low, high]` in the cells."""
    columns = table_columns(metric_names(summaries.values()))
    lines = [
        "| agent | " + " | ".join(columns.values()) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for name, summary in summaries.items():
        cells = [interval_text(summary["metrics"].get(metric)) for metric in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def interval_text(interval: dict | None) -> str:
    """`mean [low, high]` with three decimals; a dash where there is no number."""
    if interval is None or interval["mean"] is None:
        return "-"
    return "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**interval)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _terminal_cell(interval: dict | None) -> str:
    if interval is None or interval["mean"] is None:
        return "-"
    half_width = (interval["high"] - interval["low"]) / 2
    return f"{interval['mean']:.3f}\n[dim]±{half_width:.3f}[/dim]"


def _caption(summaries: dict[str, dict]) -> str:
    users = sorted({summary["num_users"] for summary in summaries.values()})
    return (
        f"{' or '.join(map(str, users))} users; reward a step at α = 0;"
        " ± is half of the 95% bootstrap interval over users and seeds"
    )


def average_summaries(summaries: Sequence[dict]) -> dict:
    """Mean of independent summaries, one a split, without a new bootstrap.

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
