"""How dlerse_rank plays once it learns an order: by Q of its candidates.

Q is the reward that is expected now, from the chance of a like that pre-training found,
and what later steps pay. That is linear in a few numbers of the moment and of the
candidate (`moment.py`), with weights that start at 0: the policy starts as the myopic
one.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.two_stage.agent import AXES as RANK_AXES
from dlerse_jax.agents.two_stage.agent import (
    Parts,
    RankParams,
    RankState,
    before_the_rest,
    log_odds,
    rerank,
    top_item,
)
from dlerse_jax.agents.two_stage.features import features
from dlerse_jax.agents.two_stage.fold_tables import CrossFittedTables
from dlerse_jax.agents.two_stage.moment import (
    NUM_OF_CANDIDATE,
    NUM_OF_MOMENT,
    Moment,
    Numbers,
    first_moment,
    next_moment,
    numbers_of,
)
from dlerse_jax.agents.two_stage.session import observe_answer, start_session

HALVES = 2  # H, of the episodes: each has weights of its own (double Q-learning)
TIE = 1e-4  # of the base reward: of equals the surer one is shown
NUM_OF_WEIGHTS = NUM_OF_MOMENT + NUM_OF_CANDIDATE  # P


@struct.dataclass(kw_only=True)
class OrderParams:
    """What the policy plays with, besides the cross-fitted tables."""

    rank: RankParams
    # [H, 2, Z] of a candidate's numbers, by half of the episodes: answers, streaks
    weights: jax.Array


@struct.dataclass(kw_only=True)
class OrderState:
    """Everything a resumed run needs besides its seed."""

    shared: CrossFittedTables
    params: OrderParams
    products: jax.Array  # [H, P, P] sums over steps, of the equations for the weights
    rewards: jax.Array  # [H, 2, P] and their right sides, of answers and of streaks
    rest: RankState  # of pre-training, without what stands above


# Of seeds, in the place of arrays; see `Agent.seed_axes`.
AXES: dict[str, Any] = {"shared": None, "params": 0, "products": 0, "rewards": 0}
AXES |= {"rest": RankState(**RANK_AXES | {"params": None})}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OrderPlan:
    """How Q is learned. All static: another value is another compilation."""

    gamma: float  # discount; Q after the last step is 0, so 1 is finite
    episodes: int  # played per update
    epsilon_first: float  # exploration, falling linearly from here
    epsilon_last: float  # to here
    miss_reward: float

    def epsilon(self, progress: jax.Array) -> jax.Array:
        """Exploration at a share of the updates, []."""
        return self.epsilon_first - progress * (self.epsilon_first - self.epsilon_last)


def rank_state(state) -> RankState:
    """What dlerse_rank has without Q-learning, of an `OrderState` or one like it."""
    return state.rest.replace(shared=state.shared, params=state.params.rank)


def with_rank_state(state, rank: RankState):
    """The state with all that is trained before Q-learning from another."""
    params = state.params.replace(rank=rank.params)
    return state.replace(params=params, rest=rest_of(rank))


def rest_of(rank: RankState) -> RankState:
    """What a state that holds more keeps of dlerse_rank's own as its `rest`."""
    return rank.replace(shared=None, params=None)


def order_policy(parts: Parts, plan: OrderPlan) -> dict:
    """begin, observe, scores and best of `Agent`."""

    def begin(state, context, person, key):
        del key
        session = start_session(state.shared, context, person, parts.horizon)
        return first_moment(session)

    def observe(state, context, moment, seen):
        answer = seen.item, seen.liked
        session = observe_answer(state.shared, context, moment.session, *answer)
        return next_moment(session, seen)

    def scores(state, context, moment, items):
        shown = moment.session.items
        first, among, pool = offered(parts, state, context, moment, shown)
        chances = pool
        if items is not None:
            asked = features(state.shared, context, moment.session, items)
            chances = jax.nn.sigmoid(log_odds(parts, state.params.rank, asked))
        numbers = numbers_of(moment, chances, pool, parts.horizon)
        ranked = q_values(plan, state.params.weights, numbers)
        return ranked if items is not None else before_the_rest(first, among, ranked)

    def best(state, context, moment, shown):
        first, items, pool = offered(parts, state, context, moment, shown)
        numbers = numbers_of(moment, pool, pool, parts.horizon)
        q = q_values(plan, state.params.weights, numbers)
        return top_item(items, q, len(first))

    return {"begin": begin, "observe": observe, "scores": scores, "best": best}


def offered(parts: Parts, state: OrderState, context, moment: Moment, shown):
    """First scores [N], candidates [A], padded with N, and their chances [A]."""
    first, items, of_items = rerank(rank_state(state), context, moment.session, shown)
    logits = log_odds(parts, state.params.rank, of_items)
    return first, items, jnp.where(items < len(first), jax.nn.sigmoid(logits), 0.0)


def q_values(plan: OrderPlan, weights: jax.Array, numbers: Numbers) -> jax.Array:
    """Q of candidates, less what is the same for all of them: [A].

    weights [H, 2, Z]: by half of what was learned from, what later answers pay and what
    later streaks do. Order alone does not make anybody like more, so a candidate passes
    the surest one for streaks alone, and as far as every half says that this pays. This
    holds on both sides of `between`: else what answers seem to pay where chances are
    high would buy a candidate that hardly anybody likes.
    """
    of_answers, of_streaks = jnp.moveaxis(weights, 1, 0)  # [H, Z] each
    between, chance_between = numbers.between, numbers.chance_between

    def gained(chance, candidate, upper_chance, upper):
        """By answers, now and later, over one with the upper chance: [H, A]."""
        now = paid_now(plan, chance) - paid_now(plan, upper_chance)
        return jnp.minimum(now[None] + of_answers @ (candidate - upper).T, 0.0)

    surest = numbers.surest[None]
    over_surest = of_streaks @ (numbers.candidate - surest).T
    over_surest += gained(chance_between, between, numbers.highest, surest)
    over_surest += gained(numbers.chance, numbers.candidate, chance_between, between)
    of_surest = paid_now(plan, numbers.highest)
    now = paid_now(plan, numbers.chance) - of_surest
    return of_surest + over_surest.min(axis=0) + TIE * now


def paid_now(plan: OrderPlan, chance: jax.Array) -> jax.Array:
    """Expected base reward: elementwise."""
    return plan.miss_reward + (1 - plan.miss_reward) * chance
