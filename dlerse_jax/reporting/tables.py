"""The report's tables, each as HTML rows, Markdown and CSV from one list of cells.

`results.csv` is the long form of everything: one number with its interval per line.
"""

import csv
import dataclasses
import io
import math
import re
from collections.abc import Iterable, Sequence

from dlerse_jax.evaluation.multiple_tests import MOST_ROWS
from dlerse_jax.evaluation.summary import (
    FRIEND_GROUPS,
    interval_text,
    markdown_cell,
    metric_title,
    table_columns,
)
from dlerse_jax.reporting.comparison import Comparison
from dlerse_jax.reporting.effects import (
    Bar,
    effects,
    find_bar,
    holm_note,
    inputs,
    signed,
    taken_at,
)
from dlerse_jax.reporting.figures import mean_cost, printed_precision
from dlerse_jax.reporting.names import shorten
from dlerse_jax.reporting.panels import short_number
from dlerse_jax.reporting.reference import BARS_SOURCE, REFERENCE_BARS
from dlerse_jax.runs.records import Run

RANKING_COLUMNS = {
    f"{metric}_at_{k}": f"{title}@{k}"
    for k in (5, 10, 20)
    for metric, title in {"precision": "P", "recall": "R", "ndcg": "NDCG"}.items()
} | {"mrr": "MRR", "auc": "AUC"}
COST_COLUMNS = {
    "wall_seconds": "seconds a run",
    "decisions_per_second": "decisions a second",
    "peak_memory_bytes": "peak memory, bytes",
    "num_parameters": "parameters",
}

FORMULA = re.compile(r"[=+\-@\t\r]")
NUMBERS = re.compile(r"-|[-+\d.,e]+( \[[-+\d.,e ]+\])?")  # as our cells have them


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportTable:
    """Cells as text; the first column names the row. Empty tables have no rows."""

    name: str  # of its files
    title: str
    caption: str
    header: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """The table under its title, with its caption below."""
        grid = markdown_table(self.header, self.rows)
        return f"### {self.title}\n\n{grid}\n{self.caption}\n"

    def csv(self) -> str:
        """The same cells as CSV."""
        return csv_text([self.header, *self.rows])


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column names the row; the others are aligned right."""
    lines = [markdown_row(header), "|---|" + "---:|" * (len(header) - 1)]
    return "\n".join([*lines, *map(markdown_row, rows)]) + "\n"


def markdown_row(cells: Iterable[str]) -> str:
    """One line of a Markdown table, whatever is in the cells."""
    first, *rest = map(str, cells)
    words = [markdown_cell(first), *(" ".join(c.split()) for c in rest)]
    return "| " + " | ".join(word.replace("|", "\\|") for word in words) + " |"


def csv_text(rows: Iterable[Sequence]) -> str:
    """Rows as CSV, quoted where a cell needs it; no cell is a formula to a spreadsheet.

    Text that starts as a formula does gets an apostrophe in front.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([_csv_cell(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def _csv_cell(cell: object) -> object:
    if not isinstance(cell, str) or not FORMULA.match(cell):
        return cell
    return cell if NUMBERS.fullmatch(cell) else f"'{cell}"


def comparison_tables(comparison: Comparison) -> list[ReportTable]:
    """Results, the bar, results by number of friends, pairs, cost; none is empty."""
    bar = find_bar(comparison)
    tables = [
        main_table(comparison, bar),
        bar_table(comparison, bar),
        friends_table(comparison),
        win_table(comparison),
        cost_table(comparison),
    ]
    return [table for table in tables if table.rows]


def main_table(comparison: Comparison, bar: Bar | None) -> ReportTable:
    """Agents down, metrics across, `mean [low, high]`; reference rows at the end."""
    columns = main_columns(comparison)
    shown = {
        "taken at": [taken_at(c) for c in comparison.contenders.values()],
        "reads": [inputs(c) for c in comparison.contenders.values()],
    }
    shown = {title: cells for title, cells in shown.items() if set(cells) != {"-"}}
    rows = [
        [
            _marked(name, bar),
            *(interval_text(summary["metrics"].get(m)) for m in columns),
        ]
        for name, summary in comparison.summaries.items()
    ]
    rows = [[*row, *extra] for row, *extra in zip(rows, *shown.values(), strict=True)]
    reference_rows, reference = _reference_rows(comparison, columns, len(shown))
    return ReportTable(
        name="results",
        title="Results",
        caption=f"Sorted by {metric_title(comparison.claim)}. Reward per step at α = 0."
        f"{f' {bar.words()}' if bar else ''}{reference} {comparison.provenance()}"
        + printed_precision(comparison),
        header=["agent", *columns.values(), *shown],
        rows=rows + reference_rows,
    )


def main_columns(comparison: Comparison) -> dict[str, str]:
    """Metrics of the main table: name -> title."""
    if comparison.longest_cutoff:
        return table_columns(comparison.metrics)
    return {k: title for k, title in RANKING_COLUMNS.items() if comparison.has(k)}


def _marked(name: str, bar: Bar | None) -> str:
    return f"{name} *" if bar and name == bar.name else name


def _reference_rows(
    comparison: Comparison, columns: Iterable[str], num_others: int
) -> tuple[list[list[str]], str]:
    """Rows of others' numbers, and what the caption says of them."""
    bars = REFERENCE_BARS.get((comparison.dataset, comparison.protocol), {})
    rows = []
    for agent, numbers in bars.items():
        cells = [f"{numbers[name]:.3f}" if name in numbers else "-" for name in columns]
        rows.append([f"{agent} (theirs)", *cells, *["-"] * num_others])
    return rows, f" Rows marked (theirs) are not ours: {BARS_SOURCE}." if bars else ""


def bar_table(comparison: Comparison, bar: Bar | None) -> ReportTable:
    """Differences and ratios to the bar, on the same users, best agent first."""
    found = effects(comparison, bar)
    claim = metric_title(comparison.claim)
    many = len(found) > MOST_ROWS
    rows = [
        [
            name,
            signed(effect.difference),
            interval_text(effect.ratio),
            _p_text(effect.p_holm if many else effect.p_value),
        ]
        for name, effect in found.items()
    ]
    return ReportTable(
        name="against_the_bar",
        title="Against the best policy without learning",
        caption=f"{bar.words() if bar else ''} Paired: the same users, and the same"
        f" seeds where both had them. p: that {claim} does not differ."
        f"{holm_note(found)} {comparison.provenance()}",
        header=[
            "agent",
            f"{claim}, less the bar's",
            f"ratio of P@{comparison.longest_cutoff} to the bar's",
            "p (Holm)" if many else "p",
        ],
        rows=rows,
    )


def _p_text(p_value: float) -> str:
    return "-" if math.isnan(p_value) else f"{p_value:.3f}"


def friends_table(comparison: Comparison) -> ReportTable:
    """Precision by number of friends; the header says how many users a group has."""
    metric = f"precision_at_{comparison.longest_cutoff}"
    grouped = {
        agent: summary["by_friends"]
        for agent, summary in comparison.summaries.items()
        if "by_friends" in summary and metric in summary["metrics"]
    }
    rows = [
        [agent, *(interval_text(groups[g]["metrics"][metric]) for g in FRIEND_GROUPS)]
        for agent, groups in grouped.items()
    ]
    most = {
        name: max((groups[name]["num_users"] for groups in grouped.values()), default=0)
        for name in FRIEND_GROUPS
    }
    return ReportTable(
        name="by_friends",
        title=f"Precision@{comparison.longest_cutoff} by number of friends",
        caption=comparison.provenance(),
        header=["agent", *(f"{g} friends ({n} users)" for g, n in most.items())],
        rows=rows,
    )


def win_table(comparison: Comparison) -> ReportTable:
    """Win probability of the row's agent against the column's."""
    agents = list(comparison.paired) if comparison.wins else []
    return ReportTable(
        name="win_probability",
        title=f"Chance of a higher precision@{comparison.longest_cutoff}",
        caption=f"Row against column, ties half. {comparison.provenance()}",
        header=["agent", *agents],
        rows=[
            [row, *(interval_text(comparison.wins.get((row, c))) for c in agents)]
            for row in agents
        ],
    )


def cost_table(comparison: Comparison) -> ReportTable:
    """Time and memory of agents with runs of their own."""
    rows = []
    for name, contender in comparison.contenders.items():
        costs = [mean_cost(contender, quantity) for quantity in COST_COLUMNS]
        if any(cost is not None for cost in costs):
            cells = ["-" if cost is None else short_number(cost) for cost in costs]
            rows.append([name, *cells])
    return ReportTable(
        name="cost",
        title="Cost",
        caption="Mean over the agent's runs, each with all its seeds.",
        header=["agent", *COST_COLUMNS.values()],
        rows=rows,
    )


def dataset_table(statistics: dict[str, dict]) -> ReportTable:
    """Data sets across, their numbers down."""
    names = list(dict.fromkeys(n for numbers in statistics.values() for n in numbers))
    rows = [
        [
            name.replace("_", " "),
            *(short_number(numbers.get(name, 0)) for numbers in statistics.values()),
        ]
        for name in names
    ]
    return ReportTable(
        name="datasets",
        title="Data sets",
        caption="After filtering; as `dlerse data stats` prints them.",
        header=["", *statistics],
        rows=rows,
    )


def run_table(runs: Sequence[Run]) -> ReportTable:
    """Where each number comes from: directory, code, device, and whether it is done."""
    return ReportTable(
        name="runs",
        title="Runs",
        caption="Every run directory this report was made from.",
        header=[
            "run",
            "agent",
            "protocol",
            "split",
            "seeds",
            "commit",
            "device",
            "done",
        ],
        rows=[
            [
                run.name,
                shorten(run.agent),
                run.protocol if run.finished else "-",
                *(str(run.result.get(k, "-")) for k in ("split", "num_seeds")),
                str(run.settings.get("git_commit", "-"))[:10],
                device_text(run.settings.get("device", "-")),
                "yes" if run.finished else "no",
            ]
            for run in runs
        ],
    )


def long_csv(comparisons: Sequence[Comparison]) -> str:
    """Every metric of every agent and group: one mean with its interval per line."""
    head = ("dataset", "protocol", "task", "agent", "friends", "users", "seeds")
    rows = [(*head, "metric", "mean", "low", "high")]
    for comparison in comparisons:
        for agent, summary in comparison.summaries.items():
            parts = {"all": summary} | summary.get("by_friends", {})
            for group, part in parts.items():
                task = (comparison.dataset, comparison.protocol, comparison.task)
                key = (*task, agent, group)
                counts = (part["num_users"], part["num_seeds"])
                rows += [
                    (*key, *counts, metric, i["mean"], i["low"], i["high"])
                    for metric, i in part["metrics"].items()
                ]
    return csv_text(rows)


def device_text(device: object) -> str:
    """The device as one line, whether config.json holds a name or several facts."""
    if isinstance(device, dict):
        return ", ".join(f"{key} {value}" for key, value in device.items())
    return str(device)
