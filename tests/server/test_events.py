"""The log of events: whole lines, rotated, forgotten, read back from each format."""

import asyncio
import json
import multiprocessing
import os

import numpy as np
import polars as pl
import pytest

from dlerse_jax.commands.main import main
from dlerse_jax.server.event_export import event_rows, export_events
from dlerse_jax.server.events import EventLog, files, read_events

CANDIDATES = [{"item": n, "score": 5.0 - n} for n in range(5)]


def shown(made, places, *, policy="epsilon:0.5", propensities=None, **changes):
    """A line about a list of some of five candidates."""
    chances = propensities or [0.6] * len(places)
    return {
        "event": "shown",
        "time": 1.0,
        "time_utc": "2026-01-01T00:00:00Z",
        "model": "m",
        "recommendation_id": made,
        "session": "",
        "subject": "",
        "num_friends": 2,
        "step": 0,
        "personal": True,
        "exploration": policy,
        "candidates_digest": "d",
        "num_candidates": 5,
        "candidates": CANDIDATES if policy != "none" else [],
        "items": [
            {
                "item": place,
                "position": position,
                "propensity": chances[position],
                "score": 5.0 - place,
            }
            for position, place in enumerate(places)
        ],
        **changes,
    }


def answered(made, item, liked, event="answered", **changes):
    about = {"time": 2.0, "time_utc": "", "model": "m", "session": "", "subject": ""}
    said = {"recommendation_id": made, "item": item, "liked": liked}
    return {"event": event, **about, **said, **changes}


def written(folder, *events, **settings):
    log = EventLog(folder, **settings)
    for event in events:
        asyncio.run(log.append([event]))
    log.close()
    return log


def test_what_is_in_an_event_cannot_end_its_line(tmp_path):
    written(tmp_path, answered("a\nb\u2028\x1b[31m\ud800", "\r\n", True))
    text = (tmp_path / "events.jsonl").read_text("ascii")
    assert text.count("\n") == 1 and text.isprintable() is False
    assert all(letter.isprintable() for letter in text[:-1])
    (event,) = read_events(tmp_path)
    assert event["recommendation_id"] == "a\nb\u2028\x1b[31m\ud800"


def test_files_are_rotated_and_the_oldest_ones_dropped(tmp_path):
    events = [answered("x" * 300, n, True) for n in range(20)]
    written(tmp_path, *events, most_bytes=1000)
    assert len(files(tmp_path)) > 4
    assert [event["item"] for event in read_events(tmp_path)] == list(range(20))
    old = files(tmp_path)[0]
    os.utime(old, (0, 0))
    written(tmp_path, *events[:4], most_bytes=1000, keep_days=1)
    assert not old.exists()


def test_a_line_that_a_kill_cut_off_is_mended_and_another_one_named(tmp_path, caplog):
    written(tmp_path, answered("a", 1, True))
    path = tmp_path / "events.jsonl"
    path.write_text(path.read_text() + '{"event": "sho')
    assert len(list(read_events(tmp_path))) == 1
    written(tmp_path, answered("b", 2, True))
    assert [event["item"] for event in read_events(tmp_path)] == [1, 2]
    path.write_text("{broken\n" + path.read_text())
    assert [event["item"] for event in read_events(tmp_path)] == [1, 2]
    assert "events.jsonl, line 1: skipped" in caplog.text


def test_forgetting_rewrites_every_file_and_leaves_the_others_lines(tmp_path):
    lines = [
        shown("one", [0], subject="ann"),
        answered("one", 0, True),
        shown("two", [1], session="s"),
        *[shown(f"x{n}", [2], subject="bob") for n in range(5)],
    ]
    log = EventLog(tmp_path, most_bytes=700)
    for line in lines:
        asyncio.run(log.append([line]))
    assert len(files(tmp_path)) > 2
    for place, path in enumerate(files(tmp_path)):
        os.utime(path, (0, place))
    assert asyncio.run(log.forget(subject="ann")) == 2
    # As old as before: a file is deleted by its age.
    times = [path.stat().st_mtime for path in files(tmp_path)]
    assert times == list(range(len(times)))
    assert asyncio.run(log.forget(session="s")) == 1
    assert asyncio.run(log.forget(subject="nobody")) == 0
    log.close()
    assert {event["subject"] for event in read_events(tmp_path)} == {"bob"}
    assert len(list(read_events(tmp_path))) == 5


def write_many(folder, name):
    log = EventLog(folder, most_bytes=20_000)
    for number in range(100):
        asyncio.run(log.append([answered(name, number, True)]))
    log.close()


def test_processes_that_share_a_folder_lose_no_line(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_many, args=(tmp_path, n)) for n in "ab"]
    for process in processes:
        process.start()
    log = EventLog(tmp_path)
    while any(process.is_alive() for process in processes):
        asyncio.run(log.append([answered("gone", 0, True, subject="ann")]))
        asyncio.run(log.forget(subject="ann"))
    for process in processes:
        process.join()
    log.close()
    found = [event["recommendation_id"] for event in read_events(tmp_path)]
    assert (found.count("a"), found.count("b"), len(found)) == (100, 100, 200)


EVENTS = [
    shown("r1", [0, 3], propensities=[0.6, 0.125]),
    answered("r1", 3, True),
    shown("r2", [1], propensities=[0.1]),
    answered("r2", 1, False),
    shown("r3", [0], propensities=[0.6]),
    answered("r3", 0, True),
    answered("r3", 0, True, event="undone"),
    shown("r4", [2], policy="none", propensities=[1.0]),
    answered("r4", 2, True),
]


def test_a_row_per_item_shown_with_its_answer(tmp_path):
    written(tmp_path / "log", *EVENTS)
    assert export_events(tmp_path / "log", tmp_path / "a.parquet", "parquet") == 5
    rows = pl.read_parquet(tmp_path / "a.parquet")
    assert rows["liked"].to_list() == [None, True, False, None, True]
    assert rows["item"].to_list() == ["0", "3", "1", "0", "2"]
    assert rows["propensity"].to_list() == [0.6, 0.125, 0.1, 0.6, 1.0]
    assert rows["position"].to_list() == [0, 1, 0, 0, 0]


def test_arrays_for_the_open_bandit_pipeline(tmp_path):
    written(tmp_path / "log", *EVENTS)
    assert export_events(tmp_path / "log", tmp_path / "a.npz", "obp") == 3
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        found = dict(file)
    assert found["items"][found["action"]].tolist() == ["3", "1", "2"]
    assert found["reward"].tolist() == [1, 0, 1]
    assert found["pscore"].tolist() == [0.125, 0.1, 1.0]
    assert found["position"].tolist() == [1, 0, 0]
    assert (found["n_rounds"], found["n_actions"]) == (3, 3)
    assert found["context"].shape == (3, 2)


def test_a_context_is_answers_so_far_and_then_friends(tmp_path):
    lists = [(1, 3, 9), (2, 0, 4)]
    for item, step, num_friends in lists:
        list_id = f"list {item}"
        line = shown(list_id, [item], step=step, num_friends=num_friends)
        written(tmp_path / "log", line, answered(list_id, item, True))
    export_events(tmp_path / "log", tmp_path / "a.npz", "obp")
    with np.load(tmp_path / "a.npz") as file:
        assert file["context"].tolist() == [[3, 9], [0, 4]]


def test_dsjson_says_what_could_have_been_shown_and_how_likely(tmp_path):
    written(tmp_path / "log", *EVENTS)
    assert export_events(tmp_path / "log", tmp_path / "a.dsjson", "vw") == 3
    lines = (tmp_path / "a.dsjson").read_text().splitlines()
    first, second, last = (json.loads(line) for line in lines)
    for line in (first, second, last):
        assert sum(line["p"]) == pytest.approx(1)
        assert sorted(line["a"]) == list(range(1, len(line["c"]["_multi"]) + 1))
        chosen = line["c"]["_multi"][line["a"][0] - 1]
        assert line["_labelIndex"] == line["a"][0] - 1
        assert line["p"][0] == pytest.approx(line["_label_probability"])
        assert set(chosen) == {"Item"}
    # The second position of r1: item 0 is gone, four are left, 3 is not the best.
    assert len(first["a"]) == 4
    assert first["c"]["_multi"][first["a"][0] - 1] == {"Item": {"id=3": 1}}
    assert (first["_label_cost"], second["_label_cost"]) == (-1.0, 0.0)
    assert second["p"] == pytest.approx([0.1, 0.6, 0.1, 0.1, 0.1])
    assert last["p"] == [1.0]
    assert [line["EventId"] for line in (first, second, last)] == [
        "r1.1",
        "r2.0",
        "r4.0",
    ]


def test_an_answer_to_what_no_list_showed_is_left_out_and_said(tmp_path, caplog):
    written(tmp_path / "log", *EVENTS, answered("r4", 3, True))
    assert export_events(tmp_path / "log", tmp_path / "a.npz", "obp") == 3
    assert "that no list in the log shows: 1, left out" in caplog.text


SCORED = {"position": 0, "propensity": 0.6, "score": 1.0}


@pytest.mark.parametrize(
    "event, problem",
    [
        (shown("a", [0], items=None), "items are no list of items with scores"),
        (shown("a", [0], items=["tea"]), "items are no list of items with scores"),
        (shown("a", [0], items=[SCORED]), "items are no list of items with scores"),
        (shown("a", [0], candidates=None), "candidates are no list"),
        (shown("a", [0], time="noon"), "time is no number"),
        (shown("a", [0], time_utc=None), "time_utc is no text"),
        (shown("a", [0], policy="bandit"), "exploration is 'bandit', expected"),
        (shown("a", [0], propensities=[0.0]), "no chance above 0"),
        (shown("a", [0], propensities=[None]), "no chance above 0"),
        (shown("a", [0], propensities=[1.5]), "no chance above 0"),
        (shown("a", [0], propensities=[float("nan")]), "no chance above 0"),
        (shown("a", [0], items=[{"item": 0, **SCORED, "position": 0.5}]), "position"),
        (shown("a", [9]), "an item that is none of its candidates"),
        (shown("a", [1, 1]), "an item twice"),
        (answered("a", None, True), "is to no item"),
        (answered("a", 0, "yes"), "neither true nor false"),
        (answered("a", 0, None, event="undone"), "neither true nor false"),
    ],
)
def test_a_line_that_nothing_can_be_learned_from_is_named(
    tmp_path, caplog, event, problem
):
    folder = tmp_path / "log"
    folder.mkdir()
    lines = "".join(json.dumps(line) + "\n" for line in (event, *EVENTS))
    (folder / "events.jsonl").write_text(lines)
    for kind, count in {"parquet": 5, "vw": 3, "obp": 3}.items():
        caplog.clear()
        assert export_events(folder, tmp_path / kind, kind) == count
        assert "events.jsonl, line 1: skipped" in caplog.text
        assert problem in caplog.text


def test_a_file_of_the_log_that_was_copied_back_counts_once(tmp_path, caplog):
    written(tmp_path / "log", *EVENTS)
    log = (tmp_path / "log" / "events.jsonl").read_bytes()
    (tmp_path / "log" / "events-20260101T000000-000000000.jsonl").write_bytes(log)
    for kind, count in {"parquet": 5, "vw": 3, "obp": 3}.items():
        assert export_events(tmp_path / "log", tmp_path / kind, kind) == count
    assert "lists that the log has once more: 4, left out" in caplog.text


@pytest.mark.parametrize("name", ["log/events.jsonl", "log/a.dsjson", "link/a", "log"])
def test_an_export_never_goes_into_the_folder_of_a_log(tmp_path, name):
    written(tmp_path / "log", *EVENTS)
    before = (tmp_path / "log" / "events.jsonl").read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "log")
    with pytest.raises(ValueError, match="--output=.*name a file in"):
        export_events(tmp_path / "log", tmp_path / name, "vw")
    assert (tmp_path / "log" / "events.jsonl").read_bytes() == before
    assert len(files(tmp_path / "log")) == 1


def test_no_events_are_no_rows(tmp_path):
    assert len(event_rows([])) == 0
    with pytest.raises(FileNotFoundError, match="no events.jsonl in it"):
        export_events(tmp_path, tmp_path / "x", "vw")


def test_the_command_exports_and_names_what_is_wrong(tmp_path, capsys):
    written(tmp_path / "log", *EVENTS)
    words = ["events", "export", str(tmp_path / "log"), f"--output={tmp_path / 'a'}"]
    assert main([*words, "--format=parquet"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a'}: 5 rows\n"
    assert main([*words, "--format=csv"]) == 2
    assert "expected parquet, vw, obp" in capsys.readouterr().err
    assert main(["events", "export", str(tmp_path / "log")]) == 2
    assert "usage: dlerse events export" in capsys.readouterr().err
