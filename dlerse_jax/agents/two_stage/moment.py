"""What Q-learning of dlerse_rank reads at a moment of a session.

Of the moment: both streaks, the clock, the chances of what is still to be shown, and
what these are likely to come to. Of a candidate: its chance of a like, in the cell of
the streaks. None of these numbers identifies an item or a user.
"""

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.two_stage.session import Session
from dlerse_jax.environment.reward import streaks_after
from dlerse_jax.runtime.ranks import check_ranks
from dlerse_jax.types import Observation

RANKS = (0, 1, 2, 4, 8, 16, 31)  # of the chances that stand for all of them
NUM_OF_MOMENT = 19 + 3 * len(RANKS)  # M
SURE = (0.0, 0.5)  # chances from which on a candidate's counts, each with a weight
LONG_ROW = 2  # of likes or of dislikes: these are cells of their own
NUM_OF_CANDIDATE = 3 * len(SURE)  # Z
UNIT = 8.0  # of sums over an episode


@struct.dataclass(kw_only=True)
class Moment:
    """One user's session, and where in the episode it is."""

    session: Session
    step: jax.Array  # [] int32: items shown in this episode
    like_streak: jax.Array  # [] c_p
    dislike_streak: jax.Array  # [] c_n


@struct.dataclass(kw_only=True)
class Numbers:
    """What Q is linear in, beside the reward of the step itself."""

    moment: jax.Array  # [M]; 0 at the last step
    candidate: jax.Array  # [A, Z]; 0 at the last step
    surest: jax.Array  # [Z] of the candidate with the highest chance
    # [A, Z] of one with a chance between both, where the slope in the chance changes
    between: jax.Array
    chance: jax.Array  # [A] of a like, as pre-training found it
    highest: jax.Array  # [] of the chances of all candidates
    chance_between: jax.Array  # [A]


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


@check_ranks(chances=1, pool=1)
def numbers_of(moment: Moment, chances, pool, horizon: int) -> Numbers:
    """Of items with chances [A], beside those of all candidates [C]; padding has 0."""
    highest = pool.max()
    lower, upper = jnp.minimum(chances, highest), jnp.maximum(chances, highest)
    chance_between = jnp.clip(SURE[1], lower, upper)
    return Numbers(
        moment=of_moment(moment, pool, horizon),
        candidate=of_candidates(moment, chances, horizon),
        surest=of_candidates(moment, highest[None], horizon)[0],
        between=of_candidates(moment, chance_between, horizon),
        chance=chances,
        highest=highest,
        chance_between=chance_between,
    )


@check_ranks(chances=1)
def of_moment(moment: Moment, chances: jax.Array, horizon: int) -> jax.Array:
    """From the chances of all candidates [C]: [M]."""
    ordered = -jnp.sort(-chances)
    ranks = jnp.array(RANKS)
    of_pool = jnp.where(
        ranks < len(chances), ordered[jnp.minimum(ranks, len(chances) - 1)], 0.0
    )
    later = steps_later(moment, horizon)
    share = later / horizon
    likes, dislikes = moment.like_streak, moment.dislike_streak
    streaks = jnp.stack([likes, dislikes])
    expected = surest_first(ordered, likes, dislikes, later, horizon) / UNIT
    liked = moment.session.is_liked.sum()[None] / horizon
    twice = jnp.concatenate(
        [jnp.ones(1), expected, streaks / UNIT, jnp.log1p(streaks), of_pool, liked]
    )
    more = jnp.concatenate([share[None] ** 2, share * of_pool**2])
    return jnp.concatenate([twice, share * twice, more]) * (later > 0)


@check_ranks(chances=1)
def of_candidates(moment: Moment, chances: jax.Array, horizon: int) -> jax.Array:
    """[A] -> [A, Z]: how far each chance is above `SURE`, where the streaks are.

    A cell for a row of dislikes, one for a row of likes, and one for neither; an order
    that pays at once pays more the more steps there are to come.
    """
    in_dislikes = moment.dislike_streak >= LONG_ROW
    in_likes = moment.like_streak >= LONG_ROW
    cells = jnp.stack([in_dislikes, ~in_dislikes & ~in_likes, in_likes])
    above = jnp.maximum(chances[:, None] - jnp.array([SURE]), 0.0)  # [A, 2]
    share = steps_later(moment, horizon) / horizon
    return share * (above[:, None] * cells[None, :, None]).reshape(len(chances), -1)


def steps_later(moment: Moment, horizon: int) -> jax.Array:
    """Of the episode, after this one: [] float32; none in a session that goes on."""
    return jnp.maximum(horizon - 1 - moment.step, 0).astype(jnp.float32)


@check_ranks(chances=1)
def surest_first(chances, like_streak, dislike_streak, later, horizon: int):
    """Expected likes, and sums of both streaks before later steps: [3].

    Of showing the rest of the episode by falling chance, chances [C], if answers were
    independent: the streaks' expectations follow from each other.
    """

    def step(carry, place):
        (likes, dislikes), total = carry
        chance = chances[jnp.minimum(place, len(chances) - 1)]
        streaks = streaks_after(likes, dislikes, chance)
        here = jnp.stack([chance, *streaks]) * (place < later)
        return (streaks, total + here), None

    start = (like_streak, dislike_streak), jnp.zeros(3)
    return jax.lax.scan(step, start, jnp.arange(horizon))[0][1]
