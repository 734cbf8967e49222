"""Sessions and ties that outlive the process: their records, and what a store does.

A session is one record with a version; it is written only over the version that was
read (compare and swap), so that two answers at once, in one process or in several,
cannot both count. `sqlite`, `redis_store` and `postgres` keep the same promise: what is
acknowledged is committed.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, cast

from dlerse_jax.runtime.messages import one_line
from dlerse_jax.server.errors import busy
from dlerse_jax.server.jsons import json_bytes

LOG = logging.getLogger(__name__)

Id = int | str


def name_of(user: object) -> str:
    """One text for a user id, whether it came as a number or as text."""
    return str(user).strip()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """An item that waits for its answer."""

    recommendation_id: str
    item: Id
    title: str
    score: float
    chance: float | None
    propensity: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What somebody said of an item; without recommendation_id: told beforehand."""

    item: Id
    title: str
    liked: bool
    recommendation_id: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """All that a session is: what the model knows is made of it again."""

    session_id: str
    owner: str  # name of the API key; "" where the server has none
    user: Id | None
    friends: tuple[Id, ...] | None  # as the caller gave them; None: not given
    personal: bool
    created: float  # seconds since 1970
    expires: float
    answers: tuple[Answer, ...] = ()
    shown: Shown | None = None

    def to_json(self) -> str:
        content = {
            **vars(self),
            "answers": [vars(answer) for answer in self.answers],
            "shown": self.shown and vars(self.shown),
        }
        return json_bytes(content).decode("ascii")

    @classmethod
    def from_json(cls, text: str | bytes) -> "SessionRecord":
        fields = json.loads(text)
        shown, friends = fields.pop("shown"), fields.pop("friends")
        answers = tuple(Answer(**answer) for answer in fields.pop("answers"))
        return cls(
            **fields,
            answers=answers,
            shown=Shown(**shown) if shown else None,
            friends=None if friends is None else tuple(friends),
        )

    def people(self) -> set[str]:
        """Names of all that the record mentions."""
        named = {name_of(friend) for friend in self.friends or ()}
        return named | ({name_of(self.user)} if self.user is not None else set())


class Stored(NamedTuple):
    record: SessionRecord
    version: int


class Tally(NamedTuple):
    """Answers to add to a day's sums; negative where one is taken back."""

    day: str  # 2026-11-28, UTC
    liked: int
    answers: int


class Store(Protocol):
    """What the service needs. Users come as `name_of` gives them."""

    async def read(self, session_id: str) -> Stored | None:
        """The session; None where there is none, or it has expired."""

    async def write(
        self,
        record: SessionRecord,
        expected: int,
        tally: Tally | None = None,
        *,
        renamed: bool = False,
    ) -> bool:
        """Commits the record as version expected + 1, and the tally with it.

        renamed: it names other people than the version before. False, and nothing is
        written, where the version is not `expected` (0: new).
        """

    async def delete(self, session_id: str) -> bool:
        """Whether there was such a session."""

    async def sessions_of(self, user: str) -> list[str]:
        """Sessions whose record names the user, as themselves or as a friend."""

    async def friends(self, user: str) -> tuple[str, ...] | None:
        """Ties that were added here; None for somebody who was never added."""

    async def add_friends(
        self, user: str, friends: Iterable[str], *, replace: bool, most: int
    ) -> tuple[str, ...] | None:
        """All the user's ties afterwards; None, and nothing is saved, for over `most`.

        replace: the former ones are dropped.
        """

    async def forget(self, user: str, pseudonym: str) -> None:
        """Drops all ties of and to the user; `forgotten` has the pseudonym now."""

    async def forgotten(self) -> frozenset[str]:
        """Pseudonyms of those who are to count as unknown."""

    async def num_forgotten(self) -> int:
        """How many they are, which only grows."""

    async def claim(self, recommendation_id: str, item: str, expires: float) -> bool:
        """Whether this is the first answer to the item of a list."""

    async def release(self, recommendation_id: str, item: str) -> None:
        """Takes a claim back: its answer could not be logged."""

    async def add_tally(self, tally: Tally) -> None: ...

    async def tallies(self) -> list[Tally]:
        """Sums by day, oldest first."""

    async def secret(self) -> bytes:
        """32 random bytes, made once: what signs ids and makes pseudonyms."""

    async def overwrite(self) -> None:
        """What was deleted before can be read in none of the store's own files."""

    async def purge(self, now: float) -> int:
        """Deletes what has expired -> sessions that are left."""

    async def close(self) -> None: ...


class _OnServer:
    """A store whose server may be away: then 503, which says that one may ask again."""

    def __init__(self, store: Store, away: type[Exception] | tuple) -> None:
        """away: what the store raises where its server cannot be reached."""
        self._store, self._away = store, away

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        async def asked(*words: Any, **named: Any) -> Any:
            try:
                return await method(*words, **named)
            except self._away as error:
                LOG.error("the store cannot be reached: %s", one_line(error))
                raise busy("the store of sessions cannot be reached now") from error

        return asked


def pseudonym(secret: bytes, user: object) -> str:
    """A name that leads back to the user only with the secret: 24 hex digits."""
    text = name_of(user).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, key=secret, digest_size=12).hexdigest()


async def open_store(address: str, **settings: Any) -> Store:
    """`sqlite:FILE`, `redis://...` or `postgresql://...`.

    ValueError for another kind, or where the client of the store is not installed.
    """
    kind = address.partition(":")[0]
    try:
        if kind == "sqlite":
            from dlerse_jax.server.sqlite import SqliteStore

            return SqliteStore(address.partition(":")[2], **settings)
        if kind in ("redis", "rediss"):
            from dlerse_jax.server import redis_store

            store: Store = await redis_store.open_redis(address)
            return cast(Store, _OnServer(store, redis_store.AWAY))
        if kind in ("postgresql", "postgres"):
            from dlerse_jax.server import postgres

            store = await postgres.open_postgres(address)
            return cast(Store, _OnServer(store, postgres.AWAY))
    except ImportError as error:
        raise ValueError(
            f"--store={kind}: needs a package that is not installed ({error.name}): "
            f"pip install 'dlerse_jax[{'redis' if 'redis' in kind else 'postgres'}]'"
        ) from None
    raise ValueError(
        f"--store begins with {kind!r}, expected sqlite:FILE, redis://HOST or "
        "postgresql://HOST/DATABASE"
    )
