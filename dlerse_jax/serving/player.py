"""Sessions of some people with a trained agent: pure functions, compiled once a size.

The functions of `types.Agent` for one seed, vmapped over B people. What a session
carries is a small pytree, `SessionState`. The agent's state and what all people share
(`Agent.context`) are arguments of the compiled functions.

Letters: B people, H answers, P items of a past or left out, A items asked about, K
items of a list.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.environment.reward import streaks_after
from dlerse_jax.environment.rollout import choose, prime
from dlerse_jax.serving.chances import ChanceFn, Shared
from dlerse_jax.types import Agent, Newcomer, Observation


@struct.dataclass(kw_only=True)
class SessionState:
    """What one session holds between two answers."""

    memory: Any  # the agent's own
    last: Observation  # the last answer, or what comes before the first


@struct.dataclass(kw_only=True)
class Answers:
    """What a person said before the session is taken up, in order."""

    past: jax.Array  # [P] int32 likes from before the session, padded with N
    items: jax.Array  # [H] int32 answered in the session, padded with N
    liked: jax.Array  # [H] float32: 1 or 0


class Parts(NamedTuple):
    """Functions of `Player`, what all sessions share comes first."""

    shared: Shared
    start: Callable[..., SessionState]
    hear: Callable[..., SessionState]
    top: Callable[..., tuple]
    top_among: Callable[..., tuple]


LARGE_CATALOGUE = 50_000  # items from which on a list is searched for, not sorted


class Player:
    """Compiled functions of an agent and one seed's state."""

    def __init__(
        self,
        agent: Agent,
        state: Any,
        *,
        num_users: int,
        num_items: int,
        chance: ChanceFn | None = None,
    ) -> None:
        """state: of one seed, with the parameters that were selected."""
        self.agent, self._chance = agent, chance
        self.num_users, self.num_items = num_users, num_items
        # Validation and test users are never visible: nobody else has to be masked.
        nobody = jnp.zeros(num_users, bool)
        self._shared = state, jax.jit(agent.context)(state, nobody)
        self._start = jax.jit(jax.vmap(self._start_one, (None, 0, 0, 0)))
        self._hear = jax.jit(jax.vmap(self._hear_one, (None, 0, 0, 0)))
        self._next = jax.jit(jax.vmap(self._next_one, (None, 0, 0, 0)))
        self._scores = jax.jit(jax.vmap(self._scores_one, (None, 0, 0)))
        self._top = jax.jit(self._top_all, static_argnums=4)
        self._top_among = jax.jit(self._top_among_all, static_argnums=4)
        self._attention = jax.jit(agent.attention) if agent.attention else None

    @property
    def num_programs(self) -> int:
        """Programs compiled so far: one for every bucket that was asked for."""
        parts: Any = self._start, self._hear, self._next, self._scores, self._top
        return sum(part._cache_size() for part in parts)

    @property
    def horizon(self) -> int | None:
        """Answers that a session can hold; None: any number."""
        return self.agent.horizon

    def start(self, people, keys: jax.Array, answers: Answers) -> SessionState:
        """New sessions after some answers.

        people: user indices [B] int32, or `Newcomer` with leading axes [B]; keys [B];
        answers [B, H], padded at their end.
        """
        return self._start(self._shared, people, keys, answers)

    def hear(self, sessions: SessionState, items, liked) -> SessionState:
        """The sessions [B] after one more answer each: items [B], liked [B]."""
        return self._hear(self._shared, sessions, items, liked)

    def next(
        self, sessions: SessionState, left_out: jax.Array, answered: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """The greedy item of each session, not in left_out [B, P]; N for none.

        -> items, scores and chances of a like, [B] each; None for no chances. answered
        [B, H] are the items of the session, padded with N.
        """
        return self._next(self._shared, sessions, left_out, answered)

    @property
    def searches(self) -> bool:
        """Whether lists are made without scoring everything: of a large catalogue, if
        the agent can."""
        is_large = self.num_items >= LARGE_CATALOGUE
        return is_large and self.agent.best_list is not None

    def top(
        self,
        sessions: SessionState,
        allowed: jax.Array,
        answered: jax.Array,
        count: int,
    ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """The best of all items that are allowed: items, scores, chances [B, K].

        allowed [B, N] bool, or, where `searches`, what is not: [B, P] int32, padded
        with N. Equal scores come by index. Where fewer are allowed the last ones have
        the score -inf.
        """
        return self._top(self._shared, sessions, allowed, answered, count)

    def top_among(
        self, sessions: SessionState, items: jax.Array, answered: jax.Array, count: int
    ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """The same among items [B, A] alone, ascending and padded with N at the end."""
        return self._top_among(self._shared, sessions, items, answered, count)

    @property
    def parts(self) -> "Parts":
        """For programs that are made of several."""
        return Parts(self._shared, self._start, self._hear, self._top, self._top_among)

    @property
    def has_chances(self) -> bool:
        """Whether `top` tells chances of a like."""
        return self._chance is not None

    def scores(self, sessions: SessionState, items: jax.Array) -> jax.Array:
        """Scores of items [B, A] in each session: [B, A]."""
        return self._scores(self._shared, sessions, items)

    def attention(self, newcomer: Newcomer | None) -> jax.Array | None:
        """What friends weigh in each layer: a newcomer's [K, 1 + F], themself first, or
        those of all users by edge [K, E]; None for agents without graph attention."""
        if self._attention is None:
            return None
        return self._attention(*self._shared, newcomer)

    # --- one person -------------------------------------------------------------------

    def _start_one(self, shared: Shared, person, key, answers: Answers) -> SessionState:
        zero = jnp.float32(0)
        is_known = isinstance(person, jax.Array)
        before = Observation(
            user=person if is_known else jnp.int32(self.num_users),
            step=jnp.int32(0),
            item=jnp.int32(self.num_items),
            liked=zero,
            like_streak=zero,
            dislike_streak=zero,
            shown=jnp.full(1, self.num_items, jnp.int32),
        )
        memory = self.agent.begin(*shared, person, key)
        memory = prime(self.agent, *shared, memory, before, answers.past)
        session = SessionState(memory=memory, last=before)

        def hear(session, answer):
            item, liked = answer
            after = self._hear_one(shared, session, item, liked)
            is_real = item < self.num_items
            return jax.tree.map(
                lambda x, y: jnp.where(is_real, x, y), after, session
            ), None

        return jax.lax.scan(hear, session, (answers.items, answers.liked))[0]

    def _hear_one(
        self, shared: Shared, session: SessionState, item, liked
    ) -> SessionState:
        last = session.last
        streaks = streaks_after(last.like_streak, last.dislike_streak, liked)
        seen = last.replace(
            step=last.step + 1,
            item=item,
            liked=liked,
            like_streak=streaks[0],
            dislike_streak=streaks[1],
        )
        memory = self.agent.observe(*shared, session.memory, seen)
        return SessionState(memory=memory, last=seen)

    def _next_one(self, shared: Shared, session: SessionState, left_out, answered):
        memory = session.memory
        item = choose(self.agent, *shared, memory, left_out, self.num_items)
        items = jnp.minimum(item, self.num_items - 1)[None]
        score = self.agent.scores(*shared, memory, items)[0]
        chances = self._chances(shared, memory, items, answered)
        return item, score, None if chances is None else chances[0]

    def _chances(self, shared: Shared, memory, items, answered) -> jax.Array | None:
        if self._chance is None:
            return None
        return self._chance(shared, memory, items, answered)

    def _scores_one(self, shared: Shared, session: SessionState, items) -> jax.Array:
        return self.agent.scores(*shared, session.memory, items)

    def _top_all(
        self, shared: Shared, sessions: SessionState, allowed, answered, count: int
    ):
        is_mask = allowed.dtype == bool
        best = self._best_allowed if is_mask else self._best_left

        def one(session, allowed, answered):
            items, scores = best(shared, session.memory, allowed, count)
            return items, scores, self._chances(shared, session.memory, items, answered)

        return jax.vmap(one)(sessions, allowed, answered)  # adds B

    def _best_allowed(self, shared: Shared, memory, allowed, count: int):
        scores = self.agent.scores(*shared, memory, None)
        # The table of items may have spare rows at its end.
        scores = jnp.where(allowed, scores[: self.num_items], -jnp.inf)
        scores, items = jax.lax.top_k(scores, count)
        return items.astype(jnp.int32), scores

    def _best_left(self, shared: Shared, memory, left_out, count: int):
        assert self.agent.best_list is not None
        scores, items = self.agent.best_list(*shared, memory, left_out, count)
        return jnp.minimum(items, self.num_items - 1), scores

    def _top_among_all(
        self, shared: Shared, sessions: SessionState, items, answered, count: int
    ):
        def one(session, items, answered):
            known = jnp.minimum(items, self.num_items - 1)
            scores = self.agent.scores(*shared, session.memory, known)
            scores = jnp.where(items < self.num_items, scores, -jnp.inf)
            scores, places = jax.lax.top_k(scores, count)
            best = known[places]
            return best, scores, self._chances(shared, session.memory, best, answered)

        return jax.vmap(one)(sessions, items, answered)  # adds B
