"""Promises of the report on a sweep: numbers against settings, chosen on validation."""

import json
import re

import pytest
from run_folders import make_run, write_json
from test_report import images

from dlerse_jax.reporting.build import write_report
from dlerse_jax.reporting.comparison import compare_runs
from dlerse_jax.reporting.sweep_figures import sweep_figures
from dlerse_jax.reporting.sweep_points import (
    choice,
    grids,
    points_table,
    validation_means,
)
from dlerse_jax.runs.records import device_hours, find_runs

pytestmark = pytest.mark.usefixtures("quick_reports")

ALPHAS, HOPS = (0.0, 0.1, 0.2), (0, 2)


def make_point(directory, rate, validation, **settings):
    """A run of the sweep with settings by section, alone with its validation."""
    make_run(directory, rate=rate, baselines={}, runs_in_program=2, wall_seconds=7200.0)
    config = json.loads((directory / "config.json").read_text())
    config["config"] |= settings
    write_json(directory / "config.json", config | {"device": {"count": 4}})
    line = {"step": 5, "wall_seconds": 1.0, "eval/precision_at_32": validation}
    (directory / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    for path in (directory / "baselines").glob("*.npz"):
        path.unlink()


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """alpha x hops under either fusion; reported once."""
    folder = tmp_path_factory.mktemp("swept")
    for fusion in ("add", "con"):
        for alpha in ALPHAS:
            for hops in HOPS:
                make_point(
                    folder / f"{fusion}{alpha}{hops}",
                    rate=0.2 + 0.05 * hops - 0.2 * alpha,
                    validation=0.9 if (fusion, alpha, hops) == ("con", 0.1, 0) else 0.3,
                    reward={"alpha": alpha},
                    network={"hops": hops, "fusion": fusion},
                )
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def comparison(swept):
    [only] = compare_runs(find_runs(swept))
    return only


def test_two_numbers_make_lines_and_a_heat_map_for_each_word(swept):
    page = (swept / "report/report.html").read_text()
    shown = images(page)
    assert "<h3>What alpha and hops do</h3>" in page
    for title in (
        "Precision@32, by alpha",
        "Mean reward measured at α = 0.1, by alpha",
        "Length of streaks of likes, by alpha",
        "Longest streak of likes in an episode, by alpha",
        "Length of streaks of dislikes, by alpha",
    ):
        assert all(f"hops={hops}, fusion=add<" in shown[title] for hops in HOPS)
    for fusion in ("add", "con"):
        picture = shown[f"Precision@32, alpha by hops (fusion={fusion})"]
        assert len(re.findall(r">0\.\d{3}<", picture)) == len(ALPHAS) * len(HOPS)


def test_the_best_is_chosen_on_validation_users_and_shown_on_test(comparison):
    best, *others = validation_means(comparison).items()
    assert best == ("dlerse_con (alpha=0.1, hops=0, fusion=con)", 0.9)
    assert len(others) == 11
    mean = comparison.summaries[best[0]]["metrics"]["precision_at_32"]["mean"]
    assert f"{best[0]}, 0.900 there" in choice(comparison)
    assert f"precision@32 is {mean:.3f} [" in choice(comparison)
    assert list(comparison.contenders)[0] != best[0]  # test users prefer another


def test_time_of_a_program_is_shared_and_counted_by_device(swept):
    assert [device_hours(run) for run in find_runs(swept)] == [4.0] * 12
    page = (swept / "report/report.html").read_text()
    assert "Training took 12 hours added up, 48 device-hours." in page


def test_a_points_hours_are_its_share_of_its_program(comparison):
    table = points_table(comparison)
    assert table.header[-2:] == ["hours", "device-hours"]
    assert {tuple(row[-2:]) for row in table.rows} == {("1", "4")}


def test_a_point_that_lacks_a_split_is_not_chosen(tmp_path):
    for place, (gamma, validation) in enumerate(((0.0, 0.3), (0.9, 0.8), (0.0, 0.3))):
        directory = tmp_path / str(place)
        make_point(directory, 0.3, validation, q_learning={"gamma": gamma})
    result = json.loads((directory / "summary.json").read_text())
    write_json(directory / "summary.json", result | {"split": 1})
    [comparison] = compare_runs(find_runs(tmp_path))
    assert validation_means(comparison) == {"dlerse_con (gamma=0.0)": 0.3}


def test_one_number_makes_lines_alone(tmp_path):
    for gamma in (0.0, 0.9):
        make_point(tmp_path / str(gamma), 0.3, 0.3, q_learning={"gamma": gamma})
    [comparison] = compare_runs(find_runs(tmp_path))
    [grid] = grids(comparison)
    assert (grid.across, grid.down) == ("q_learning.gamma", None)
    [group] = sweep_figures(comparison)
    assert group.title == "What gamma does"
    assert len(group.panels) == 6


def test_words_and_three_numbers_make_no_grid(tmp_path):
    for place in range(3):
        numbers = {"a": place, "b": place, "c": -place}
        make_point(tmp_path / str(place), 0.3, 0.3, network=numbers)
    [comparison] = compare_runs(find_runs(tmp_path))
    assert grids(comparison) == []
    for place, word in enumerate(("gru", "cnn")):
        make_point(tmp_path / f"w{place}", 0.3, 0.3, network={"encoder": word})
    [comparison] = compare_runs(find_runs(tmp_path)[3:])
    assert grids(comparison) == []
