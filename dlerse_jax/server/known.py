"""Who and what a model knows: ids to indices, people with their friends, reasons.

Users whom the server was told to forget are nobody here, whatever the model learned.
"""

import dataclasses
import functools
from bisect import bisect_left
from collections.abc import Callable

from dlerse_jax.server.ranking import Named
from dlerse_jax.server.store import Id
from dlerse_jax.serving.explain import explain_person
from dlerse_jax.serving.people import Person
from dlerse_jax.serving.recommender import Recommender

CACHED_PEOPLE = 8192
EXACT = 2**53 - 1  # the largest number that JavaScript, and so a page, holds exactly
CACHED_FRIENDS = 64  # of one of them: a name may have 200 letters


class KnownPeople:
    """The part of `ranking.Model` that compiles nothing."""

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender
        data = recommender.dataset
        self.num_users, self.num_items = data.num_users, data.num_items
        self._likes = recommender.likes
        self._friends = recommender.friend_table
        self._hidden: frozenset[int] = frozenset()
        self._cached_person = functools.lru_cache(CACHED_PEOPLE)(self._person_of)

    # --- names ------------------------------------------------------------------------

    def user(self, user: object) -> int | None:
        index = self._recommender.names.user(user)
        if index is None or index in self._hidden:
            return None
        return index if _is_spelt(user, self.user_id(index)) else None

    def item(self, item: object) -> int | None:
        try:
            index = self._recommender.names.item(item)
        except ValueError:
            return None
        return index if _is_spelt(item, self.item_id(index)) else None

    def item_id(self, item: int) -> Id:
        return _told(self._recommender.names.item_id(item))

    def user_id(self, user: int) -> Id:
        return _told(self._recommender.dataset.user_ids[user].item())

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
        num_named = len(friends or ()) + len(added)
        find = self._cached_person if num_named <= CACHED_FRIENDS else self._person_of
        known, unknown, num_friends = find(user, friends, added)
        if not answers:
            return Named(
                person=known,
                num_friends=num_friends,
                unknown_friends=list(unknown),
                unknown_items=[],
            )
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
        """Somebody before any answer; which of `friends` are unknown (those that were
        added are told to nobody); how many are known."""
        index = None if user is None else self.user(user)
        given = friends or ()
        unknown = tuple(one for one in given if self.user(one) is None)
        named = {self.user(one) for one in (*given, *added)} - {None, index}
        if index is None:
            return Person(user=None, friends=tuple(sorted(named))), unknown, len(named)
        own = set(self._friends.friends_of(index).tolist())
        is_as_trained = friends is None and named <= own and not own & self._hidden
        if friends is None:
            named |= own - self._hidden
        known = self._recommender.person(user=self.user_id(index))
        if not is_as_trained:
            known = dataclasses.replace(
                known, user=None, itself=index, friends=tuple(sorted(named))
            )
        return known, unknown, len(named)

    # --- what the data says -----------------------------------------------------------

    def similar(self, item: int, k: int) -> list[tuple[int, float]]:
        return self._likes.similar(item, k)

    def explain(
        self, person: Person, item: int, named: tuple[Id, ...] = ()
    ) -> list[str]:
        """What the item owes to whom, what would be shown without that, and how many
        like it. Friends are named where the caller named them; see `serving.explain`.
        """
        names = tuple(one for one in named if self.user(one) is not None)
        found = explain_person(
            self._recommender, self.item_id(item), person, name_friends=names
        )
        reasons = [found.sentence]
        reasons += [
            found.without(reason)
            for reason in (*found.friends[:1], *found.answers[:1])
            if reason.contribution > 0 and reason.name and reason.instead != found.title
        ]
        share = 100 * self._likes.share(item)
        return [*reasons, f"{share:.2g}% of all users like it."]


def _told(known: Id) -> Id:
    """An id as JSON says it: as text where JavaScript would round the number."""
    return str(known) if isinstance(known, int) and abs(known) > EXACT else known


def _is_spelt(name: object, known: Id) -> bool:
    """Whether a text is the id as the data has it: "0123" is not 123 here, for who is
    asked to be forgotten under one name would go on under the other."""
    return not isinstance(name, str) or name.strip() == str(known)
