"""The store in one SQLite file: for one process, or a few on one machine.

All writes that wait are one transaction, and nobody is answered before its commit. The
write-ahead log makes that safe against a killed process; with `wait_for_disk` also
against a power cut (PRAGMA synchronous = FULL), and then a thread waits for the disk.
Without, a thread moves the log into the file, which waits for the disk, too.
"""

import asyncio
import contextlib
import logging
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dlerse_jax.server.batching import Batcher, LoopBatcher
from dlerse_jax.server.store import SessionRecord, Stored, Tally

LOG = logging.getLogger(__name__)
FORMAT = 1
CHECKPOINT = 2000  # jobs, after which the write-ahead log has some 20 MiB
MOST_TRIES = 5  # to empty the log, while others read it
MOST_WAIT = 0.1  # seconds of a checkpoint for a reader, while nobody can write
TABLES = """
CREATE TABLE IF NOT EXISTS sessions(id TEXT PRIMARY KEY, version INTEGER NOT NULL,
  expires REAL NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS session_expiry ON sessions(expires);
CREATE TABLE IF NOT EXISTS named(user TEXT, session TEXT, PRIMARY KEY(user, session))
  WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS named_session ON named(session);
CREATE TABLE IF NOT EXISTS people(user TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ties(user TEXT, friend TEXT, PRIMARY KEY(user, friend))
  WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tie_friend ON ties(friend);
CREATE TABLE IF NOT EXISTS forgotten(pseudonym TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims(list TEXT, item TEXT, expires REAL NOT NULL,
  PRIMARY KEY(list, item)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tallies(day TEXT PRIMARY KEY, liked INTEGER NOT NULL,
  answers INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings(name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
"""
Job = Callable[[sqlite3.Connection], Any]


class SqliteStore:
    """`store.Store` in a file; ":memory:" for one that ends with the process."""

    def __init__(self, path: str | Path, *, wait_for_disk: bool = False) -> None:
        """ValueError where the file is none of this format."""
        if str(path) != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._path = str(path)
        self._database = _opened(self._path, wait_for_disk)
        self._thread: Batcher[Job, Any] | None = None
        if wait_for_disk:
            self._thread = Batcher(self._transaction, name="sqlite", most=256)
        self._writer: Batcher[Job, Any] | LoopBatcher[Job, Any] = (
            self._thread or LoopBatcher(self._quick_transaction, most=256)
        )
        self._aside = ThreadPoolExecutor(1, "sqlite-checkpoint")
        self._logged = 0  # jobs since the last checkpoint

    def _quick_transaction(self, jobs: list[Job]) -> list[Any]:
        """In the event loop, which must not wait for the disk."""
        answers = self._transaction(jobs)
        self._logged += len(jobs)
        if self._logged >= CHECKPOINT and self._path != ":memory:":
            self._logged = 0
            self._aside.submit(checkpoint, self._path)
        return answers

    def _transaction(self, jobs: list[Job]) -> list[Any]:
        """All jobs, committed: one that fails leaves nothing behind."""
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            answers = _each(database, jobs)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        return answers

    async def read(self, session_id: str) -> Stored | None:
        now = time.time()
        query = "SELECT record, version FROM sessions WHERE id = ? AND expires > ?"

        def job(database: sqlite3.Connection):
            return database.execute(query, (session_id, now)).fetchone()

        row = await self._writer.ask(job)
        return Stored(SessionRecord.from_json(row[0]), row[1]) if row else None

    async def write(
        self,
        record: SessionRecord,
        expected: int,
        tally: Tally | None = None,
        *,
        renamed: bool = False,
    ) -> bool:
        text = record.to_json()
        return await self._writer.ask(
            lambda database: _write(database, record, text, expected, tally, renamed)
        )

    async def delete(self, session_id: str) -> bool:
        def job(database: sqlite3.Connection) -> bool:
            database.execute("DELETE FROM named WHERE session = ?", (session_id,))
            done = database.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
            return done.rowcount > 0

        is_gone = await self._writer.ask(job)
        await self.overwrite()
        return is_gone

    async def sessions_of(self, user: str) -> list[str]:
        query = "SELECT session FROM named WHERE user = ?"
        rows = await self._writer.ask(lambda d: d.execute(query, (user,)).fetchall())
        return [row[0] for row in rows]

    async def friends(self, user: str) -> tuple[str, ...] | None:
        return await self._writer.ask(lambda database: _friends(database, user))

    async def add_friends(
        self, user: str, friends: Iterable[str], *, replace: bool, most: int
    ) -> tuple[str, ...] | None:
        named = set(friends)
        pairs = [(user, friend) for friend in sorted(named)]

        def job(database: sqlite3.Connection) -> tuple[str, ...] | None:
            before = () if replace else _friends(database, user) or ()
            if len(named.union(before)) > most:
                return None
            database.execute("INSERT OR IGNORE INTO people VALUES(?)", (user,))
            if replace:
                database.execute("DELETE FROM ties WHERE user = ?", (user,))
            database.executemany("INSERT OR IGNORE INTO ties VALUES(?, ?)", pairs)
            return _friends(database, user) or ()

        return await self._writer.ask(job)

    async def forget(self, user: str, pseudonym: str) -> None:
        def job(database: sqlite3.Connection) -> None:
            database.execute(
                "DELETE FROM ties WHERE user = ? OR friend = ?", (user, user)
            )
            database.execute("DELETE FROM people WHERE user = ?", (user,))
            database.execute("INSERT OR IGNORE INTO forgotten VALUES(?)", (pseudonym,))

        await self._writer.ask(job)

    async def forgotten(self) -> frozenset[str]:
        query = "SELECT pseudonym FROM forgotten"
        rows = await self._writer.ask(lambda d: d.execute(query).fetchall())
        return frozenset(row[0] for row in rows)

    async def num_forgotten(self) -> int:
        query = "SELECT COUNT(*) FROM forgotten"
        return (await self._writer.ask(lambda d: d.execute(query).fetchone()))[0]

    async def claim(self, recommendation_id: str, item: str, expires: float) -> bool:
        statement = "INSERT OR IGNORE INTO claims VALUES(?, ?, ?)"
        row = (recommendation_id, item, expires)
        done = await self._writer.ask(lambda d: d.execute(statement, row).rowcount)
        return done > 0

    async def release(self, recommendation_id: str, item: str) -> None:
        statement = "DELETE FROM claims WHERE list = ? AND item = ?"
        row = (recommendation_id, item)
        await self._writer.ask(lambda d: d.execute(statement, row).rowcount)

    async def add_tally(self, tally: Tally) -> None:
        await self._writer.ask(lambda database: _add_tally(database, tally))

    async def tallies(self) -> list[Tally]:
        query = "SELECT day, liked, answers FROM tallies ORDER BY day"
        rows = await self._writer.ask(lambda d: d.execute(query).fetchall())
        return [Tally(*row) for row in rows]

    async def secret(self) -> bytes:
        def job(database: sqlite3.Connection) -> bytes:
            made = secrets.token_bytes(32)
            database.execute(
                "INSERT OR IGNORE INTO settings VALUES('secret', ?)", (made,)
            )
            return database.execute(
                "SELECT value FROM settings WHERE name = 'secret'"
            ).fetchone()[0]

        return await self._writer.ask(job)

    async def purge(self, now: float) -> int:
        def job(database: sqlite3.Connection) -> int:
            database.execute(
                "DELETE FROM named WHERE session IN "
                "(SELECT id FROM sessions WHERE expires <= ?)",
                (now,),
            )
            database.execute("DELETE FROM sessions WHERE expires <= ?", (now,))
            database.execute("DELETE FROM claims WHERE expires <= ?", (now,))
            return database.execute("SELECT COUNT(*) FROM sessions").fetchone()[0]

        count = await self._writer.ask(job)
        await self.overwrite()
        return count

    async def overwrite(self) -> None:
        """The write-ahead log is emptied; at the next purge if others are reading it
        all the time.
        """
        if self._path != ":memory:":
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._aside, empty_log, self._path)

    async def close(self) -> None:
        if self._thread is not None:
            self._thread.close()
        self._aside.shutdown()
        self._database.close()


def checkpoint(path: str) -> None:
    """Moves the write-ahead log into the file, so that it begins anew.

    Others write meanwhile; they wait only while the last little of it is moved.
    """
    try:
        with contextlib.closing(
            sqlite3.connect(path, isolation_level=None, timeout=MOST_WAIT)
        ) as database:
            for mode in ("PASSIVE", "PASSIVE", "RESTART"):
                database.execute(f"PRAGMA wal_checkpoint({mode})")
    except sqlite3.Error as error:
        LOG.error("%s: the write-ahead log was not moved into it: %r", path, error)


def empty_log(path: str) -> None:
    """As `checkpoint`, and nothing of the write-ahead log is left."""
    try:
        with contextlib.closing(
            sqlite3.connect(path, isolation_level=None, timeout=MOST_WAIT)
        ) as database:
            for mode in ("PASSIVE", *["TRUNCATE"] * MOST_TRIES):
                query = f"PRAGMA wal_checkpoint({mode})"
                is_busy = database.execute(query).fetchone()[0]
                if mode == "TRUNCATE" and not is_busy:
                    return
    except sqlite3.Error as error:
        LOG.error("%s: the write-ahead log was not emptied: %r", path, error)


def _opened(path: str, wait_for_disk: bool) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=5
        )
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(
            f"PRAGMA synchronous = {'FULL' if wait_for_disk else 'NORMAL'}"
        )
        if not wait_for_disk:
            database.execute("PRAGMA wal_autocheckpoint = 0")  # `checkpoint` does it
        database.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, FORMAT):
            raise ValueError(
                f"{path}: sessions of format {found}, expected {FORMAT}; name another "
                "file in --store"
            )
        database.executescript(TABLES)
        database.execute(f"PRAGMA user_version = {FORMAT}")
    except sqlite3.Error as error:
        raise ValueError(f"{path}: no SQLite file of sessions ({error})") from error
    return database


def _each(database: sqlite3.Connection, jobs: list[Job]) -> list[Any]:
    """Answers of all; where one fails, all is done again with each job by itself."""
    try:
        return [job(database) for job in jobs]
    except sqlite3.IntegrityError:
        database.execute("ROLLBACK")
        database.execute("BEGIN IMMEDIATE")
        return [_one(database, job) for job in jobs]


def _one(database: sqlite3.Connection, job: Job) -> Any:
    """A job's answer, or its exception with nothing of it left behind."""
    database.execute("SAVEPOINT job")
    try:
        answer = job(database)
    except sqlite3.IntegrityError as error:
        database.execute("ROLLBACK TO job")
        answer = error
    database.execute("RELEASE job")
    return answer


def _write(
    database: sqlite3.Connection,
    record: SessionRecord,
    text: str,
    expected: int,
    tally: Tally | None,
    renamed: bool,
) -> bool:
    key, expires = record.session_id, record.expires
    if expected == 0:
        done = database.execute(
            "INSERT OR IGNORE INTO sessions VALUES(?, 1, ?, ?)", (key, expires, text)
        )
    else:
        done = database.execute(
            "UPDATE sessions SET version = version + 1, expires = ?, record = ? "
            "WHERE id = ? AND version = ?",
            (expires, text, key, expected),
        )
    if not done.rowcount:
        return False
    if expected == 0 or renamed:
        database.execute("DELETE FROM named WHERE session = ?", (key,))
        rows = [(person, key) for person in record.people()]
        database.executemany("INSERT INTO named VALUES(?, ?)", rows)
    if tally:
        _add_tally(database, tally)
    return True


def _add_tally(database: sqlite3.Connection, tally: Tally) -> None:
    database.execute(
        "INSERT INTO tallies VALUES(?, ?, ?) ON CONFLICT(day) DO UPDATE SET "
        "liked = liked + excluded.liked, answers = answers + excluded.answers",
        tally,
    )


def _friends(database: sqlite3.Connection, user: str) -> tuple[str, ...] | None:
    query = "SELECT 1 FROM people WHERE user = ?"
    if database.execute(query, (user,)).fetchone() is None:
        return None
    query = "SELECT friend FROM ties WHERE user = ? ORDER BY friend"
    return tuple(row[0] for row in database.execute(query, (user,)))
