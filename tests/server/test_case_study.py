"""The case study in `examples/`: its week on the fake model, its numbers, its page."""

import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fakes import NUM_ITEMS

from dlerse_jax.data.synthetic import synthetic_dataset
from dlerse_jax.server.events import read_events
from dlerse_jax.server.exploration import parse_exploration
from dlerse_jax.serving.client import Client

sys.path.append(str(Path(__file__).parents[2] / "examples"))
import case_study  # noqa: E402
import case_study_page as pages  # noqa: E402
import case_study_report as report  # noqa: E402


class InProcess(Client):
    """The client, over FastAPI's test client in place of a connection."""

    def __init__(self, app):
        super().__init__("http://localhost")
        self._app = app

    def _exchange(self, method, path, body, headers):
        headers = {**self._headers, **headers}
        answer = self._app.request(method, path, content=body, headers=headers)
        return answer.status_code, answer.content


def newcomer(name, arm, day, likes=(), **changes):
    one = case_study.Newcomer(
        person=name,
        name=name,
        arm=arm,
        day=day,
        back=None,
        likes=frozenset(likes),
        named=(),
        later=None,
    )
    return dataclasses.replace(one, **changes)


# --- who arrives ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def world():
    return synthetic_dataset(seed=0)


@pytest.fixture(scope="module")
def arrived(world):
    return case_study.make_newcomers(world, 0)


def test_arms_have_their_shares(arrived, world):
    counts = Counter(one.arm for one in arrived)
    assert [counts[arm] for arm in case_study.ARMS] == [30, 15, 15]
    assert case_study.make_newcomers(world, 0) == arrived
    assert case_study.make_newcomers(world, 1) != arrived
    again = case_study.in_every_arm(arrived)
    assert len({one.name for one in again}) == 3 * len(arrived) == len(again)
    assert {len({one.person for one in again})} == {len(arrived)}


def test_newcomers_are_the_test_users_with_their_likes_and_friends(arrived, world):
    for one, user in zip(arrived, world.split.test, strict=True):
        first, end = world.like_offsets[user : user + 2]
        assert one.likes == set(world.item_ids[world.liked_items[first:end]].tolist())
        known = world.friend_sources[world.friend_targets == user]
        friends = set(world.user_ids[known].tolist())
        assert friends >= set(one.named)
        assert len(set(one.named)) == len(one.named) <= case_study.MOST_NAMED
        assert one.back is None or one.day < one.back <= case_study.DAYS
        if one.later is not None:
            assert one.back
            assert one.later in friends - set(one.named)


# --- what they do ---------------------------------------------------------------------


@pytest.fixture
def played(start):
    """play(newcomers, ...) -> (week, events of the log)."""

    def play(newcomers, folder, clients=1, **settings):
        app = start(**settings)
        week = case_study.Week([InProcess(app) for _ in range(clients)])
        week.play(newcomers)
        return week, list(read_events(folder / "events"))

    return play


def test_a_visit_is_ten_answers_and_a_session_goes_on(played, tmp_path):
    friendly = newcomer(
        "ann", "friends", 2, likes=[7, 19], back=5, named=(7,), later=19
    )
    week, _ = played([friendly], tmp_path)
    rows = week.rows
    assert [row["day"] for row in rows] == [2] * 10 + [5] * 10
    assert [row["position"] for row in rows] == list(range(1, 21))
    assert [row["friends"] for row in rows] == [1] * 10 + [2] * 10
    # 7 is the friend's item; 19 the later friend's, after the item that waited.
    assert [row["position"] for row in rows if row["liked"]] == [1, 12]
    assert [rows[place]["item"] for place in (0, 11)] == [7, 19]
    assert len({row["session"] for row in rows}) == 1
    kinds = [kind for kind, _ in week.times]
    assert kinds[:3] == ["friends", "begin", "answer"]
    assert kinds[12:14] == ["friends", "resume"]


def test_arms_are_what_the_server_hears(played, tmp_path):
    """Item i + 1 follows a like of i where answers are heard."""
    likes = [0, 5]
    heard = newcomer("bob", "answers", 1, likes=likes, named=(7,))
    deaf = newcomer("eve", "not personal", 1, likes=likes, named=(7,))
    week, events = played([heard, deaf], tmp_path, clients=2)
    personal = {row["newcomer"]: row["session"] for row in week.rows}
    logged = {e["session"]: e["personal"] for e in events if e["event"] == "shown"}
    assert logged == {personal["bob"]: True, personal["eve"]: False}
    items = {name: [r["item"] for r in week.rows if r["newcomer"] == name]
             for name in personal}  # fmt: skip
    assert items["eve"] == list(range(10))
    assert items["bob"][5:7] == [5, 6]
    assert sum(row["liked"] for row in week.rows) == 4


def test_a_week_is_told_from_its_rows_and_its_log(played, tmp_path):
    newcomers = [
        newcomer(
            f"{arm} {n}",
            arm,
            1 + n % 3,
            likes=range(n, NUM_ITEMS, 2 + n % 2),
            named=(18 - n,) if n % 2 else (),
        )
        for arm in case_study.ARMS
        for n in range(6)
    ]
    exploration = parse_exploration("epsilon:0.5")
    drawn = {"exploration": exploration, "candidates": 4, "seed": 0}
    week, _ = played(newcomers, tmp_path, **drawn)
    again, events = played(case_study.in_every_arm(newcomers[:8]), tmp_path)
    cost = dict.fromkeys(COSTS, 1.0)
    story = {
        "newcomers": [dataclasses.asdict(one) for one in newcomers],
        "rows": week.rows,
        "times": week.times,
        "rows_in_every_arm": again.rows,
        "training": cost,
        "server": cost,
        "ready_again_seconds": 1.0,
    }
    found = json.loads(json.dumps(report.numbers(story, events)))
    assert found["answers"] == found["log"]["answered"] == 180
    assert found["log"]["shown"] == 198
    assert found["log"]["subjects"] == 18
    assert found["log"]["least_propensity"] == pytest.approx(0.125)
    assert [one["newcomers"] for one in found["by_day"]["friends"]] == [2, 2, 2]
    greedy, uniform = found["policies"]
    for policy in (greedy, uniform):
        assert policy["error"]["low"] < 0 < policy["error"]["high"]
    none, one = found["in_every_arm"]["by_friends"]
    assert [none["friends"], one["friends"]] == ["none", "1-2"]
    assert none["gain"]["mean"] == 0
    assert "- answers" in pages.tables({**report.surroundings(), **found})["friends"]
    report.draw_figures(found, tmp_path)
    assert len(list(tmp_path.glob("case_study_*.svg"))) == 3


COSTS = (
    "seconds",
    "cpu_seconds",
    "peak_mib",
    "ready_seconds",
    "week_seconds",
    "week_cpu_seconds",
    "log_bytes",
    "database_bytes",
    "parquet_bytes",
)

# --- numbers --------------------------------------------------------------------------


def test_a_share_weighs_newcomers_alike():
    rows = [{"newcomer": "busy", "liked": True}] * 9
    rows += [{"newcomer": name, "liked": False} for name in "abcd"]
    assert report.share(rows)["mean"] == pytest.approx(0.2)
    assert report.share(rows[:-1])["mean"] is None


def test_an_unpaired_difference_varies_with_both_arms():
    rng = np.random.default_rng(0)
    first, second = rng.normal(1, 3, 400), rng.normal(0, 4, 400)
    found = report.unpaired_difference(first, second)
    assert found["mean"] == pytest.approx(first.mean() - second.mean())
    error = np.sqrt(first.var() / 400 + second.var() / 400)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_people_who_are_in_every_arm_are_compared_with_themselves():
    """Each likes .25 more with friends, whoever answers first."""
    likes = {"friends": 0.25, "answers": 0.0, "not personal": 0.0}
    rows = [
        {"arm": arm, "person": n, "newcomer": f"{n} in {arm}", "liked": n / 8 + more}
        for arm, more in likes.items()
        for n in (range(6) if arm == "friends" else range(5, -1, -1))
    ]
    friends, answers, _ = report.paired_differences(rows)
    assert [friends[x] for x in ("mean", "low", "high")] == pytest.approx([0.25] * 3)
    assert [answers[x] for x in ("mean", "low", "high")] == pytest.approx([0.0] * 3)


def test_newcomers_needed_are_those_of_the_usual_formula():
    """Likes of .5 against .3 and variances of .25 and .21: 90 in each arm."""
    likes = {"friends": [1, 0] * 500, "answers": [1] * 300 + [0] * 700}
    rows = [
        {"arm": arm, "newcomer": f"{arm} {n}", "liked": liked}
        for arm, answers in likes.items()
        for n, liked in enumerate(answers)
    ]
    assert report.newcomers_needed(rows, 0.2) == pytest.approx(90, abs=1)


def test_policies_are_judged_by_their_chances():
    """Of two items the second was shown, by chance .25, and liked; the first is not."""
    shown = {
        "event": "shown",
        "personal": True,
        "candidates": [{"item": 3}, {"item": 8}],
        "items": [{"item": 8, "propensity": 0.25}],
    }
    events = [{**shown, "recommendation_id": n, "session": n} for n in range(3)]
    answered = {"event": "answered", "liked": True}
    events += [{**answered, "recommendation_id": n} for n in range(2)]
    likes = {n: {8} for n in range(2)}
    greedy, uniform = report.judged_policies(events, likes)
    assert greedy["estimate"]["mean"] == greedy["truth"]["mean"] == 0
    assert uniform["estimate"]["mean"] == pytest.approx(0.5 / 0.25)
    assert uniform["truth"]["mean"] == pytest.approx(0.5)
    assert uniform["error"]["mean"] == pytest.approx(1.5)


# --- page -----------------------------------------------------------------------------


def test_the_page_says_what_the_file_says():
    page, results = report.PAGE.read_text(), json.loads(report.RESULTS.read_text())
    assert len(pages.PLACE.findall(page)) == page.count("<!-- case study: ")
    assert pages.filled(page, results) == page


def test_data_that_are_absent_are_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["case_study.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="dlerse data fetch lastfm"):
        case_study.main()
