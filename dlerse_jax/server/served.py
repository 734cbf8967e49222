"""A recommender that answers batches: `ranking.Model` on compiled calls of few shapes.

People go in batches of 1, 4, 16 or 64, filled up with nobody. A session is
begun with a small or a large neighbourhood, and with no answers or a fixed number of
places for them; then it goes on one answer at a time. `warm` makes every shape, so that
nothing is compiled while somebody waits. Only one thread may call `rank`.
"""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dlerse_jax.server.known import CACHED_PEOPLE, KnownPeople
from dlerse_jax.server.programs import Best, Programs
from dlerse_jax.server.ranking import Question, Ranked
from dlerse_jax.serving.people import Person, bucket, two_hops
from dlerse_jax.serving.player import Answers
from dlerse_jax.serving.recommender import PAST_SHARE, PEOPLE_BUCKETS, Recommender
from dlerse_jax.types import Newcomer

LIST_SIZES = (32, 128)  # ranked items that come back; the smaller one if it is enough
FRIENDS = (32, 1024)  # places for friends, in a small and a large neighbourhood
TWO_HOPS = (256, 32_768)  # and for their friends, no more than there are users
ANSWERED = 512  # places for answered items, which the chance of a like leaves out
HEARD = (0, 32, 128, 512, 2048)  # places for answers, and for likes before them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """A shape of a compiled call: questions of one form are answered together."""

    kind: str  # "hear": one more answer; "user" or "new": from the beginning
    heard: int = 0  # places for answers
    friends: int = 0  # places for friends of somebody new,
    two_hops: int = 0  # and for theirs
    ranked: int = LIST_SIZES[0]


class ServedModel(KnownPeople):
    """One model in use. See `ranking.Model` for what is public."""

    def __init__(
        self, recommender: Recommender, *, digest: str, keep_programs: bool = False
    ) -> None:
        """keep_programs: for later processes; digest is of all that it was made of."""
        super().__init__(recommender)
        self.digest, self.name = digest, recommender.agent.name
        self._cached_reach = functools.lru_cache(CACHED_PEOPLE)(self._reached_by)
        short, long = (min(size, self.num_items) for size in LIST_SIZES)
        self._programs = Programs(
            recommender.player,
            self._example(),
            (short, long),
            digest if keep_programs else "",
        )

    def _example(self) -> Any:
        """Shapes of a session's state, with the axis [1]."""
        nobody = Person(user=None)
        people, answers = self._beginning([nobody], self.form(nobody), 1)
        key = jax.random.key(0)[None]
        start = self._recommender.player.start
        return jax.eval_shape(lambda: start(people, key, answers))

    # --- batches ----------------------------------------------------------------------

    def forms(self) -> list[Form]:
        """Every shape in which a session is begun, but for huge neighbourhoods."""
        longest = int(np.diff(self._recommender.dataset.like_offsets).max(initial=0))
        sizes = [size for size in HEARD if size <= max(_size(HEARD, longest), ANSWERED)]
        heard = (0, self._horizon) if self._horizon else tuple(sizes)
        places = [(0, 0, "user")]
        places += [
            (*pair, "new") for pair in zip(FRIENDS, self._two_hop_sizes, strict=True)
        ]
        return [
            Form(kind=kind, heard=size, friends=friends, two_hops=reached)
            for friends, reached, kind in places
            for size in heard
        ]

    def compile(self, form: Form, size: int) -> None:
        """Makes the programs that begin `size` sessions, go on with them and rank."""
        person = Person(user=0 if form.kind == "user" else None)
        question = Question(model=self, person=person, keep_state=True)
        (found,) = self._rank([question], form, size)
        after = dataclasses.replace(
            question, person=person.with_answer(0, True), state=found.state
        )
        self._rank([after], Form(kind="hear", ranked=LIST_SIZES[-1]), size)

    @property
    def num_programs(self) -> int:
        """Programs compiled so far."""
        return len(self._programs)

    def rank(self, questions: Sequence[Question]) -> list[Ranked]:
        forms: dict[Form, list[int]] = defaultdict(list)
        for place, question in enumerate(questions):
            forms[self.form_of(question)].append(place)
        answers: list[Any] = [None] * len(questions)
        most = PEOPLE_BUCKETS[-1]
        for form, places in forms.items():
            for first in range(0, len(places), most):
                part = places[first : first + most]
                ranked = self._rank([questions[place] for place in part], form)
                for place, answer in zip(part, ranked, strict=True):
                    answers[place] = answer
        return answers

    def form_of(self, question: Question) -> Form:
        most = min(question.count, LIST_SIZES[-1])
        ranked = next(size for size in LIST_SIZES if size >= most)
        person = question.person
        can_hear = question.state is not None and person.items
        if can_hear and len(person.items) <= self._recommender.room(person):
            return Form(kind="hear", ranked=ranked)
        return self.form(person, ranked)

    def form(self, person: Person, ranked: int = LIST_SIZES[0]) -> Form:
        """The shape in which somebody's session is begun."""
        longest = max(len(person.items), len(self._primed(person)))
        heard = _size(HEARD, longest)
        if self._horizon and heard:
            heard = _size((self._horizon,), 0)
        if person.user is not None:
            return Form(kind="user", heard=heard, ranked=ranked)
        friends, reached = len(person.friends), len(self._reached(person))
        for places in zip(FRIENDS, self._two_hop_sizes, strict=True):
            if friends <= places[0] and reached <= places[1]:
                break
        else:
            places = bucket(friends), bucket(reached)
        return Form(
            kind="new",
            heard=heard,
            friends=places[0],
            two_hops=places[1],
            ranked=ranked,
        )

    @property
    def _horizon(self) -> int:
        return self._recommender.player.horizon or 0

    @property
    def _two_hop_sizes(self) -> tuple[int, ...]:
        most = bucket(self.num_users)
        return tuple(min(size, most) for size in TWO_HOPS)

    def _reached(self, person: Person) -> Any:
        return self._cached_reach(person.friends, person.itself)

    def _reached_by(self, friends: tuple[int, ...], itself: int | None) -> np.ndarray:
        person = Person(user=None, friends=friends, itself=itself)
        return two_hops(person, self._friends)

    def _primed(self, person: Person) -> tuple[int, ...]:
        """Past likes that are heard before the answers."""
        primed = self._recommender.primed(person)
        return primed if self._horizon else primed[: HEARD[-1]]

    def _rank(
        self, questions: Sequence[Question], form: Form, size: int = 0
    ) -> list[Ranked]:
        """Answers at most 64 questions of one form at once; size: at least so many."""
        size = _size(PEOPLE_BUCKETS, max(size, len(questions)))
        people = [question.person for question in questions]
        choice = self._allowed(questions, size), self._answered(people, size)
        if form.kind == "hear":
            parts = (
                (np.stack([question.state for question in questions]), np.uint32),
                ([person.items[-1] for person in people], np.int32),
                ([person.liked[-1] for person in people], np.float32),
            )
            states, items, liked = (
                _filled(np.asarray(part, kind), size) for part, kind in parts
            )
            found = self._programs.hear(states, items, liked, *choice)
        else:
            found = self._programs.begin(*self._beginning(people, form, size), *choice)
        if form.ranked != LIST_SIZES[0]:
            found = self._programs.more(found.states, *choice)
        counts = np.isfinite(found.scores).sum(axis=1).tolist()
        return [
            _ranked(question, found, place, counts[place])
            for place, question in enumerate(questions)
        ]

    def _beginning(
        self, people: Sequence[Person], form: Form, size: int
    ) -> tuple[Any, Answers]:
        """What `Player.start` takes beside keys, filled up to a number of people."""
        nothing, horizon = self.num_items, self._horizon
        past = items = form.heard
        if horizon and form.heard:
            past, items = horizon // PAST_SHARE, horizon
        kept = [self._kept(person) for person in people]
        liked = _table([person.liked for person in kept], 0, items, size)
        primed = [self._primed(person) for person in people]
        answers = Answers(  # NumPy's arrays: a call takes them as they are
            past=_table(primed, nothing, past, size),
            items=_table([person.items for person in kept], nothing, items, size),
            liked=liked.astype(np.float32),
        )
        return self._arrays(people, form, size), answers

    def _kept(self, person: Person) -> Person:
        """With the last answers alone, where the agent holds no more."""
        heard = self._recommender.heard(person)
        return heard if self._horizon else heard.with_answers(slice(-HEARD[-1], None))

    def _arrays(self, people: Sequence[Person], form: Form, size: int) -> Any:
        """User indices [B], or `Newcomer` [B, ...]."""
        if form.kind == "user":
            return _filled(np.array([person.user for person in people], np.int32), size)
        absent = self.num_users
        reached = [self._reached(person) for person in people]
        friends = _table([one.friends for one in people], absent, form.friends, size)
        two_hop = _table(reached, absent, form.two_hops, size)
        return Newcomer(friends=friends, two_hops=two_hop)

    def _allowed(self, questions: Sequence[Question], size: int) -> Any:
        """Which items may be shown to whom: [B, N] bool."""
        allowed = np.ones((size, self.num_items), bool)
        for row, question in zip(allowed, questions, strict=False):
            if question.only is not None:
                row[:] = False
                row[list(question.only)] = True
            if hidden := [*question.person.not_shown, *question.left_out]:
                row[hidden] = False
        return allowed

    def _answered(self, people: Sequence[Person], size: int) -> Any:
        rows = [person.items[-ANSWERED:] for person in people]
        return _table(rows, self.num_items, ANSWERED, size)


def _table(rows: Sequence[Sequence], padding: int, length: int, size: int) -> Any:
    """Rows filled up to a length, and rows of nothing up to a size: [B, length]."""
    table = np.full((size, length), padding, np.int32)
    for target, row in zip(table, rows, strict=False):
        if len(row):
            target[: len(row)] = row
    return table


def _filled(rows: np.ndarray, size: int) -> np.ndarray:
    """Rows and, up to a size, zeros."""
    filled = np.zeros((size, *rows.shape[1:]), rows.dtype)
    filled[: len(rows)] = rows
    return filled


def _size(sizes: Sequence[int], length: int) -> int:
    """The first size that is enough; the last where none is."""
    return next((size for size in sizes if size >= length), sizes[-1])


def _ranked(question: Question, found: Best, place: int, count: int) -> Ranked:
    """One person's part of a batch, without what may not be shown."""
    chances = found.chances
    return Ranked(
        items=found.items[place, :count],
        scores=found.scores[place, :count],
        chances=None if chances is None else chances[place, :count],
        state=found.states[place].copy() if question.keep_state else None,
    )
