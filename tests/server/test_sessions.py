"""Sessions: one step per answer, answered once, taken back, taken up again."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import FakeModel, fake_app, make_settings, ready
from fastapi.testclient import TestClient

from dlerse_jax.server import core
from dlerse_jax.server.cache import Held, SessionCache
from dlerse_jax.server.events import read_events
from dlerse_jax.server.models import SessionAnswer
from dlerse_jax.server.store import Stored, open_store
from dlerse_jax.serving import Client


class Talk:
    """A session of a test client."""

    def __init__(self, client, **asked):
        self.client = client
        self.last = client.post("/sessions", json=asked)
        self.now = self.last.json()
        self.path = f"/sessions/{self.now.get('session_id')}"

    def do(self, method, path="", **body):
        self.last = self.client.request(method, self.path + path, json=body or None)
        if self.last.status_code == 200 and "next" in self.last.json():
            self.now = self.last.json()
        return self.last

    def answer(self, liked, made=None):
        if made is None:
            made = self.now["next"]["recommendation_id"]
        return self.do("POST", "/answers", recommendation_id=made, liked=liked)

    @property
    def item(self):
        return self.now["next"] and self.now["next"]["item"]


def test_an_answer_brings_the_next_item_in_one_step(start):
    client = start()
    talk = Talk(client, friends=[9, 5])
    assert talk.last.status_code == 201
    shown = [talk.item]
    for liked in (True, False, True):
        talk.answer(liked)
        shown.append(talk.item)
    assert shown == [5, 6, 9, 10]
    assert [answer["liked"] for answer in talk.now["answers"]] == [True, False, True]
    assert (client.model.begun, client.model.heard) == (1, 3)
    assert talk.do("GET").json() == talk.now
    assert SessionAnswer.model_validate(talk.now, strict=True)


def test_a_second_answer_is_a_conflict_that_says_so(start):
    talk = Talk(start())
    first = talk.now["next"]["recommendation_id"]
    talk.answer(True)
    before = talk.now
    again = talk.answer(False, first)
    assert again.status_code == 409
    assert again.json()["error"].startswith("'title 0' was answered before (liked);")
    assert talk.do("GET").json() == before


def test_an_answer_to_what_was_not_shown_here_is_not_found(start):
    talk = Talk(start())
    other = Talk(talk.client).now["next"]["recommendation_id"]
    assert talk.answer(True, other).status_code == 409  # ours, but of another session
    assert talk.answer(True, "made up").status_code == 404
    assert talk.now["answers"] == []


def test_of_many_answers_at_once_one_counts(start):
    talk = Talk(start())
    same = talk.now["next"]["recommendation_id"]  # not that of the item after it
    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(lambda n: talk.answer(n % 2 == 0, same), range(8)))
    assert sorted(answer.status_code for answer in said) == [200] + [409] * 7
    assert len(talk.do("GET").json()["answers"]) == 1


def test_undo_takes_back_the_last_answer_and_no_more(start, tmp_path):
    talk = Talk(start(), friends=[5])
    talk.answer(True)
    talk.answer(True)
    after_one = talk.now["answers"][:1]
    talk.do("POST", "/undo")
    assert (talk.item, talk.now["answers"]) == (6, after_one)
    talk.do("POST", "/undo")
    assert talk.do("POST", "/undo").status_code == 409
    assert talk.last.json()["error"].startswith("nothing was answered yet")
    kinds = [event["event"] for event in read_events(tmp_path / "events")]
    assert kinds.count("undone") == 2


def test_friends_and_personal_change_from_the_next_item_on(start):
    talk = Talk(start(), friends=[5, 9])
    talk.answer(False)
    talk.do("PATCH", friends=[12])
    assert (talk.item, talk.now["friends"]) == (12, [12])
    talk.do("PATCH", personal=False)
    assert talk.item == 0
    talk.answer(True)
    assert talk.item == 1  # not 1 for the like of 0: nothing was heard
    talk.do("PATCH", personal=True)
    assert talk.now["friends"] == [12]
    assert len(talk.now["answers"]) == 2


def test_answers_told_beforehand_are_heard_and_not_counted(start):
    client = start()
    talk = Talk(client, liked=[10], disliked=["3"])
    assert talk.item == 11
    assert [a["recommendation_id"] for a in talk.now["answers"]] == ["", ""]
    assert talk.answer(True, "").status_code == 422
    talk.do("POST", "/undo")
    assert client.get("/admin/overview").json()["days"] == []


def test_a_session_names_the_ids_that_the_model_does_not_know(start):
    client = start()
    asked = {"friends": [1, "nobody"], "liked": ["what", 2]}
    session = client.post("/sessions", json=asked).json()
    assert session["unknown_friends"] == ["nobody"]
    assert session["unknown_items"] == ["what"]
    path = f"/sessions/{session['session_id']}"
    changed = client.patch(path, json={"friends": ["stranger"]}).json()
    assert changed["unknown_friends"] == ["stranger"]
    assert client.get(path).json() == changed


def test_a_session_ends_where_no_item_is_left(start):
    talk = Talk(start(), liked=list(range(29)))
    talk.answer(True)
    assert talk.now["next"] is None
    talk.do("POST", "/undo")
    assert talk.item == 29


def test_a_session_outlives_its_server_and_its_model(tmp_path):
    with TestClient(fake_app(tmp_path).app) as client:
        talk = Talk(ready(client), friends=[5])
        talk.answer(True)
        before = talk.now
    made = fake_app(tmp_path, load=lambda: model)
    model = FakeModel("another")
    with TestClient(made.app) as client:
        talk.client = ready(client)
        assert talk.do("GET").json() == before
        talk.answer(True)
        assert (talk.item, model.begun, model.heard) == (7, 1, 0)
        talk.answer(True)
        assert (model.begun, model.heard) == (1, 1)


def test_two_servers_on_one_store_do_not_lose_each_others_answers(tmp_path):
    one, two = (fake_app(tmp_path).app for _ in range(2))
    with TestClient(one) as first, TestClient(two) as second:
        talk = Talk(ready(first))
        talk.answer(True)
        talk.client = ready(second)
        talk.answer(False)
        talk.client = first  # whose memory is behind by an answer
        assert talk.answer(True).status_code == 200
        assert [a["liked"] for a in talk.now["answers"]] == [True, False, True]
        assert [a["item"] for a in talk.now["answers"]] == [0, 1, 2]


def test_a_session_is_found_with_its_own_key_alone(start):
    from dlerse_jax.server.security import Caller, digest

    keys = {digest(n): Caller(name=n, role="client") for n in ("ann", "bob")}
    client = start(keys=keys)
    client.headers["authorization"] = "Bearer ann"
    talk = Talk(client)
    client.headers["authorization"] = "Bearer bob"
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/undo")):
        assert talk.do(method, path).status_code == 404
    assert talk.answer(True).status_code == 404
    client.headers["authorization"] = "Bearer ann"
    assert talk.answer(True).status_code == 200


def test_a_word_of_ones_own_begins_no_session_of_another_key(start):
    from dlerse_jax.server.security import Caller, digest

    keys = {digest(n): Caller(name=n, role="client") for n in ("ann", "bob")}
    client = start(keys=keys)
    begun = []
    for name in ("ann", "bob"):
        headers = {"authorization": f"Bearer {name}", "Idempotency-Key": "word"}
        asked = {"friends": [len(begun)]}
        begun.append(client.post("/sessions", json=asked, headers=headers).json())
    assert begun[0]["session_id"] != begun[1]["session_id"]
    assert [session["friends"] for session in begun] == [[0], [1]]


def test_a_deleted_session_is_gone_from_the_log_too(start, tmp_path):
    client = start()
    other, talk = Talk(client), Talk(client)
    talk.answer(True)
    gone = talk.do("DELETE").json()
    assert gone == {"sessions": 1, "log_lines": 3}
    assert talk.do("GET").status_code == 404
    left = {event["session"] for event in read_events(tmp_path / "events")}
    assert left == {other.now["session_id"]}


def test_sessions_have_their_limits(start):
    talk = Talk(start(most_answers=2), liked=[5, 6], disliked=[9])  # these do not count
    talk.answer(True)
    talk.answer(True)
    assert talk.answer(True).status_code == 409
    assert "has its 2 answers" in talk.last.json()["error"]


def test_a_full_server_opens_no_session(start):
    client = start(most_sessions=1)
    talk = Talk(client)
    refused = Talk(client).last
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    talk.do("DELETE")
    assert Talk(client).last.status_code == 201


def test_a_session_expires_and_an_answer_puts_that_off(start):
    talk = Talk(start(session_seconds=0.6))
    first = talk.now["expires"]
    time.sleep(0.3)
    talk.answer(True)
    assert talk.now["expires"] > first
    time.sleep(0.7)
    assert talk.answer(True).status_code == 404


def test_memory_holds_the_sessions_used_last(tmp_path):
    class State:
        nbytes = 100_000

    async def held(name):
        from store_servers import record

        return Held(stored=Stored(record(name), 1), model="m", state=State())

    cache = SessionCache(250_000)
    for name in ("a", "b"):
        cache.put(asyncio.run(held(name)))
    cache.get("a")
    cache.put(asyncio.run(held("c")))
    assert cache.get("b") is None
    assert cache.get("a") and cache.get("c") and len(cache) == 2
    for _ in range(9):  # written again, it takes its room once
        cache.put(asyncio.run(held("c")))
    assert cache.get("a") and len(cache) == 2
    cache.clear()
    for name in ("a", "b"):
        cache.put(asyncio.run(held(name)))
    assert len(cache) == 2


def test_what_was_being_answered_while_somebody_was_forgotten_leaves_memory(tmp_path):
    from store_servers import record

    async def left():
        here = await core.open_core(make_settings(tmp_path, answer_seconds=0.05))
        await here.hide_forgotten(FakeModel())
        here.cache.put(Held(stored=Stored(record("late", friends=("gone",)), 1)))
        await asyncio.sleep(0.2)
        await here.close()
        return len(here.cache)

    assert asyncio.run(left()) == 0


def test_who_is_forgotten_by_another_process_is_soon_nobodys_friend(
    tmp_path, monkeypatch
):
    """In sessions in memory, too, of somebody who is tied to them."""
    monkeypatch.setattr(core, "LOOK_SECONDS", 0.05)
    here, there = (TestClient(fake_app(tmp_path).app) for _ in range(2))
    with here, there:
        ready(here)
        ready(there).post("/users/ann", json={"friends": [9, 12]})
        talk = Talk(there, user="ann")
        assert talk.item == 9
        here.delete("/users/12")
        time.sleep(0.5)
        asked = {"friends": [9, 12], "k": 1}
        assert there.post("/recommend", json=asked).json()["unknown_friends"] == [12]
        talk.answer(False)
        assert talk.item == 0  # not 12


def test_what_was_answered_is_in_the_store_before_it_is_acknowledged(start, tmp_path):
    talk = Talk(start())
    talk.answer(True)

    async def read():
        store = await open_store(f"sqlite:{tmp_path / 'sessions.sqlite'}")
        try:
            return await store.read(talk.now["session_id"])
        finally:
            await store.close()

    stored = asyncio.run(read())
    assert [answer.liked for answer in stored.record.answers] == [True]
    assert (
        stored.record.shown.recommendation_id == talk.now["next"]["recommendation_id"]
    )


@pytest.mark.parametrize("kind", ["none", "epsilon:0.5", "softmax:1"])
def test_every_item_shown_is_in_the_log_with_its_chance(start, tmp_path, kind):
    from dlerse_jax.server.exploration import parse_exploration

    client = start(exploration=parse_exploration(kind), candidates=5, seed=1)
    talk = Talk(client)
    talk.answer(True)
    shown, answered, after = read_events(tmp_path / "events")
    assert (shown["event"], answered["event"]) == ("shown", "answered")
    assert answered["recommendation_id"] == shown["recommendation_id"]
    assert (answered["item"], answered["liked"]) == (shown["items"][0]["item"], True)
    assert shown["items"][0]["propensity"] > 0
    assert (shown["exploration"], shown["num_candidates"]) == (kind, 5)
    assert len(shown["candidates"]) == (0 if kind == "none" else 5)
    assert (shown["model"], shown["session"]) == ("fake", talk.now["session_id"])
    assert (after["step"], after["num_friends"]) == (1, 0)
    assert after["candidates_digest"] != shown["candidates_digest"]


def test_a_session_that_is_begun_twice_with_one_word_is_one_session(start):
    client = start()
    asked = {"json": {"friends": [9]}, "headers": {"Idempotency-Key": "word"}}
    first, again = (client.post("/sessions", **asked).json() for _ in range(2))
    assert first == again
    asked["headers"] = {"Idempotency-Key": "another"}
    assert client.post("/sessions", **asked).json()["session_id"] != first["session_id"]
    both = [client.post("/sessions", json={}).json()["session_id"] for _ in range(2)]
    assert len({*both, first["session_id"]}) == 3


def test_the_client_begins_one_session_where_the_first_answer_is_lost(start):
    """The connection breaks after the server has begun it."""
    server = start()
    lost = []

    class Connection:
        def __init__(self, *_, **__):
            pass

        def request(self, method, path, body, headers):
            self.answer = server.request(method, path, content=body, headers=headers)

        def getresponse(self):
            if not lost:
                lost.append(self.answer.json()["session_id"])
                raise ConnectionResetError
            return SimpleNamespace(
                status=self.answer.status_code, read=lambda: self.answer.content
            )

        def close(self):
            pass

    client = Client("http://localhost")
    client._kind = Connection
    assert client.session(friends=[9]).session_id == lost[0]


def test_a_chance_that_is_no_number_is_left_out_said_and_counted(start, caplog):
    client = start()
    rank = client.model.rank

    def without_numbers(questions):
        for ranked in rank(questions):
            ranked.chances = np.where(ranked.items % 2, np.nan, 0.25)
            yield ranked

    client.model.rank = lambda questions: list(without_numbers(questions))
    for _ in range(2):
        items = client.post("/recommend", json={"k": 4}).json()["items"]
        assert [item["chance"] for item in items] == [0.25, None, 0.25, None]
    said = [one for one in caplog.records if "no numbers" in one.message]
    assert len(said) == 1 and "fake" in said[0].message
    assert "dlerse_lists_without_chances_total 2.0" in client.get("/metrics").text
