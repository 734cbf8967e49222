"""The figures made from single users' answers: by step, by kind of user, by pairs.

A `FigureGroup` has no panels where agents keep no evaluations (protocol `ranking`).
"""

from collections.abc import Sequence

import numpy as np

from dlerse_jax.evaluation.bootstrap import bootstrap_interval
from dlerse_jax.evaluation.summary import (
    FRIEND_GROUPS,
    summarize_metrics,
    user_metrics,
)
from dlerse_jax.reporting import panels
from dlerse_jax.reporting.comparison import Comparison, Contender
from dlerse_jax.reporting.style import MOST_SERIES, FigureGroup, Panel
from dlerse_jax.types import Evaluation

MOST_BANDS = 3
MOST_PAIRED = 10  # more rows than that make numbers too small to read


def step_figure(comparison: Comparison) -> FigureGroup:
    """Precision at each step within the episode: how fast an agent learns a user."""
    contenders = _with_episodes(comparison)
    series = {}
    for index, contender in enumerate(contenders):
        evaluations = sorted(contender.evaluations.items())
        tables = [_answers_by_step(evaluation) for _, evaluation in evaluations]
        interval = bootstrap_interval(tables, users=contender.users())
        steps = np.arange(1, len(interval.mean) + 1)
        band = (interval.low, interval.high) if index < MOST_BANDS else ()
        series[contender.name] = (steps, interval.mean, *band)
    title = "Precision by step within the episode"
    drawn = []
    if series:
        axes = ("step of the episode", "share of users who like the item")
        drawn = [panels.lines("precision_by_step", title, *axes, series)]
    caption = _caption(comparison)
    if len(contenders) > MOST_BANDS:
        caption += f" Bands are drawn for the first {MOST_BANDS}."
    return FigureGroup(title=title, caption=caption, panels=drawn)


def group_figure(comparison: Comparison) -> FigureGroup:
    """The paper's Figure 5, right: accuracy by friends and by sparsity."""
    contenders = _with_episodes(comparison)
    last = comparison.longest_cutoff
    drawn = []
    for quantity in ("precision", "recall") if contenders else ():
        metric = f"{quantity}_at_{last}"
        title = f"{quantity.capitalize()}@{last}"
        series = {
            contender.name: [
                comparison.summaries[contender.name]["by_friends"][group]["metrics"][
                    metric
                ]
                for group in FRIEND_GROUPS
            ]
            for contender in contenders
        }
        drawn.append(
            panels.interval_groups(
                f"{quantity}_by_friends",
                f"{title} by number of friends",
                title,
                "friends of the user",
                list(FRIEND_GROUPS),
                series,
            )
        )
        drawn.append(_sparsity_panel(contenders, metric, title))
    caption = (
        f"{_caption(comparison)} Sparsity: users in four groups of about the same size"
        " by the number of items they like."
    )
    title = "Accuracy by number of friends and by sparsity"
    return FigureGroup(title=title, caption=caption, panels=drawn)


def win_figure(comparison: Comparison) -> FigureGroup:
    """Chance that one agent serves a user better than another, for every pair."""
    cells = comparison.wins
    last = comparison.longest_cutoff
    title = "Who serves a user better"
    foremost = comparison.foremost(MOST_PAIRED)
    agents = [name for name in comparison.paired if name in foremost]
    drawn = []
    if cells:
        heading = f"Chance of a higher precision@{last}"
        drawn = [panels.matrix("win_probability", heading, agents, cells)]
    caption = (
        f"Row against column by precision@{last} of the same user, ties counting half;"
        " below it the 95% interval, users paired."
        f" {_caption(comparison, MOST_PAIRED)}"
    )
    return FigureGroup(title=title, caption=caption, panels=drawn)


def _with_episodes(comparison: Comparison) -> list[Contender]:
    """The agents of a panel whose episodes are stored."""
    shown = comparison.foremost(MOST_SERIES)
    return [c for c in comparison.with_episodes() if c.name in shown]


def _caption(comparison: Comparison, most: int = MOST_SERIES) -> str:
    if len(comparison.foremost(most)) == len(comparison.contenders):
        return comparison.provenance()
    return (
        f"The {most} agents with the highest precision, and random and popularity where"
        f" they were run; all are in the tables. {comparison.provenance()}"
    )


def _answers_by_step(evaluation: Evaluation) -> np.ndarray:
    """[T, S, B] feedback, nan where no item was left."""
    valid = evaluation.items < evaluation.num_items
    return np.moveaxis(np.where(valid, evaluation.feedback, np.nan), -1, 0)


def _sparsity_panel(contenders: Sequence[Contender], metric: str, title: str) -> Panel:
    """The metric by number of liked items, in four groups of about the same size."""
    first = contenders[0].evaluations.values()
    bounds = _quarters(np.concatenate([e.num_likes for e in first]))
    series = {
        contender.name: [
            summarize_metrics(
                [
                    {metric: user_metrics(e)[metric][:, _between(e.num_likes, *bound)]}
                    for e in contender.evaluations.values()
                ],
                [
                    e.users[_between(e.num_likes, *bound)]
                    for e in contender.evaluations.values()
                ],
            )["metrics"][metric]
            for bound in bounds
        ]
        for contender in contenders
    }
    return panels.interval_groups(
        f"{metric.split('_')[0]}_by_likes",
        f"{title} by sparsity",
        title,
        "items the user likes",
        [f"{low:.0f}–{high:.0f}" for low, high in bounds],
        series,
    )


def _quarters(counts: np.ndarray) -> list[tuple[float, float]]:
    """Lowest and highest count of four groups of about the same size, ascending.

    Fewer where many users share a count: one group where all do.
    """
    edges = np.unique(np.quantile(counts, [0, 0.25, 0.5, 0.75, 1], method="lower"))
    starts = edges[:-1] if len(edges) > 1 else edges
    return list(zip(starts, [*(starts[1:] - 1), edges[-1]], strict=True))


def _between(counts: np.ndarray, low: float, high: float) -> np.ndarray:
    return (low <= counts) & (counts <= high)
