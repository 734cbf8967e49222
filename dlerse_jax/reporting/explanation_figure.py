"""The figure of how faithful explanations are: what is left as friends are taken away.

From the lines of `benchmarks/faithfulness.py`, not from a run: scoring some hundred
variants of every user is no part of a report.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

from dlerse_jax.reporting.style import (
    STYLE,
    FigureGroup,
    Panel,
    add_legend,
    finish_panel,
    new_axes,
    series_styles,
)


def deletion_figure(lines: Sequence[Mapping[str, Any]]) -> FigureGroup:
    """A panel for each agent, a curve for each order of its friends."""
    curves = [line for line in lines if "deletion" in line]
    agents = dict.fromkeys(line["agent"] for line in curves)
    with matplotlib.rc_context(STYLE):
        panels = [
            _panel(agent, [line for line in curves if line["agent"] == agent])
            for agent in agents
        ]
    caption = (
        "Margin of the item recommended first, in standard deviations of a user's "
        "scores, after the first friends of an order are taken away; mean over users "
        "and 95% interval. The lower a curve falls early, the better its order."
    )
    return FigureGroup(title="Faithfulness", caption=caption, panels=panels)


def _panel(agent: str, curves: Sequence[Mapping[str, Any]]) -> Panel:
    axes = new_axes(agent)
    styles = series_styles(curve["order"] for curve in curves)
    for curve in curves:
        mean, low, high = np.array(curve["deletion"]).T
        taken_away = np.linspace(0, 100, len(mean))
        style = styles[curve["order"]]
        label = curve["order"].replace("_", " ")
        axes.plot(taken_away, mean, label=label, **style)
        axes.fill_between(taken_away, low, high, color=style["color"], alpha=0.12)
    axes.set_xlabel("friends taken away, per cent")
    axes.set_ylabel("margin, standard deviations")
    add_legend(axes)
    users = curves[0]["users"]
    description = f"Deletion curves of {agent}, {users} users, {len(curves)} orders"
    return finish_panel(f"deletion_{agent}", description, axes)
