"""The store in PostgreSQL: for several processes and machines, with backups one has.

What is acknowledged is committed, as safe as `synchronous_commit` makes it (its default
waits for the disk).
"""

import functools
import secrets
import select
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

import psycopg
from psycopg_pool import AsyncConnectionPool

from dlerse_jax.server.store import SessionRecord, Stored, Tally

CONNECTIONS = 8
MOST_WAIT = 5.0  # seconds for a connection, as long as Redis is waited for
AWAY = psycopg.OperationalError  # raised where the server cannot be reached
TABLES = """
CREATE TABLE IF NOT EXISTS dlerse_sessions(id text PRIMARY KEY,
  version integer NOT NULL, expires double precision NOT NULL, record text NOT NULL,
  people text[] NOT NULL);
CREATE INDEX IF NOT EXISTS dlerse_session_expiry ON dlerse_sessions(expires);
CREATE INDEX IF NOT EXISTS dlerse_session_people ON dlerse_sessions USING gin(people);
CREATE TABLE IF NOT EXISTS dlerse_people("user" text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS dlerse_ties("user" text, friend text,
  PRIMARY KEY("user", friend));
CREATE INDEX IF NOT EXISTS dlerse_tie_friend ON dlerse_ties(friend);
CREATE TABLE IF NOT EXISTS dlerse_forgotten(pseudonym text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS dlerse_claims(list text, item text,
  expires double precision NOT NULL, PRIMARY KEY(list, item));
CREATE TABLE IF NOT EXISTS dlerse_tallies(day text PRIMARY KEY, liked bigint NOT NULL,
  answers bigint NOT NULL);
CREATE TABLE IF NOT EXISTS dlerse_settings(name text PRIMARY KEY, value bytea NOT NULL);
"""
MAKING_TABLES = 77_263_112  # an advisory lock: two processes that start make them once
# Also where the person is there already: whoever ties them waits for the row.
LOCK_PERSON = (
    'INSERT INTO dlerse_people VALUES(%s) ON CONFLICT("user") DO UPDATE SET '
    '"user" = excluded."user"'
)
Method = TypeVar("Method", bound=Callable[..., Awaitable[Any]])


def _once_more(method: Method) -> Method:
    """PostgreSQL ends one of two writers that wait for each other: it asks again."""

    @functools.wraps(method)
    async def asked(*words: Any, **named: Any) -> Any:
        try:
            return await method(*words, **named)
        except psycopg.errors.DeadlockDetected:
            return await method(*words, **named)

    return cast(Method, asked)


class PostgresStore:
    """`store.Store` in one PostgreSQL database."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple]:
        async with self._pool.connection() as connection:
            return await (await connection.execute(query, values)).fetchall()

    async def _count(self, query: str, values: Sequence[Any] = ()) -> int:
        async with self._pool.connection() as connection:
            return (await connection.execute(query, values)).rowcount

    async def read(self, session_id: str) -> Stored | None:
        rows = await self._rows(
            "SELECT record, version FROM dlerse_sessions "
            "WHERE id = %s AND expires > %s",
            (session_id, time.time()),
        )
        if not rows:
            return None
        return Stored(SessionRecord.from_json(rows[0][0]), rows[0][1])

    async def write(
        self,
        record: SessionRecord,
        expected: int,
        tally: Tally | None = None,
        *,
        renamed: bool = False,
    ) -> bool:
        """The names are in the record's own row, so that `renamed` changes nothing."""
        key, text, people = record.session_id, record.to_json(), list(record.people())
        async with self._pool.connection() as connection:
            if expected == 0:
                done = await connection.execute(
                    "INSERT INTO dlerse_sessions VALUES(%s, 1, %s, %s, %s) "
                    "ON CONFLICT DO NOTHING",
                    (key, record.expires, text, people),
                )
            else:
                done = await connection.execute(
                    "UPDATE dlerse_sessions SET version = version + 1, expires = %s, "
                    "record = %s, people = %s WHERE id = %s AND version = %s",
                    (record.expires, text, people, key, expected),
                )
            if done.rowcount and tally:
                await connection.execute(ADD_TALLY, tally)
            return done.rowcount > 0

    async def delete(self, session_id: str) -> bool:
        query = "DELETE FROM dlerse_sessions WHERE id = %s"
        return await self._count(query, (session_id,)) > 0

    async def sessions_of(self, user: str) -> list[str]:
        query = "SELECT id FROM dlerse_sessions WHERE people @> %s ORDER BY id"
        return [row[0] for row in await self._rows(query, ([user],))]

    async def friends(self, user: str) -> tuple[str, ...] | None:
        query = 'SELECT 1 FROM dlerse_people WHERE "user" = %s'
        if not await self._rows(query, (user,)):
            return None
        query = 'SELECT friend FROM dlerse_ties WHERE "user" = %s ORDER BY friend'
        return tuple(row[0] for row in await self._rows(query, (user,)))

    @_once_more
    async def add_friends(
        self, user: str, friends: Iterable[str], *, replace: bool, most: int
    ) -> tuple[str, ...] | None:
        async with self._pool.connection() as connection:
            await connection.execute(LOCK_PERSON, (user,))
            if replace:
                query = 'DELETE FROM dlerse_ties WHERE "user" = %s'
                await connection.execute(query, (user,))
            async with connection.cursor() as cursor:
                query = "INSERT INTO dlerse_ties VALUES(%s, %s) ON CONFLICT DO NOTHING"
                pairs = [(user, friend) for friend in sorted(friends)]
                await cursor.executemany(query, pairs)
                query = 'SELECT friend FROM dlerse_ties WHERE "user" = %s'
                await cursor.execute(query, (user,))
                kept = tuple(sorted(row[0] for row in await cursor.fetchall()))
            if len(kept) <= most:
                return kept
            await connection.rollback()
            return None

    @_once_more
    async def forget(self, user: str, pseudonym: str) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                'DELETE FROM dlerse_people WHERE "user" = %s', (user,)
            )
            await connection.execute(
                'DELETE FROM dlerse_ties WHERE "user" = %s OR friend = %s', (user, user)
            )
            await connection.execute(
                "INSERT INTO dlerse_forgotten VALUES(%s) ON CONFLICT DO NOTHING",
                (pseudonym,),
            )

    async def forgotten(self) -> frozenset[str]:
        rows = await self._rows("SELECT pseudonym FROM dlerse_forgotten")
        return frozenset(row[0] for row in rows)

    async def num_forgotten(self) -> int:
        return (await self._rows("SELECT COUNT(*) FROM dlerse_forgotten"))[0][0]

    async def claim(self, recommendation_id: str, item: str, expires: float) -> bool:
        query = "INSERT INTO dlerse_claims VALUES(%s, %s, %s) ON CONFLICT DO NOTHING"
        return await self._count(query, (recommendation_id, item, expires)) > 0

    async def release(self, recommendation_id: str, item: str) -> None:
        query = "DELETE FROM dlerse_claims WHERE list = %s AND item = %s"
        await self._count(query, (recommendation_id, item))

    async def add_tally(self, tally: Tally) -> None:
        await self._count(ADD_TALLY, tally)

    async def tallies(self) -> list[Tally]:
        query = "SELECT day, liked, answers FROM dlerse_tallies ORDER BY day"
        return [Tally(*row) for row in await self._rows(query)]

    async def secret(self) -> bytes:
        await self._count(
            "INSERT INTO dlerse_settings VALUES('secret', %s) ON CONFLICT DO NOTHING",
            (secrets.token_bytes(32),),
        )
        query = "SELECT value FROM dlerse_settings WHERE name = 'secret'"
        return bytes((await self._rows(query))[0][0])

    async def overwrite(self) -> None:
        """Its files are the server's affair."""

    @_once_more
    async def purge(self, now: float) -> int:
        await self._count("DELETE FROM dlerse_sessions WHERE expires <= %s", (now,))
        await self._count("DELETE FROM dlerse_claims WHERE expires <= %s", (now,))
        return (await self._rows("SELECT COUNT(*) FROM dlerse_sessions"))[0][0]

    async def close(self) -> None:
        await self._pool.close()


ADD_TALLY = (
    "INSERT INTO dlerse_tallies VALUES(%s, %s, %s) ON CONFLICT(day) DO UPDATE SET "
    "liked = dlerse_tallies.liked + excluded.liked, "
    "answers = dlerse_tallies.answers + excluded.answers"
)


async def open_postgres(address: str) -> PostgresStore:
    """ValueError where no server answers there, or it refuses."""
    try:
        connection = await psycopg.AsyncConnection.connect(address, connect_timeout=5)
        async with connection:
            await connection.execute(
                "SELECT pg_advisory_xact_lock(%s)", (MAKING_TABLES,)
            )
            await connection.execute(TABLES)
    except psycopg.Error as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"--store=postgresql: {problem}") from error
    pool: AsyncConnectionPool = AsyncConnectionPool(
        address,
        min_size=1,
        max_size=CONNECTIONS,
        open=False,
        check=lambda connection: _check(pool, connection),
        timeout=MOST_WAIT,
    )
    await pool.open()
    return PostgresStore(pool)


async def _check(
    pool: AsyncConnectionPool, connection: psycopg.AsyncConnection
) -> None:
    """OperationalError where the server has ended the connection.

    It says so, and only then is there anything to hear of a connection that is idle. To
    ask each time, as the pool's own check does, takes as long as reading a session.
    """
    heard = select.poll()
    heard.register(connection.fileno(), select.POLLIN)
    if not heard.poll(0):
        return
    try:
        await pool.check_connection(connection)
    except psycopg.OperationalError:
        await pool.check()  # it has restarted: the pool would wait a second for each
        raise
