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
NAMED_LONGER = 86_400_000  # ms; so a person's index is written daily, not each time
WRITE = """
local found = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
if found ~= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'version', found + 1, 'record', ARGV[2])
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
if ARGV[4] ~= '' then
  redis.call('HINCRBY', KEYS[2], ARGV[4] .. ' liked', ARGV[5])
  redis.call('HINCRBY', KEYS[2], ARGV[4] .. ' answers', ARGV[6])
end
local session, now, expires = ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[3])
local last_named = 2 + tonumber(ARGV[9])
for place = 3, last_named do
  local named_until = redis.call('ZSCORE', KEYS[place], session)
  if not named_until or tonumber(named_until) < expires then
    local longer = expires + tonumber(ARGV[10])
    redis.call('ZADD', KEYS[place], longer, session)
    redis.call('ZREMRANGEBYSCORE', KEYS[place], '-inf', now)
    if redis.call('PTTL', KEYS[place]) < longer - now then
      redis.call('PEXPIREAT', KEYS[place], longer)
    end
  end
end
for place = last_named + 1, #KEYS do redis.call('ZREM', KEYS[place], session) end
return 1
"""
TIE = """
local people, ties, tied_to = KEYS[1], KEYS[2], ARGV[1]
local user, replace, most = ARGV[2], ARGV[3] == '1', tonumber(ARGV[4])
local count = replace and 0 or redis.call('SCARD', ties)
for place = 5, #ARGV do
  if replace or redis.call('SISMEMBER', ties, ARGV[place]) == 0 then
    count = count + 1
  end
end
if count > most then return 0 end
redis.call('SADD', people, user)
if replace then
  for _, friend in ipairs(redis.call('SMEMBERS', ties)) do
    redis.call('SREM', tied_to .. friend, user)
  end
  redis.call('DEL', ties)
end
for place = 5, #ARGV do
  redis.call('SADD', ties, ARGV[place])
  redis.call('SADD', tied_to .. ARGV[place], user)
end
return 1
"""
FORGET = """
local ties, tied_to, user = KEYS[1], KEYS[2], ARGV[1]
for _, other in ipairs(redis.call('SMEMBERS', tied_to)) do
  redis.call('SREM', ARGV[2] .. other, user)
end
for _, friend in ipairs(redis.call('SMEMBERS', ties)) do
  redis.call('SREM', ARGV[3] .. friend, user)
end
redis.call('DEL', ties, tied_to)
redis.call('SREM', KEYS[3], user)
redis.call('SADD', KEYS[4], ARGV[4])
"""


class RedisStore:
    """`store.Store` on one Redis server."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._write = client.register_script(WRITE)
        self._tie = client.register_script(TIE)
        self._forget = client.register_script(FORGET)

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
        key, people = record.session_id, record.people()
        dropped: set[str] = set()
        if renamed and (before := await self.read(key)) is not None:
            dropped = before.record.people() - people
        day, liked, answers = tally or ("", 0, 0)
        return bool(
            await self._write(
                keys=[
                    _session(key),
                    f"{PREFIX}tallies",
                    *map(_named, people),
                    *map(_named, dropped),
                ],
                args=[
                    expected,
                    record.to_json(),
                    int(1000 * record.expires),
                    day,
                    liked,
                    answers,
                    key,
                    int(1000 * time.time()),
                    len(people),
                    NAMED_LONGER,
                ],
            )
        )

    async def delete(self, session_id: str) -> bool:
        stored = await self.read(session_id)
        async with self._client.pipeline(transaction=True) as pipe:
            for person in stored.record.people() if stored else ():
                pipe.zrem(_named(person), session_id)
            pipe.delete(_session(session_id))
            return bool((await pipe.execute())[-1])

    async def sessions_of(self, user: str) -> list[str]:
        found = []
        for session_id in sorted(
            _texts(await self._client.zrange(_named(user), 0, -1))
        ):
            stored = await self.read(session_id)
            if stored is not None and user in stored.record.people():
                found.append(session_id)
            else:
                await self._client.zrem(_named(user), session_id)
        return found

    async def friends(self, user: str) -> tuple[str, ...] | None:
        if not await self._client.sismember(f"{PREFIX}people", user):
            return None
        return tuple(sorted(_texts(await self._client.smembers(_ties(user)))))

    async def add_friends(
        self, user: str, friends: Iterable[str], *, replace: bool, most: int
    ) -> tuple[str, ...] | None:
        named = dict.fromkeys(friends)
        if not await self._tie(
            keys=[f"{PREFIX}people", _ties(user)],
            args=[_tied_to(""), user, int(replace), most, *named],
        ):
            return None
        return await self.friends(user) or ()

    async def forget(self, user: str, pseudonym: str) -> None:
        await self._forget(
            keys=[_ties(user), _tied_to(user), f"{PREFIX}people", f"{PREFIX}forgotten"],
            args=[user, _ties(""), _tied_to(""), pseudonym],
        )

    async def num_forgotten(self) -> int:
        return await self._client.scard(f"{PREFIX}forgotten")

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

    async def overwrite(self) -> None:
        """Its files are the server's affair."""

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
    await _name_by_time(client)
    return RedisStore(client)


async def _name_by_time(client: redis.Redis) -> None:
    """Sets of sessions by name, which 0.2.0 kept, as they are now: with their ends."""
    async for key in client.scan_iter(f"{PREFIX}named:*", count=1000, _type="SET"):
        ends = {}
        for session in _texts(await client.smembers(key)):
            left = await client.pttl(_session(session))
            if left > 0:
                ends[session] = int(1000 * time.time()) + left + NAMED_LONGER
        async with client.pipeline(transaction=True) as pipe:
            pipe.delete(key)
            if ends:
                pipe.zadd(key, ends)
                pipe.pexpireat(key, max(ends.values()))
            await pipe.execute()


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
