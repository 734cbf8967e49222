"""What arrives during a batch is the next one, and answers find their askers."""

import asyncio
import threading
import time
from types import SimpleNamespace

import httpx
import pytest
from fakes import fake_app

from dlerse_jax.server.batching import Batcher, LoopBatcher
from dlerse_jax.server.deadlines import Deadlines
from dlerse_jax.server.errors import ApiError


def gather(batcher, jobs):
    async def all_of_them():
        asked = (batcher.ask(job) for job in jobs)
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(all_of_them())


def test_what_waits_is_one_batch_and_answers_find_their_askers():
    sizes, gate = [], threading.Event()

    def work(jobs):
        gate.wait(5)
        sizes.append(len(jobs))
        return [job * 10 for job in jobs]

    batcher = Batcher(work, name="test", most=16)
    threading.Timer(0.2, gate.set).start()
    assert gather(batcher, range(50)) == [10 * n for n in range(50)]
    batcher.close()
    assert sum(sizes) == 50
    assert max(sizes) == 16
    assert len(sizes) <= 5  # one that came first, then full ones


def test_a_lone_job_waits_for_nobody():
    batcher = Batcher(lambda jobs: jobs, name="test")

    async def ask():
        began = time.perf_counter()
        await batcher.ask(1)
        return time.perf_counter() - began

    assert min(asyncio.run(ask()) for _ in range(5)) < 0.05
    batcher.close()


def test_a_job_that_fails_fails_alone():
    def work(jobs):
        return [1 / job for job in jobs]

    batcher = Batcher(work, name="test")
    answers = gather(batcher, [1, 0, 2])
    batcher.close()
    assert (answers[0], answers[2]) == (1, 0.5)
    assert isinstance(answers[1], ZeroDivisionError)


def test_more_than_can_wait_are_refused_at_once():
    gate = threading.Event()

    def work(jobs):
        gate.wait(5)
        return jobs

    batcher = Batcher(work, name="test", most=1, most_waiting=3)
    threading.Timer(0.2, gate.set).start()
    answers = gather(batcher, range(20))
    batcher.close()
    refused = [answer for answer in answers if isinstance(answer, ApiError)]
    assert {problem.status for problem in refused} == {503}
    assert 3 <= 20 - len(refused) <= 5


def test_who_gave_up_is_not_worked_for():
    seen, gate = [], threading.Event()

    def work(jobs):
        gate.wait(5)
        seen.extend(jobs)
        return jobs

    batcher = Batcher(work, name="test", most=1)

    async def ask():
        first = asyncio.create_task(batcher.ask("first"))
        second = asyncio.create_task(batcher.ask("second"))
        await asyncio.sleep(0.1)
        second.cancel()
        gate.set()
        return await first

    assert asyncio.run(ask()) == "first"
    batcher.close()
    assert seen == ["first"]


def test_in_the_event_loop_what_is_ready_is_one_batch_and_a_mistake_is_its_own():
    sizes = []

    def work(jobs):
        sizes.append(len(jobs))
        return [60 / job for job in jobs]

    answers = gather(LoopBatcher(work, most=4), [1, 2, 3, 4, 5, 0])
    assert answers[:5] == [60, 30, 20, 15, 12]
    assert isinstance(answers[5], ZeroDivisionError)
    assert sizes == [4, 2, 1, 1]  # the batch with the mistake is done one by one


def test_in_the_event_loop_too_many_are_refused_and_who_gave_up_is_left_out():
    seen = []
    batcher = LoopBatcher(lambda jobs: seen.extend(jobs) or jobs, most_waiting=2)

    async def ask():
        first, second = batcher.ask("first"), batcher.ask("second")
        with pytest.raises(ApiError, match="too many"):
            batcher.ask("third")
        second.cancel()
        return await first

    assert asyncio.run(ask()) == "first"
    assert seen == ["first"]


def test_a_quick_model_is_asked_in_the_event_loop(tmp_path):
    made = fake_app(tmp_path)
    made.model.is_quick = True
    names = []
    rank = made.model.rank
    made.model.rank = lambda questions: (
        names.append(threading.current_thread().name) or rank(questions)
    )

    async def ask():
        transport = httpx.ASGITransport(app=made.app)
        async with (
            app_running(made.app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            while (await client.get("/ready")).status_code != 200:
                await asyncio.sleep(0.01)
            answers = await asyncio.gather(
                *(client.post("/recommend", json={"friends": [n]}) for n in range(9))
            )
            return [answer.json()["items"][0]["item"] for answer in answers]

    assert asyncio.run(ask()) == list(range(9))
    assert set(names) == {threading.current_thread().name}
    assert len(names) < 9


def test_who_takes_too_long_is_given_up_and_nobody_else():
    deadlines = Deadlines(0.2)

    async def one(seconds):
        try:
            with deadlines.limit():
                await asyncio.sleep(seconds)
        except TimeoutError:
            await asyncio.sleep(0)  # the task itself goes on
            return "late"
        return "done"

    async def some():
        return await asyncio.gather(*(one(seconds) for seconds in (5, 0.01, 5, 0)))

    began = time.perf_counter()
    assert asyncio.run(some()) == ["late", "done", "late", "done"]
    assert time.perf_counter() - began < 2


def test_a_limit_ends_at_most_an_eighth_late_and_not_after_its_work(monkeypatch):
    now, timers, given_up = 0.0, [], []
    loop = SimpleNamespace(
        time=lambda: now,
        call_later=lambda seconds, *call: timers.append((now + seconds, call)),
    )
    monkeypatch.setattr(
        "dlerse_jax.server.deadlines.asyncio",
        SimpleNamespace(get_running_loop=lambda: loop),
    )
    deadlines = Deadlines(8.0)

    def begin(name):
        given = deadlines.limit()
        given.give_up = lambda: given_up.append((name, now))
        deadlines.begin(given)
        return given

    begin("first")
    ended = begin("ended")
    now = 2.5
    begin("second")
    deadlines.end(ended)
    while timers:
        now, (look, *words) = timers.pop()
        look(*words)
    assert given_up == [("first", 8.0), ("second", 11.0)]


def test_a_task_that_was_given_up_is_cancelled_no_longer_unless_others_cancel_it_too():
    deadlines = Deadlines(60.0)

    async def asked(cancelled_by_others):
        task = asyncio.current_task()
        with pytest.raises(BaseException) as raised, deadlines.limit() as limit:
            limit.give_up()
            if cancelled_by_others:
                task.cancel()
            await asyncio.sleep(0)
        left = task.cancelling()
        if left:
            task.uncancel()
        return raised.type, left

    assert asyncio.run(asked(False)) == (TimeoutError, 0)
    assert asyncio.run(asked(True)) == (asyncio.CancelledError, 1)


def test_a_body_that_does_not_arrive_is_refused(tmp_path):
    made = fake_app(tmp_path, body_seconds=0.1)
    sent = []

    async def ask():
        async def never():
            await asyncio.sleep(10)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/recommend", "headers": []}
        await made.app(scope, never, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 408
    assert b"took over 0.1 s" in sent[1]["body"]


def test_requests_at_once_are_few_calls_each_with_its_own_answer(tmp_path):
    """Sixty people with other friends, over HTTP."""
    made = fake_app(tmp_path)
    app, model = made.app, made.model

    async def ask():
        transport = httpx.ASGITransport(app=app)
        async with (
            app_running(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            while (await client.get("/ready")).status_code != 200:
                await asyncio.sleep(0.01)
            model.gate.clear()
            asyncio.get_running_loop().call_later(0.5, model.gate.set)
            bodies = [{"friends": [n % 20], "k": 1} for n in range(60)]
            asked = (client.post("/recommend", json=body) for body in bodies)
            return [answer.json() for answer in await asyncio.gather(*asked)]

    answers = asyncio.run(ask())
    assert [a["items"][0]["item"] for a in answers] == [n % 20 for n in range(60)]
    assert len({a["recommendation_id"] for a in answers}) == 60
    assert len(model.batches) <= 10
    assert sum(model.batches) == 60


class app_running:
    """Starts and stops an ASGI application around a block."""

    def __init__(self, app):
        self._app = app

    async def __aenter__(self):
        self._to, self._from = asyncio.Queue(), asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        run = self._app(scope, self._to.get, self._from.put)
        self._task = asyncio.create_task(run)
        await self._to.put({"type": "lifespan.startup"})
        assert (await self._from.get())["type"] == "lifespan.startup.complete"

    async def __aexit__(self, *error):
        await self._to.put({"type": "lifespan.shutdown"})
        await self._task


def test_an_answer_that_takes_too_long_is_given_up(start):
    client = start(answer_seconds=0.2)
    client.model.gate.clear()
    answer = client.post("/recommend", json={})
    client.model.gate.set()
    assert answer.status_code == 503
    assert answer.json()["error"].startswith("the answer took too long")
