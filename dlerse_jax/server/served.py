"""A recommender that answers batches: `ranking.Model` on compiled calls of few shapes.

People go in batches of few sizes, filled up with nobody. A session is begun with few,
some or many places for friends, and with no answers or a fixed number of places for
them; then it goes on one answer at a time. `warm` makes every shape, so that
nothing is compiled while somebody waits. Only one thread may call `rank`.
"""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dlerse_jax.server.batch_arrays import Choice, filled, table
from dlerse_jax.server.forms import (
    ANSWERED,
    FRIENDS,
    HEARD,
    LEFT_OUT,
    LIST_SIZES,
    TWO_HOPS,
    Form,
    all_limits,
    fitting,
    with_room,
)
from dlerse_jax.server.known import CACHED_PEOPLE, KnownPeople
from dlerse_jax.server.programs import Best, Programs
from dlerse_jax.server.ranking import Question, Ranked
from dlerse_jax.serving.people import Person, bucket, two_hops
from dlerse_jax.serving.player import Answers
from dlerse_jax.serving.recommender import PAST_SHARE, Recommender


class ServedModel(KnownPeople):
    """One model in use. See `ranking.Model` for what is public."""

    is_quick = False  # until it was measured

    def __init__(
        self, recommender: Recommender, *, digest: str, keep_programs: bool = False
    ) -> None:
        """keep_programs: for later processes; digest is of all that it was made of."""
        super().__init__(recommender)
        self.digest, self.name = digest, recommender.agent.name
        self._choice = Choice(self.num_items)
        self._searches = recommender.player.searches
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
        user, *told = self._beginning([Person(user=0)], Form(kind="user"), 1)
        answers = Answers(**dict(zip(("past", "items", "liked"), told, strict=True)))
        key = jax.random.key(0)[None]
        start = self._recommender.player.start
        return jax.eval_shape(lambda: start(user, key, answers))

    # --- batches ----------------------------------------------------------------------

    def forms(self) -> list[Form]:
        """Every shape in which a session is begun, but for huge neighbourhoods."""
        longest = int(np.diff(self._recommender.dataset.like_offsets).max(initial=0))
        sizes = [
            size for size in HEARD if size <= max(fitting(HEARD, longest), ANSWERED[-1])
        ]
        heard = (0, self._horizon) if self._horizon else tuple(sizes)
        places = [(0, 0, "user")]
        places += [(*pair, "new") for pair in self._places]
        begun = [
            Form(
                kind=kind,
                heard=size,
                friends=friends,
                two_hops=reached,
                answered=self._places_answered[-1] if size else 0,
            )
            for friends, reached, kind in places
            for size in heard
            if not (size and friends == FRIENDS[0])  # too rare for a shape of its own
        ]
        heard_next = {Form(kind="hear", answered=n) for n in self._places_answered}
        forms = [*begun, *heard_next]
        if not self._searches:
            return forms
        return [limited for form in forms for limited in all_limits(form)]

    def compile(self, form: Form, size: int) -> None:
        """Makes the programs that begin `size` sessions, or go on with them, and rank.

        A program that a size has already is made no more.
        """
        is_heard = form.kind == "hear"
        form = dataclasses.replace(form, ranked=LIST_SIZES[-1])
        beginning = Form(kind="user", left_out=form.left_out) if is_heard else form
        person = Person(user=None if form.kind == "new" else 0)
        only = (0,) if form.only else None
        question = Question(model=self, person=person, keep_state=True, only=only)
        (found,) = self._rank([question], beginning, size)
        if is_heard:
            person = person.with_answer(0, True)
            after = dataclasses.replace(question, person=person, state=found.state)
            self._rank([after], form, size)

    @property
    def num_programs(self) -> int:
        """Programs compiled so far."""
        return len(self._programs)

    def rank(self, questions: Sequence[Question]) -> list[Ranked]:
        forms: dict[Form, list[int]] = defaultdict(list)
        for place, question in enumerate(questions):
            forms[self.form_of(question)].append(place)
        answers: list[Any] = [None] * len(questions)
        for form, places in forms.items():
            most = form.sizes[-1]
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
            answered = fitting(self._places_answered, len(person.items))
            form = Form(kind="hear", answered=answered, ranked=ranked)
        else:
            form = self.form(person, ranked)
        return with_room(form, question) if self._searches else form

    @functools.cached_property
    def _places_answered(self) -> tuple[int, ...]:
        """Places for answered items, which are read for chances of a like alone."""
        return ANSWERED if self._recommender.player.has_chances else (0,)

    def form(self, person: Person, ranked: int = LIST_SIZES[0]) -> Form:
        """The shape in which somebody's session is begun."""
        longest = max(len(person.items), len(self._primed(person)))
        heard = fitting(HEARD, longest)
        if self._horizon and heard:
            heard = fitting((self._horizon,), 0)
        answered = self._places_answered[-1] if heard else 0
        if person.user is not None:
            return Form(kind="user", heard=heard, answered=answered, ranked=ranked)
        friends, reached = len(person.friends), len(self._reached(person))
        for places in self._places[bool(heard) :]:
            if friends <= places[0] and reached <= places[1]:
                break
        else:
            places = bucket(friends), bucket(reached)
        return Form(
            kind="new",
            heard=heard,
            friends=places[0],
            two_hops=places[1],
            answered=answered,
            ranked=ranked,
        )

    @property
    def _horizon(self) -> int:
        return self._recommender.player.horizon or 0

    @functools.cached_property
    def _places(self) -> list[tuple[int, int]]:
        """Places for friends and for theirs, of few of them, some and many."""
        most = self._friends.most_far or self.num_users
        most = bucket(min(most, self.num_users) if self._reads_two_hops else 0)
        return [
            (friends, min(size, most))
            for friends, size in zip(FRIENDS, TWO_HOPS, strict=True)
        ]

    @functools.cached_property
    def _reads_two_hops(self) -> bool:
        """Whether the agent looks at friends of friends, who have to be found."""
        _, *told = self._beginning([Person(user=0)], Form(kind="user"), 1)
        absent = np.full((1, bucket(0)), self.num_users, np.int32)
        nobody = [Question(model=self, person=Person(user=None))]
        form = Form(kind="new", left_out=LEFT_OUT[0] if self._searches else 0)
        allowed = self._allowed(nobody, form, 1), self._choice.answered(nobody, 1, 0)
        return self._programs.reads(1, absent, absent.copy(), *told, *allowed)

    def _reached(self, person: Person) -> Any:
        if not self._reads_two_hops:
            return ()
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
        """Answers questions of one form at once; size: as if there were so many."""
        size = fitting(form.sizes, max(size, len(questions)))
        allowed = self._allowed(questions, form, size)
        answered = self._choice.answered(questions, size, form.answered)
        if form.kind == "hear":
            found = self._programs.hear(*_answers(questions, size), allowed, answered)
        else:
            people = [question.person for question in questions]
            begun = self._beginning(people, form, size)
            found = self._programs.begin(*begun, allowed, answered)
        if form.begins_without_list or form.ranked != LIST_SIZES[0]:
            found = self._listed(questions, form, found.states)
        counts = np.isfinite(found.scores).sum(axis=1).tolist()
        return [
            _ranked(question, found, place, counts[place])
            for place, question in enumerate(questions)
        ]

    def _listed(
        self, questions: Sequence[Question], form: Form, states: np.ndarray
    ) -> Best:
        """The same sessions with the longer list, or that of a few items alone."""
        choice, size = self._choice, len(states)
        answered = choice.answered(questions, size, self._places_answered[-1])
        if form.only:
            only = choice.only(questions, size, form.only)
            return self._programs.among(states, only, answered)
        if form.left_out:
            left_out = choice.left_out(questions, size, form.left_out)
            return self._programs.more(states, left_out, answered)
        return self._programs.more(states, choice.allowed(questions, size), answered)

    def _allowed(self, questions: Sequence[Question], form: Form, size: int) -> Any:
        """As `Player.top` takes it; everything where the list comes later."""
        if not form.left_out:
            return self._choice.allowed(questions, size)
        asked = () if form.begins_without_list else questions
        return self._choice.left_out(asked, size, LEFT_OUT[0])

    def _beginning(
        self, people: Sequence[Person], form: Form, size: int
    ) -> tuple[Any, ...]:
        """Who, and what they liked before and said, as `Programs.begin` takes them."""
        if not form.heard:
            return *self._arrays(people, form, size), *_nothing_said(size)
        nothing, horizon = self.num_items, self._horizon
        past = horizon // PAST_SHARE if horizon else form.heard
        items = horizon or form.heard
        kept = [self._kept(person) for person in people]
        primed = [self._primed(person) for person in people]
        liked = table([person.liked for person in kept], 0, items, size)
        return (
            *self._arrays(people, form, size),
            table(primed, nothing, past, size),
            table([person.items for person in kept], nothing, items, size),
            liked.astype(np.float32),
        )

    def _kept(self, person: Person) -> Person:
        """With the last answers alone, where the agent holds no more."""
        heard = self._recommender.heard(person)
        return heard if self._horizon else heard.with_answers(slice(-HEARD[-1], None))

    def _arrays(self, people: Sequence[Person], form: Form, size: int) -> tuple:
        """User indices [B], or friends and their friends [B, ...]."""
        if form.kind == "user":
            users = np.array([person.user for person in people], np.int32)
            return (filled(users, size),)
        absent = self.num_users
        reached = [self._reached(person) for person in people]
        friends = table([one.friends for one in people], absent, form.friends, size)
        return friends, table(reached, absent, form.two_hops, size)


@functools.cache
def _nothing_said(size: int) -> tuple[Any, ...]:
    """Past, items and answers of people of whom nothing is known."""
    items = np.zeros((size, 0), np.int32)
    return items, items, np.zeros((size, 0), np.float32)


def _answers(
    questions: Sequence[Question], size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sessions before the last answer, its item, and whether it was a like."""
    people = [question.person for question in questions]
    items = np.array([person.items[-1] for person in people], np.int32)
    liked = np.array([person.liked[-1] for person in people], np.float32)
    states = np.stack([question.state for question in questions])
    return filled(states, size), filled(items, size), filled(liked, size)


def _ranked(question: Question, found: Best, place: int, count: int) -> Ranked:
    """One person's part of a batch, without what may not be shown."""
    chances = found.chances
    return Ranked(
        items=found.items[place, :count],
        scores=found.scores[place, :count],
        chances=None if chances is None else chances[place, :count],
        state=found.states[place].copy() if question.keep_state else None,
    )
