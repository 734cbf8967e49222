"""Promises of the report on odd runs: odd names, odd users, damaged files."""

import csv
import dataclasses
import io
import time
import warnings

import numpy as np
import pytest
from run_folders import make_evaluation, make_run

from dlerse_jax.reporting import build, mirror, style
from dlerse_jax.reporting.build import write_report
from dlerse_jax.reporting.names import MOST_LETTERS, shorten
from dlerse_jax.reporting.panels import interval_rows, number_rows
from dlerse_jax.reporting.tables import ReportTable
from dlerse_jax.runs.checkpoint import read_evaluation, write_evaluation
from dlerse_jax.types import Evaluation

pytestmark = pytest.mark.usefixtures("quick_reports")

INTERVAL = {"mean": 0.3, "low": 0.2, "high": 0.4}


def test_users_who_like_equally_many_items_are_one_group(tmp_path):
    directory = make_run(tmp_path / "run", baselines={})
    for path in (directory / "baselines").glob("*.npz"):
        path.unlink()
    evaluation = make_evaluation("dlerse_con", 0.3)
    evaluation.num_likes[:] = 7
    write_evaluation(directory / "evaluation.npz", evaluation)
    page = write_report(directory).read_text()
    assert "Precision@32 by sparsity" in page
    drawn = (
        directory / "report/figures/lastfm_cold_precision_by_likes.svg"
    ).read_text()
    assert drawn.count(">7–7<") == 1


ODD_NAMES = [
    r"$\frac{1}$",
    "a|b",
    "two\nlines",
    "=cmd()",
    "x" * 100_000,
    "\x1b[31m",
    "数",
]


def test_odd_names_are_drawn_and_written_within_a_minute(tmp_path):
    for place, name in enumerate(ODD_NAMES):
        make_run(tmp_path / str(place), agent=name, rate=0.3 + place / 100)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that no font has
        tables = write_report(tmp_path).parent / "tables"
    assert time.process_time() - start < 60
    lines = (tables / "lastfm_cold_results.md").read_text().split("\n")
    rows = [line.replace(r"\|", "") for line in lines if line.startswith("| ")]
    assert len(rows) == 1 + len(ODD_NAMES) + 2 + 6  # head, ours, baselines, theirs
    assert {row.count("|") for row in rows} == {10}
    with (tables / "lastfm_cold_results.csv").open(newline="") as file:
        named = [cells[0] for cells in csv.reader(file)]
    assert {"$\\frac{1}$", "a|b", "two lines", "'=cmd()", "数"} <= set(named)
    assert max(map(len, named)) <= MOST_LETTERS


def test_long_names_keep_apart():
    first, second = ("x" * 1_000 + end for end in "ab")
    assert shorten(first) != shorten(second)
    assert len(shorten(first)) <= MOST_LETTERS
    assert shorten("short\nname") == "short name"


@pytest.mark.parametrize(
    "cell, written",
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("-2+3+cmd", "'-2+3+cmd"),
        ("-0.314 [-0.400, -0.200]", "-0.314 [-0.400, -0.200]"),
        ("+0.010 [-0.001, +0.021]", "+0.010 [-0.001, +0.021]"),
        ("-", "-"),
        ("dlerse_con", "dlerse_con"),
    ],
)
def test_no_cell_is_a_formula(cell, written):
    table = ReportTable(name="", title="", caption="", header=["agent"], rows=[[cell]])
    assert list(csv.reader(io.StringIO(table.csv())))[1] == [written]


def test_a_dollar_in_a_name_is_a_dollar():
    with style.matplotlib.rc_context(style.STYLE):
        panel = interval_rows("x", "x", "x", {"": {r"$\frac{1}$": INTERVAL}})
    assert rb"$\frac{1}$" in panel.svg


def test_no_label_is_cut(monkeypatch):
    """All that is drawn lies on the paper, names of 160 letters too."""
    seen = []
    rendered = style._rendered

    def spy(figure, file_format, metadata, box):
        seen.append((figure.get_tightbbox(), box or figure.bbox_inches))
        return rendered(figure, file_format, metadata, box)

    monkeypatch.setattr(style, "_rendered", spy)
    names = [f"dlerse_con (alpha={i}, " + "setting=1, " * 12 for i in range(3)]
    with style.matplotlib.rc_context(style.STYLE):
        rows = {f"series {i}": dict.fromkeys(names, INTERVAL) for i in range(2)}
        interval_rows("x", "A title " * 20, "x", rows)
        number_rows("x", "x", "x", {name: 3.0 for name in names}, log=True)
    assert len(seen) == 4
    for drawn, paper in seen:
        slack = 0.05
        assert drawn.x0 >= paper.x0 - slack and drawn.x1 <= paper.x1 + slack
        assert drawn.y0 >= paper.y0 - slack and drawn.y1 <= paper.y1 + slack


def test_a_panel_is_drawn_for_its_layout_and_once_for_each_file(monkeypatch):
    """With a layout engine left in it, Matplotlib draws all of it again to save it."""
    drawn, draw = [], style.Figure.draw

    def count(figure, renderer):
        drawn.append(type(renderer).__name__)
        draw(figure, renderer)

    monkeypatch.setattr(style.Figure, "draw", count)
    monkeypatch.setattr(style, "_rendered", style._rendered.__wrapped__)  # PNG too
    interval_rows("x", "x", "x", {"": {"a": INTERVAL}})
    assert drawn == ["RendererAgg", "RendererAgg", "MixedModeRenderer"]


MEAN_X = {"mean": "x", "low": 0.1, "high": 0.2}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"agent": 5}, r"evaluation.npz: not a whole evaluation \(agent is int64"),
        ({"dataset": 5}, "summary.json: dataset should be str, got 5; remove the file"),
        ({"dataset": None}, "summary.json: dataset should be str, got None"),
        ({"protocol": []}, r"summary.json: protocol should be str, got \[\]"),
        ({"summary": []}, r"summary.json: summary should be dict, got \[\]"),
        ({"summary": {}}, "summary.json: the summary of 'dlerse_con' has no intervals"),
        ({"baselines": {"friends": {"metrics": {"auc": 1}}}}, "of 'friends' has no"),
        ({"baselines": 3}, "summary.json: baselines should be dict, got 3"),
        ({"baselines": None}, "summary.json: baselines should be dict, got None"),
        ({"dataset_statistics": [1]}, "dataset_statistics should be dict"),
        ({"wall_seconds": "x"}, "summary.json: wall_seconds is 'x', no cost; rem"),
        ({"runs_in_program": 0}, "summary.json: runs_in_program is 0, no cost"),
        ({"baselines": {"friends": {"metrics": {"auc": MEAN_X}}}}, "of 'friends' has"),
    ],
)
def test_a_summary_that_no_run_writes_is_named(tmp_path, changes, message):
    directory = make_run(tmp_path / "run", **changes)
    with pytest.raises(ValueError, match=message):
        write_report(directory)


class Log:
    """A log with a mirror that takes everything."""

    is_mirrored = True

    def log_table(self, *_):
        pass

    def log_artifact(self, *_):
        pass


def test_a_report_that_fails_is_one_warning_and_no_error(tmp_path, monkeypatch, caplog):
    directory = make_run(tmp_path / "run")
    assert mirror.mirror_results(Log(), directory, artifacts=False) is None

    def broken(_):
        raise ZeroDivisionError("somewhere\nin a figure")

    monkeypatch.setattr(build, "write_report", broken)
    mirror.mirror_results(Log(), directory, artifacts=True)
    [record] = caplog.records
    told = record.getMessage()
    assert "ZeroDivisionError: somewhere in a figure" in told
    assert f"`dlerse report {directory}` tries again" in told


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Evaluation)])
def test_an_array_of_another_shape_or_type_is_named(tmp_path, name):
    path, whole = tmp_path / "evaluation.npz", make_evaluation("a", 0.3)
    write_evaluation(path, whole)
    assert read_evaluation(path).agent == "a"
    for wrong in (np.zeros(0), np.zeros((2, 2)), np.array(b"x"), np.array(None)):
        fields = dataclasses.asdict(whole) | {name: wrong}
        np.savez(path, **fields)
        with pytest.raises(ValueError, match="evaluation.npz: not a whole evaluation"):
            read_evaluation(path)
