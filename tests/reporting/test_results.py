"""Promises of results as JSON: pages say what committed files say, and nothing else."""

import json
from pathlib import Path

import pytest
from run_folders import make_run

from dlerse_jax.commands.main import main
from dlerse_jax.reporting.result_pages import (
    missing_results,
    render_pages,
    render_results,
    stale_pages,
)
from dlerse_jax.reporting.results import (
    FIELDS,
    _rounded,
    export_results,
    read_results,
)

pytestmark = pytest.mark.usefixtures("quick_reports")

ROOT = Path(__file__).parents[2]
TOLD = {"question": "Who is best?", "command": "dlerse sweep --sweep=sweeps/best.py"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two agents on two splits, the baselines of one with validation users."""
    folder = tmp_path_factory.mktemp("runs")
    validation = {"popularity": 0.31, "friends": 0.3}  # linucb: 0.298
    for split in (0, 1):
        places = [{"phase": "q_learning", "update": 40 + split}] * 2
        made = {"baselines_validation": validation, "selected": places}
        make_run(folder / f"con_{split}", split=split, select="best", **made)
        make_run(folder / f"linucb_{split}", agent="linucb", rate=0.27, split=split)
    return folder


@pytest.fixture
def exported(runs, tmp_path):
    return export_results(tmp_path / "results/lastfm.json", [runs], **TOLD)


def test_the_file_says_what_was_asked_where_it_was_run_and_every_row(
    exported, tmp_path
):
    assert read_results(tmp_path / "results/lastfm.json") == exported
    assert set(exported) == {"format", *FIELDS}
    assert exported["command"] == TOLD["command"]
    assert exported["commit"] == ["0123456789"]
    assert exported["machine"] == ["cpu"]
    assert exported["versions"] == {"jax": ["0.10.2"]}
    assert exported["date"] == ["2026-11-23"]
    [table] = exported["tables"]
    assert table["splits"] == [0, 1]
    assert table["num_users"] == 120
    assert table["intervals"] == "over users of 2 splits, 1 to 2 seeds each"
    assert table["bar"] == {"agent": "popularity", "on_validation": True}
    agents = [row["agent"] for row in table["rows"]]
    assert agents == ["dlerse_con", "linucb", "friends", "popularity"]
    best, bar = table["rows"][0], table["rows"][-1]
    assert best["taken_at"] == "Q-learning, update 40 to 41"
    interval = best["metrics"]["precision_at_32"]
    held = bar["metrics"]["precision_at_32"]
    assert interval["low"] < interval["mean"] < interval["high"]
    assert best["less_bar"]["mean"] == pytest.approx(
        interval["mean"] - held["mean"], abs=2e-6
    )
    assert best["ratio_to_bar"]["mean"] == pytest.approx(
        interval["mean"] / held["mean"], abs=1e-4
    )
    assert bar["less_bar"] is None


def test_what_is_no_number_is_null_with_all_of_its_interval():
    nothing = {"mean": None, "low": None, "high": None}
    assert _rounded({"mean": 0.5, "low": float("nan"), "high": 1.0}) == nothing
    assert _rounded(nothing) == nothing and _rounded(None) is None
    assert _rounded({"mean": 1 / 3}) == {"mean": 0.333333}


def test_a_second_export_keeps_question_and_command(exported, runs, tmp_path):
    again = export_results(tmp_path / "results/lastfm.json", [runs])
    assert again == exported
    with pytest.raises(ValueError, match="--question is missing: .*new.json has none"):
        export_results(tmp_path / "new.json", [runs], command="dlerse sweep")


def test_a_page_says_what_the_file_says(exported, tmp_path):
    pages = tmp_path / "pages"
    (pages / "results").mkdir(parents=True)
    page = pages / "results/lastfm.md"
    page.write_text("# LastFM\n\n<!-- table: lastfm -->\n\nThree sentences.\n")
    other = pages / "index.md"
    other.write_text("<!-- table: not_yet -->\n")
    results = tmp_path / "results"
    assert stale_pages(results, pages) == [page]
    assert render_pages(results, pages) == [page]
    text = page.read_text()
    assert text.startswith("# LastFM\n\n<!-- table: lastfm -->\n\n| agent | reward |")
    assert text.endswith("<!-- end of table: lastfm -->\n\nThree sentences.\n")
    [table] = exported["tables"]
    mean = table["rows"][0]["metrics"]["precision_at_32"]["mean"]
    assert f"| {mean:.3f} [" in text
    assert "| popularity (bar) |" in text
    assert "The bar, popularity, is the best policy without learning on val" in text
    assert "Commit 0123456789; 2026-11-23; cpu; jax 0.10.2." in text
    assert other.read_text() == "<!-- table: not_yet -->\n"
    assert missing_results(results, pages) == [results / "not_yet.json"]

    assert render_pages(results, pages) == []  # nothing changes a second time
    page.write_text(text.replace(f"{mean:.3f}", "0.999"))
    assert stale_pages(results, pages) == [page]
    render_pages(results, pages)
    assert page.read_text() == text


def test_a_table_of_many_rows_has_holms_p_values(exported):
    [table] = exported["tables"]
    first = table["rows"][0]
    table["rows"] += [{**first, "agent": f"other {i}"} for i in range(9)]
    text = render_results(exported)
    assert "| p (Holm) |" in text
    assert "12 agents are compared at once: by Holm's p-values," in text


def test_tables_of_the_documentation_are_those_of_the_committed_files():
    """Where it fails: `dlerse report --results=results --pages=docs`."""
    for path in (ROOT / "results").glob("*.json"):
        read_results(path)
    assert stale_pages(ROOT / "results", ROOT / "docs") == []


@pytest.mark.parametrize(
    "content, words",
    [
        ("[]", "not a JSON object"),
        ('{"format": 9}', "no question, command, commit"),
        ("{", "line 1: not JSON"),
    ],
)
def test_another_file_is_refused_with_the_mend(tmp_path, content, words):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ValueError) as error:
        read_results(path)
    assert words in str(error.value)
    assert f"make it again with `dlerse report --export={path} RUNS...`" in str(
        error.value
    )


def test_the_command_exports_and_renders(runs, tmp_path, capsys):
    path, pages = tmp_path / "results/lastfm.json", tmp_path / "pages"
    pages.mkdir()
    (pages / "a.md").write_text("<!-- table: lastfm -->\n<!-- table: other -->\n")
    told = [f"--{key}={words}" for key, words in TOLD.items()]
    folders = [str(runs / f"con_{split}") for split in (0, 1)]
    assert main(["report", f"--export={path}", *told, *folders]) == 0
    assert json.loads(path.read_text())["question"] == "Who is best?"
    assert main(["report", f"--results={path.parent}", f"--pages={pages}"]) == 0
    said = capsys.readouterr().out
    assert f"{path}: 1 tables, 3 rows" in said
    assert f"{pages / 'a.md'} is up to date now" in said
    assert "other.json is not there yet" in said
    assert "| dlerse_con |" in (pages / "a.md").read_text()


@pytest.mark.parametrize(
    "words, told",
    [
        (["--results=docs"], "--results=FOLDER --pages=FOLDER"),
        (["--results=nowhere", "--pages=docs"], "nowhere is not a folder"),
        (["--export=x.md", "runs"], "a file that ends in .json"),
        (["--export=x.json"], "--export=FILE.json RUNS"),
        (["--question=Who?", "runs"], "belong to --export"),
        (["one", "two"], "usage: dlerse report DIR"),
        ([], "usage: dlerse report DIR"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(words, told, capsys):
    assert main(["report", *words]) == 2
    assert told in capsys.readouterr().err
