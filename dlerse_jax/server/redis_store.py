"""The store in Redis or Valkey: for several processes and machines.

A record is written by a script, so that nobody writes between the check of its version
and the write. What is acknowledged is as safe as the server's own settings make it:
`appendonly yes` and, against a power cut, `appendfsync always`.
"""

import secrets
import time
from collections.abc import Iterable
from typing import Any

import redis.asyncio as redis
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer

from dlerse_jax.server.store import SessionRecord, Stored, Tally

PREFIX = "dlerse:"
AWAY = (NoConnection, NoAnswer)  # raised where the server cannot be reached
WRITE = """
local found = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
if found ~= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'version', found + 1, 'record', ARGV[2])
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
if ARGV[4] ~= '' then
  redis.call('HINCRBY', KEYS[2], ARGV[4] .. ' liked', ARGV[5])
  redis.call('HINCRBY', KEYS[2], ARGV[4] .. ' answers', ARGV[6])
end
return 1
"""


class RedisStore:
    """`store.Store` on one Redis server."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._write = client.register_script(WRITE)

    async def read(self, session_id: str) -> Stored | None:
        row = await self._client.hmget(_session(session_id), "record", "version")
        if row[0] is None:
            return None
        record = SessionRecord.from_json(row[0])
        return Stored(record, int(row[1])) if record.expires > time.time() else None

    async def write(
        self,
        record: SessionRecord,
        expected: int,
        tally: Tally | None = None,
        *,
        renamed: bool = False,
    ) -> bool:
        """The names come first: one too many is found to be none when it is read."""
        if expected == 0 or renamed:
            await self._name(record)
        day, liked, answers = tally or ("", 0, 0)
        return bool(
            await self._write(
                keys=[_session(record.session_id), f"{PREFIX}tallies"],
                args=[
                    expected,
                    record.to_json(),
                    int(1000 * record.expires),
                    day,
                    liked,
                    answers,
                ],
            )
        )

    async def _name(self, record: SessionRecord) -> None:
        async with self._client.pipeline(transaction=False) as pipe:
            for person in record.people():
                pipe.sadd(_named(person), record.session_id)
            await pipe.execute()

    async def delete(self, session_id: str) -> bool:
        return bool(await self._client.delete(_session(session_id)))

    async def sessions_of(self, user: str) -> list[str]:
        found = []
        for session_id in sorted(_texts(await self._client.smembers(_named(user)))):
            stored = await self.read(session_id)
            if stored is not None and user in stored.record.people():
                found.append(session_id)
            else:
                await self._client.srem(_named(user), session_id)
        return found

    async def friends(self, user: str) -> tuple[str, ...] | None:
        if not await self._client.sismember(f"{PREFIX}people", user):
            return None
        return tuple(sorted(_texts(await self._client.smembers(_ties(user)))))

    async def add_friends(
        self, user: str, friends: Iterable[str], *, replace: bool
    ) -> tuple[str, ...]:
        friends = list(friends)
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.sadd(f"{PREFIX}people", user)
            if replace:
                pipe.delete(_ties(user))
            for friend in friends:
                pipe.sadd(_ties(user), friend)
                pipe.sadd(_tied_to(friend), user)
            await pipe.execute()
        return await self.friends(user) or ()

    async def forget(self, user: str, pseudonym: str) -> None:
        others = _texts(await self._client.smembers(_tied_to(user)))
        async with self._client.pipeline(transaction=True) as pipe:
            for other in others:
                pipe.srem(_ties(other), user)
            pipe.delete(_ties(user), _tied_to(user))
            pipe.srem(f"{PREFIX}people", user)
            pipe.sadd(f"{PREFIX}forgotten", pseudonym)
            await pipe.execute()

    async def forgotten(self) -> frozenset[str]:
        return frozenset(_texts(await self._client.smembers(f"{PREFIX}forgotten")))

    async def claim(self, recommendation_id: str, item: str, expires: float) -> bool:
        key = _claim(recommendation_id, item)
        return bool(
            await self._client.set(key, b"1", nx=True, pxat=int(1000 * expires))
        )

    async def release(self, recommendation_id: str, item: str) -> None:
        await self._client.delete(_claim(recommendation_id, item))

    async def add_tally(self, tally: Tally) -> None:
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hincrby(f"{PREFIX}tallies", f"{tally.day} liked", tally.liked)
            pipe.hincrby(f"{PREFIX}tallies", f"{tally.day} answers", tally.answers)
            await pipe.execute()

    async def tallies(self) -> list[Tally]:
        sums = {
            name.decode(): int(count)
            for name, count in (await self._client.hgetall(f"{PREFIX}tallies")).items()
        }
        days = sorted({name.partition(" ")[0] for name in sums})
        return [
            Tally(day, sums.get(f"{day} liked", 0), sums.get(f"{day} answers", 0))
            for day in days
        ]

    async def secret(self) -> bytes:
        key = f"{PREFIX}secret"
        await self._client.set(key, secrets.token_bytes(32), nx=True)
        return await self._client.get(key)

    async def purge(self, now: float) -> int:
        """Redis deletes by itself; this counts."""
        count = 0
        async for _ in self._client.scan_iter(f"{PREFIX}session:*", count=1000):
            count += 1
        return count

    async def close(self) -> None:
        await self._client.aclose()


async def open_redis(address: str) -> RedisStore:
    """ValueError where no server answers there."""
    client = redis.from_url(address, socket_timeout=5, socket_connect_timeout=5)
    try:
        await client.ping()
    except (RedisError, OSError) as error:
        raise ValueError(f"--store={_without_password(address)}: {error}") from error
    return RedisStore(client)


def _without_password(address: str) -> str:
    kind, _, rest = address.partition("://")
    return f"{kind}://{rest.rpartition('@')[2]}"


def _session(session_id: str) -> str:
    return f"{PREFIX}session:{session_id}"


def _named(user: str) -> str:
    return f"{PREFIX}named:{user}"


def _ties(user: str) -> str:
    return f"{PREFIX}ties:{user}"


def _tied_to(user: str) -> str:
    return f"{PREFIX}tied_to:{user}"


def _claim(recommendation_id: str, item: str) -> str:
    return f"{PREFIX}claim:{recommendation_id}:{item}"


def _texts(values: Any) -> list[str]:
    return [value.decode("utf-8") for value in values]
