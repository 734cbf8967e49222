"""What one kind of store promises beside the promises of all (see test_stores)."""

import asyncio
import contextlib
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import psycopg
import pytest
import redis.asyncio as redis
from fakes import fake_app, free_port, ready
from fastapi.testclient import TestClient
from store_servers import postgres_server, record, redis_server

from dlerse_jax.server import postgres, redis_store, sqlite
from dlerse_jax.server.store import open_store


def test_redis_keeps_no_name_of_who_is_forgotten_or_of_a_session_that_is_gone(tmp_path):
    async def test(address):
        store, client = await open_store(address), redis.from_url(address)

        async def keys():
            return {key.decode() for key in await client.keys()}

        await store.add_friends("ann", ["bob", "cid"], replace=False, most=9)
        await store.add_friends("ann", ["cid"], replace=True, most=9)
        assert await keys() == {
            "dlerse:people",
            "dlerse:ties:ann",
            "dlerse:tied_to:cid",
        }
        await store.add_friends("bob", ["ann"], replace=False, most=9)
        await store.forget("ann", "x")
        assert await keys() == {"dlerse:people", "dlerse:forgotten"}
        assert await client.smembers("dlerse:people") == {b"bob"}
        await store.write(record("own", user="ann", friends=("bob", "dan")), 0)
        await store.write(record("own", user="ann", friends=("dan",)), 1, renamed=True)
        assert "dlerse:named:bob" not in await keys()
        await store.delete("own")
        assert await keys() == {"dlerse:people", "dlerse:forgotten"}
        await store.close()
        await client.aclose()

    with redis_server(tmp_path) as address:
        asyncio.run(test(address))


def test_redis_names_that_an_older_server_kept_are_taken_over(tmp_path):
    async def test(address):
        store, client = await open_store(address), redis.from_url(address)
        end = time.time() + 60
        await store.write(record("open", user="ann", expires=end), 0)
        await client.delete("dlerse:named:ann")
        await client.sadd("dlerse:named:ann", "open", "gone")
        await client.sadd("dlerse:named:bob", "gone")
        await store.close()
        store = await open_store(address)
        assert await store.sessions_of("ann") == ["open"]
        assert await client.zrange("dlerse:named:ann", 0, -1) == [b"open"]
        assert await client.pttl("dlerse:named:ann") > 59_000
        assert not await client.exists("dlerse:named:bob")
        await store.write(record("open", user="ann", expires=end + 1), 1)
        await store.close()
        await client.aclose()

    with redis_server(tmp_path) as address:
        asyncio.run(test(address))


def test_redis_finds_a_session_by_its_people_until_it_ends_and_no_longer(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(redis_store, "NAMED_LONGER", 200)  # ms

    async def test(address):
        store, client = await open_store(address), redis.from_url(address)
        end = time.time() + 0.3
        await store.write(record("short", user="ann", expires=end), 0)
        await store.write(record("long", user="ann", expires=end), 0)
        await store.write(record("long", user="ann", expires=end + 1.2), 1)
        await asyncio.sleep(0.7)
        await store.write(record("more", user="ann", expires=end + 0.9), 0)
        ends = await client.zrange("dlerse:named:ann", 0, -1, withscores=True)
        assert [name for name, _ in ends] == [b"more", b"long"]
        assert await store.sessions_of("ann") == ["long", "more"]
        left = end + 1.4 - time.time()
        assert await client.pttl("dlerse:named:ann") == pytest.approx(
            1000 * left, abs=30
        )
        await store.close()
        await client.aclose()

    with redis_server(tmp_path) as address:
        asyncio.run(test(address))


def test_connections_that_postgresql_has_ended_are_made_again(tmp_path):
    """As after its restart; seen as a 503 for each connection that the pool held."""
    end_all = (
        "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )

    async def test(address):
        store = await open_store(address)
        try:
            await asyncio.gather(*[store.read("s") for _ in range(8)])
            with psycopg.connect(address) as other:
                assert len(other.execute(end_all).fetchall()) > 1
            assert [await store.read("s") for _ in range(8)] == [None] * 8
        finally:
            await store.close()

    with postgres_server(tmp_path) as address:
        asyncio.run(test(address))


def test_what_postgresql_ends_for_a_deadlock_is_asked_again():
    tries = []

    @postgres._once_more
    async def ask(word, *, other):
        tries.append((word, other))
        if len(tries) == 1:
            raise psycopg.errors.DeadlockDetected
        return "done"

    assert asyncio.run(ask(1, other=2)) == "done"
    assert tries == [(1, 2), (1, 2)]


@pytest.mark.parametrize(("jobs", "times"), [(10, 40), (1000, 0)])
def test_the_event_loop_waits_for_no_checkpoint(tmp_path, monkeypatch, jobs, times):
    """A thread moves SQLite's log into the file, over and over, while others write;
    the connection that writes never does."""
    path, threads = tmp_path / "sessions.sqlite", []
    move = sqlite.checkpoint

    def seen(path):
        threads.append(threading.current_thread())
        move(path)

    monkeypatch.setattr(sqlite, "checkpoint", seen)
    monkeypatch.setattr(sqlite, "CHECKPOINT", jobs)

    async def test():
        store = await open_store(f"sqlite:{path}")
        for version in range(400):
            friends = tuple(range(version, version + 500))  # some pages each
            assert await store.write(record(friends=friends), version, renamed=True)
            while len(threads) < (version + 1) // jobs:  # all before are done then
                await asyncio.sleep(0.001)
        size = Path(f"{path}-wal").stat().st_size
        shutil.copy(path, tmp_path / "copy")  # without the log
        await store.close()
        return size

    size = asyncio.run(test())
    assert len(threads) == times
    assert threading.main_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)
    if not times:
        assert size > 16 << 20
        return
    assert size < 4 << 20
    with contextlib.closing(sqlite3.connect(tmp_path / "copy")) as copy:
        (version,) = copy.execute("SELECT version FROM sessions").fetchone()
    assert version >= 390


@pytest.mark.parametrize("read", [False, True])
def test_sqlite_has_no_trace_of_what_was_deleted_when_it_says_so(tmp_path, read):
    """Names were read in the write-ahead log after the answer, and long after."""
    path = tmp_path / "sessions.sqlite"

    def traces():
        files = [path, Path(f"{path}-wal")]
        return sum(file.read_bytes().count(b"zacharias") for file in files)

    async def test():
        store = await open_store(f"sqlite:{path}")
        friends = tuple(f"zacharias{number}" for number in range(300))
        for name in ("a", "b", "c"):
            await store.write(record(name, user="zacharias", friends=friends), 0)
        await store.add_friends("zacharias", friends, replace=False, most=999)
        await store.add_friends("bob", ["zacharias"], replace=False, most=999)
        assert traces() > 600
        await store.write(record("b", user="bob"), 1, renamed=True)
        await store.delete("a")
        await store.forget("zacharias", "x")
        reader = sqlite3.connect(path, isolation_level=None)
        if read:  # a long one, of another process
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM sessions").fetchone()
        await store.delete("c")
        assert (traces() > 0) == read
        reader.close()
        await store.purge(time.time())
        assert traces() == 0
        await store.close()

    asyncio.run(test())


@pytest.mark.parametrize(("wait_for_disk", "level"), [(True, 2), (False, 1)])
def test_sqlite_waits_for_the_disk_where_it_is_told_to(tmp_path, wait_for_disk, level):
    store = sqlite.SqliteStore(tmp_path / "s.sqlite", wait_for_disk=wait_for_disk)
    pragma = "PRAGMA synchronous"  # 2: FULL, at every commit; 1: NORMAL
    assert store._database.execute(pragma).fetchone() == (level,)
    asyncio.run(store.close())


def test_sqlite_overwrites_who_is_forgotten_before_it_is_answered(tmp_path):
    with TestClient(fake_app(tmp_path).app) as client:
        ready(client)
        client.post("/users/zacharias", json={"friends": [1]})
        client.post("/sessions", json={"friends": ["zacharias", 1]})
        wal = tmp_path / "sessions.sqlite-wal"
        assert b"zacharias" in wal.read_bytes()
        assert client.delete("/users/zacharias").status_code == 200
        assert b"zacharias" not in wal.read_bytes()
        assert b"zacharias" not in (tmp_path / "sessions.sqlite").read_bytes()


def test_a_checkpoint_that_fails_is_said_and_stops_nobody(tmp_path, caplog):
    path = tmp_path / "sessions.sqlite"
    path.write_text("not a database, but long enough to be looked at" * 9)
    sqlite.checkpoint(str(path))
    (message,) = [one.getMessage() for one in caplog.records]
    assert str(path) in message and "DatabaseError" in message


def test_a_store_that_is_away_is_no_mistake_of_the_server(tmp_path):
    """The answer is 503, and right again as soon as the store is back."""
    port = free_port()
    store = f"redis://127.0.0.1:{port}/0"
    with contextlib.ExitStack() as client_is_open:
        with redis_server(tmp_path, port):
            app = fake_app(tmp_path, store=store).app
            client = ready(client_is_open.enter_context(TestClient(app)))
            assert client.post("/sessions", json={}).status_code == 201
        refused = client.post("/sessions", json={})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert "cannot be reached" in refused.json()["error"]
        assert client.post("/recommend", json={}).status_code == 200
        with redis_server(tmp_path, port):
            assert client.post("/sessions", json={}).status_code == 201
