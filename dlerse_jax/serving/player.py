"""Sessions of some people with a trained agent: pure functions, compiled once a size.

The functions of `types.Agent` for one seed, vmapped over B people. What a session
carries is a small pytree, `SessionState`. The agent's state and what all people share
(`Agent.context`) are arguments of the compiled functions.

Letters: B people, H answers, P items left out, A items asked about, K items of a list.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.environment.rollout import choose
from dlerse_jax.environment.simulator import streak_lengths
from dlerse_jax.types import Agent, Observation


@struct.dataclass(kw_only=True)
class SessionState:
    """What one session holds between two answers."""

    memory: Any  # the agent's own
    last: Observation  # the last answer, or what comes before the first


@struct.dataclass(kw_only=True)
class Answers:
    """Items answered so far, in order."""

    items: jax.Array  # [H] int32, padded with N
    liked: jax.Array  # [H] float32: 1 or 0


class Player:
    """Compiled functions of an agent and one seed's state."""

    def __init__(self, agent: Agent, state, *, num_users: int, num_items: int) -> None:
        self.agent = agent
        self.num_users, self.num_items = num_users, num_items
        # Validation and test users are never visible: nobody else has to be masked.
        nobody = jnp.zeros(num_users, bool)
        self._shared = state, jax.jit(agent.context)(state, nobody)
        self._start = jax.jit(jax.vmap(self._start_one, (None, 0, 0, 0)))
        self._hear = jax.jit(jax.vmap(self._hear_one, (None, 0, 0, 0)))
        self._next = jax.jit(jax.vmap(self._next_one, (None, 0, 0)))
        self._scores = jax.jit(jax.vmap(self._scores_one, (None, 0, 0)))
        self._top = jax.jit(
            jax.vmap(self._top_one, (None, 0, 0, None)), static_argnums=3
        )

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

    def next(self, sessions: SessionState, left_out: jax.Array) -> jax.Array:
        """The greedy item of each session, not in left_out [B, P]: [B]; N for none."""
        return self._next(self._shared, sessions, left_out)

    def top(self, sessions: SessionState, allowed: jax.Array, count: int):
        """The best items among allowed [B, N] bool: (items [B, K], scores [B, K]).

        Where fewer are allowed the last ones have the score -inf.
        """
        return self._top(self._shared, sessions, allowed, count)

    def scores(self, sessions: SessionState, items: jax.Array) -> jax.Array:
        """Scores of items [B, A] in each session: [B, A]."""
        return self._scores(self._shared, sessions, items)

    # --- one person -------------------------------------------------------------------

    def _start_one(self, shared, person, key, answers: Answers) -> SessionState:
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
        session = SessionState(memory=memory, last=before)

        def hear(session, answer):
            item, liked = answer
            after = self._hear_one(shared, session, item, liked)
            is_real = item < self.num_items
            return jax.tree.map(
                lambda x, y: jnp.where(is_real, x, y), after, session
            ), None

        return jax.lax.scan(hear, session, (answers.items, answers.liked))[0]

    def _hear_one(self, shared, session: SessionState, item, liked) -> SessionState:
        last = session.last
        streaks = streak_lengths(last.like_streak, last.dislike_streak, liked)
        seen = last.replace(
            step=last.step + 1,
            item=item,
            liked=liked,
            like_streak=streaks[0],
            dislike_streak=streaks[1],
        )
        memory = self.agent.observe(*shared, session.memory, seen)
        return SessionState(memory=memory, last=seen)

    def _next_one(self, shared, session: SessionState, left_out) -> jax.Array:
        return choose(self.agent, *shared, session.memory, left_out, self.num_items)

    def _scores_one(self, shared, session: SessionState, items) -> jax.Array:
        return self.agent.scores(*shared, session.memory, items)

    def _top_one(self, shared, session: SessionState, allowed, count: int):
        scores = self.agent.scores(*shared, session.memory, None)
        # The table of items may have spare rows at its end.
        scores = jnp.where(allowed, scores[: self.num_items], -jnp.inf)
        scores, items = jax.lax.top_k(scores, count)
        return items.astype(jnp.int32), scores
