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
    best_place,
    log_odds,
    rerank,
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

HALVES = 2  # of the episodes: each has weights of its own (double Q-learning)
NUM_OF_WEIGHTS = NUM_OF_MOMENT + NUM_OF_CANDIDATE  # P


@struct.dataclass(kw_only=True)
class OrderParams:
    """What the policy plays with, besides the cross-fitted tables."""

    rank: RankParams
    weights: jax.Array  # [2, Z] of a candidate's numbers, by half of the episodes


@struct.dataclass(kw_only=True)
class OrderState:
    """Everything a resumed run needs besides its seed."""

    shared: CrossFittedTables
    params: OrderParams
    products: jax.Array  # [2, P, P] sums over steps, of the equations for the weights
    rewards: jax.Array  # [2, P] and their right side
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


def rank_state(state: OrderState) -> RankState:
    return state.rest.replace(shared=state.shared, params=state.params.rank)


def with_rank_state(state: OrderState, rank: RankState) -> OrderState:
    """The state with all that is trained before Q-learning from another."""
    params = state.params.replace(rank=rank.params)
    return state.replace(params=params, rest=rank.replace(shared=None, params=None))


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
        return items[best_place(items < len(first), q)]

    return {"begin": begin, "observe": observe, "scores": scores, "best": best}


def offered(parts: Parts, state: OrderState, context, moment: Moment, shown):
    """First scores [N], candidates [A], padded with N, and their chances [A]."""
    first, items, of_items = rerank(rank_state(state), context, moment.session, shown)
    logits = log_odds(parts, state.params.rank, of_items)
    return first, items, jnp.where(items < len(first), jax.nn.sigmoid(logits), 0.0)


def q_values(plan: OrderPlan, weights: jax.Array, numbers: Numbers) -> jax.Array:
    """Q of candidates, less what is the same for all of them: [A].

    weights [H, Z], of halves of what was learned from: a candidate is shown before the
    surest one as far as every half says that this pays.
    """
    over_surest = (numbers.candidate - numbers.surest[None]) @ weights.T  # [A, H]
    return paid_now(plan, numbers.chance) + over_surest.min(axis=-1)


def paid_now(plan: OrderPlan, chance: jax.Array) -> jax.Array:
    """Expected base reward: elementwise."""
    return plan.miss_reward + (1 - plan.miss_reward) * chance
