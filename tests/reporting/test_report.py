"""Promises of reporting/: everything measured is on one page that needs no network."""

import base64
import csv
import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from run_folders import (
    NUM_USERS,
    change_config,
    make_evaluation,
    make_run,
    write_json,
)

from dlerse_jax.evaluation.summary import (
    ranking_metrics,
    summarize_metrics,
)
from dlerse_jax.reporting.build import write_report
from dlerse_jax.reporting.comparison import REFERENCE_AGENTS, compare_runs
from dlerse_jax.runs.records import find_runs

pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two agents on two splits, and what one more protocol gives; reported once."""
    folder = tmp_path_factory.mktemp("sweep")
    for split in (0, 1):
        make_run(folder / f"con_{split}", split=split)
        make_run(folder / f"linucb_{split}", agent="linucb", rate=0.27, split=split)
    rng = np.random.default_rng(0)
    scores, relevant = rng.random((NUM_USERS, 300)), rng.random((NUM_USERS, 300)) < 0.1
    one_seed = {k: v[None] for k, v in ranking_metrics(scores, relevant).items()}
    make_run(
        folder / "ranking",
        protocol="ranking",
        summary=summarize_metrics([one_seed]),
        baselines={"popularity": summarize_metrics([one_seed])},
    )
    for path in (folder / "ranking").rglob("*.npz"):
        path.unlink()
    (folder / "ranking/metrics.jsonl").unlink()
    write_report(folder)
    return folder


CROWD = [f"agent_number_{i:02}" for i in range(12)]
CROWD += ["random", "popularity", "friends", "dlerse_con"]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """16 agents on 2 splits, one of them under two alphas; reported once."""
    folder = tmp_path_factory.mktemp("crowd")
    outcome = {"summary": {"metrics": {}}, "baselines": {}}  # episodes say it all
    for split in range(2):
        for place, agent in enumerate([*CROWD, "dlerse_con"]):
            directory = folder / f"{place}_{split}"
            rate = 0.1 if agent in REFERENCE_AGENTS else 0.15 + place / 100
            make_run(directory, agent, rate, split, **outcome)
            shutil.rmtree(directory / "baselines")
            change_config(
                directory, reward={"alpha": 0.1 if place == len(CROWD) else 0.0}
            )
    write_report(folder)
    return folder


def images(page):
    sources = re.findall(
        r'<img alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]*)"', page
    )
    return {alt: base64.b64decode(content).decode() for alt, content in sources}


def test_a_sweep_shows_every_figure_of_the_paper(sweep):
    shown = " | ".join(images((sweep / "report/report.html").read_text()))
    for words in (
        "Size after filtering",  # Figure 2
        "Precision@K, by agent | Recall@K, by agent | NDCG@K, by agent | MRR, by agent",
        "AUC, by agent",  # Figure 3
        "Mean reward, α = 0, by agent | Mean reward, α = 0.1, by agent",  # Figure 4
        "Precision@1, by agent | Precision@32, by agent | Recall@32, by agent",
        "Precision by step within the episode",
        "Precision@32 by number of friends | Precision@32 by sparsity",  # Figure 5
    ):
        assert words in shown
    titles = re.findall(r"<h3>(.*?)</h3>", (sweep / "report/report.html").read_text())
    assert titles[:6] == [
        "Reward, precision and recall",
        "Precision by step within the episode",
        "Accuracy by number of friends and by sparsity",
        "Cost in time and memory",
        "Who serves a user better",
        "Learning curves",
    ]


def test_the_best_agent_is_held_against_the_best_policy_without_learning(sweep):
    [comparison] = [c for c in compare_runs(find_runs(sweep)) if c.protocol == "cold"]
    ours, reference = (
        np.mean([split.mean() for split in comparison.paired[name]])
        for name in ("dlerse_con", "linucb")
    )
    page = (sweep / "report/report.html").read_text()
    told = f"Ratio of dlerse_con to the bar, linucb, by P@32: {ours / reference:.3f} ["
    assert told in page


def test_each_caption_says_protocol_users_seeds_and_interval(sweep):
    page = (sweep / "report/report.html").read_text()
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    told = "Data set lastfm, protocol cold: 120 users."
    over = "95% intervals of the mean over users of 2 splits, 1 to 2 seeds each"
    assert sum(told in caption and over in caption for caption in captions) >= 4


def test_reference_numbers_are_marked_as_theirs(sweep):
    page = (sweep / "report/report.html").read_text()
    assert "friends (theirs)" in page
    assert "not ours: reference, a plain NumPy script" in page
    assert "reference, a plain NumPy script" in images(page)["Precision@32, by agent"]
    assert "lastfm: items per user (theirs)" in images(page)["Means"]


def test_every_panel_and_table_is_also_a_file(sweep):
    page = (sweep / "report/report.html").read_text()
    figures = {path.name for path in (sweep / "report/figures").iterdir()}
    stems = {name.rsplit(".", 1)[0] for name in figures}
    assert figures == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")}
    assert len(stems) == page.count("<img ")
    tables = {path.name for path in (sweep / "report/tables").iterdir()}
    assert {"lastfm_cold_results.md", "lastfm_cold_results.csv"} <= tables
    assert {"lastfm_cold_win_probability.csv", "results.csv", "runs_runs.csv"} <= tables


def test_long_table_holds_the_means_of_both_splits(sweep):
    with (sweep / "report/tables/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    [row] = [
        row
        for row in rows
        if (row["protocol"], row["agent"]) == ("cold", "dlerse_con")
        and (row["friends"], row["metric"]) == ("all", "precision_at_32")
    ]
    evaluations = [make_evaluation("", 0.3, seed=split) for split in (0, 1)]
    expected = np.mean([evaluation.feedback.mean() for evaluation in evaluations])
    assert float(row["mean"]) == pytest.approx(expected)
    assert float(row["low"]) < expected < float(row["high"])
    assert row["users"] == str(2 * NUM_USERS)


def test_agents_stand_best_first_and_win_chances_of_a_pair_add_up(sweep):
    [cold] = [c for c in compare_runs(find_runs(sweep)) if c.protocol == "cold"]
    assert list(cold.contenders) == ["dlerse_con", "linucb", "friends", "popularity"]
    assert len(cold.wins) == 12
    forth, back = cold.wins["dlerse_con", "friends"], cold.wins["friends", "dlerse_con"]
    for ours, theirs in (("mean", "mean"), ("low", "high"), ("high", "low")):
        assert forth[ours] + back[theirs] == pytest.approx(1)
    assert 0.4 < forth["low"] < 0.5 < forth["mean"] < forth["high"] < 1  # two seeds


def test_in_a_crowd_lines_are_of_the_best_and_of_the_references(crowd):
    shown = images((crowd / "report/report.html").read_text())
    for title in ("Precision by step within the episode", "Precision@32 by sparsity"):
        named = [agent for agent in CROWD if f">{agent}" in shown[title]]
        assert len(named) == 9  # of which one twice, under either alpha
        assert {"random", "popularity", "dlerse_con"} <= set(named)
    assert "dlerse_con (alpha=0.1)" in shown["Precision by step within the episode"]
    rows = shown["Precision@32, by agent"]
    assert all(f">{agent}" in rows for agent in CROWD)
    assert all(f">{agent}" in shown["Time of a run"] for agent in CROWD)
    pairs = shown["Chance of a higher precision@32"]
    assert sum(f">{agent}" in pairs for agent in CROWD) == 11


def test_the_page_loads_nothing_from_outside(sweep):
    page = (sweep / "report/report.html").read_text()
    loads = re.findall(r'(?:src|href)="([^"]*)"|url\(([^)]*)\)|@import (\S*)', page)
    targets = ["".join(groups) for groups in loads]
    assert targets
    assert all(target.startswith(("data:", "#")) for target in targets)
    for svg in images(page).values():
        linked = re.findall(r'(?:xlink:href|href|src)="([^"]*)"', svg)
        assert all(target.startswith(("#", "data:")) for target in linked)


class TagChecker(html.parser.HTMLParser):
    """Follows opened tags; a closing tag that does not match is an error."""

    VOID = {"meta", "img", "br", "!doctype"}

    def __init__(self):
        super().__init__()
        self.open, self.ids = [], []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_tags_are_closed_and_anchors_are_unique(sweep):
    checker = TagChecker()
    checker.feed((sweep / "report/report.html").read_text())
    assert not checker.open
    assert len(set(checker.ids)) == len(checker.ids)


def test_names_cannot_smuggle_markup_into_the_page(tmp_path):
    directory = make_run(tmp_path / "run", agent="<script>x</script>", dataset='"><b>')
    shutil.rmtree(directory / "baselines")
    (directory / "evaluation.npz").unlink()
    page = write_report(directory).read_text()
    assert "<script" not in page
    assert "<b>" not in page


def test_settings_that_differ_name_the_contenders(tmp_path):
    for alpha in (0.0, 0.1):
        directory = make_run(tmp_path / f"alpha_{alpha}", rate=0.3 - 0.7 * alpha)
        change_config(directory, reward={"alpha": alpha})
    [comparison] = compare_runs(find_runs(tmp_path))
    assert comparison.claim == "precision_at_32"  # no reward is that of both
    assert list(comparison.contenders) == [
        "dlerse_con (alpha=0.0)",
        "friends",
        "dlerse_con (alpha=0.1)",
        "popularity",
    ]


def test_runs_on_different_tasks_are_not_in_one_table(tmp_path):
    for candidates in (1, 9):
        directory = make_run(tmp_path / str(candidates))
        change_config(directory, evaluation={"candidates": candidates})
    comparisons = compare_runs(find_runs(tmp_path))
    tasks = [comparison.task for comparison in comparisons]
    assert tasks == ["evaluation.candidates=1", "evaluation.candidates=9"]
    assert all("dlerse_con" in comparison.contenders for comparison in comparisons)


def test_runs_on_other_content_of_the_data_are_not_in_one_table(tmp_path):
    for name, digest in (("a", "1" * 64), ("b", "2" * 64), ("c", "2" * 64)):
        path = make_run(tmp_path / name, agent=name) / "config.json"
        write_json(path, json.loads(path.read_text()) | {"data_digest": digest})
    make_run(tmp_path / "d", agent="d", split=1)
    tables = {c.task: set(c.contenders) for c in compare_runs(find_runs(tmp_path))}
    assert set(tables) == {"", "data 11111111", "data 22222222"}
    assert {"b", "c"} <= tables["data 22222222"] and "d" in tables[""]


def test_a_run_from_before_a_key_stands_beside_one_with_its_default(tmp_path):
    """They stood in tables of their own, and so did a check that changes no number."""
    for name, own in {"young": {"data": {"core": False}}, "old": {}}.items():
        change_config(make_run(tmp_path / name), **own)
    change_config(make_run(tmp_path / "quick"), evaluation={"least_users": 1})
    [comparison] = compare_runs(find_runs(tmp_path))
    assert list(comparison.contenders) == ["dlerse_con", "friends", "popularity"]


def test_runs_that_differ_in_seed_alone_are_pooled(tmp_path):
    for seed in (0, 5):
        directory = make_run(tmp_path / f"seed_{seed}")
        change_config(directory, seed=seed)
    [comparison] = compare_runs(find_runs(tmp_path))
    assert comparison.summaries["dlerse_con"]["num_seeds"] == 4
    assert comparison.contenders["dlerse_con"].seeds == {0: (0, 1, 5, 6)}
    assert comparison.summaries["dlerse_con"]["num_users"] == NUM_USERS


def test_a_run_without_optional_files_leaves_their_figures_out(tmp_path):
    directory = make_run(tmp_path / "run")
    result = json.loads((directory / "summary.json").read_text())
    for key in ("wall_seconds", "decisions_per_second", "peak_memory_bytes"):
        del result[key]
    del result["num_parameters"], result["dataset_statistics"], result["baselines"]
    write_json(directory / "summary.json", result)
    (directory / "metrics.jsonl").unlink()
    (directory / "evaluation.npz").unlink()
    shutil.rmtree(directory / "baselines")
    page = write_report(directory).read_text()
    assert re.findall(r"<h3>(.*?)</h3>", page) == ["Reward, precision and recall"]


def test_an_unfinished_run_shows_its_learning_curves(tmp_path):
    directory = make_run(tmp_path / "killed")
    (directory / "summary.json").unlink()
    with (directory / "metrics.jsonl").open("a") as log:
        log.write('{"step": 100, "train/lo')  # killed in the middle of a line
    page = write_report(directory).read_text()
    assert re.findall(r"<h3>(.*?)</h3>", page) == ["Learning curves"]


def test_a_folder_without_runs_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a config.json in it"):
        write_report(tmp_path)


CHROMIUM = shutil.which("chromium")
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--allow-file-access-from-files",
)
# Phone width by an iframe: a headless window is never narrower than 500 pixels.
FRAME = """<!doctype html><body style="margin:0"><iframe id="page" src="report.html"
 style="border:0;width:{width}px;height:6000px"></iframe><script>
document.getElementById("page").onload = (event) => {{
  const page = event.target.contentDocument;
  for (const fold of page.querySelectorAll("details")) fold.open = true;
  const inScrollBox = (node) => node.closest(".scroll");
  const outside = [...page.querySelectorAll("body *")].filter(
    (node) => !inScrollBox(node.parentElement)
      && (node.getBoundingClientRect().right > {width} + 1
        || (!inScrollBox(node) && node.scrollWidth > node.clientWidth + 1
          && getComputedStyle(node).display !== "inline")));
  const broken = [...page.images].filter((image) => !image.naturalWidth);
  document.title = `overflow ${{outside.map((node) => node.outerHTML.slice(0, 60))}};`
    + ` page ${{page.documentElement.scrollWidth}}; broken ${{broken.length}};`;
}};
</script>"""


def browse(folder, page, *flags):
    """Runs headless Chromium on a file of the folder; its standard output."""
    profile = folder / "profile"
    command = [CHROMIUM, *CHROMIUM_FLAGS, f"--user-data-dir={profile}", *flags]
    done = subprocess.run(
        [*command, "--virtual-time-budget=5000", (folder / page).as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("runs", ["sweep", "crowd"])
def test_nothing_runs_out_of_its_box_in_a_browser(request, runs, tmp_path, width):
    folder = request.getfixturevalue(runs)
    shutil.copy(folder / "report/report.html", tmp_path)
    (tmp_path / "frame.html").write_text(FRAME.format(width=width))
    title = re.search(
        "<title>(.*?)</title>", browse(tmp_path, "frame.html", "--dump-dom"), re.S
    )
    assert title.group(1) == f"overflow ; page {width}; broken 0;"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium")
def test_a_browser_draws_the_page(sweep, tmp_path):
    shutil.copy(sweep / "report/report.html", tmp_path)
    shot = [f"--screenshot={tmp_path / 'page.png'}", "--window-size=1280,3000"]
    browse(tmp_path, "report.html", *shot)
    picture = (tmp_path / "page.png").stat().st_size
    assert picture > 50_000  # an empty page has a tenth of that
