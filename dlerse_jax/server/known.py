"""Who and what a model knows: ids to indices, people with their friends, reasons.

Users whom the server was told to forget are nobody here, whatever the model learned.
"""

import dataclasses
import functools
from bisect import bisect_left
from collections.abc import Callable

import numpy as np

from dlerse_jax.graph.friends import FriendTable, friend_table
from dlerse_jax.server.ranking import Named
from dlerse_jax.server.similar import LikeTable, among
from dlerse_jax.server.store import Id
from dlerse_jax.serving.people import Person
from dlerse_jax.serving.recommender import Recommender

NAMED_FRIENDS = 3  # in a reason
CACHED_PEOPLE = 8192


class KnownPeople:
    """The part of `ranking.Model` that compiles nothing."""

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender
        data = recommender.dataset
        self.num_users, self.num_items = data.num_users, data.num_items
        self._likes = LikeTable(data)
        self._friends: FriendTable = friend_table(data)
        self._hidden: frozenset[int] = frozenset()
        self._cached_person = functools.lru_cache(CACHED_PEOPLE)(self._person_of)

    # --- names ------------------------------------------------------------------------

    def user(self, user: object) -> int | None:
        index = self._recommender.names.user(user)
        return None if index in self._hidden else index

    def item(self, item: object) -> int | None:
        try:
            return self._recommender.names.item(item)
        except ValueError:
            return None

    def item_id(self, item: int) -> Id:
        return self._recommender.names.item_id(item)

    def user_id(self, user: int) -> Id:
        return self._recommender.dataset.user_ids[user].item()

    def title(self, item: int) -> str:
        return self._recommender.names.title(item)

    @functools.cached_property
    def _sorted_users(self) -> list[tuple[str, int]]:
        ids = self._recommender.dataset.user_ids.tolist()
        return sorted((str(user), index) for index, user in enumerate(ids))

    def search_users(self, prefix: str, most: int) -> list[Id]:
        found: list[Id] = []
        names = self._sorted_users
        for text, index in names[bisect_left(names, (prefix, -1)) :]:
            if len(found) == most or not text.startswith(prefix):
                break
            if index not in self._hidden:
                found.append(self.user_id(index))
        return found

    def hide(self, is_forgotten: Callable[[Id], bool]) -> None:
        ids = self._recommender.dataset.user_ids.tolist()
        hidden = (index for index, user in enumerate(ids) if is_forgotten(user))
        self._hidden = frozenset(hidden)
        self._cached_person.cache_clear()

    # --- people -----------------------------------------------------------------------

    def person(
        self,
        *,
        user: Id | None,
        friends: tuple[Id, ...] | None,
        added: tuple[str, ...] = (),
        answers: tuple[tuple[Id, bool], ...] = (),
    ) -> Named:
        known, unknown, num_friends = self._cached_person(user, friends, added)
        pairs = [(self.item(item), item, liked) for item, liked in answers]
        person = dataclasses.replace(
            known,
            items=tuple(index for index, _, _ in pairs if index is not None),
            liked=tuple(liked for index, _, liked in pairs if index is not None),
        )
        return Named(
            person=person,
            num_friends=num_friends,
            unknown_friends=list(unknown),
            unknown_items=[item for index, item, _ in pairs if index is None],
        )

    def _person_of(
        self, user: Id | None, friends: tuple[Id, ...] | None, added: tuple[str, ...]
    ) -> tuple[Person, tuple[Id, ...], int]:
        """Somebody before any answer; friends that are unknown; how many are known."""
        index = None if user is None else self.user(user)
        given = [*(friends or ()), *added]
        unknown = tuple(one for one in given if self.user(one) is None)
        named = {self.user(one) for one in given} - {None, index}
        if index is None:
            return Person(user=None, friends=tuple(sorted(named))), unknown, len(named)
        own = set(self._friends_of(index).tolist())
        is_as_trained = friends is None and named <= own and not own & self._hidden
        if friends is None:
            named |= own - self._hidden
        known = self._recommender.person(user=self.user_id(index))
        if not is_as_trained:
            known = dataclasses.replace(
                known, user=None, itself=index, friends=tuple(sorted(named))
            )
        return known, unknown, len(named)

    def _friends_of(self, user: int) -> np.ndarray:
        first, end = self._friends.offsets[user : user + 2]
        return self._friends.friends[first:end]

    # --- what the data says -----------------------------------------------------------

    def similar(self, item: int, k: int) -> list[tuple[int, float]]:
        return self._likes.similar(item, k)

    def explain(self, person: Person, item: int) -> list[str]:
        """What in the data speaks for the item; friends of a user of the data are
        counted, friends whom the caller named are named.
        """
        likers = self._likes.likers(item)
        reasons = [self._friends_reason(person, likers)]
        liked = [
            one for one, good in zip(person.items, person.liked, strict=True) if good
        ]
        if (near := self._likes.nearest(item, liked)) is not None:
            reasons.append(f"people who like {self.title(near)} like it too")
        share = 100 * self._likes.share(item)
        reasons.append(f"{share:.2g}% of all users like it")
        return [reason for reason in reasons if reason]

    def _friends_reason(self, person: Person, likers: np.ndarray) -> str:
        is_own = person.user is not None or person.itself is not None
        friends = person.friends
        if person.user is not None:
            friends = tuple(self._friends_of(person.user).tolist())
        found = [one for one in among(likers, friends) if one not in self._hidden]
        if not found:
            return ""
        verb = "likes" if len(found) == 1 else "like"
        reason = f"{len(found)} of {len(friends)} friends {verb} it"
        if is_own:
            return reason
        names = ", ".join(str(self.user_id(one)) for one in found[:NAMED_FRIENDS])
        more = len(found) - NAMED_FRIENDS
        return f"{reason}: {names}{f' and {more} more' if more > 0 else ''}"
