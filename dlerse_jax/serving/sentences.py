"""An explanation as a person reads it, and what it may say of others.

A friend who may not be named is counted ("2 people you follow like it"), and only where
the count does not name them: among at least `LEAST_CROWD` friends, of whom not all like
the item. Otherwise it says "people around you".
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlerse_jax.serving.leave_one_out import Groups

if TYPE_CHECKING:
    from dlerse_jax.serving.explain import Reason

LEAST_CROWD = 5
MOST_NAMED = 2  # friends and items that a sentence names
LEAST_SHARE = 0.1  # of the margin, below which a part goes unsaid


def sentence_of(
    friends: Sequence["Reason"],
    answers: Sequence["Reason"],
    groups: Groups,
    num_friends: int,
) -> str:
    """One sentence; the reasons come largest first."""
    shares = groups.shares
    parts = {
        "friends": _of_friends(_adding(friends), num_friends),
        "answers": _of_answers(_adding(answers)),
        "popularity": "it is popular",
    }
    said = [
        words
        for name, words in parts.items()
        if words and shares[name] >= LEAST_SHARE and getattr(groups, name) > 0
    ]
    if not said:
        return "No single reason stands out."
    return f"Because {_listed(said)}."


def _adding(reasons: Sequence["Reason"]) -> list["Reason"]:
    """Those that add something alone; all where none does, as two friends who say the
    same: either can be spared, but not both."""
    return [reason for reason in reasons if reason.contribution > 0] or list(reasons)


def _of_friends(friends: Sequence["Reason"], num_friends: int) -> str:
    """What friends do: those who like the item, or else those who like others."""
    likers = [reason for reason in friends if reason.likes]
    if not likers:
        return "people you follow like things like it" if friends else ""
    named = [reason.name for reason in likers if reason.name][:MOST_NAMED]
    num_others = len(likers) - len(named)
    is_crowd = num_friends >= LEAST_CROWD and len(likers) < num_friends
    if not named:
        return _counted(num_others) if is_crowd else "people around you like it"
    verb = "likes" if len(named) == 1 else "like"
    if num_others and is_crowd:
        people = "person" if num_others == 1 else "people"
        return f"{', '.join(named)} and {num_others} more {people} you follow like it"
    return f"{_listed(named)}, whom you follow, {verb} it"


def _counted(count: int) -> str:
    return "1 person you follow likes it" if count == 1 else _many(count)


def _many(count: int) -> str:
    return f"{count} people you follow like it"


def _of_answers(answers: Sequence["Reason"]) -> str:
    liked = [reason.name for reason in answers if reason.likes][:MOST_NAMED]
    disliked = [reason.name for reason in answers if not reason.likes][:1]
    words = [f"you liked {_listed(liked)}"] if liked else []
    words += [f"you did not like {name}" for name in disliked]
    return _listed(words)


def _listed(words: Sequence[str]) -> str:
    """a, b and c; "" for nothing."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
