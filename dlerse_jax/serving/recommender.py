"""`Recommender`: a trained agent that can be asked, in the data's own ids.

It answers for users of the data set, for people who are known for their friends alone,
and for somebody nobody knows. A question is a person (friends, answers) and what may be
shown; an answer is a list of items. Questions are padded to a few sizes, so that other
numbers of people, friends and answers compile nothing: see `people` and `player`.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.experiment.restore import (
    Restored,
    check_origin,
    restore_trained,
    with_cold_items,
)
from dlerse_jax.graph.friends import friend_table
from dlerse_jax.runtime.numbers import is_whole
from dlerse_jax.serving.chances import chance_of
from dlerse_jax.serving.explain import Explanation, explain, explain_person
from dlerse_jax.serving.likes import LikeTable
from dlerse_jax.serving.names import Names
from dlerse_jax.serving.people import (
    PEOPLE_BUCKETS,
    Person,
    bucket,
    filled_up,
    find_person,
    padded,
    people_arrays,
    warn_unkept,
)
from dlerse_jax.serving.player import Answers, Player, SessionState
from dlerse_jax.serving.questions import (
    Recommendation,
    answer_frame,
    is_frame,
    read_questions,
)
from dlerse_jax.serving.session import Session, left_out_items
from dlerse_jax.types import Agent, Dataset

LIST_LENGTH = 10
PAST_SHARE = 2  # a past takes one part in so many of what an agent can hold


class Recommender:
    """A trained agent of one seed, and the names of its data set."""

    def __init__(self, restored: Restored, *, seed: int = 0) -> None:
        """seed: which of the run's seeds, from 0 on; ValueError where it has none."""
        if not is_whole(seed) or not 0 <= seed < restored.num_seeds:
            raise ValueError(
                f"seed is {seed}, and the run has seeds 0 to {restored.num_seeds - 1}"
            )
        check_origin(restored)
        restored = with_cold_items(restored)
        self.agent: Agent = restored.agent
        self.dataset: Dataset = restored.dataset
        self.names = Names(self.dataset)
        self.player = Player(
            self.agent,
            restored.state_of(seed),
            num_users=self.dataset.num_users,
            num_items=self.dataset.num_items,
            chance=chance_of(restored, seed),
        )
        self.friend_table = friend_table(self.dataset, *self.agent.far)
        self.key = restored.roots[seed]

    @classmethod
    def load(cls, run: str | Path, *, seed: int = 0) -> "Recommender":
        """The agent of a run directory, or of what `Trained.save` wrote.

        FileNotFoundError where there is no run; ValueError where its files are damaged
        or of different runs, or where it has no such seed.
        """
        return cls(restore_trained(run, to_serve=True), seed=seed)

    def __repr__(self) -> str:
        data = self.dataset
        return (
            f"Recommender({self.agent.name} on {data.name}: {data.num_users:,} users, "
            f"{data.num_items:,} items)"
        )

    @functools.cached_property
    def likes(self) -> LikeTable:
        """Who likes what, as far as the agent may know it."""
        return LikeTable(self.dataset)

    # --- questions --------------------------------------------------------------------

    def recommend(
        self,
        *,
        user: Any = None,
        friends: Iterable[Any] | None = None,
        liked: Iterable[Any] = (),
        disliked: Iterable[Any] = (),
        k: int | None = None,
        exclude: Iterable[Any] = (),
        only: Iterable[Any] | None = None,
    ) -> list[Recommendation]:
        """The best k items for one person; 10, or all there are, where k is None.

        user: an id of the data set, or of nobody there: then friends are all that is
        known. friends: ids of users, in place of those the data has for `user`. liked
        and disliked: items answered in this session, taken in this order. Answered
        items, a known user's past likes and `exclude` are not shown; `only` limits the
        choice. Fewer than k come back where fewer are left.

        Warnings name unknown ids, which are left out, and users whose likes are hidden.
        ValueError for k outside 1 to the number of items, an item both liked and
        disliked, and where no item is left.
        """
        k = self.checked_count(k)
        person = self.person(user=user, friends=friends, liked=liked, disliked=disliked)
        warn_unkept(self.names, self.dataset, person, exclude)
        allowed = self.allowed(person, exclude=exclude, only=only)
        return self.top([person], allowed[None], k)[0]

    def recommend_many(self, questions: Any, *, k: int | None = None) -> Any:
        """Lists for many people, answered together in calls of at most 64.

        questions: a dict of keywords of `recommend` for each person -> a list of
        `Recommendation` for each; or a data frame of polars or pandas with some of the
        columns user, friends, liked, disliked, exclude, only -> a data frame of the
        same library, one row per item: question (row number, from 0), user where it
        was given, rank from 1, item, title, score, chance. A cell of several ids is a
        list, or text with a comma between them; an empty cell is as if left out.

        Warnings and errors as of `recommend`.
        """
        k = self.checked_count(k)
        people, allowed = [], []
        for row in read_questions(questions, self.names):
            limits = {x: row.pop(x) for x in ("exclude", "only") if x in row}
            people.append(self.person(**row))
            warn_unkept(self.names, self.dataset, people[-1], limits.get("exclude", ()))
            allowed.append(self.allowed(people[-1], **limits))
        found = self._top_of_all(people, allowed, k)
        return answer_frame(questions, found) if is_frame(questions) else found

    def explain(self, item: Any, **question: Any) -> Explanation:
        """Why an item comes as high as it does, for a person as in `recommend`.

        Arguments and errors are those of `dlerse_jax.serving.explain.explain`.
        """
        return explain(self, item, **question)

    def with_reasons(
        self, items: Sequence[Recommendation], person: Person, **options: Any
    ) -> list[Recommendation]:
        """The items with a sentence each; options as of `explain`, as name_friends."""

        def with_reason(found: Recommendation) -> Recommendation:
            explanation = explain_person(self, found.item, person, **options)
            return dataclasses.replace(found, reasons=(explanation.sentence,))

        return [with_reason(found) for found in items]

    def session(
        self,
        *,
        user: Any = None,
        friends: Iterable[Any] | None = None,
        liked: Iterable[Any] = (),
        disliked: Iterable[Any] = (),
        key: jax.Array | None = None,
    ) -> Session:
        """A conversation with one person: `next`, `answer`, `undo`, `to_bytes`.

        liked and disliked: answers that were given before, as in `recommend`. key: for
        agents that draw; None for the recommender's own. With the key of
        `dlerse_jax.evaluation.episodes.begin_keys` a test user is shown what the run's
        `evaluation.npz` says.
        """
        person = self.person(user=user, friends=friends, liked=liked, disliked=disliked)
        return Session(self, person, self.key if key is None else key)

    def resume(self, saved: bytes) -> Session:
        """The session that `Session.to_bytes` wrote."""
        return Session.from_bytes(self, saved)

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
        return find_person(
            self.names,
            self.dataset,
            user=user,
            friends=friends,
            liked=liked,
            disliked=disliked,
        )

    def allowed(
        self,
        person: Person,
        *,
        exclude: Iterable[Any] = (),
        only: Iterable[Any] | None = None,
    ) -> np.ndarray:
        """Which items may be shown to a person: [N] bool; ValueError where none may."""
        mask = np.full(self.dataset.num_items, only is None)
        if only is not None:
            mask[self.names.items(only, "only")] = True
        mask[self.names.items(exclude, "exclude")] = False
        mask[list(person.not_shown)] = False
        if not mask.any():
            raise ValueError(
                "no item is left to recommend: all are answered, liked before, "
                "excluded or not in `only`"
            )
        return mask

    def room(self, person: Person) -> int | float:
        """Answers that the agent can hold for a person; those before are forgotten."""
        if self.player.horizon is None:
            return float("inf")
        return self.player.horizon - len(self.primed(person))

    def heard(self, person: Person) -> Person:
        """The same person after their last answers alone, where not all find room."""
        room = self.room(person)
        if len(person.items) <= room:
            return person
        return person.with_answers(slice(len(person.items) - int(room), None))

    def primed(self, person: Person) -> tuple[int, ...]:
        """Past likes that the agent hears of ahead of the answers."""
        horizon = self.player.horizon
        return person.past if horizon is None else person.past[: horizon // PAST_SHARE]

    def start(self, people: Sequence[Person], keys: jax.Array) -> SessionState:
        """Sessions of people after their answers, keys [B] -> axes [B].

        All are users of the data set, or all are newcomers: see `people_arrays`.
        """
        people = list(map(self.heard, people))
        nothing = self.dataset.num_items
        answers = Answers(
            past=self._answers([self.primed(person) for person in people], nothing),
            items=self._answers([person.items for person in people], nothing),
            liked=self._answers([person.liked for person in people], 0).astype(
                jnp.float32
            ),
        )
        return self.player.start(
            people_arrays(people, self.friend_table), keys, answers
        )

    def _answers(self, rows: Sequence[Sequence], padding: int) -> jax.Array:
        """As `padded`, no longer than the agent's horizon, and nothing for nothing."""
        longest = max(map(len, rows))
        length = bucket(longest) if longest else 0
        return padded(rows, padding, min(length, self.player.horizon or length))

    # --- lists ------------------------------------------------------------------------

    def checked_count(self, k: int | None) -> int:
        """k, where a list may have that length; what `recommend` says for None."""
        if k is None:
            return min(LIST_LENGTH, self.dataset.num_items)
        if not is_whole(k) or not 1 <= k <= self.dataset.num_items:
            raise ValueError(
                f"k must be between 1 and the {self.dataset.num_items:,} items of the "
                f"data set, got {k}"
            )
        return int(k)

    def _top_of_all(
        self, people: Sequence[Person], allowed: Sequence[np.ndarray], k: int
    ) -> list[list[Recommendation]]:
        """As `top`, for any number of people of both kinds."""
        found: list[list[Recommendation]] = [[] for _ in people]
        is_new = np.array([person.user is None for person in people], bool)
        most = PEOPLE_BUCKETS[-1]
        for kind in (~is_new, is_new):
            rows = np.flatnonzero(kind).tolist()
            for first in range(0, len(rows), most):
                part = rows[first : first + most]
                masks = np.stack([allowed[row] for row in part])
                lists = self.top([people[row] for row in part], masks, k)
                for row, items in zip(part, lists, strict=True):
                    found[row] = items
        return found

    def top(
        self, people: Sequence[Person], allowed: np.ndarray, k: int
    ) -> list[list[Recommendation]]:
        """The best k items of at most 64 people of one kind, allowed [B, N] bool."""
        filled = filled_up(people)
        sessions = self.start(filled, jnp.broadcast_to(self.key, (len(filled),)))
        spare = np.repeat(allowed[:1], len(filled) - len(people), axis=0)
        allowed = np.concatenate([allowed, spare])
        count = min(bucket(k), self.dataset.num_items)
        items = [person.items for person in filled]  # also those that are not heard
        length = bucket(max(map(len, items))) if any(items) else 0
        answered = padded(items, self.dataset.num_items, length)
        best = jax.device_get(
            self.player.top(sessions, jnp.asarray(allowed), answered, count)
        )
        return [
            self._named(*(None if part is None else part[row][:k] for part in best))
            for row in range(len(people))
        ]

    def best(
        self, session: SessionState, person: Person, skipped: list[int]
    ) -> Recommendation | None:
        """The item to show next in a session with axes [1]; None for none left."""
        num_items = self.dataset.num_items
        left_out = left_out_items([*person.not_shown, *skipped], num_items)
        answered = left_out_items(person.items, num_items)
        item, score, chance = jax.device_get(
            self.player.next(session, left_out, answered)
        )
        if item[0] >= self.dataset.num_items:
            return None
        return self._named(item, score, chance)[0]

    def _named(self, items, scores, chances) -> list[Recommendation]:
        return [
            Recommendation(
                item=self.names.item_id(item),
                title=self.names.title(item),
                score=float(score),
                chance=None if chances is None else float(chances[place]),
            )
            for place, (item, score) in enumerate(zip(items, scores, strict=True))
            if np.isfinite(score)
        ]
