"""Writes the report of a folder of runs: the page, its figures and its tables.

DIRECTORY/report/
  report.html        everything on one page, opened from a file, no network
  figures/*.svg .png one image per panel
  tables/*.csv .md   one table each; results.csv has every number in long form
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from dlerse_jax.reporting.comparison import Comparison, compare_runs
from dlerse_jax.reporting.effects import headline
from dlerse_jax.reporting.figures import comparison_figures
from dlerse_jax.reporting.names import contender_names
from dlerse_jax.reporting.page import Section, render_page
from dlerse_jax.reporting.run_figures import (
    dataset_figure,
    learning_figure,
    statistics_by_dataset,
)
from dlerse_jax.reporting.style import STYLE
from dlerse_jax.reporting.sweep_figures import sweep_figures
from dlerse_jax.reporting.sweep_points import choice, points_table
from dlerse_jax.reporting.tables import (
    comparison_tables,
    dataset_table,
    long_csv,
    run_table,
)
from dlerse_jax.runs.records import Run, device_hours, find_runs, training_seconds
from dlerse_jax.runtime.atomic_files import write_atomically

MOST_SLUG_LETTERS = 80


def write_report(directory: Path) -> Path:
    """Writes `directory`/report from the run in it or the runs below: path of the page.

    An older report is replaced. Raises FileNotFoundError when there is no run,
    ValueError when one of its files is not what a run writes.
    """
    runs = find_runs(directory)
    comparisons = compare_runs(runs)
    target = directory / "report"
    with matplotlib.rc_context(STYLE):
        sections = [
            *map(_comparison_section, comparisons),
            *_unfinished_section(runs),
            *_data_section(runs),
            _runs_section(runs),
        ]
        for section in sections:
            _write_files(target, section)
        page = render_page(f"Report: {directory.name}", _lead(runs), sections)
    write_atomically(target / "tables/results.csv", long_csv(comparisons).encode())
    write_atomically(target / "report.html", page.encode())
    return target / "report.html"


def _lead(runs: Sequence[Run]) -> str:
    finished = sum(run.finished for run in runs)
    trained = [run for run in runs if not run.is_reevaluated]
    hours = sum(map(training_seconds, trained)) / 3600
    spent = sum(map(device_hours, trained))
    return (
        f"{len(runs)} run{'s' * (len(runs) > 1)}, {finished} finished. Training took"
        f" {hours:.3g} hours added up, {spent:.3g} device-hours. Intervals are 95%;"
        " captions say over what."
    )


def _comparison_section(comparison: Comparison) -> Section:
    about = f"Data set {comparison.dataset}, protocol {comparison.protocol}. "
    learning = learning_figure(comparison.runs, comparison.contenders, about)
    figures = [
        *sweep_figures(comparison),
        *comparison_figures(comparison),
        learning,
    ]
    tables = [*comparison_tables(comparison), points_table(comparison)]
    task = f", {comparison.task}" if comparison.task else ""
    return Section(
        title=f"{comparison.dataset}, protocol {comparison.protocol}{task}",
        slug=_slug(f"{comparison.dataset}_{comparison.protocol}_{comparison.task}"),
        lead=headline(comparison) + choice(comparison),
        tables=[t for t in tables if t.rows],
        figures=[group for group in figures if group.panels],
    )


def _unfinished_section(runs: Sequence[Run]) -> list[Section]:
    unfinished = [run for run in runs if not run.finished]
    if not unfinished:
        return []
    names = dict.fromkeys(contender_names(unfinished))
    learning = learning_figure(unfinished, names, "")
    return [
        Section(
            title="Not finished",
            slug="unfinished",
            lead="Runs without results yet; the same `dlerse train` command goes on.",
            tables=[],
            figures=[learning] if learning.panels else [],
        )
    ]


def _data_section(runs: Sequence[Run]) -> list[Section]:
    statistics = statistics_by_dataset(runs)
    if not statistics:
        return []
    return [
        Section(
            title="Data",
            slug="data",
            lead="",
            tables=[dataset_table(statistics)],
            figures=[dataset_figure(statistics)],
        )
    ]


def _runs_section(runs: Sequence[Run]) -> Section:
    return Section(
        title="Runs", slug="runs", lead="", tables=[run_table(runs)], figures=[]
    )


def _write_files(target: Path, section: Section) -> None:
    for table in section.tables:
        stem = f"tables/{section.slug}_{table.name}"
        write_atomically(target / f"{stem}.csv", table.csv().encode())
        write_atomically(target / f"{stem}.md", table.markdown().encode())
    for panel in (panel for group in section.figures for panel in group.panels):
        stem = f"figures/{section.slug}_{panel.name}"
        write_atomically(target / f"{stem}.svg", panel.svg)
        write_atomically(target / f"{stem}.png", panel.png)


def _slug(name: str) -> str:
    """A name that is safe in a path and an anchor, short enough for a file's."""
    slug = re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_").lower()
    if len(slug) <= MOST_SLUG_LETTERS:
        return slug
    return f"{slug[:MOST_SLUG_LETTERS]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
