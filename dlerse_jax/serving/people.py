"""Who is asked for: a user of the data set, or somebody known for friends and answers.

People are indices here. `arrays` pads them to a few sizes ("buckets"), so that other
numbers of friends and answers compile nothing: 8, 32, 128, ... of each.
"""

import dataclasses
import warnings
from collections.abc import Iterable, Sequence, Sized
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.graph.friends import FriendTable, two_hops_from
from dlerse_jax.serving.names import Names, shown_ids, warn
from dlerse_jax.types import Dataset, Newcomer

SMALLEST_BUCKET = 8
PEOPLE_BUCKETS = (1, 4, 16, 64)  # people answered for in one call


@dataclasses.dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody who is asked for, as indices."""

    user: int | None  # of the data set; None: somebody new
    friends: tuple[int, ...] = ()  # of somebody new
    items: tuple[int, ...] = ()  # answered, in order
    liked: tuple[bool, ...] = ()  # the answers
    past: tuple[int, ...] = ()  # likes that the agent was built on: not shown again
    itself: int | None = None  # a user who is asked for as somebody new

    def with_answer(self, item: int, liked: bool) -> "Person":
        return dataclasses.replace(
            self, items=(*self.items, item), liked=(*self.liked, liked)
        )

    def with_answers(self, rows: slice) -> "Person":
        """The same person after some of the answers alone."""
        return dataclasses.replace(self, items=self.items[rows], liked=self.liked[rows])

    @property
    def not_shown(self) -> tuple[int, ...]:
        """Items that are never shown to this person: answered, or liked before."""
        return (*self.items, *self.past)


def find_person(
    names: Names,
    dataset: Dataset,
    *,
    user: Any,
    friends: Iterable[Any] | None,
    liked: Iterable[Any],
    disliked: Iterable[Any],
) -> Person:
    """Somebody by ids -> by indices, as `Recommender.recommend` says.

    ValueError for an item that is both liked and disliked; unknown ids are named in a
    warning.
    """
    index = None if user is None else names.user(user)
    likes, dislikes = names.items(liked, "liked"), names.items(disliked, "disliked")
    if both := sorted(set(likes) & set(dislikes)):
        raise ValueError(
            f"{names.title(both[0])!r} is both liked and disliked; an item has one "
            "answer"
        )
    if user is not None and index is None and friends is None:
        warn(
            "nobody in the data set has this id, so it is somebody new: ",
            shown_ids([user]),
        )
    known = () if friends is None else names.users(friends, "friends")
    is_user = index is not None and friends is None
    return Person(
        user=index if is_user else None,
        friends=tuple(friend for friend in known if friend != index),
        items=(*likes, *dislikes),
        liked=(True,) * len(likes) + (False,) * len(dislikes),
        past=() if index is None else past_of(dataset, index),
        itself=None if is_user else index,
    )


def warn_unkept(
    names: Names, dataset: Dataset, person: Person, exclude: Iterable[Any]
) -> None:
    """One line where a user's likes are hidden, so that they may be shown again, and
    the question names none of them."""
    user = person.itself if person.user is None else person.user
    is_excluding = not isinstance(exclude, Sized) or len(exclude) > 0
    if user is None or any(person.liked) or person.past or is_excluding:
        return
    for part in ("validation", "test"):
        if user in getattr(dataset.split, part):
            shown = shown_ids([names.user_ids[user].item()])
            warnings.warn(
                f"likes of user {shown} are not kept ({part} user): name them in liked "
                "or exclude",
                category=LikesNotKept,
                stacklevel=3,
            )


class LikesNotKept(UserWarning):
    """A user whose likes no agent may know, and who may be shown them."""


def past_of(dataset: Dataset, user: int) -> tuple[int, ...]:
    """A user's known likes in a random order, the same every time: none came first."""
    first, end = dataset.like_offsets[user : user + 2]
    likes = dataset.liked_items[first:end]
    return tuple(np.random.default_rng(user).permutation(likes).tolist())


def people_arrays(people: Sequence[Person], table: FriendTable) -> jax.Array | Newcomer:
    """What `Agent.begin` takes, with leading axes [B].

    User indices [B] where all are users of the data set, else a `Newcomer` [B, ...];
    ValueError for a mixture, which are two kinds of calls.
    """
    is_user = [person.user is not None for person in people]
    if all(is_user):
        return jnp.asarray([person.user for person in people], jnp.int32)
    if any(is_user):
        raise ValueError("users of the data set and newcomers go in separate calls")
    friends = [np.asarray(person.friends, np.int32) for person in people]
    reached = [two_hops(person, table) for person in people]
    return Newcomer(
        friends=padded(friends, table.num_users),
        two_hops=padded(reached, table.num_users),
    )


def two_hops(person: Person, table: FriendTable) -> np.ndarray:
    """People two hops from somebody, or further, as the table says: [G] int32."""
    return two_hops_from(table, np.array(person.friends, np.int32), person.itself)


def filled_up(people: Sequence[Person]) -> list[Person]:
    """At most 64 people, filled up to the next number that a call is compiled for."""
    size = next(size for size in PEOPLE_BUCKETS if size >= len(people))
    return [*people, *[people[0]] * (size - len(people))]


def bucket(length: int) -> int:
    """The size that a list is padded to: 8, 32, 128, ..."""
    size = SMALLEST_BUCKET
    while size < length:
        size *= 4
    return size


def padded(
    rows: Sequence[Sequence | np.ndarray], padding: int, length: int | None = None
) -> jax.Array:
    """Rows as one table, filled up to a bucket, or to `length`: [B, length] int32."""
    if length is None:
        length = bucket(max(map(len, rows), default=0))
    table = np.full((len(rows), length), padding, np.int32)
    for target, row in zip(table, rows, strict=True):
        target[: len(row)] = row
    return jnp.asarray(table)
