"""Every store keeps the same promises: SQLite, Redis and PostgreSQL by real servers."""

import asyncio
import contextlib
import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pytest
from fakes import fake_app, free_port, ready
from fastapi.testclient import TestClient

from dlerse_jax.server import sqlite
from dlerse_jax.server.store import (
    Answer,
    SessionRecord,
    Shown,
    Tally,
    open_store,
    pseudonym,
)

REDIS = shutil.which("valkey-server") or shutil.which("redis-server")
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


def record(name="s", *, user=None, friends=(), expires=None, **changes):
    return SessionRecord(
        session_id=name,
        owner="shop",
        user=user,
        friends=friends,
        personal=True,
        created=1.0,
        expires=time.time() + 60 if expires is None else expires,
        **changes,
    )


@contextlib.contextmanager
def redis_server(folder, port=None):
    if REDIS is None:
        pytest.skip("needs Debian's package redis-server or valkey-server")
    port = port or free_port()
    words = [REDIS, "--port", str(port), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def postgres_server(folder):
    if not POSTGRES:
        pytest.skip("needs Debian's package postgresql")
    home, port = folder / "data", free_port()
    user = nobody_else(folder)
    programs = POSTGRES[-1].parent
    run = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL}
    subprocess.run(
        [programs / "initdb", "-D", home, "-U", "dlerse", "-A", "trust", "--no-sync"],
        check=True,
        **run,
    )
    process = subprocess.Popen(
        [programs / "postgres", "-D", home, "-p", str(port), "-k", folder, "-F"],
        stderr=subprocess.DEVNULL,
        **run,
    )
    try:
        wait_for(port)
        yield f"postgresql://dlerse@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait()


def nobody_else(folder):
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    user = pwd.getpwnam("nobody").pw_uid
    os.chown(folder, user, -1)
    for above in folder.parents[:-2]:
        above.chmod(above.stat().st_mode | 0o011)
    return user


def wait_for(port):
    for _ in range(200):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port)),
        ):
            return
        time.sleep(0.05)
    pytest.fail(f"nothing listens at port {port}")


@pytest.fixture(scope="module", params=["sqlite", "redis", "postgresql"])
def address(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        yield f"sqlite:{folder / 'sessions.sqlite'}"
        return
    server = redis_server if request.param == "redis" else postgres_server
    with server(folder) as found:
        yield found


@pytest.fixture
def with_store(address):
    """Runs a coroutine function on a store of its own connection."""

    def run(test):
        async def whole():
            store = await open_store(address)
            try:
                return await test(store)
            finally:
                await store.close()

        return asyncio.run(whole())

    return run


def test_a_record_comes_back_as_it_was(with_store):
    shown = Shown(
        recommendation_id="r2",
        item="b\u00e9",
        title="\u2603\n",
        score=-1.5,
        chance=None,
        propensity=0.25,
    )
    answer = Answer(item=7, title="seven", liked=False, recommendation_id="r1")
    wanted = record("whole", user=3, friends=(1, "x"), shown=shown, answers=(answer,))

    async def test(store):
        assert await store.read("whole") is None
        assert await store.write(wanted, 0)
        assert await store.read("whole") == (wanted, 1)

    with_store(test)


def test_only_the_version_that_was_read_is_written_over(with_store):
    async def test(store):
        await store.write(record("cas"), 0)
        tries = [store.write(record("cas", friends=(n,)), 1) for n in range(8)]
        assert sum(await asyncio.gather(*tries)) == 1
        assert not await store.write(record("cas"), 0)
        assert not await store.write(record("never"), 3)
        assert (await store.read("cas")).version == 2

    with_store(test)


def test_a_tally_counts_with_its_record_alone(with_store):
    async def test(store):
        await store.write(record("t"), 0, Tally("2026-01-01", 1, 1))
        await store.write(record("t"), 9, Tally("2026-01-01", 1, 1))  # another version
        await store.write(record("t"), 1, Tally("2026-01-01", 0, 1))
        await store.add_tally(Tally("2025-12-31", -1, -1))
        assert await store.tallies() == [("2025-12-31", -1, -1), ("2026-01-01", 1, 2)]

    with_store(test)


def test_sessions_are_found_by_all_whom_they_name(with_store):
    async def test(store):
        await store.write(record("own", user=5), 0)
        await store.write(record("friend", friends=("5", 6)), 0)
        await store.write(record("other", user=55, friends=(6,)), 0)
        assert sorted(await store.sessions_of("5")) == ["friend", "own"]
        await store.write(record("friend", friends=(6,)), 1, renamed=True)
        assert await store.sessions_of("5") == ["own"]
        assert await store.delete("own")
        assert not await store.delete("own")
        assert await store.sessions_of("5") == []

    with_store(test)


def test_what_has_expired_is_not_read_and_is_purged(with_store):
    async def test(store):
        before = await store.purge(time.time())
        await store.write(record("old", expires=time.time() + 0.05), 0)
        await store.claim("list", "1", time.time() + 0.05)
        await asyncio.sleep(0.1)
        assert await store.read("old") is None
        assert await store.purge(time.time()) == before
        assert await store.claim("list", "1", time.time() + 60)

    with_store(test)


def test_ties_are_added_replaced_and_forgotten_both_ways(with_store):
    async def test(store):
        assert await store.friends("ann") is None
        assert await store.add_friends("ann", ["bob", "cid"], replace=False) == (
            "bob",
            "cid",
        )
        await store.add_friends("ann", ["dan"], replace=False)
        assert await store.friends("ann") == ("bob", "cid", "dan")
        assert await store.add_friends("ann", ["bob"], replace=True) == ("bob",)
        assert await store.add_friends("eve", [], replace=True) == ()
        await store.add_friends("eve", ["ann", "bob"], replace=False)
        await store.forget("bob", "pseudonym of bob")
        assert await store.friends("ann") == ()
        assert await store.friends("eve") == ("ann",)
        await store.forget("ann", "pseudonym of ann")
        assert await store.friends("ann") is None
        assert await store.friends("eve") == ()
        assert await store.forgotten() == {"pseudonym of ann", "pseudonym of bob"}

    with_store(test)


def test_an_item_of_a_list_is_answered_once(with_store):
    async def test(store):
        tries = [store.claim("l", "5", time.time() + 60) for _ in range(5)]
        assert sum(await asyncio.gather(*tries)) == 1
        assert await store.claim("l", "6", time.time() + 60)
        await store.release("l", "5")
        assert await store.claim("l", "5", time.time() + 60)
        assert not await store.claim("l", "6", time.time() + 60)

    with_store(test)


def test_the_secret_is_made_once(with_store):
    async def test(store):
        return await store.secret()

    first = with_store(test)
    assert len(first) == 32
    assert with_store(test) == first


def test_a_pseudonym_is_the_same_for_a_number_and_its_text():
    assert pseudonym(b"k", 12) == pseudonym(b"k", " 12") != pseudonym(b"j", 12)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("mysql://host", "expected sqlite:FILE, redis://HOST or postgresql://"),
        ("redis://u:secret@127.0.0.1:1/0", r"--store=redis://127.0.0.1:1/0: "),
        ("postgresql://u:secret@127.0.0.1:1/x", "--store=postgresql: "),
    ],
)
def test_a_store_that_cannot_be_opened_is_said_in_a_line(address, words):
    with pytest.raises(ValueError, match=words) as problem:
        asyncio.run(open_store(address))
    assert "secret" not in str(problem.value)


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "x").write_text("not a database, but long enough to be looked at" * 9)
    with pytest.raises(ValueError, match="no SQLite file of sessions"):
        asyncio.run(open_store(f"sqlite:{tmp_path / 'x'}"))


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
