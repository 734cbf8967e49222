"""The kinds of panel the figures are made of, each drawn in one place.

Every function takes plain numbers and gives one `Panel`. An interval is the
`{"mean", "low", "high"}` of a summary; one without a number is left out. A long name
is broken into lines, never cut.
"""

from collections.abc import Container, Iterable

import numpy as np
from matplotlib.axes import Axes

from dlerse_jax.reporting.style import (
    COLOURS,
    MARKERS,
    REFERENCE_STYLE,
    Panel,
    add_legend,
    finish_panel,
    legend_height,
    new_axes,
    series_styles,
    wrap,
)

ROW_HEIGHT = 0.27  # inches
CELL_SIZE = 0.78


def interval_rows(
    name: str,
    title: str,
    unit: str,
    series: dict[str, dict[str, dict]],
    reference: dict[str, float] | None = None,
    reference_label: str = "",
) -> Panel:
    """Dots with whiskers, one row per agent: series -> agent -> interval.

    `reference` puts a hollow grey diamond into the row of each agent it names.
    """
    agents = list(dict.fromkeys(agent for rows in series.values() for agent in rows))
    height = 1.2 + _row_height(agents) * len(agents) * max(1, 0.7 * len(series))
    axes = new_axes(
        title, (_row_width(agents), height + 0.25 * bool(reference or len(series) > 1))
    )
    offsets = np.linspace(-0.16, 0.16, len(series)) if len(series) > 1 else [0.0]
    for index, (label, rows) in enumerate(series.items()):
        present = {a: i for a, i in rows.items() if i["mean"] is not None}
        places = [agents.index(agent) + offsets[index] for agent in present]
        axes.errorbar(
            [interval["mean"] for interval in present.values()],
            places,
            xerr=_whiskers(list(present.values())),
            fmt=MARKERS[index],
            color=COLOURS[index],
            capsize=2.5,
            label=label,
        )
    shown = {agent: x for agent, x in (reference or {}).items() if agent in agents}
    if shown:
        axes.plot(
            list(shown.values()),
            [agents.index(agent) for agent in shown],
            linestyle="none",
            label=reference_label,
            **REFERENCE_STYLE,
        )
    axes.set_yticks(range(len(agents)), map(wrap, agents))
    axes.set_ylim(len(agents) - 0.5, -0.5)
    axes.set_xlabel(unit)
    if shown or len(series) > 1:
        add_legend(axes)
    return finish_panel(name, f"{title}, by agent", axes)


def interval_groups(
    name: str,
    title: str,
    unit: str,
    group_axis: str,
    groups: list[str],
    series: dict[str, list[dict]],
) -> Panel:
    """Dots with whiskers by group of users: agent -> one interval per group."""
    across = 4.8 if len(series) < 7 else 5.8
    axes = new_axes(title, (across, 3.0 + legend_height(series)))
    width = 0.7 / max(len(series), 1)
    for index, (agent, style) in enumerate(series_styles(series).items()):
        offset = (index - (len(series) - 1) / 2) * width
        points = [
            (place + offset, interval)
            for place, interval in enumerate(series[agent])
            if interval["mean"] is not None
        ]
        axes.errorbar(
            [place for place, _ in points],
            [interval["mean"] for _, interval in points],
            yerr=_whiskers([interval for _, interval in points]),
            fmt=style["marker"],
            color=style["color"],
            capsize=2,
            label=agent,
        )
    axes.set_xticks(range(len(groups)), groups)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.grid(False, axis="x")
    axes.set_xlabel(group_axis)
    axes.set_ylabel(unit)
    add_legend(axes)
    return finish_panel(name, title, axes)


def lines(
    name: str,
    title: str,
    x_label: str,
    y_label: str,
    series: dict[str, tuple],
) -> Panel:
    """Lines: label -> (x, y), or (x, y, low, high) for one with a band."""
    axes = new_axes(title, (4.8, 3.0 + legend_height(series)))
    for label, style in series_styles(series).items():
        x, y, *band = series[label]
        every = max(1, len(x) // 8)
        axes.plot(x, y, label=label, markevery=every, **style)
        if band:
            axes.fill_between(x, *band, color=style["color"], alpha=0.15, linewidth=0)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    add_legend(axes)
    return finish_panel(name, title, axes)


def interval_lines(
    name: str,
    title: str,
    x_label: str,
    y_label: str,
    series: dict[str, list[tuple[float, dict]]],
) -> Panel:
    """Lines through dots with whiskers: label -> (x, interval) by rising x.

    Series are drawn a little apart, so that whiskers at one x do not hide each other.
    """
    axes = new_axes(title, (4.8, 3.0 + legend_height(series)))
    places = sorted({x for points in series.values() for x, _ in points})
    gaps = np.diff(places)
    step = 0.5 * min(gaps, default=0.0) / max(len(series), 1)
    for index, (label, style) in enumerate(series_styles(series).items()):
        points = [(x, i) for x, i in series[label] if i["mean"] is not None]
        intervals = [interval for _, interval in points]
        offset = (index - (len(series) - 1) / 2) * step
        axes.errorbar(
            [x + offset for x, _ in points],
            [interval["mean"] for interval in intervals],
            yerr=_whiskers(intervals),
            capsize=2,
            label=label,
            **style,
        )
    axes.set_xticks(places, [f"{x:g}" for x in places])
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    add_legend(axes)
    return finish_panel(name, title, axes)


def heat_map(
    name: str,
    title: str,
    x_label: str,
    y_label: str,
    cells: dict[tuple[float, float], dict],
) -> Panel:
    """A number by two settings, with its interval below: (x, y) -> interval."""
    xs, ys = (sorted({place[axis] for place in cells}) for axis in (0, 1))
    size = (1.9 + CELL_SIZE * len(xs), 1.5 + CELL_SIZE * len(ys))
    axes = new_axes(title, (max(size[0], 4.8), size[1]))
    means = np.full((len(ys), len(xs)), np.nan)
    for (x, y), interval in cells.items():
        if interval["mean"] is not None:
            means[ys.index(y), xs.index(x)] = interval["mean"]
    middle = (np.nanmin(means) + np.nanmax(means)) / 2
    for (x, y), interval in cells.items():
        if interval["mean"] is not None:
            place = xs.index(x), ys.index(y)
            _write_interval(axes, place, interval, 3, interval["mean"] < middle)
    axes.imshow(means, cmap="cividis")
    axes.grid(False)
    axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
    axes.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return finish_panel(name, title, axes)


def number_rows(
    name: str,
    title: str,
    unit: str,
    values: dict[str, float],
    *,
    log: bool = False,
    reference: Container[str] = (),
) -> Panel:
    """Dots with their number beside them: label -> value, one row each.

    Those whose label is in `theirs` are hollow grey diamonds: numbers of others. Dots
    and not bars, since a logarithmic scale has no zero for a bar to start from.
    """
    height = 1.0 + _row_height(values) * len(values)
    axes = new_axes(title, (_row_width(values), height))
    for place, (label, value) in enumerate(values.items()):
        ours = {"marker": "o", "color": COLOURS[0]}
        style = REFERENCE_STYLE if label in reference else ours
        axes.plot([value], [place], linestyle="none", **style)
        axes.annotate(
            short_number(value),
            (value, place),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(range(len(values)), map(wrap, values))
    axes.set_ylim(len(values) - 0.4, -0.6)
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: short_number(value))
        axes.minorticks_off()
    axes.margins(x=0.18)
    axes.set_xlabel(unit)
    return finish_panel(name, title, axes)


def matrix(
    name: str, title: str, agents: list[str], cells: dict[tuple[str, str], dict]
) -> Panel:
    """Win probabilities, row against column, with the interval below each number.

    Pairs with one who is not among the agents are left out.
    """
    side = 1.6 + CELL_SIZE * len(agents)
    axes = new_axes(title, (side + 0.6, side))
    chances = np.full((len(agents), len(agents)), np.nan)
    for (row, column), interval in cells.items():
        if row not in agents or column not in agents:
            continue
        place = agents.index(row), agents.index(column)
        chances[place] = interval["mean"]
        _write_interval(axes, place[::-1], interval, 2, interval["mean"] < 0.45)
    axes.imshow(chances, cmap="cividis", vmin=0, vmax=1)
    axes.grid(False)
    axes.set_xticks(range(len(agents)), map(wrap, agents), rotation=40, ha="right")
    axes.set_yticks(range(len(agents)), map(wrap, agents))
    axes.set_xlabel("… than this one")
    axes.set_ylabel("this agent serves a user better …")
    return finish_panel(name, title, axes)


def _row_width(names: Iterable[str]) -> float:
    """Inches of a panel with these names beside its rows."""
    lines = (line for name in names for line in wrap(name).split("\n"))
    longest = max(map(len, lines), default=0)
    return 4.8 + 0.06 * max(longest - 20, 0)


def _row_height(names: Iterable[str]) -> float:
    """Inches of a row, with room for the name of most lines."""
    lines = max((wrap(name).count("\n") + 1 for name in names), default=1)
    return ROW_HEIGHT * max(1, 0.6 * lines)


def _write_interval(
    axes: Axes, place: tuple[int, int], interval: dict, digits: int, on_dark: bool
) -> None:
    """The mean with its bounds below it, in the cell at place (x, y)."""
    mean, low, high = (f"{interval[k]:.{digits}f}" for k in ("mean", "low", "high"))
    axes.text(
        *place,
        f"{mean}\n{low}–{high}",
        ha="center",
        va="center",
        fontsize=7.5,
        color="white" if on_dark else "black",
    )


def short_number(value: float) -> str:
    """A number as one reads it: 71,411, 38.1 or 0.013."""
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _whiskers(intervals: list[dict]) -> list[list[float]]:
    """Distances from the mean to the bounds, as `Axes.errorbar` takes them: [2, n]."""
    return [
        [interval["mean"] - interval["low"] for interval in intervals],
        [interval["high"] - interval["mean"] for interval in intervals],
    ]
