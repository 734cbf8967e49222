"""How every figure looks: one palette, one size, one way to save.

A figure of the report is a group of panels, each an image of its own, so that a page
can set them side by side on a desk and below each other on a phone. Series differ in
colour (Okabe and Ito's, safe for colour-blind readers), in marker and in line style,
so that they can still be told apart in grey. Draw and save under
`matplotlib.rc_context(STYLE)`.
"""

import dataclasses
import io
import math
import textwrap
from collections.abc import Iterable

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h"]
LINES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]
REFERENCE_STYLE = {
    "marker": "D",
    "markersize": 7,
    "markerfacecolor": "none",
    "color": "#767676",
}
MOST_LETTERS_A_LINE = 44  # of a label; the rest goes below
MOST_SERIES = 8  # more lines or dots than that in one panel cannot be told apart
SLACK = 0.04  # inches that text may stand out before a panel grows
PANEL_SIZE = (4.8, 3.4)  # inches
STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.fonttype": "none",  # letters stay letters: searchable, and small files
    "savefig.dpi": 160,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """One image: its file name without ending, its text for who cannot see it."""

    name: str
    description: str
    width: float  # inches
    svg: bytes
    png: bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class FigureGroup:
    """Panels that share a heading and a caption; none where the data are absent."""

    title: str
    caption: str
    panels: list[Panel]


class PanelFigure(Figure):
    """A figure that is laid out once: with an engine left, saving draws it twice."""

    is_laid_out = False

    def get_layout_engine(self):
        return None if self.is_laid_out else super().get_layout_engine()


def new_axes(title: str, size: tuple[float, float] = PANEL_SIZE) -> Axes:
    """Axes alone in a figure that makes room for all its text; `.figure` leads back."""
    axes = PanelFigure(figsize=size, layout="constrained").add_subplot()
    axes.set_title(wrap(title), loc="left")
    return axes


def finish_panel(name: str, description: str, axes: Axes) -> Panel:
    """Renders the axes' figure, as large as all its text needs.

    The same bytes for the same numbers.
    """
    figure = axes.figure
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.draw_without_rendering()
        figure.is_laid_out = True
        box = _text_box(figure)
        png = _rendered(figure, "png", {}, box)
        svg = _rendered(figure, "svg", {"Date": None}, box)
    width = figure.get_figwidth() if box is None else box.width
    return Panel(name=name, description=description, width=width, svg=svg, png=png)


def _text_box(figure: Figure) -> Bbox | None:
    """What holds all that is drawn, in inches; None where the figure does."""
    paper, drawn = figure.bbox_inches, figure.get_tightbbox()
    held = Bbox.union([paper, drawn])
    is_cut = max(held.width - paper.width, held.height - paper.height) > SLACK
    return held.padded(SLACK) if is_cut else None


def _rendered(
    figure: Figure, file_format: str, metadata: dict, box: Bbox | None
) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, metadata=metadata, bbox_inches=box)
    return buffer.getvalue()


def wrap(label: str) -> str:
    """A label on as many lines as it needs; a long one is broken after commas too."""
    return "\n".join(textwrap.wrap(label, MOST_LETTERS_A_LINE)) or label


def series_styles(names: Iterable[str]) -> dict[str, dict]:
    """Colour, marker and line for each series: keyword arguments of `Axes.plot`."""
    return {
        name: {
            "color": COLOURS[index % len(COLOURS)],
            "marker": MARKERS[index % len(MARKERS)],
            "linestyle": LINES[index % len(LINES)],
        }
        for index, name in enumerate(names)
    }


def legend_height(labels: Iterable[str]) -> float:
    """Inches that `add_legend` takes below the axes."""
    labels = list(map(wrap, labels))
    lines = 1 + max(label.count("\n") for label in labels)
    return 0.18 * lines * math.ceil(len(labels) / _legend_columns(labels))


def add_legend(axes: Axes) -> None:
    """Puts the legend below the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    labels = list(map(wrap, labels))
    columns = _legend_columns(labels)
    axes.figure.legend(handles, labels, loc="outside lower left", ncols=columns)


def _legend_columns(labels: list[str]) -> int:
    longest = max(map(len, labels))
    return 1 if longest > 29 else 2 if longest > 17 or len(labels) < 7 else 3
