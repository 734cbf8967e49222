"""Figures of the case study: likes by day, by friends named, by position."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator

from dlerse_jax.reporting.style import (
    STYLE,
    add_legend,
    finish_panel,
    new_axes,
    series_styles,
)
from dlerse_jax.runtime.atomic_files import write_atomically

Row = dict[str, Any]


def draw_lines(arms: dict[str, list[Row]], key: str, title: str) -> Any:
    """A line with bars for each arm, over days or positions."""
    axes = new_axes(title)
    styles = series_styles(arms)
    for number, (arm, points) in enumerate(arms.items()):
        points = [point for point in points if point["mean"] is not None]
        places = np.array([point[key] for point in points])
        draw_points(axes, places + 0.12 * (number - 1), points, arm, styles[arm])
    axes.set(xlabel=key, ylabel="share of likes", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(axes)
    return axes


def draw_friends(groups: list[Row]) -> Any:
    """A point with bars for each arm, over groups of the same people."""
    axes = new_axes("Likes on the first visit by friends named")
    styles = series_styles(groups[0]["arms"])
    for number, (arm, style) in enumerate(styles.items()):
        some = [
            (place, group["arms"][arm])
            for place, group in enumerate(groups)
            if group["arms"][arm]["mean"] is not None
        ]
        places = np.array([place for place, _ in some]) + 0.12 * (number - 1)
        points = [point for _, point in some]
        draw_points(axes, places, points, arm, {**style, "linestyle": ""})
    axes.set_xticks(range(len(groups)), [group["friends"] for group in groups])
    axes.set(xlabel="friends named", ylabel="share of likes", ylim=(0, None))
    axes.set_xlim(-0.5, len(groups) - 0.5)
    add_legend(axes)
    return axes


def draw_points(axes: Any, places: Any, points: list[Row], name: str, style: Row):
    means, lows, highs = (
        np.array([point[part] for point in points]) for part in ("mean", "low", "high")
    )
    axes.errorbar(
        places, means, (means - lows, highs - means), label=name, elinewidth=1, **style
    )


def draw_figures(results: Row, folder: Path) -> None:
    again = results["in_every_arm"]
    with matplotlib.rc_context(STYLE):
        panels = {
            "days": draw_lines(results["by_day"], "day", "Likes by day of the week"),
            "friends": draw_friends(again["by_friends"]),
            "positions": draw_lines(
                again["by_position"], "position", "Likes by position in the session"
            ),
        }
        for name, axes in panels.items():
            panel = finish_panel(f"case_study_{name}", axes.get_title("left"), axes)
            write_atomically(folder / f"{panel.name}.svg", panel.svg)
