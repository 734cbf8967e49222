"""Why an item is shown to somebody: which friends, which answers, what is popularity.

`explain` asks the agent again without each friend and each answer (`leave_one_out`),
says over whom a taste may have come (`attention_paths`), and words it. Naming a friend
gives that friend's taste away, so nobody is named unless the caller says who may be,
and nobody is counted where a count would name them.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from dlerse_jax.serving.attention_paths import (
    FriendPath,
    attention_paths,
    even_paths,
    rolled_out,
)
from dlerse_jax.serving.leave_one_out import (
    Groups,
    Margins,
    groups_of,
    margins_of,
    without_answer,
    without_friend,
    without_groups,
)
from dlerse_jax.serving.people import Person, people_arrays
from dlerse_jax.serving.sentences import sentence_of

if TYPE_CHECKING:
    from dlerse_jax.serving.recommender import Recommender

MOST_FRIENDS = 64  # of whom each is left out once; of more the likeliest
MOST_ANSWERS = 64
MOST_PATHS = 10

NameFriends = bool | Iterable[Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reason:
    """One friend or one answer, and what the item owes to it."""

    kind: str  # "friend", "answer", or "past": a like from before the session
    id: Any  # of the user or the item; None for a friend who may not be named
    name: str  # the item's title, the friend's id as text, "" for one not named
    likes: bool  # the answer; of a friend whether they are known to like the item
    contribution: float  # the margin as it is less the margin without
    instead: str  # title of what would be shown first without it


@dataclasses.dataclass(frozen=True, kw_only=True)
class TastePath:
    """Over whom the taste of somebody who likes the item may have come."""

    names: tuple[str, ...]  # ids as text from the friend on; "" for one not named
    weight: float  # share of the attention that arrives over it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explanation:
    """What one item owes to whom, for one person."""

    item: Any
    title: str
    margin: float  # its score less the mean score of all candidates
    rank: int  # among candidates; 1 is shown first
    groups: Groups  # the margin in three parts
    friends: tuple[Reason, ...]  # by falling contribution
    answers: tuple[Reason, ...]
    paths: tuple[TastePath, ...]  # heaviest first
    num_friends: int  # all of them
    num_shortlisted: int  # friends that were left out in turn

    @property
    def sentence(self) -> str:
        """What a person reads: "Because F and G, whom you follow, like it."."""
        return sentence_of(self.friends, self.answers, self.groups, self.num_friends)

    def without(self, reason: Reason) -> str:
        """The counterfactual, for a person: "Without ... you would have seen X."."""
        if reason.kind == "friend":
            what = reason.name or "one of the people you follow"
        else:
            what = f"your answer to {reason.name}"
        return f"Without {what} you would have seen {reason.instead}."


def explain(
    recommender: "Recommender",
    item: Any,
    *,
    user: Any = None,
    friends: Iterable[Any] | None = None,
    liked: Iterable[Any] = (),
    disliked: Iterable[Any] = (),
    name_friends: NameFriends = False,
    most_friends: int = MOST_FRIENDS,
) -> Explanation:
    """Why an item comes as high as it does: person and ids as in `recommend`.

    name_friends: whether friends may be named, or the ids of those who may. Of more
    than `most_friends` friends those are left out in turn who like the item, or whose
    friends do. A user of the data set is explained as somebody known for the same
    friends, answers and likes.

    ValueError for an item that the data set does not have or that was answered, and
    for most_friends below 1.
    """
    person = recommender.person(
        user=user, friends=friends, liked=liked, disliked=disliked
    )
    return explain_person(
        recommender,
        item,
        person,
        name_friends=name_friends,
        most_friends=most_friends,
    )


def explain_person(
    recommender: "Recommender",
    item: Any,
    person: Person,
    *,
    name_friends: NameFriends = False,
    most_friends: int = MOST_FRIENDS,
) -> Explanation:
    """`explain` for somebody who is found already; item is an id."""
    if most_friends < 1:
        raise ValueError(f"most_friends must be 1 or more, got {most_friends}")
    index = recommender.names.item(item)
    if index in person.items:
        title = recommender.names.title(index)
        raise ValueError(f"{title!r} was answered: nothing is predicted of it")
    person = as_newcomer(person, recommender)
    allowed = recommender.allowed(person)
    allowed[index] = True
    shortlist = shortlisted(recommender, person, index, most_friends)
    places = _answers_heard(recommender, person)[:MOST_ANSWERS]
    variants = [
        *without_groups(person),
        *(without_friend(person, friend) for friend in shortlist),
        *(without_answer(person, place) for place in places),
    ]
    found = margins_of(recommender, variants, index, allowed)
    may_name = _who_may_be_named(recommender, name_friends)
    of_friends, of_answers = _split_reasons(found, len(shortlist))
    return Explanation(
        item=recommender.names.item_id(index),
        title=recommender.names.title(index),
        margin=float(found.margins[0]),
        rank=int(found.ranks[0]),
        groups=groups_of(found.margins[:4].tolist()),
        friends=_friend_reasons(recommender, shortlist, index, of_friends, may_name),
        answers=_answer_reasons(recommender, person, places, of_answers),
        paths=_named_paths(recommender, person, index, may_name),
        num_friends=len(person.friends),
        num_shortlisted=len(shortlist),
    )


def as_newcomer(person: Person, recommender: "Recommender") -> Person:
    """The same person, known for friends and answers: what parts can be left out of."""
    if person.user is None:
        return person
    table = recommender.friend_table
    friends = tuple(table.friends_of(person.user).tolist())
    return dataclasses.replace(person, user=None, friends=friends, itself=person.user)


def shortlisted(
    recommender: "Recommender", person: Person, item: int, most: int
) -> list[int]:
    """The friends to leave out in turn: all, or of many the likeliest, [<= most]."""
    friends = list(person.friends)
    if len(friends) <= most:
        return friends
    weights = shortlist_weights(recommender, person, item)
    return [friends[place] for place in np.argsort(-weights, kind="stable")[:most]]


def shortlist_weights(
    recommender: "Recommender", person: Person, item: int
) -> np.ndarray:
    """How likely each friend matters, before anything is left out: [F].

    Whether they like the item, and then what share of those they name do. Attention is
    no measure of it: it does not know which item is asked about.
    """
    likers, table = _likers(recommender, item), recommender.friend_table
    theirs = [likers(table.friends_of(friend)) for friend in person.friends]
    shares = [row.mean() if len(row) else 0.0 for row in theirs]
    return likers(np.array(person.friends, int)) + np.array(shares) / 2


def attention_weights(recommender: "Recommender", person: Person) -> np.ndarray | None:
    """What share of attention arrives over each friend: [F]; None without attention."""
    if not person.friends:
        return None
    newcomer = people_arrays([person], recommender.friend_table)
    own = _attention(recommender, newcomer, len(person.friends))
    return None if own is None else rolled_out(own)


def _attention(
    recommender: "Recommender", newcomer, num_friends: int
) -> np.ndarray | None:
    one = jax.tree.map(lambda leaf: leaf[0], newcomer)
    found = recommender.player.attention(one)
    return None if found is None else np.asarray(found)[:, : 1 + num_friends]


def _likers(
    recommender: "Recommender", item: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Users -> whether each is known to like the item."""
    users = recommender.likes.likers(item)
    return lambda others: np.isin(others, users)


def _answers_heard(recommender: "Recommender", person: Person) -> list[int]:
    """Places of the answers, and behind them of likes from before, that are read."""
    horizon = recommender.player.horizon
    num_past = len(person.past)
    if horizon is not None:
        num_past = horizon - int(recommender.room(person))
    return list(range(len(person.items) + num_past))


def _split_reasons(found: Margins, num_friends: int) -> tuple[Margins, Margins]:
    """Contributions, and what is shown instead, of friends and of answers."""

    def part(rows: slice) -> Margins:
        return Margins(
            margins=found.margins[0] - found.margins[rows],
            ranks=found.ranks[rows],
            first=found.first[rows],
        )

    return part(slice(4, 4 + num_friends)), part(slice(4 + num_friends, None))


def _who_may_be_named(
    recommender: "Recommender", name_friends: NameFriends
) -> Callable[[int], bool]:
    if isinstance(name_friends, bool):
        return lambda user: name_friends
    named = set(recommender.names.users(name_friends, "name_friends"))
    return named.__contains__


def _user_name(recommender: "Recommender", user: int, may_name) -> str:
    return str(recommender.dataset.user_ids[user]) if may_name(user) else ""


def _friend_reasons(
    recommender: "Recommender",
    friends: Sequence[int],
    item: int,
    found: Margins,
    may_name: Callable[[int], bool],
) -> tuple[Reason, ...]:
    likes = _likers(recommender, item)(np.array(friends, int))
    ids = recommender.dataset.user_ids
    reasons = [
        Reason(
            kind="friend",
            id=ids[friend].item() if may_name(friend) else None,
            name=_user_name(recommender, friend, may_name),
            likes=bool(likes[row]),
            contribution=float(found.margins[row]),
            instead=recommender.names.title(int(found.first[row])),
        )
        for row, friend in enumerate(friends)
    ]
    return _largest_first(reasons)


def _answer_reasons(
    recommender: "Recommender", person: Person, places: Sequence[int], found: Margins
) -> tuple[Reason, ...]:
    names, num_answers = recommender.names, len(person.items)
    items = (*person.items, *person.past)
    liked = (*person.liked, *(True for _ in person.past))
    reasons = [
        Reason(
            kind="answer" if place < num_answers else "past",
            id=names.item_id(items[place]),
            name=names.title(items[place]),
            likes=liked[place],
            contribution=float(found.margins[row]),
            instead=names.title(int(found.first[row])),
        )
        for row, place in enumerate(places)
    ]
    return _largest_first(reasons)


def _largest_first(reasons: list[Reason]) -> tuple[Reason, ...]:
    return tuple(sorted(reasons, key=lambda reason: -reason.contribution))


def _named_paths(
    recommender: "Recommender",
    person: Person,
    item: int,
    may_name: Callable[[int], bool],
) -> tuple[TastePath, ...]:
    return tuple(
        TastePath(
            names=tuple(
                _user_name(recommender, user, may_name) for user in path.people
            ),
            weight=path.weight,
        )
        for path in friend_paths(recommender, person, item)[:MOST_PATHS]
    )


def friend_paths(
    recommender: "Recommender", person: Person, item: int
) -> list[FriendPath]:
    """All paths to people who like the item, heaviest first."""
    if not person.friends:
        return []
    table, likers = recommender.friend_table, _likers(recommender, item)
    newcomer = people_arrays([person], table)
    own = _attention(recommender, newcomer, len(person.friends))
    if own is None:
        return even_paths(person, likers, table)
    edges = np.asarray(recommender.player.attention(None))
    return attention_paths(person, likers, table, own, edges)
