"""The figures of a sweep: what one or two numeric settings do to test users.

There is none where the agents of a comparison do not differ in a number. Rewards are
measured under one alpha whatever alpha a point learned from, so they can be compared;
the lengths of streaks say what a setting does to behaviour.
"""

import collections

from dlerse_jax.evaluation.metrics import longest_streak
from dlerse_jax.evaluation.summary import summarize_metrics
from dlerse_jax.reporting import panels
from dlerse_jax.reporting.comparison import Comparison
from dlerse_jax.reporting.names import short_names
from dlerse_jax.reporting.style import MOST_SERIES, FigureGroup, Panel
from dlerse_jax.reporting.sweep_points import Grid, grids

LONGEST_STREAK = "longest_like_streak"
QUANTITIES = {
    "reward_alpha_0": ("Mean reward measured at α = 0", "reward per step"),
    "reward_alpha_0.1": ("Mean reward measured at α = 0.1", "reward per step"),
    "like_streak_length": ("Length of streaks of likes", "items, mean"),
    LONGEST_STREAK: ("Longest streak of likes in an episode", "items, mean"),
    "dislike_streak_length": ("Length of streaks of dislikes", "items, mean"),
}


def sweep_figures(comparison: Comparison) -> list[FigureGroup]:
    """A group for each grid of points; none is empty."""
    if not comparison.longest_cutoff:
        return []
    return [_figure(comparison, grid) for grid in grids(comparison)]


def _figure(comparison: Comparison, grid: Grid) -> FigureGroup:
    metric = f"precision_at_{comparison.longest_cutoff}"
    precision = f"Precision@{comparison.longest_cutoff}"
    words = short_names([key for key in (grid.across, grid.down) if key])
    quantities = {metric: (precision, "share of shown items liked")} | QUANTITIES
    values = {name: _intervals(comparison, name) for name in grid.places}
    lines = _lines(grid, words)
    drawn = [
        _line_panel(name, texts, words[grid.across], grid, lines, values)
        for name, texts in quantities.items()
    ]
    if grid.down:
        drawn += _heat_maps(metric, precision, words, grid, values)
    return FigureGroup(
        title=f"What {' and '.join(words.values())} {'do' if grid.down else 'does'}",
        caption=(
            "One dot a point of the sweep, on test users; lines join dots and say"
            f" nothing between them.{_left_out(grid, lines)} {comparison.provenance()}"
        ),
        panels=drawn,
    )


def _intervals(comparison: Comparison, name: str) -> dict[str, dict]:
    """The metrics of one agent with their intervals, the longest run among them."""
    evaluations = comparison.contenders[name].evaluations.values()
    metrics = comparison.summaries[name]["metrics"]
    if not evaluations:
        return metrics
    longest = [
        {LONGEST_STREAK: longest_streak(e.feedback.astype(bool))} for e in evaluations
    ]
    return metrics | summarize_metrics(longest)["metrics"]


def _lines(grid: Grid, words: dict[str, str]) -> dict[str, list[str]]:
    """Agents of each line by rising x: its label -> names, best line first."""
    lines = collections.defaultdict(list)
    for name, (_, y) in grid.places.items():
        second = f"{words[grid.down]}={y:g}" if grid.down else ""
        label = ", ".join(filter(None, [second, grid.others[name]]))
        lines[label or "all"].append(name)
    return {
        label: sorted(names, key=lambda name: grid.places[name][0])
        for label, names in list(lines.items())[:MOST_SERIES]
    }


def _left_out(grid: Grid, lines: dict[str, list[str]]) -> str:
    if sum(map(len, lines.values())) == len(grid.places):
        return ""
    return f" The {MOST_SERIES} lines with the best points; all are in the tables."


def _line_panel(
    metric: str,
    texts: tuple[str, str],
    x_label: str,
    grid: Grid,
    lines: dict[str, list[str]],
    values: dict[str, dict],
) -> Panel:
    title, unit = texts
    series = {
        label: [
            (grid.places[name][0], values[name][metric])
            for name in names
            if metric in values[name]
        ]
        for label, names in sorted(lines.items())
    }
    title = f"{title}, by {x_label}"
    return panels.interval_lines(
        f"sweep_{x_label}_{metric}", title, x_label, unit, series
    )


def _heat_maps(
    metric: str, title: str, words: dict[str, str], grid: Grid, values: dict[str, dict]
) -> list[Panel]:
    """One map for each group of points that share all but the two numbers."""
    cells = collections.defaultdict(dict)
    for name, place in grid.places.items():
        cells[grid.others[name]][place] = values[name][metric]
    x_label, y_label = words[grid.across], words[grid.down]
    return [
        panels.heat_map(
            f"sweep_{x_label}_{y_label}_{index}",
            f"{title}, {x_label} by {y_label}" + (f" ({others})" if others else ""),
            x_label,
            y_label,
            grid_cells,
        )
        for index, (others, grid_cells) in enumerate(sorted(cells.items()))
    ]
