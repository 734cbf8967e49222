"""The points of a sweep: their settings, what chose the best, what they cost.

The agents of a comparison by one or two numeric settings, the one that was best on
validation users, and a table. A run that was re-evaluated has no validation users
of its own, so nothing is chosen by it.
"""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from dlerse_jax.evaluation.summary import interval_text
from dlerse_jax.reporting.comparison import Comparison, Contender
from dlerse_jax.reporting.names import differing_keys, short_names
from dlerse_jax.reporting.tables import ReportTable
from dlerse_jax.runs.records import (
    device_hours,
    flat_config,
    training_seconds,
    validation_precision,
)

MOST_NUMERIC = 2  # settings; with more of them points do not lie on a grid
FIRST_ACROSS = "reward.alpha"  # the horizontal axis where there is a choice


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """Agents by a numeric setting, and perhaps a second one."""

    across: str  # key of the horizontal axis
    down: str | None  # key of the second numeric setting
    places: dict[str, tuple[float, float | None]]  # contender -> its two numbers
    others: dict[str, str]  # contender -> agent and other settings, "" if all share it


def grids(comparison: Comparison) -> list[Grid]:
    """A grid for each pair of numeric settings that an agent's runs differ in."""
    by_agent = collections.defaultdict(list)
    for contender in comparison.contenders.values():
        if contender.runs:
            by_agent[contender.runs[0].agent].append(contender)
    by_axes = collections.defaultdict(dict)
    for agent, contenders in by_agent.items():
        keys = differing_keys([contender.runs[0] for contender in contenders])
        numeric = [key for key in keys if _is_numeric(key, contenders)]
        if 1 <= len(numeric) <= MOST_NUMERIC:
            axes = sorted(numeric, key=lambda key: _axis_rank(key, contenders))
            rest = [key for key in keys if key not in numeric]
            by_axes[tuple(axes)][agent] = (contenders, rest)
    return [_grid(axes, agents) for axes, agents in by_axes.items()]


def _grid(axes: tuple[str, ...], agents: dict[str, tuple]) -> Grid:
    places: dict[str, tuple[float, float | None]] = {}
    others: dict[str, str] = {}
    for agent, (contenders, rest) in agents.items():
        words = short_names(rest)
        for contender in contenders:
            config = flat_config(contender.runs[0])
            settings = [f"{words[key]}={config.get(key)}" for key in rest]
            named = [agent] if len(agents) > 1 else []
            places[contender.name] = (*(config[key] for key in axes), None)[:2]
            others[contender.name] = ", ".join(named + settings)
    down = axes[1] if len(axes) > 1 else None
    return Grid(across=axes[0], down=down, places=places, others=others)


def _is_numeric(key: str, contenders: Sequence[Contender]) -> bool:
    values = [flat_config(contender.runs[0]).get(key) for contender in contenders]
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _axis_rank(key: str, contenders: Sequence[Contender]) -> tuple[bool, int]:
    values = {flat_config(contender.runs[0])[key] for contender in contenders}
    return key != FIRST_ACROSS, -len(values)


# --- choosing -------------------------------------------------------------------------


def validation_means(comparison: Comparison) -> dict[str, float]:
    """Last precision on validation users, mean over the agent's runs, best first.

    Agents that lack a split which another has are left out, and baselines without runs.
    """
    means = {}
    for name, contender in comparison.contenders.items():
        found = [validation_precision(run) for run in contender.runs]
        if found and all(found) and len(contender.stored) == comparison.num_splits:
            means[name] = float(np.mean([value for _, value in found]))
    return dict(sorted(means.items(), key=lambda pair: -pair[1]))


def choice(comparison: Comparison) -> str:
    """One sentence: who was best on validation users, and its result on test users."""
    means = validation_means(comparison)
    metric = f"precision_at_{comparison.longest_cutoff}"
    if len(means) < 2 or not comparison.has(metric):
        return ""
    name, mean = next(iter(means.items()))
    test = interval_text(comparison.summaries[name]["metrics"][metric])
    return (
        f" Chosen on validation users: {name}, {mean:.3f} there; on test users"
        f" precision@{comparison.longest_cutoff} is {test}."
    )


def points_table(comparison: Comparison) -> ReportTable:
    """Agents with runs of their own and their cost, best on validation users first."""
    means = validation_means(comparison)
    columns = {
        f"precision_at_{comparison.longest_cutoff}": "on test users",
        "reward_alpha_0": "reward, α = 0",
        "reward_alpha_0.1": "reward, α = 0.1",
        "like_streak_length": "streak of likes",
        "dislike_streak_length": "streak of dislikes",
    }
    rows = []
    for name, mean in means.items():
        metrics = comparison.summaries[name]["metrics"]
        runs = comparison.contenders[name].runs
        cells = [interval_text(metrics.get(metric)) for metric in columns]
        hours = [sum(training_seconds(r) for r in runs) / 3600]
        hours.append(sum(map(device_hours, runs)))
        rows.append([name, f"{mean:.3f}", *cells, *(f"{h:.3g}" for h in hours)])
    return ReportTable(
        name="points",
        title="Chosen on validation users, shown on test users",
        caption=(
            "Sorted by the precision on validation users of the checkpoint that was"
            " selected. Streaks of likes and"
            " dislikes: their mean length within an episode. Hours of"
            " training, a program's time shared among the runs that it trained."
            f" {comparison.provenance()}"
        ),
        header=["agent", "validation", *columns.values(), "hours", "device-hours"],
        rows=rows if len(rows) > 1 else [],
    )
