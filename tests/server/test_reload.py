"""A new model comes into use without a lost request, or the old one stays."""

import asyncio
import gc
import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from fakes import FakeModel, FakePerson, fake_app, make_settings, ready
from fastapi.testclient import TestClient

from dlerse_jax.server.app import make_app
from dlerse_jax.server.core import answer_batch
from dlerse_jax.server.ranking import Question
from dlerse_jax.server.reload import Reloader, stamp
from dlerse_jax.server.run import RARELY, keep_aside


def test_the_server_lives_before_it_is_ready_and_says_why_it_is_not(start):
    gate = threading.Event()

    def load():
        gate.wait(5)
        raise ValueError("runs/x: damaged;\ntrain again")

    client = start(load=load, wait=False)
    assert client.get("/health").status_code == 200
    assert client.get("/ready").json() == {"error": "the model is being loaded"}
    early = client.post("/recommend", json={})
    assert (early.status_code, early.headers["retry-after"]) == (503, "1")
    gate.set()
    for _ in range(100):
        time.sleep(0.01)
        if "damaged" in client.get("/ready").json()["error"]:
            break
    assert client.get("/ready").json() == {"error": "runs/x: damaged; train again"}
    assert client.get("/admin/overview").json()["model"] is None


def test_no_request_is_lost_while_models_change(start):
    models = iter([FakeModel(f"m{n}") for n in range(20)])
    client = start(load=lambda: next(models))
    done = threading.Event()

    def ask():
        found = []
        while not done.is_set():
            answer = client.post("/recommend", json={"friends": [3], "k": 1})
            found.append((answer.status_code, answer.json()["items"][0]["item"]))
        return found

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask) for _ in range(3)]
        for number in range(1, 8):
            answer = client.post("/admin/reload").json()
            assert (answer["model"], answer["changed"]) == (f"m{number}", True)
        done.set()
        answers = [answer for each in asking for answer in each.result()]
    assert len(answers) > 10
    assert set(answers) == {(200, 3)}


def test_a_question_is_answered_by_the_model_it_was_asked_of(start):
    """One that waits in a batch while the models change."""
    old, new = FakeModel("old"), FakeModel("new")
    models = iter([old, new])
    client = start(load=lambda: next(models))
    old.gate.clear()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.post, "/recommend", json={})
        time.sleep(0.1)
        client.post("/admin/reload")
        old.gate.set()
        assert waiting.result().json()["model"] == "old"
    assert client.post("/recommend", json={}).json()["model"] == "new"
    assert (old.batches, new.batches) == ([1], [1])


def test_a_batch_with_questions_of_two_models_is_two_calls():
    models = [FakeModel("old"), FakeModel("new")]
    questions = [
        Question(model=models[place % 2], person=FakePerson(friends=(place,)))
        for place in range(5)
    ]
    answers = answer_batch(questions)
    assert [ranked.items[0] for ranked in answers] == [0, 1, 2, 3, 4]
    assert [model.batches for model in models] == [[3], [2]]


def test_a_model_that_fails_its_check_is_not_used(start):
    refused = ValueError("self-check: a list is empty")
    results = iter([FakeModel("good"), refused, FakeModel("mended")])

    def load():
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    client = start(load=load)
    answer = client.post("/admin/reload")
    assert answer.status_code == 422
    assert answer.json() == {"error": "model not used: self-check: a list is empty"}
    assert client.post("/recommend", json={}).json()["model"] == "good"
    overview = client.get("/admin/overview").json()
    assert overview["problem"] == "self-check: a list is empty"
    assert 'dlerse_reloads_total{outcome="refused"} 1.0' in client.get("/metrics").text
    assert client.post("/admin/reload").json()["model"] == "mended"
    assert client.get("/admin/overview").json()["problem"] == ""


def test_the_same_model_again_changes_nothing(start):
    answer = start(load=lambda: FakeModel("same")).post("/admin/reload").json()
    assert answer["changed"] is False


def test_one_model_is_loaded_at_a_time(start):
    gate = threading.Event()
    gate.set()

    def load():
        gate.wait(5)
        return FakeModel("m")

    client = start(load=load)
    gate.clear()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.post, "/admin/reload")
        time.sleep(0.1)
        second = client.post("/admin/reload")
        gate.set()
        assert first.result().status_code == 200
    assert second.status_code == 409


def test_a_run_that_changes_is_loaded_by_itself(tmp_path):
    run = tmp_path / "current"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(name)
    run.symlink_to("one")
    app = make_app(
        make_settings(tmp_path / "state", watch_seconds=0.05),
        lambda: FakeModel((run / "summary.json").read_text()),
        run=run,
    )
    with TestClient(app) as client:
        ready(client)
        assert client.get("/admin/overview").json()["model"] == "one"
        (tmp_path / "next").symlink_to("two")
        os.replace(tmp_path / "next", run)
        for _ in range(100):
            time.sleep(0.02)
            if client.get("/admin/overview").json()["model"] == "two":
                break
        assert client.get("/admin/overview").json()["model"] == "two"


def test_a_run_is_loaded_once_when_it_is_still(monkeypatch):
    stamps, loaded = ["old", "half", "new", "new", "new", "newer", "newer"], []

    async def later(_):
        del stamps[0]
        if len(stamps) == 1:
            raise asyncio.CancelledError

    def load():
        loaded.append(stamps[0])
        return SimpleNamespace(digest="m")

    async def at_once(load):
        return load()

    monkeypatch.setattr("dlerse_jax.server.reload.stamp", lambda run: stamps[0])
    monkeypatch.setattr("dlerse_jax.server.reload.load_aside", at_once)
    sleeping = SimpleNamespace(sleep=later, Lock=asyncio.Lock)
    monkeypatch.setattr("dlerse_jax.server.reload.asyncio", sleeping)
    core = SimpleNamespace(
        is_ready=True,
        model=SimpleNamespace(digest="m"),
        metrics=SimpleNamespace(reload=lambda outcome: None),
    )
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Reloader(core, load).watch(1.0))
    assert loaded == ["new"]


def test_a_stamp_is_another_when_files_or_the_link_change(tmp_path):
    assert stamp(None) is None
    first = stamp(tmp_path)
    (tmp_path / "config.json").write_text("x")
    second = stamp(tmp_path)
    assert first != second == stamp(tmp_path)


def test_the_drift_alarm_belongs_to_the_model_in_use(tmp_path):
    models = iter([FakeModel("a"), FakeModel("b")])
    made = fake_app(tmp_path, load=lambda: next(models))
    with TestClient(made.app) as client:
        ready(client)
        metrics = made.app._metrics()
        for liked in [True] * 200 + [False] * 200:
            metrics.answer(liked)
        assert client.get("/admin/overview").json()["drift_alarm"] is True
        assert "dlerse_drift_alarm 1.0" in client.get("/metrics").text
        client.post("/admin/reload")
        assert client.get("/admin/overview").json()["drift_alarm"] is False


def test_what_is_kept_aside_is_freed_with_the_next_model():
    class Knot:
        def __init__(self):
            self.itself = self

    knot = Knot()
    found, thresholds = weakref.ref(knot), gc.get_threshold()
    try:
        keep_aside()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == (*thresholds[:2], RARELY)
        del knot
        gc.collect()
        assert found() is not None  # not searched
        keep_aside()
        assert found() is None
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
