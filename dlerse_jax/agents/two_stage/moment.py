"""What Q-learning of dlerse_rank reads at a moment of a session.

Of the moment: both streaks, the clock, and the chances of what is still to be shown.
Of a candidate: its chance of a like. None of these numbers identifies an item or a
user.
"""

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.two_stage.session import Session
from dlerse_jax.runtime.ranks import check_ranks
from dlerse_jax.types import Observation

RANKS = (0, 1, 2, 4, 8, 16, 32)  # of the chances that stand for all of them
NUM_OF_MOMENT = 6 + len(RANKS)  # M
NUM_OF_CANDIDATE = 3  # Z
LONG = 8.0  # a long streak: the unit of theirs


@struct.dataclass(kw_only=True)
class Moment:
    """One user's session, and where in the episode it is."""

    session: Session
    step: jax.Array  # [] int32: items shown in this episode
    like_streak: jax.Array  # [] c_p
    dislike_streak: jax.Array  # [] c_n


@struct.dataclass(kw_only=True)
class Numbers:
    """What the order head reads: of the moment, and of candidates."""

    moment: jax.Array  # [M]
    candidate: jax.Array  # [A, Z]
    surest: jax.Array  # [Z] of the candidate with the highest chance
    logit: jax.Array  # [A] log-odds of a like, as pre-training found them
    later: jax.Array  # [] steps of the episode after this one


def first_moment(session: Session) -> Moment:
    """Before the first answer."""
    return Moment(
        session=session,
        step=jnp.int32(0),
        like_streak=jnp.float32(0),
        dislike_streak=jnp.float32(0),
    )


def next_moment(session: Session, seen: Observation) -> Moment:
    """After an answer; one from before the episode moves no clock: its step is 0."""
    return Moment(
        session=session,
        step=seen.step,
        like_streak=seen.like_streak,
        dislike_streak=seen.dislike_streak,
    )


@check_ranks(logits=1, pool=1)
def numbers_of(moment: Moment, logits, pool, horizon: int) -> Numbers:
    """Of items with log-odds [A], beside those of the candidates [C], far below all
    others where they are padding."""
    best = pool.max()
    return Numbers(
        moment=of_moment(moment, jax.nn.sigmoid(pool), horizon),
        candidate=_of_chances(logits, best),
        surest=_of_chances(best[None], best)[0],
        logit=logits,
        later=steps_later(moment, horizon),
    )


@check_ranks(chances=1)
def of_moment(moment: Moment, chances: jax.Array, horizon: int) -> jax.Array:
    """From the chances of all candidates [C]: [M]."""
    ordered = -jnp.sort(-chances)
    ranks = jnp.array(RANKS)
    of_pool = jnp.where(
        ranks < len(chances), ordered[jnp.minimum(ranks, len(chances) - 1)], 0.0
    )
    streaks = jnp.stack([moment.like_streak, moment.dislike_streak])
    liked = moment.session.is_liked.sum()
    of_clock = jnp.stack([steps_later(moment, horizon), liked]) / horizon
    return jnp.concatenate([streaks / LONG, jnp.log1p(streaks), of_clock, of_pool])


def steps_later(moment: Moment, horizon: int) -> jax.Array:
    """Of the episode, after this one: [] float32; none in a session that goes on."""
    return jnp.maximum(horizon - 1 - moment.step, 0).astype(jnp.float32)


def _of_chances(logits: jax.Array, best: jax.Array) -> jax.Array:
    """[A] -> [A, Z]; best [] is the highest of all candidates."""
    chance = jax.nn.sigmoid(logits)
    return jnp.stack([chance, chance - jax.nn.sigmoid(best), logits / 4], axis=-1)
