"""Q-learning of dlerse_rank: in which order to show what is likely to be liked.

Least-squares policy iteration (Lagoudakis and Parr, JMLR 2003): Q is linear in few
numbers, so the weights that agree with all steps up to now solve linear equations. Each
half of the episodes has its own, and what it takes for the best next candidate is what
the other half picks (double Q-learning: van Hasselt, NIPS 2010). As in pre-training,
each update plays the users of one fold with the tables made without them.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.two_stage.agent import Parts, best_place, play_fold
from dlerse_jax.agents.two_stage.moment import (
    NUM_OF_CANDIDATE,
    Numbers,
    numbers_of,
)
from dlerse_jax.agents.two_stage.order import (
    AXES,
    HALVES,
    NUM_OF_WEIGHTS,
    OrderParams,
    OrderPlan,
    OrderState,
    offered,
    order_policy,
    paid_now,
    q_values,
    rank_state,
    rest_of,
    with_rank_state,
)
from dlerse_jax.environment.reward import streak_reward
from dlerse_jax.types import Agent

KEPT = 0.99  # of the sums, per update: earlier policies are forgotten slowly
RIDGE = 1.0  # of the equations, beside sums over thousands of steps


@struct.dataclass(kw_only=True)
class Played:
    """Steps of episodes: what stood to choose from, and what came of it."""

    numbers: Numbers
    usual: jax.Array  # [Z] mean of a candidate's numbers, as they are played
    is_item: jax.Array  # [A] bool: no padding
    place: jax.Array  # [] int32: which candidate was shown
    of_streaks: jax.Array  # [] reward of the streaks before the step
    reward: jax.Array  # []
    liked: jax.Array  # [] 1 or 0: its answer


def with_q_learning(agent: Agent, parts: Parts, plan: OrderPlan) -> Agent:
    """dlerse_rank, which learns an order after its pre-training."""

    def init(key):
        rank = agent.init(key)
        weights = jnp.zeros((HALVES, 2, NUM_OF_CANDIDATE))
        return OrderState(
            shared=rank.shared,
            params=OrderParams(rank=rank.params, weights=weights),
            products=jnp.zeros((HALVES, NUM_OF_WEIGHTS, NUM_OF_WEIGHTS)),
            rewards=jnp.zeros((HALVES, 2, NUM_OF_WEIGHTS)),
            rest=rest_of(rank),
        )

    return dataclasses.replace(
        after_pretraining(agent, parts),
        init=init,
        seed_axes=OrderState(**AXES),
        q_learning=functools.partial(_q_learning, parts, plan),
        **order_policy(parts, plan),
    )


def after_pretraining(agent: Agent, parts: Parts) -> Agent:
    """The agent on states that hold more than dlerse_rank's own: an `OrderState`, or
    another with `shared`, `params.rank` and `rest`."""

    def pretrain(state, *rest):
        rank, metrics = agent.pretrain(rank_state(state), *rest)
        return with_rank_state(state, rank), metrics

    def held_out(states):
        rank, users = agent.held_out(rank_state(states))
        return with_rank_state(states, rank), users

    return dataclasses.replace(
        agent,
        context=lambda state, masked: agent.context(rank_state(state), masked),
        held_out=held_out if parts.holds_out else None,
        pretrain=pretrain,
        go_on_from=_go_on_from,
    )


def _go_on_from(states, params):
    """Pre-training leaves the rest as it was: what is served is all there is."""
    return states.replace(params=jax.tree.map(jnp.copy, params))


def _q_learning(parts: Parts, plan: OrderPlan, state: OrderState, world, key, progress):
    """One update: a fold plays, and the weights are found anew with all its steps."""
    epsilon = plan.epsilon(progress)
    play = functools.partial(_play, parts, plan, state, world, epsilon)
    played = play_fold(play, parts, state.shared, world, key, plan.episodes)
    surest = played.numbers.chance.argmax(axis=-1)
    return learn(plan, state, played), {
        "precision": played.liked.mean(),
        "reward": played.reward.mean(),
        "epsilon": epsilon,
        "held_back": (surest != played.place).mean(),
    }


def _play(parts: Parts, plan: OrderPlan, state, world, epsilon, context, user, key):
    """One episode with exploration: `Played` with leading axis T."""
    num_items = len(context.popularity)
    begin, observe = (order_policy(parts, plan)[name] for name in ("begin", "observe"))
    key_world, key_draws = jax.random.split(key)
    draws = jax.random.uniform(key_draws, (parts.horizon, 2))

    def step(carry, draw):
        episode, moment = carry
        shown = moment.session.items
        _, items, pool = offered(parts, state, context, moment, shown)
        numbers = numbers_of(moment, pool, pool, parts.horizon)
        is_item = items < num_items
        best = best_place(is_item, q_values(plan, state.params.weights, numbers))
        explored = drawn_place(pool, draw[1])
        place = jnp.where(draw[0] < epsilon, explored, best)
        key_step = jax.random.fold_in(key_world, episode.step)
        streaks = episode.like_streak, episode.dislike_streak
        episode, seen, reward, _ = world.step(key_step, episode, items[place])
        played = Played(
            numbers=numbers,
            usual=usual_numbers(numbers, best, epsilon),
            is_item=is_item,
            place=place,
            of_streaks=streak_reward(*streaks, world.alpha),
            reward=reward,
            liked=seen.liked,
        )
        return (episode, observe(state, context, moment, seen)), played

    episode, _ = world.reset(key_world, user)
    carry = episode, begin(state, context, user, key_world)
    return jax.lax.scan(step, carry, draws)[1]


def drawn_place(chances: jax.Array, draw: jax.Array) -> jax.Array:
    """A candidate at a rank that is drawn log-uniformly: [A], [] in [0, 1) -> [].

    Half of the draws are among the surest of the root of A, for what is held back in
    favour of an unlikely item teaches little.
    """
    rank = jnp.floor(len(chances) ** draw).astype(jnp.int32) - 1
    return jnp.argsort(-chances)[rank]


def usual_numbers(numbers: Numbers, best, epsilon) -> jax.Array:
    """Mean numbers of what is shown, best [] or explored with chance epsilon []: [Z].

    What a choice is worth is measured from them. Else it would be mixed up with what
    moments are worth in which there is much or little to choose from.
    """
    by_rank = numbers.candidate[jnp.argsort(-numbers.chance)]
    count = jnp.arange(1, len(by_rank) + 1)
    up_to = jnp.log(count) / jnp.maximum(jnp.log(len(by_rank)), 1e-9)
    explored = jnp.diff(up_to, append=1.0) @ by_rank
    return (1 - epsilon) * numbers.candidate[best] + epsilon * explored


def learn(plan: OrderPlan, state: OrderState, played: Played) -> OrderState:
    """The weights that agree with all episodes up to now, of which played [B, T] are
    the last."""
    half = jnp.arange(len(played.place)) % HALVES
    picking = state.params.weights[(half + 1) % HALVES]
    new = jax.vmap(functools.partial(equations, plan))(picking, played)  # adds B
    products, rewards = (
        KEPT * old + jax.ops.segment_sum(of_episodes, half, HALVES)
        for old, of_episodes in zip((state.products, state.rewards), new, strict=True)
    )
    ridge = RIDGE * jnp.eye(rewards.shape[-1])
    sides = jnp.moveaxis(rewards, 1, 2)
    found = jax.vmap(jnp.linalg.solve)(products + ridge[None], sides)  # adds H
    of_choice = found[:, -state.params.weights.shape[-1] :]
    params = state.params.replace(weights=jnp.moveaxis(of_choice, 2, 1))
    return state.replace(params=params, products=products, rewards=rewards)


def equations(plan: OrderPlan, picking: jax.Array, played: Played):
    """Of one episode [T]: products [P, P] of x with x less the next x, and of x with
    what the next step pays, by its answer and by the streaks before it, [2, P].

    The next candidate is the one that weights picking [2, Z] have first. Where nothing
    was shown all are 0; nothing comes after the last step.
    """
    best = jax.vmap(functools.partial(_best, plan, picking))(played)  # adds T
    here = jax.vmap(_features)(played, played.place)[:-1]
    later = jax.vmap(_features)(played, best)[1:]
    paid = jax.vmap(functools.partial(_paid, plan))(played, best)[1:]
    return here.T @ (here - plan.gamma * later), plan.gamma * paid.T @ here


def _best(plan: OrderPlan, weights: jax.Array, step: Played) -> jax.Array:
    return best_place(step.is_item, q_values(plan, weights[None], step.numbers))


def _features(step: Played, place) -> jax.Array:
    """Of the moment and of what a choice adds to what is usual: [P]."""
    numbers = step.numbers
    choice = numbers.candidate[place] - step.usual
    return step.is_item[place] * jnp.concatenate([numbers.moment, choice])


def _paid(plan: OrderPlan, step: Played, place) -> jax.Array:
    """Expected reward of a step, of its answer and of the streaks before it: [2]."""
    now = paid_now(plan, step.numbers.chance[place])
    return step.is_item[place] * jnp.stack([now, step.of_streaks])
