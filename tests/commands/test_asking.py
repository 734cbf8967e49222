"""`dlerse recommend`, `chat` and `card`: what they print, and how they refuse."""

import csv
import dataclasses
import io
import json
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from dlerse_jax.commands.main import main
from dlerse_jax.data.storage import dataset_bytes, read_dataset
from dlerse_jax.reporting.card import card_text
from dlerse_jax.runs.choice import write_choice
from dlerse_jax.runs.records import read_run
from dlerse_jax.serving.names import Names
from dlerse_jax.serving.recommender import Recommender
from dlerse_jax.types import Taggings

sys.path.append(str(Path(__file__).parents[1] / "serving"))

from served import finished_run, served  # noqa: E402


@pytest.fixture(scope="module")
def run() -> str:
    return str(finished_run("linear"))


@pytest.fixture
def typed(monkeypatch):
    def type_lines(text):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return type_lines


def items(question, **limits):
    found = served("linear").recommend(**question, **limits)
    return [each.item for each in found]


def test_json_is_what_python_gives(run, capsys):
    words = ["--friends=1, 2", "--liked=3;7", "--disliked=9", "--exclude=5", "--k=4"]
    assert main(["recommend", run, *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    question = {"friends": [1, 2], "liked": [3, 7], "disliked": [9], "exclude": [5]}
    assert [each["item"] for each in found] == items(question, k=4)
    assert found[0].keys() == {"item", "title", "score", "chance", "reasons"}


def test_lines_are_for_people_and_name_reasons_where_asked(run, capsys):
    assert main(["recommend", run, "--user=4", "--k=2", "--explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first, second = items({"user": 4}, k=2)
    assert lines[0].strip() == f"1. {first}" and lines[2].strip() == f"2. {second}"
    assert lines[1].startswith("     Because") or "No single reason" in lines[1]


def test_a_file_of_questions_is_answered_row_by_row(run, tmp_path, capsys):
    path = tmp_path / "questions.csv"
    path.write_text('user,liked\n4,"3,7"\n9,\n')
    assert main(["recommend", run, f"--batch={path}", "--k=2"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["question"] for row in rows] == ["0", "0", "1", "1"]
    assert [row["user"] for row in rows] == ["4", "4", "9", "9"]
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2"]
    expected = items({"user": 4, "liked": [3, 7]}, k=2) + items({"user": 9}, k=2)
    assert [int(row["item"]) for row in rows] == expected


def test_an_unknown_id_is_a_line_and_the_rest_is_answered(run, capsys):
    assert main(["recommend", run, "--friends=1,ann", "--k=1"]) == 0
    said = capsys.readouterr()
    assert said.err == (
        "dlerse: friends: users that the data set does not have are left out: 'ann'\n"
    )
    assert said.out.strip() == f"1. {items({'friends': [1]}, k=1)[0]}"


@pytest.fixture
def comma(run, monkeypatch):
    """The run, where item 3 is called "3, 7" and item 9 "nine, ten"."""
    recommender = Recommender.load(run)
    item_ids = np.array(recommender.names.item_ids.astype(str), dtype="<U20")
    item_ids[[3, 9]] = "3, 7", "nine, ten"
    recommender.dataset = dataclasses.replace(recommender.dataset, item_ids=item_ids)
    recommender.names = Names(recommender.dataset)
    monkeypatch.setattr(Recommender, "load", lambda *_, **__: recommender)
    return recommender


def test_an_id_with_a_comma_can_be_asked_of(comma, run, tmp_path, capsys, typed):
    only = ["--k=1", "--only"]
    for text, item in {"nine, ten": 9, '"3, 7",nine': 3}.items():
        assert main(["recommend", run, *only, text, "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert found["item"] == comma.names.item_id(item)
    path = tmp_path / "questions.csv"
    path.write_text('liked,only\n"nine, ten","""3, 7"""\n')
    assert main(["recommend", run, f"--batch={path}"]) == 0
    said = capsys.readouterr()
    (row,) = csv.DictReader(io.StringIO(said.out))
    assert row["item"] == "3, 7" and not said.err
    typed("quit\n")
    assert main(["chat", run, "--disliked=nine, ten"]) == 0
    assert "left out" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["recommend"], "usage: dlerse recommend RUN"),
        (["chat"], "usage: dlerse chat RUN"),
        (["card"], "usage: dlerse card RUN"),
        (["recommend", "no/such/run"], "no/such/run is not a run directory"),
        (["chat", "no/such/run"], "no/such/run is not a run directory"),
        (["card", "no/such/run"], "no/such/run is not a run directory"),
        (["recommend", "RUN", "--k=0"], "k must be between 1 and the 60 items"),
        (["recommend", "RUN", "--seed=7"], "seed is 7, and the run has seeds 0 to 0"),
        (["recommend", "RUN", "--json", "--csv"], "two forms of one answer"),
        (["recommend", "RUN", "--batch=a.csv", "--user=3"], "leave --user out"),
        (["recommend", "RUN", "--batch=a.csv", "--exclude=3"], "leave --exclude out"),
        (["recommend", "RUN", "--batch=a.csv"], "a.csv: there is no such file"),
        (["recommend", "RUN", "--batch=WRONG"], "wrong.csv, first line: it has 'usr'"),
        (["recommend", "RUN", "--batch=TWICE"], "line: it has 'liked' twice, expected"),
        (["recommend", "RUN", "--batch=EMPTY"], "empty.csv is empty: its first line"),
        (["recommend", "RUN", "--batch=SHORT"], "line 5: its cells are not those"),
        (["recommend", "RUN", "--freinds=3"], "did you mean --friends?"),
        (["recommend", "RUN", "--liked=3", "--disliked=3"], "'3' is both liked and"),
        (["recommend", "RUN", "--config=experiments/lastfm.py"], "leave --config="),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(run, words, problem, tmp_path, capsys):
    files = {
        "wrong": "usr\n",  # also where no row follows
        "twice": "user,liked,liked\n4,3,7\n",
        "empty": "",
        "short": 'user,liked\n\n4,"3\n,7"\n5\n',
    }
    for name, content in files.items():
        (tmp_path / f"{name}.csv").write_text(content)
    paths = {name.upper(): str(tmp_path / f"{name}.csv") for name in files}
    for name, value in {"RUN": run, **paths}.items():
        words = [word.replace(name, value) for word in words]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert problem in said and said.startswith("dlerse: ") and said.count("\n") == 1


# --- chat


def test_a_conversation_shows_learns_and_takes_back(run, typed, capsys):
    session = served("linear").session(friends=[1, 2])
    first = session.next()
    second = session.next(skip=(first.item,))
    session.answer(second.item, liked=True)
    third = session.next()
    typed("skip\nY\nwhy\nundo\nhm\nquit\n")
    assert main(["chat", run, "--friends=1,2"]) == 0
    said = capsys.readouterr().out
    blocks = [block.splitlines()[0] for block in said.split("\n\n")[1:]]
    # After undo the item is the first again: what was skipped may come back.
    expected = [first.title, second.title, third.title, first.title]
    assert blocks == [*expected, "You liked 0 of 0."]
    assert "popularity" in said and "> hm\n  y: I like it" in said


def test_the_end_of_the_input_ends_the_conversation(run, typed, capsys):
    shown = served("linear").session().next()
    typed("y")
    assert main(["chat", run]) == 0
    assert capsys.readouterr().out.endswith(f"\nYou liked 1 of 1: {shown.title}.\n")


def test_bytes_that_are_no_text_are_no_answer(run, monkeypatch, capsys):
    stdin = io.TextIOWrapper(io.BytesIO(b"\xff\xe9\ny\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(sys, "argv", ["dlerse", "chat", run])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert main() == 0
    assert "You liked 1 of 1: " in capsys.readouterr().out


def test_a_conversation_ends_with_the_last_item(run, typed, capsys):
    left = ",".join(str(item) for item in range(1, 60))
    typed("n\n")
    assert main(["chat", run, f"--disliked={left}"]) == 0
    assert "That was all there is.\n\nYou liked 0 of 60." in capsys.readouterr().out


def test_interrupting_a_conversation_is_status_130(run, monkeypatch, capsys):
    class Interrupting(io.StringIO):
        def readline(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Interrupting())
    assert main(["chat", run]) == 130
    assert capsys.readouterr().err.endswith("is over; nothing of it is kept\n")


# --- card


def test_the_card_says_data_figures_groups_and_main_parameters(run, capsys):
    assert main(["card", run]) == 0
    path = Path(capsys.readouterr().out.strip())
    card = path.read_text()
    summary = json.loads((Path(run) / "summary.json").read_text())["summary"]
    front = card.split("---\n")[1]
    (metrics,) = (line for line in front.splitlines() if line.startswith("model-index"))
    (model,) = json.loads(metrics.partition(": ")[2])
    values = {x["type"]: x["value"] for x in model["results"][0]["metrics"]}
    precision = summary["metrics"]["precision_at_6"]
    assert values["precision_at_6"] == pytest.approx(precision["mean"], abs=1e-4)
    assert "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**precision) in card
    for group in summary["by_friends"]:
        assert f"| {group} friends |" in card
    for words in (
        "Your answers.",
        "What your friends like.",
        "Limits",
        "| agent.name |",
    ):
        assert words in card


def test_a_card_of_a_summary_that_no_run_writes_names_the_file(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "README.md").unlink(missing_ok=True)  # of another test's card
    (copy / "summary.json").write_text('{"agent": "linear"}')
    assert main(["card", str(copy)]) == 2
    assert "summary.json: dataset should be str, got None" in capsys.readouterr().err
    assert not (copy / "README.md").exists()


def card_with(run, folder, config=None, choice=None, **changes):
    """The card of a copy of the run with another config, choice or data."""
    shutil.copytree(run, folder)
    stored = read_run(folder)
    if choice:
        write_choice(folder, {"linear_plus": choice})
    data = dataclasses.replace(read_dataset(folder / "dataset.npz"), **changes)
    origin = stored.settings["data_digest"]
    (folder / "dataset.npz").write_bytes(dataset_bytes(data, origin=origin))
    for key, value in (config or {}).items():
        stored.settings["config"]["data"][key] = value
    stored.result["agent"] = "linear_plus"  # which reads tags and counts
    return card_text(stored)


@pytest.mark.parametrize(
    ("config", "like"),
    [
        ({}, "any interaction."),
        ({"name": "filmtrust"}, "an interaction of weight (a rating or count) 3.5 or"),
        (
            {"format": "table", "min_rating": 0.0},
            "an interaction of weight (a rating or count) 0",
        ),
        ({"format": "table"}, "any interaction."),
    ],
)
def test_the_card_says_which_weights_are_likes(run, tmp_path, config, like):
    assert f"A like is {like}" in card_with(run, tmp_path / "copy", config)


def test_the_card_names_what_the_data_have_and_no_more(run, tmp_path):
    names = "**What items are called.**", "**How much others use an item.**"
    card = card_with(run, tmp_path / "neither")
    assert not any(name in card for name in names)
    data = served("linear").dataset
    few = np.zeros(3, np.int32)
    tags = Taggings(users=few, items=few, tags=few, num_tags=1)
    weights = np.arange(len(data.liked_items), dtype=np.float32)
    card = card_with(run, tmp_path / "tags", taggings=tags)
    assert names[0] in card and names[1] not in card
    card = card_with(run, tmp_path / "counts", like_weights=weights)
    assert names[0] not in card and names[1] in card


def test_the_card_says_whether_settings_were_chosen(run, tmp_path):
    fixed = "How much each parameter counts is fixed by the settings below"
    assert f"{fixed}. " in card_with(run, tmp_path / "fixed")
    chosen = card_with(run, tmp_path / "chosen", choice={"chosen": {"a.b": 1}})
    assert f"{fixed}, which were chosen on training users. " in chosen
    kept = card_with(run, tmp_path / "kept", choice={"chosen": {}})
    assert f"{fixed}. " in kept


def test_a_card_is_made_again_and_another_file_is_left_alone(run, capsys):
    path = Path(run) / "README.md"
    assert main(["card", run]) == 0
    assert main(["card", run]) == 0
    path.write_text("my notes")
    assert main(["card", run]) == 2
    assert "was not made by `dlerse card`" in capsys.readouterr().err
    assert path.read_text() == "my notes"
    path.unlink()
