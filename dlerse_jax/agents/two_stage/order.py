"""How dlerse_rank plays once it learns an order: by Q of its candidates.

Q is the reward that is expected now and what the order head expects from later steps.
The chance of a like is the one that pre-training found, corrected by the head for the
moment. The head starts at 0, so the policy starts as the myopic one.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
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
    Moment,
    Numbers,
    first_moment,
    next_moment,
    numbers_of,
)
from dlerse_jax.agents.two_stage.session import observe_answer, start_session
from dlerse_jax.networks.order_head import OrderHead

NO_ITEM = -30.0  # log-odds of what pads a list of candidates


@struct.dataclass(kw_only=True)
class OrderParams:
    """What the policy plays with, besides the cross-fitted tables."""

    rank: RankParams
    head: dict  # of `OrderHead`: a running average, and the target network


@struct.dataclass(kw_only=True)
class OrderState:
    """Everything a resumed run needs besides its seed."""

    shared: CrossFittedTables
    params: OrderParams
    online: dict  # the order head that learns
    optimizer: optax.OptState  # its own
    rest: RankState  # of pre-training, without what stands above


# Of seeds, in the place of arrays; see `Agent.seed_axes`.
AXES: dict[str, Any] = {"shared": None, "params": 0, "online": 0, "optimizer": 0}
AXES |= {"rest": RankState(**RANK_AXES | {"params": None})}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OrderPlan:
    """How Q is learned. All static: another value is another compilation."""

    gamma: float  # discount; Q after the last step is 0, so 1 is finite
    learning_rate: float  # its peak; warm-up, then a cosine
    target_step: float  # of the running average, per minibatch
    episodes: int  # played per update
    epsilon_first: float  # exploration, falling linearly from here
    epsilon_last: float  # to here
    miss_reward: float


def order_head(parts: Parts) -> OrderHead:
    return OrderHead(parts.head.hidden)


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
        first, among, logits = offered(parts, state, context, moment, shown)
        read = functools.partial(numbers_of, moment)
        if items is not None:
            asked = features(state.shared, context, moment.session, items)
            asked = log_odds(parts, state.params.rank, asked)
            numbers = read(asked, logits, parts.horizon)
            return q_values(parts, plan, state.params.head, numbers)
        numbers = read(logits, logits, parts.horizon)
        ranked = q_values(parts, plan, state.params.head, numbers)
        return before_the_rest(first, among, ranked)

    def best(state, context, moment, shown):
        first, items, logits = offered(parts, state, context, moment, shown)
        numbers = numbers_of(moment, logits, logits, parts.horizon)
        q = q_values(parts, plan, state.params.head, numbers)
        return items[best_place(items < len(first), q)]

    return {"begin": begin, "observe": observe, "scores": scores, "best": best}


def offered(parts: Parts, state: OrderState, context, moment: Moment, shown):
    """First scores [N], candidates [A], padded with N, and their log-odds [A]."""
    first, items, of_items = rerank(rank_state(state), context, moment.session, shown)
    logits = log_odds(parts, state.params.rank, of_items)
    return first, items, jnp.where(items < len(first), logits, NO_ITEM)


def q_values(parts: Parts, plan: OrderPlan, head: dict, numbers: Numbers) -> jax.Array:
    """Q of candidates, less the reward of the streaks before the step: [A].

    That reward is known before acting and the same for all of them.
    """
    logit, later = logits_and_later(parts, head, numbers)
    chance = jax.nn.sigmoid(logit)
    return plan.miss_reward + (1 - plan.miss_reward) * chance + later


def logits_and_later(parts: Parts, head: dict, numbers: Numbers):
    """Log-odds of a like now, and what all later steps pay: [A] each.

    Advantages are over showing the surest candidate, so what is the same for all of
    them is in the value. Nothing comes after the last step.
    """
    rows = jnp.concatenate([numbers.candidate, numbers.surest[None]])
    found = order_head(parts).apply(head, numbers.moment, rows)
    advantage = found.advantage[:-1] - found.advantage[-1]
    later = numbers.later * found.value + (numbers.later > 0) * advantage
    return numbers.logit + found.shift[:-1], later
