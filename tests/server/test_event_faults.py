"""The log on a full disk, after kills, and by the clock: no root and no small disk."""

import asyncio
import errno
import json
import multiprocessing
import os
import signal
import time

import pytest
from test_events import answered, shown, written
from test_sessions import Talk

from dlerse_jax.server import events
from dlerse_jax.server.app import _purge
from dlerse_jax.server.core import open_core
from dlerse_jax.server.errors import ApiError
from dlerse_jax.server.events import EventLog, files, forget, line, read_events


class Disk:
    """What `os.write` meets: where it is full, the first bytes still go in."""

    def __init__(self, monkeypatch):
        self.is_full, self._write = False, os.write
        monkeypatch.setattr(events.os, "write", self.write)

    def write(self, file, content):
        if not self.is_full:
            return self._write(file, content)
        if len(content) <= 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(file, content[: max(1, len(content) // 2)])


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


def read(folder):
    return [event["item"] for event in read_events(folder)]


async def both_ways(log, content):
    """What it raises from the event loop, and from the thread of the log."""
    raised = []
    for way in (log.append([content]), log._thread.ask(line(content))):
        try:
            await way
        except ApiError as error:
            raised.append((error.status, error.retry_after))
    return raised


def test_on_a_full_disk_a_line_is_written_whole_or_not_at_all(tmp_path, disk, caplog):
    log = EventLog(tmp_path)
    asyncio.run(log.append([answered("a", 1, True)]))
    before = (tmp_path / "events.jsonl").read_bytes()
    disk.is_full = True
    raised = asyncio.run(both_ways(log, answered("b", 2, True)))
    assert raised == [(503, 1), (503, 1)]
    assert (tmp_path / "events.jsonl").read_bytes() == before
    assert str(tmp_path) in caplog.text and "free some space there" in caplog.text
    disk.is_full = False
    asyncio.run(log.append([answered("c", 3, True)]))
    log.close()
    assert read(tmp_path) == [1, 3]


def test_half_a_line_of_another_process_is_cut_off_before_the_next(tmp_path):
    log = EventLog(tmp_path)
    asyncio.run(log.append([answered("a", 1, True)]))
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"event":"answ')
    asyncio.run(log.append([answered("b", 2, True)]))
    log.close()
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(text)["item"] for text in lines] == [1, 2]


def test_a_rotation_that_fails_does_not_fail_its_lines(tmp_path, monkeypatch, caplog):
    def fail(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(EventLog, "_rotate", fail)
    written(tmp_path, answered("a", 1, True), answered("b", 2, True), most_bytes=10)
    assert read(tmp_path) == [1, 2]
    assert "was not rotated" in caplog.text


def test_forgetting_that_fails_writes_no_line_twice(tmp_path, monkeypatch):
    log = EventLog(tmp_path)

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    async def together():
        jobs = [log._thread.ask(line(answered("a", n, True))) for n in range(3)]
        return await asyncio.gather(
            *jobs, log.forget(subject="ann"), return_exceptions=True
        )

    monkeypatch.setattr(events, "forget", fail)
    *lines, failed = asyncio.run(together())
    log.close()
    assert lines == [None] * 3 and (failed.status, failed.retry_after) == (503, 1)
    assert read(tmp_path) == [0, 1, 2]


def test_an_answer_to_a_list_that_was_not_logged_can_be_sent_again(
    start, disk, tmp_path
):
    client = start()
    made = client.post("/recommend", json={"k": 1}).json()["recommendation_id"]
    path, said = f"/recommendations/{made}/answers", {"item": 0, "liked": True}
    disk.is_full = True
    refused = client.post(path, json=said)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert client.post("/recommend", json={"k": 1}).status_code == 503
    disk.is_full = False
    assert client.post(path, json=said).status_code == 200
    assert client.post(path, json=said).status_code == 409
    kinds = [event["event"] for event in read_events(tmp_path / "events")]
    assert kinds == ["shown", "answered"]
    (day,) = client.get("/admin/overview").json()["days"]
    assert (day["liked"], day["answers"]) == (1, 1)


def test_a_sessions_change_that_was_not_logged_is_none(start, disk, tmp_path):
    client = start()
    talk = Talk(client, friends=[5])
    talk.answer(True)
    before, days = talk.now, client.get("/admin/overview").json()["days"]
    disk.is_full = True
    for change in (
        lambda: talk.answer(True),
        lambda: talk.do("POST", "/undo"),
        lambda: talk.do("PATCH", friends=[12]),
    ):
        assert (change().status_code, talk.last.headers["retry-after"]) == (503, "1")
        assert talk.do("GET").json() == before
        assert client.get("/admin/overview").json()["days"] == days
    disk.is_full = False
    assert talk.answer(False).status_code == 200
    assert [answer["liked"] for answer in talk.now["answers"]] == [True, False]
    (day,) = client.get("/admin/overview").json()["days"]
    assert (day["liked"], day["answers"]) == (1, 2)
    kinds = [event["event"] for event in read_events(tmp_path / "events")]
    assert kinds == ["shown", "answered", "shown", "answered", "shown"]
    found = [client.delete(f"/users/{friend}").json() for friend in (12, 5)]
    assert [gone["sessions"] for gone in found] == [0, 1]


def test_a_session_whose_first_item_was_not_logged_is_not_begun(start, disk):
    client = start()
    asked = {"json": {"friends": [9]}, "headers": {"Idempotency-Key": "word"}}
    disk.is_full = True
    assert client.post("/sessions", **asked).status_code == 503
    disk.is_full = False
    made = client.post("/sessions", **asked)
    talk = Talk(client)
    talk.path, talk.now = f"/sessions/{made.json()['session_id']}", made.json()
    assert made.status_code == 201 and talk.answer(True).status_code == 200
    assert talk.do("DELETE").json()["log_lines"] == 3


def test_a_deletion_that_fails_in_the_log_can_be_asked_for_again(start, monkeypatch):
    talk = Talk(start())
    whole = events.forget

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(events, "forget", fail)
    assert talk.do("DELETE").status_code == 503
    monkeypatch.setattr(events, "forget", whole)
    assert talk.do("DELETE").json() == {"sessions": 1, "log_lines": 1}


def test_what_is_logged_while_a_session_is_deleted_goes_too(
    start, monkeypatch, tmp_path
):
    talk, whole = Talk(start()), events.forget
    late = [answered("late", 0, True, session=talk.now["session_id"])]

    def forget_and_log(folder, **who):
        gone = whole(folder, **who)
        with (folder / "events.jsonl").open("ab") as file:
            file.writelines(line(late.pop()) for _ in late[:1])
        return gone

    monkeypatch.setattr(events, "forget", forget_and_log)
    assert talk.do("DELETE").json() == {"sessions": 1, "log_lines": 2}
    assert read(tmp_path / "events") == []


HALF = line(answered("half", 0, True, subject="cid"))[:-20]


def test_half_a_line_of_an_earlier_version_hides_no_event(tmp_path, caplog):
    path = tmp_path / "events.jsonl"
    path.write_bytes(
        line(answered("a", 1, True)) + HALF + line(answered("b", 2, True)) + b"[1]\n"
    )
    assert read(tmp_path) == [1, 2]
    assert "events.jsonl, line 2: half a line" in caplog.text
    assert "keep the line" in caplog.text
    assert "events.jsonl, line 3: skipped" in caplog.text


def test_forgetting_keeps_what_it_cannot_read_except_who_is_named_there(
    tmp_path, caplog
):
    path, glued = tmp_path / "events.jsonl", line(shown("b", [1], subject="bob"))
    other, named = b"\xff{not JSON\n", b"ann \xff\n"
    answer = line(answered("a", 0, True))[:-9] + b"\n"  # to ann's list
    path.write_bytes(
        line(shown("a", [0], subject="ann"))
        + b"".join([other, HALF, glued, named, answer, b"7\n"])
    )
    assert forget(tmp_path, subject="dan") == 0
    assert forget(tmp_path, subject="ann") == 3
    assert path.read_bytes() == other + HALF + glued + b"7\n"
    assert "2 lines are no events, and stay" in caplog.text
    assert forget(tmp_path, subject="cid") == 0  # of half a line, before bob's
    assert path.read_bytes() == other + glued + b"7\n"
    path.write_bytes(other + HALF + glued)
    assert forget(tmp_path, subject="bob") == 1
    assert path.read_bytes() == other


def forget_and_die(folder):
    events.os.utime = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    os.replace = events.os.utime
    forget(folder, subject="ann")


def test_what_a_kill_left_of_forgetting_goes_with_the_next(tmp_path):
    lines = [shown("a", [0], subject="ann"), shown("b", [1], subject="bob")]
    written(tmp_path, *lines)

    def kill():
        context = multiprocessing.get_context("fork")
        process = context.Process(target=forget_and_die, args=(tmp_path,))
        process.start()
        process.join()
        assert len(list(tmp_path.glob(".events*"))) == 1

    kill()
    assert forget(tmp_path, subject="ann") == 1
    assert list(tmp_path.glob(".events*")) == []
    written(tmp_path, lines[0])
    kill()
    EventLog(tmp_path).close()
    assert list(tmp_path.glob(".events*")) == []


def at(days, made):
    """A line that was written so many days ago."""
    return answered(made, 0, True, time=time.time() - days * events.DAY)


def test_a_file_is_closed_after_a_day_and_deleted_after_its_days(tmp_path):
    def expire(*lines):
        log = written(tmp_path, *lines, keep_days=90)
        log._expire()
        return len(files(tmp_path))

    assert expire() == 0
    assert expire(at(0.9, "a")) == 1
    assert expire() == 1 and (tmp_path / "events.jsonl").exists()
    (tmp_path / "events.jsonl").write_bytes(b"broken\n" + line(at(1.1, "a")))
    assert expire(at(0, "b")) == 1 and not (tmp_path / "events.jsonl").exists()
    (old,) = files(tmp_path)
    for days, count in ((89, 2), (91, 1)):
        os.utime(old, (0, time.time() - days * events.DAY))
        assert expire(at(0, "c")) == count
    assert not old.exists()


def test_what_is_kept_for_hours_is_in_no_file_of_a_whole_day(tmp_path):
    log = written(tmp_path, at(0.3, "a"), keep_days=0.25)
    log._expire()
    (closed,) = files(tmp_path)
    assert closed.name != "events.jsonl"


def test_the_servers_purge_closes_and_deletes_files_of_the_log(tmp_path):
    from fakes import make_settings

    (tmp_path / "events").mkdir()
    (tmp_path / "events/events.jsonl").write_bytes(line(at(3, "a")))
    old = time.time() - 3 * events.DAY
    os.utime(tmp_path / "events/events.jsonl", (old, old))

    async def purge():
        core = await open_core(make_settings(tmp_path, event_days=2.0))
        task = asyncio.create_task(_purge(core))
        for _ in range(500):
            if not files(tmp_path / "events"):
                break
            await asyncio.sleep(0.01)
        task.cancel()
        await core.close()

    asyncio.run(purge())
    assert files(tmp_path / "events") == []
