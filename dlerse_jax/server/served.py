"""A recommender that answers batches: `ranking.Model` on compiled calls of few shapes.

People go in batches of 1, 4, 16 or 64, filled up with the first of them. A session is
begun with a small or a large neighbourhood, and with no answers or a fixed number of
places for them; then it goes on one answer at a time. `warm` makes every shape, so that
nothing is compiled while somebody waits. Only one thread may call `rank`.
"""

import dataclasses
import functools
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.server.known import CACHED_PEOPLE, KnownPeople
from dlerse_jax.server.packing import StatePacker
from dlerse_jax.server.ranking import Question, Ranked
from dlerse_jax.serving.people import Person, bucket, two_hops
from dlerse_jax.serving.player import Answers, SessionState
from dlerse_jax.serving.recommender import PAST_SHARE, PEOPLE_BUCKETS, Recommender
from dlerse_jax.types import Newcomer

LIST_SIZES = (32, 128)  # ranked items that come back; the smaller one if it is enough
FRIENDS = (32, 1024)  # places for friends, in a small and a large neighbourhood
TWO_HOPS = (256, 32_768)  # and for their friends, no more than there are users
MOST_MASKED = 100_000  # users
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

    def __init__(self, recommender: Recommender, *, digest: str) -> None:
        super().__init__(recommender)
        self.digest, self.name = digest, recommender.agent.name
        key = jax.random.key(0)
        self._keys = {size: jnp.broadcast_to(key, (size,)) for size in PEOPLE_BUCKETS}
        self._cached_reach = functools.lru_cache(CACHED_PEOPLE)(self._reached_by)
        self._packer = packer = StatePacker(self._example())
        self._hear_and_rank = {
            size: recommender.player.hear_and_rank(
                min(size, self.num_items), packer.pack, packer.unpack
            )
            for size in LIST_SIZES
        }

    def _example(self) -> Any:
        """Shapes of a session's state, with the axis [1]."""
        nobody = Person(user=None)
        return jax.eval_shape(lambda: self._begin([nobody], self.form(nobody)))

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
        for ranked in LIST_SIZES:
            question = Question(
                model=self, person=person, count=ranked, keep_state=True
            )
            (found,) = self._rank(
                [question], dataclasses.replace(form, ranked=ranked), size
            )
            after = dataclasses.replace(
                question, person=person.with_answer(0, True), state=found.state
            )
            self._rank([after], Form(kind="hear", ranked=ranked), size)

    @property
    def num_programs(self) -> int:
        """Programs compiled so far."""
        programs: Any = self._hear_and_rank.values()
        own = (program.func._cache_size() for program in programs)
        return self._recommender.player.num_programs + sum(own)

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
        """As `people.two_hops`, which sorts; for few users a mask is faster."""
        person = Person(user=None, friends=friends, itself=itself)
        if self.num_users > MOST_MASKED:
            return two_hops(person, self._friends)
        rows = [self._friends_of(friend) for friend in friends]
        reached = np.zeros(self.num_users, bool)
        if rows:
            reached[np.concatenate(rows)] = True
        reached[list(friends)] = False
        if itself is not None:
            reached[itself] = False
        return np.flatnonzero(reached)

    def _primed(self, person: Person) -> tuple[int, ...]:
        """Past likes that are heard before the answers."""
        if not self._horizon:
            return person.past[: HEARD[-1]]
        return person.past[: self._horizon - int(self._recommender.room(person))]

    def _rank(
        self, questions: Sequence[Question], form: Form, size: int = 0
    ) -> list[Ranked]:
        """Answers at most 64 questions of one form at once; size: at least so many."""
        size = _size(PEOPLE_BUCKETS, max(size, len(questions)))
        filled = [*questions, *[questions[0]] * (size - len(questions))]
        people = [question.person for question in filled]
        choice = self._allowed(filled), self._answered(people)
        if form.kind == "hear":
            rows = np.stack([question.state for question in filled])
            items = np.array([person.items[-1] for person in people], np.int32)
            liked = np.array([person.liked[-1] for person in people], np.float32)
            found = self._hear_and_rank[form.ranked](rows, items, liked, *choice)
        else:
            sessions, count = (
                self._begin(people, form),
                min(form.ranked, self.num_items),
            )
            best = self._recommender.player.top(sessions, *choice, count)
            is_kept = any(question.keep_state for question in questions)
            found = *best, self._packer.pack(sessions) if is_kept else None
        items, scores, chances, rows = jax.device_get(found)
        return [
            _ranked(question, items[place], scores[place], chances, rows, place)
            for place, question in enumerate(questions)
        ]

    def _begin(self, people: Sequence[Person], form: Form) -> SessionState:
        """Sessions of people after their answers, axes [B]."""
        nothing, horizon = self.num_items, self._horizon
        past = items = form.heard
        if horizon and form.heard:
            past, items = horizon // PAST_SHARE, horizon
        kept = [self._kept(person) for person in people]
        liked = _table([person.liked for person in kept], 0, items)
        answers = Answers(  # NumPy's arrays: a call takes them as they are
            past=_table([self._primed(person) for person in people], nothing, past),
            items=_table([person.items for person in kept], nothing, items),
            liked=liked.astype(np.float32),
        )
        keys = self._keys[len(people)]
        return self._recommender.player.start(self._arrays(people, form), keys, answers)

    def _kept(self, person: Person) -> Person:
        """With the last answers alone, where the agent holds no more."""
        room = self._recommender.room(person)
        if math.isinf(room):
            room = HEARD[-1]
        return person.with_answers(slice(max(0, len(person.items) - int(room)), None))

    def _arrays(self, people: Sequence[Person], form: Form) -> Any:
        """User indices [B], or `Newcomer` [B, ...]."""
        if form.kind == "user":
            return np.array([person.user for person in people], np.int32)
        absent = self.num_users
        reached = [self._reached(person) for person in people]
        friends = _table([one.friends for one in people], absent, form.friends)
        two_hop = _table(reached, absent, form.two_hops)
        return Newcomer(friends=friends, two_hops=two_hop)

    def _allowed(self, questions: Sequence[Question]) -> Any:
        """Which items may be shown to whom: [B, N] bool."""
        allowed = np.ones((len(questions), self.num_items), bool)
        for row, question in zip(allowed, questions, strict=True):
            if question.only is not None:
                row[:] = False
                row[list(question.only)] = True
            row[[*question.person.not_shown, *question.left_out]] = False
        return allowed

    def _answered(self, people: Sequence[Person]) -> Any:
        rows = [person.items[-ANSWERED:] for person in people]
        return _table(rows, self.num_items, ANSWERED)


def _table(rows: Sequence[Sequence], padding: int, length: int) -> Any:
    """Rows filled up to a length: [B, length] int32."""
    table = np.full((len(rows), length), padding, np.int32)
    for target, row in zip(table, rows, strict=True):
        if len(row):
            target[: len(row)] = row
    return table


def _size(sizes: Sequence[int], length: int) -> int:
    """The first size that is enough; the last where none is."""
    return next((size for size in sizes if size >= length), sizes[-1])


def _ranked(question: Question, items, scores, chances, rows, place: int) -> Ranked:
    """One person's part of a batch, without what may not be shown."""
    count = int(np.isfinite(scores).sum())
    return Ranked(
        items=items[:count],
        scores=scores[:count],
        chances=None if chances is None else chances[place][:count],
        state=rows[place].copy() if question.keep_state else None,
    )
