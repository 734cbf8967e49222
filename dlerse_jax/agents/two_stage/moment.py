"""What Q-learning of dlerse_rank reads at a moment of a session.

Of the moment: both streaks, the clock, and the chances of what is still to be shown.
Of a candidate: its chance of a like, how unsure the session is of it, and how alike it
is to what was shown last and to what could be shown next. None of these numbers
identifies an item or a user.
"""

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.two_stage.features import FEATURES
from dlerse_jax.agents.two_stage.fold_tables import Surroundings
from dlerse_jax.agents.two_stage.session import Session
from dlerse_jax.runtime.ranks import check_ranks
from dlerse_jax.types import Observation

RECENT = 4  # items shown last that a candidate is compared with
RANKS = (0, 1, 2, 4, 8, 16, 32)  # of the chances that stand for all of them
READ = ("posterior_std", "popularity")  # of `FEATURES`
NUM_OF_MOMENT = 6 + len(RANKS)  # M
NUM_OF_CANDIDATE = 4 + len(READ) + RECENT  # Z
LONG = 8.0  # a long streak: the unit of theirs


@struct.dataclass(kw_only=True)
class Moment:
    """One user's session, and where in the episode it is."""

    session: Session
    step: jax.Array  # [] int32: items shown in this episode
    like_streak: jax.Array  # [] c_p
    dislike_streak: jax.Array  # [] c_n
    recent: jax.Array  # [RECENT] int32 items shown last, latest first, padded with N


@struct.dataclass(kw_only=True)
class Numbers:
    """What the order head reads: of the moment, and of candidates."""

    moment: jax.Array  # [M]
    candidate: jax.Array  # [A, Z]
    surest: jax.Array  # [Z] of the candidate with the highest chance
    logit: jax.Array  # [A] log-odds of a like, as pre-training found them
    later: jax.Array  # [] steps of the episode after this one


def first_moment(session: Session, num_items: int) -> Moment:
    """Before the first answer."""
    return Moment(
        session=session,
        step=jnp.int32(0),
        like_streak=jnp.float32(0),
        dislike_streak=jnp.float32(0),
        recent=jnp.full(RECENT, num_items, jnp.int32),
    )


def next_moment(moment: Moment, session: Session, seen: Observation) -> Moment:
    """After an answer. A past from before the episode (step 0) moves no clock."""
    num_items = len(session.answers) - 1
    was_shown = (seen.step > 0) & (seen.item < num_items)
    pushed = jnp.concatenate([seen.item[None], moment.recent[:-1]])
    return Moment(
        session=session,
        step=seen.step,
        like_streak=seen.like_streak,
        dislike_streak=seen.dislike_streak,
        recent=jnp.where(was_shown, pushed, moment.recent).astype(jnp.int32),
    )


@struct.dataclass(kw_only=True)
class Pool:
    """What could be shown next: the candidates of a moment."""

    items: jax.Array  # [A] int32, padded with N
    features: jax.Array  # [A, F], standardised
    logits: jax.Array  # [A] log-odds of a like
    chance: jax.Array  # [A], 0 for padding
    direction: jax.Array  # [D] mean direction of those that are liked


@check_ranks(logits=1, items=1)
def pool_of(around: Surroundings, items, features, logits) -> Pool:
    """From candidates [A], their standardised features [A, F] and log-odds [A]."""
    num_items = len(around.popularity)
    chance = jnp.where(items < num_items, jax.nn.sigmoid(logits), 0.0)
    directions = _directions(around, items)
    direction = chance @ directions / jnp.maximum(chance.sum(), 1e-6)
    return Pool(
        items=items,
        features=features,
        logits=logits,
        chance=chance,
        direction=direction,
    )


def surest_of(pool: Pool) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Item, features and log-odds of the surest candidate, each with A = 1."""
    place = jnp.argmax(pool.chance)[None]
    return pool.items[place], pool.features[place], pool.logits[place]


def of_moment(moment: Moment, chances: jax.Array, horizon: int) -> jax.Array:
    """From the chances [A] of the pool: [M]."""
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


def of_candidates(
    moment: Moment, around: Surroundings, pool: Pool, items, features, logits
) -> jax.Array:
    """Items [A] with standardised features [A, F] and log-odds [A]: [A, Z]."""
    chance = jax.nn.sigmoid(logits)
    directions = _directions(around, items)
    alike = directions @ _directions(around, moment.recent).T
    read = features[:, jnp.array([FEATURES.index(name) for name in READ])]
    below = chance - pool.chance.max()
    own = (chance, below, logits / 4, directions @ pool.direction)
    return jnp.concatenate([jnp.stack(own, axis=-1), read, alike], axis=-1)


def _directions(around: Surroundings, items: jax.Array) -> jax.Array:
    """Factors of items [A] at length 1, 0 for padding N: [A, D]."""
    tables = around.fold_tables
    num_items, width = tables.item_in.shape
    rows = tables.item_out[jnp.minimum(items, num_items - 1), :width]
    length = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return jnp.where((items < num_items)[:, None], rows / (length + 1e-6), 0.0)
