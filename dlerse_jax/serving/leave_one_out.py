"""What an item's score would be without this friend, or as if that were not asked.

The margin of an item is its score less the mean score of all candidates: those that may
be shown to the person, the same for every variant. So a constant that an agent adds to
all scores cancels, and what moves all items alike is no reason for one of them. A
contribution is the margin as it is less the margin without. It is exact: the agent
answers for the person without that friend (who may still be reached over another one).
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from dlerse_jax.serving.people import PEOPLE_BUCKETS, Person, filled_up

if TYPE_CHECKING:
    from dlerse_jax.serving.recommender import Recommender


@dataclasses.dataclass(frozen=True, kw_only=True)
class Margins:
    """What V variants of a person make of one item."""

    margins: np.ndarray  # [V]
    ranks: np.ndarray  # [V] int, among candidates: 1 is shown first
    first: np.ndarray  # [V] int, the candidate that is shown first


@dataclasses.dataclass(frozen=True, kw_only=True)
class Groups:
    """The margin in three parts that add up to it.

    What somebody unknown is told, and the Shapley values of all friends together and
    all answers together: half of what each adds alone, half of what it adds last.
    """

    popularity: float
    friends: float
    answers: float

    @property
    def shares(self) -> dict[str, float]:
        """Sizes of the parts over their sum; all 0 where there is no part."""
        sizes = {name: abs(part) for name, part in dataclasses.asdict(self).items()}
        total = sum(sizes.values()) or 1.0
        return {name: size / total for name, size in sizes.items()}


def without_friend(person: Person, friend: int) -> Person:
    friends = tuple(other for other in person.friends if other != friend)
    return dataclasses.replace(person, friends=friends)


def without_answer(person: Person, place: int) -> Person:
    """Without the answer, or the like from before the session, at this place."""
    items, liked, past = list(person.items), list(person.liked), list(person.past)
    if place < len(items):
        del items[place], liked[place]
    else:
        del past[place - len(items)]
    return dataclasses.replace(
        person, items=tuple(items), liked=tuple(liked), past=tuple(past)
    )


def without_friends(person: Person) -> Person:
    return dataclasses.replace(person, friends=())


def without_answers(person: Person) -> Person:
    return dataclasses.replace(person, items=(), liked=(), past=())


def without_groups(person: Person) -> list[Person]:
    """What `groups_of` reads: the person, without friends, without answers, without
    either."""
    stranger = without_friends(person)
    return [person, stranger, without_answers(person), without_answers(stranger)]


def margins_of(
    recommender: "Recommender", people: Sequence[Person], item: int, allowed: np.ndarray
) -> Margins:
    """people: newcomers, any number of them; allowed [N] bool: candidates, of which the
    item is one."""
    most = PEOPLE_BUCKETS[-1]
    parts = [
        _margins(_scores(recommender, people[start : start + most]), item, allowed)
        for start in range(0, len(people), most)
    ]
    margins, ranks, first = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Margins(margins=margins, ranks=ranks, first=first)


def _scores(recommender: "Recommender", people: Sequence[Person]) -> np.ndarray:
    """Scores of all items, [V, N]."""
    filled = filled_up(people)
    size = len(filled)
    sessions = recommender.start(filled, jnp.broadcast_to(recommender.key, (size,)))
    every = jnp.arange(recommender.dataset.num_items, dtype=jnp.int32)
    items = jnp.broadcast_to(every, (size, len(every)))
    return np.asarray(recommender.player.scores(sessions, items))[: len(people)]


def _margins(scores: np.ndarray, item: int, allowed: np.ndarray):
    own = scores[:, item]
    candidates = scores[:, allowed]
    ranks = 1 + np.sum(candidates > own[:, None], axis=1)
    first = np.flatnonzero(allowed)[candidates.argmax(axis=1)]
    margins = own - candidates.mean(axis=1, dtype=np.float64)
    return margins, ranks, first


def groups_of(margins: Sequence[float]) -> Groups:
    """margins: of `without_groups`."""
    everything, no_friends, no_answers, nothing = map(float, margins)
    return Groups(
        popularity=nothing,
        friends=((everything - no_friends) + (no_answers - nothing)) / 2,
        answers=((everything - no_answers) + (no_friends - nothing)) / 2,
    )
