"""`Recommender`: a trained agent that can be asked, in the data's own ids.

It answers for users of the data set, for people who are known for their friends alone,
and for somebody nobody knows. A question is a person (friends, answers) and what may be
shown; an answer is a list of items. Questions are padded to a few sizes ("buckets"), so
that other numbers of friends and answers compile nothing.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.experiment.restore import Restored, restore_trained
from dlerse_jax.graph.friends import FriendTable, friend_table
from dlerse_jax.serving.names import Names
from dlerse_jax.serving.player import Answers, Player, SessionState
from dlerse_jax.types import Agent, Dataset, Newcomer

SMALLEST_BUCKET = 8
PEOPLE_BUCKETS = (1, 4, 16, 64)  # questions answered in one call


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recommendation:
    """One item for one person."""

    item: Any  # the data's own id
    title: str
    score: float  # of the agent; the higher, the sooner it is shown
    chance: float | None = None  # of a like, where the agent has one


@dataclasses.dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody who is asked for, as indices."""

    user: int | None  # of the data set
    friends: tuple[int, ...]  # read where user is None
    items: tuple[int, ...]  # answered, in order
    liked: tuple[bool, ...]
    past: tuple[int, ...] = ()  # likes that the agent was built on: not shown again


class Recommender:
    """A trained agent of one seed and the names of its data set."""

    def __init__(
        self, agent: Agent, state: Any, dataset: Dataset, *, seed: int = 0
    ) -> None:
        """state: of one seed, without the axis of seeds, playing what was selected."""
        self.agent, self.dataset, self.names = agent, dataset, Names(dataset)
        self.player = Player(
            agent, state, num_users=dataset.num_users, num_items=dataset.num_items
        )
        self._friends: FriendTable = friend_table(dataset)
        self._key = jax.random.key(seed)

    @classmethod
    def load(cls, run: str | Path, *, seed: int = 0) -> "Recommender":
        """The agent of a run directory; seed: which of its seeds, from 0 on.

        FileNotFoundError where there is no run, ValueError where it has no such seed.
        """
        return cls.of(restore_trained(run), seed=seed)

    @classmethod
    def of(cls, restored: Restored, *, seed: int = 0) -> "Recommender":
        """The same for an agent that is in memory already."""
        if not 0 <= seed < restored.num_seeds:
            raise ValueError(
                f"seed is {seed}, and the run has seeds 0 to {restored.num_seeds - 1}"
            )
        return cls(restored.agent, restored.state_of(seed), restored.dataset, seed=seed)

    def __repr__(self) -> str:
        data = self.dataset
        return (
            f"Recommender({self.agent.name} on {data.name}: {data.num_users:,} users, "
            f"{data.num_items:,} items)"
        )

    # --- questions --------------------------------------------------------------------

    def recommend(
        self,
        *,
        user: Any = None,
        friends: Iterable[Any] | None = None,
        liked: Iterable[Any] = (),
        disliked: Iterable[Any] = (),
        k: int = 10,
        exclude: Iterable[Any] = (),
        only: Iterable[Any] | None = None,
    ) -> list[Recommendation]:
        """The best k items for one person.

        user: an id of the data set, or of nobody there: then friends are all that is
        known. friends: ids of users, in place of those the data has for `user`. liked
        and disliked: items answered in this session, taken in this order. Answered
        items, a known user's past likes and `exclude` are not shown; `only` limits the
        choice. Fewer than k come back where fewer are left.

        Ids that the data set does not have are named in a warning and left out.
        ValueError for k outside 1 to the number of items, an item both liked and
        disliked, and where no item is left.
        """
        person = self.person(user=user, friends=friends, liked=liked, disliked=disliked)
        allowed = self.allowed(person, exclude, only)
        return self._top([person], allowed[None], self._checked(k))[0]

    def recommend_many(self, questions: Sequence[dict[str, Any]], *, k: int = 10):
        """Lists for many people: keywords of `recommend` for each -> a list for each.

        They are answered together, in calls of at most 64.
        """
        k = self._checked(k)
        people, allowed = [], []
        for question in questions:
            question = dict(question)
            limits = question.pop("exclude", ()), question.pop("only", None)
            people.append(self.person(**question))
            allowed.append(self.allowed(people[-1], *limits))
        found = []
        for first in range(0, len(people), PEOPLE_BUCKETS[-1]):
            part = slice(first, first + PEOPLE_BUCKETS[-1])
            found += self._top(people[part], np.stack(allowed[part]), k)
        return found

    def session(
        self, *, user: Any = None, friends: Iterable[Any] | None = None, key=None
    ) -> "Session":
        """A conversation with one person: `next`, `answer`, `undo`.

        key: a JAX key for agents that draw; None for the recommender's own.
        """
        person = self.person(user=user, friends=friends)
        return Session(self, person, self._key if key is None else key)

    # --- people -----------------------------------------------------------------------

    def person(
        self,
        *,
        user: Any = None,
        friends: Iterable[Any] | None = None,
        liked: Iterable[Any] = (),
        disliked: Iterable[Any] = (),
    ) -> Person:
        """Somebody by ids -> by indices; errors and warnings as of `recommend`."""
        index = None if user is None else self.names.user(user)
        liked = self.names.items(liked, "liked")
        disliked = self.names.items(disliked, "disliked")
        if both := sorted(set(liked) & set(disliked)):
            raise ValueError(
                f"{self.names.title(both[0])!r} is both liked and disliked; an item "
                "has one answer"
            )
        known = () if friends is None else self.names.users(friends, "friends")
        is_listed = index is not None and friends is None
        return Person(
            user=index if is_listed else None,
            friends=tuple(friend for friend in known if friend != index),
            items=(*liked, *disliked),
            liked=(True,) * len(liked) + (False,) * len(disliked),
            past=self._past(index),
        )

    def _past(self, user: int | None) -> tuple[int, ...]:
        if user is None:
            return ()
        first, end = self.dataset.like_offsets[user : user + 2]
        return tuple(self.dataset.liked_items[first:end].tolist())

    def allowed(
        self, person: Person, exclude: Iterable[Any] = (), only=None
    ) -> np.ndarray:
        """Which items may be shown to a person: [N] bool; ValueError where none may."""
        mask = np.ones(self.dataset.num_items, bool)
        if only is not None:
            mask[:] = False
            mask[self.names.items(only, "only")] = True
        mask[self.names.items(exclude, "exclude")] = False
        mask[[*person.items, *person.past]] = False
        if not mask.any():
            raise ValueError(
                "no item is left to recommend: all are answered, in the past, excluded "
                "or not in `only`"
            )
        return mask

    def start(self, people: Sequence[Person], keys: jax.Array) -> SessionState:
        """Sessions of some people after their answers, axes [B]."""
        longest = max(len(person.items) for person in people)
        length = _bucket(longest) if longest else 0
        if self.player.horizon:
            people = [_last_answers(each, self.player.horizon) for each in people]
            length = min(length, self.player.horizon)
        padding = self.dataset.num_items
        answers = Answers(
            items=_padded([person.items for person in people], length, padding),
            liked=_padded([person.liked for person in people], length, 0).astype(
                jnp.float32
            ),
        )
        return self.player.start(self._people(people), keys, answers)

    def _people(self, people: Sequence[Person]):
        """User indices [B] where all are users of the data, else `Newcomer` [B]."""
        if all(person.user is not None for person in people):
            return jnp.asarray([person.user for person in people], jnp.int32)
        rows = [self._friends_of(person) for person in people]
        reached = [self._two_hops(row) for row in rows]
        absent = self.dataset.num_users
        return Newcomer(
            friends=_padded(rows, _bucket(max(map(len, rows))), absent),
            two_hop=_padded(reached, _bucket(max(map(len, reached))), absent),
        )

    def _friends_of(self, person: Person) -> Sequence[int]:
        if person.user is None:
            return person.friends
        first, end = self._friends.offsets[person.user : person.user + 2]
        return self._friends.friends[first:end]

    def _two_hops(self, friends: Sequence[int]) -> np.ndarray:
        """People exactly two hops away from somebody with these friends."""
        if len(friends) == 0:
            return np.zeros(0, np.int32)
        table = self._friends
        rows = [
            table.friends[table.offsets[friend] : table.offsets[friend + 1]]
            for friend in friends
        ]
        return np.setdiff1d(np.concatenate(rows), friends)

    # --- lists ------------------------------------------------------------------------

    def _checked(self, k: int) -> int:
        if not 1 <= k <= self.dataset.num_items:
            raise ValueError(
                f"k must be between 1 and the {self.dataset.num_items:,} items of the "
                f"data set, got {k}"
            )
        return int(k)

    def _top(self, people: Sequence[Person], allowed: np.ndarray, k: int):
        """The best k items of each of at most 64 people, allowed [B, N]."""
        size = next(size for size in PEOPLE_BUCKETS if size >= len(people))
        spare = size - len(people)
        filled = [*people, *[people[0]] * spare]
        allowed = np.concatenate([allowed, np.repeat(allowed[:1], spare, axis=0)])
        keys = jnp.broadcast_to(self._key, (size,))
        sessions = self.start(filled, keys)
        count = min(_bucket(k), self.dataset.num_items)
        items, scores = jax.device_get(
            self.player.top(sessions, jnp.asarray(allowed), count)
        )
        chances = self.player.chances(scores)
        return [
            self._named(items[row][:k], scores[row][:k], chances and chances[row])
            for row in range(len(people))
        ]

    def _named(self, items, scores, chances) -> list[Recommendation]:
        return [
            Recommendation(
                item=self.dataset.item_ids[item].item(),
                title=self.names.title(item),
                score=float(score),
                chance=None if chances is None else float(chances[place]),
            )
            for place, (item, score) in enumerate(zip(items, scores, strict=True))
            if np.isfinite(score)
        ]


class Session:
    """One person's conversation with a recommender: one encoder step per answer."""

    def __init__(self, recommender: Recommender, person: Person, key) -> None:
        self._recommender, self._key = recommender, key
        self._person = person
        self._states = [recommender.start([person], key[None])]

    @property
    def answers(self) -> list[tuple[Any, bool]]:
        """Items answered so far, by id, and whether they were liked."""
        ids = self._recommender.dataset.item_ids
        pairs = zip(self._person.items, self._person.liked, strict=True)
        return [(ids[item].item(), liked) for item, liked in pairs]

    @property
    def state(self) -> SessionState:
        """What the session holds, a pytree without the axis of people."""
        return jax.tree.map(lambda leaf: leaf[0], self._states[-1])

    def next(self) -> Recommendation | None:
        """The item to show now, the same until it is answered; None for none left."""
        recommender, person = self._recommender, self._person
        left_out = (*person.items, *person.past)
        num_items = recommender.dataset.num_items
        padded = _padded([left_out], _bucket(len(left_out)), num_items)
        item = int(recommender.player.next(self._states[-1], padded)[0])
        if item >= num_items:
            return None
        score = recommender.player.scores(self._states[-1], jnp.full((1, 1), item))
        return recommender._named([item], score[0], None)[0]

    def answer(self, item: Any, liked: bool) -> None:
        """Tells what the person said of an item, shown or not.

        ValueError for an item that the data set does not have or that was answered.
        """
        names = self._recommender.names
        index = names.item(item)
        if index is None:
            raise ValueError(f"the data set has no item {str(item)[:200]!r}")
        if index in self._person.items:
            raise ValueError(
                f"{names.title(index)!r} was answered before; undo() takes the last "
                "answer back"
            )
        person = dataclasses.replace(
            self._person,
            items=(*self._person.items, index),
            liked=(*self._person.liked, bool(liked)),
        )
        self._states.append(self._after(person))
        self._person = person

    def _after(self, person: Person) -> SessionState:
        recommender = self._recommender
        horizon = recommender.player.horizon
        if horizon and len(person.items) > horizon:
            # The agent has room for so many answers: the oldest ones are forgotten.
            return recommender.start([person], self._key[None])
        item = jnp.asarray(person.items[-1:], jnp.int32)
        liked = jnp.asarray(person.liked[-1:], jnp.float32)
        return recommender.player.hear(self._states[-1], item, liked)

    def undo(self) -> None:
        """Takes the last answer back; ValueError where there is none."""
        if not self._person.items:
            raise ValueError("nothing was answered yet: there is nothing to undo")
        self._states.pop()
        self._person = dataclasses.replace(
            self._person,
            items=self._person.items[:-1],
            liked=self._person.liked[:-1],
        )


def _last_answers(person: Person, count: int) -> Person:
    return dataclasses.replace(
        person, items=person.items[-count:], liked=person.liked[-count:]
    )


def _bucket(length: int) -> int:
    """The size that a list is padded to: 8, 32, 128, ..."""
    size = SMALLEST_BUCKET
    while size < length:
        size *= 4
    return size


def _padded(rows: Sequence[Sequence], length: int, padding: int) -> jax.Array:
    table = np.full((len(rows), length), padding, np.int32)
    for target, row in zip(table, rows, strict=True):
        target[: len(row)] = row
    return jnp.asarray(table)
