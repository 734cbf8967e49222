"""Through whom a taste arrives: paths from somebody over friends to who likes an item.

In an agent of graph attention a path weighs what attention rolled out over the hops
gives it (Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020): half
of a layer is what a person was before, half is what they attend to. Elsewhere friends
share alike, and so do theirs. Paths say where something could have come from; whether
it mattered is for `leave_one_out` to say.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from dlerse_jax.graph.friends import FriendTable
from dlerse_jax.serving.people import Person


@dataclasses.dataclass(frozen=True, kw_only=True)
class FriendPath:
    """Over one friend, or over a friend to somebody whom that friend names."""

    people: tuple[int, ...]  # one or two users; the last one likes the item
    weight: float


def rolled_out(own: np.ndarray) -> np.ndarray:
    """What comes through each friend: own [K, 1 + F], themself first -> [F].

    What is left to 1 is the person's own.
    """
    return np.sum(_entering(own), axis=0)


def _entering(own: np.ndarray) -> list[np.ndarray]:
    """The same by layer, K first: what enters a friend there, [F] each."""
    left, entering = 1.0, []
    for layer in own[::-1]:
        entering.append(left * layer[1:] / 2)
        left *= (1 + layer[0]) / 2
    return entering


def attention_paths(
    person: Person,
    likers: Callable[[np.ndarray], np.ndarray],
    table: FriendTable,
    own: np.ndarray,
    edges: np.ndarray,
) -> list[FriendPath]:
    """Paths that end with somebody who likes the item, heaviest first.

    likers: users -> whether each likes it. own [K, 1 + F]: attention of the person;
    edges [K, E + U]: of every user, as `friend_graph` orders them.
    """
    entering = _entering(own)
    found = []
    for place, friend in enumerate(person.friends):
        start, end = table.offsets[friend : friend + 2] + friend
        weights = edges[:, start : end + 1]  # of their friends, then of themself
        kept, passed_on = 0.0, np.zeros(end - start)
        for depth, arriving in enumerate(entering):
            left = arriving[place]
            for layer in weights[: len(own) - 1 - depth][::-1]:
                passed_on += left * layer[:-1] / 2
                left *= (1 + layer[-1]) / 2
            kept += left
        found += _paths_over(friend, kept, passed_on, person, likers, table)
    return _heaviest_first(found)


def even_paths(
    person: Person, likers: Callable[[np.ndarray], np.ndarray], table: FriendTable
) -> list[FriendPath]:
    """The same where friends count alike, and friends of a friend share theirs."""
    found = []
    for friend in person.friends:
        size = table.num_friends[friend]
        share = 1 / len(person.friends)
        each = np.full(size, share / max(size, 1))
        found += _paths_over(friend, share, each, person, likers, table)
    return _heaviest_first(found)


def _paths_over(
    friend: int,
    kept: float,
    passed_on: np.ndarray,
    person: Person,
    likers: Callable[[np.ndarray], np.ndarray],
    table: FriendTable,
) -> list[FriendPath]:
    theirs = table.friends_of(friend)
    is_end = likers(theirs) & (theirs != person.itself) & (passed_on > 0)
    paths = [
        FriendPath(people=(friend, int(other)), weight=float(weight))
        for other, weight in zip(theirs[is_end], passed_on[is_end], strict=True)
    ]
    if likers(np.array([friend]))[0]:
        paths.append(FriendPath(people=(friend,), weight=float(kept)))
    return paths


def _heaviest_first(paths: Sequence[FriendPath]) -> list[FriendPath]:
    return sorted(paths, key=lambda path: -path.weight)
