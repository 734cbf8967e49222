"""Q-learning of dlerse_rank by numbers of each item, from the answers it is given.

The log-odds of a like are fitted to the answers by cross entropy, what later steps pay
by squared error to a one-step target: the reward that the best next candidate is
expected to bring, and what comes after it. The target and what plays are the running
average of the numbers that learn. What pre-training found stays as it is. As there,
each update plays the users of one fold with the tables made without them.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dlerse_jax.agents.offline.base import WARMUP
from dlerse_jax.agents.two_stage.agent import AXES as RANK_AXES
from dlerse_jax.agents.two_stage.agent import (
    Parts,
    RankState,
    best_place,
    play_fold,
)
from dlerse_jax.agents.two_stage.answers import (
    AnswerNumbers,
    AnswerParams,
    Choice,
    answer_policy,
    later_added,
    like_log_odds,
    new_numbers,
    of_moment,
    offered,
    q_values,
)
from dlerse_jax.agents.two_stage.fold_tables import CrossFittedTables
from dlerse_jax.agents.two_stage.order import OrderPlan, rest_of
from dlerse_jax.agents.two_stage.q_learning import after_pretraining
from dlerse_jax.environment.reward import streak_reward
from dlerse_jax.learning.optimizer import apply_scaled, warmup_cosine
from dlerse_jax.types import Agent

RATE = 0.01  # of Adam, at its peak
STEPS = 2  # of Adam in an update, each with all of its answers
AVERAGE_STEP = 0.05  # of what plays towards what learns, per step of Adam

OPTIMIZER = optax.scale_by_adam()


@struct.dataclass(kw_only=True)
class AnswerState:
    """Everything a resumed run needs besides its seed."""

    shared: CrossFittedTables
    params: AnswerParams
    numbers: AnswerNumbers  # that learn
    optimizer: optax.OptState
    rest: RankState  # of pre-training, without what stands above


# Of seeds, in the place of arrays; see `Agent.seed_axes`.
AXES: dict[str, Any] = {"shared": None, "params": 0, "numbers": 0, "optimizer": 0}
AXES |= {"rest": RankState(**RANK_AXES | {"params": None})}


@struct.dataclass(kw_only=True)
class Answered:
    """One step of an episode: what stood to choose from, and what came of it."""

    choice: Choice
    place: jax.Array  # [] int32: which candidate was shown
    of_streaks: jax.Array  # [] reward of the streaks before the step
    reward: jax.Array  # []
    liked: jax.Array  # [] 1 or 0: its answer


def with_answers(agent: Agent, parts: Parts, plan: OrderPlan, rank: int) -> Agent:
    """dlerse_rank that learns numbers of each item after it, vectors of that rank."""

    def init(key):
        found = agent.init(key)
        num_items = found.shared.tables_by_fold.place.shape[-1]
        numbers = new_numbers(jax.random.fold_in(key, 1), num_items, rank)
        return AnswerState(
            shared=found.shared,
            params=AnswerParams(rank=found.params, numbers=numbers),
            numbers=numbers,
            optimizer=OPTIMIZER.init(numbers),
            rest=rest_of(found),
        )

    return dataclasses.replace(
        after_pretraining(agent, parts),
        init=init,
        seed_axes=AnswerState(**AXES),
        q_learning=functools.partial(_q_learning, parts, plan),
        **answer_policy(parts, plan),
    )


def _q_learning(parts: Parts, plan: OrderPlan, state, world, key, progress):
    """One update: a fold plays, and the numbers learn from its answers."""
    epsilon = plan.epsilon(progress)
    play = functools.partial(_play, parts, plan, state, world, epsilon)
    answered = play_fold(play, parts, state.shared, world, key, plan.episodes)
    rate = RATE * warmup_cosine(progress, WARMUP)
    state, (of_likes, of_later) = learn(plan, state, answered, rate)
    return state, {
        "precision": answered.liked.mean(),
        "reward": answered.reward.mean(),
        "epsilon": epsilon,
        "like_loss": of_likes,
        "td_loss": of_later,
    }


def _play(parts: Parts, plan: OrderPlan, state, world, epsilon, context, user, key):
    """One episode with exploration: `Answered` with leading axis T.

    With chance epsilon any candidate is shown, and else the one of the highest Q.
    """
    policy, num_items = answer_policy(parts, plan), len(context.popularity)
    key_world, key_whether, key_which = jax.random.split(key, 3)
    chances = jax.random.uniform(key_whether, (parts.horizon,))
    keys = jax.random.split(key_which, parts.horizon)

    def step(carry, draw):
        episode, recent = carry
        chance, key = draw
        shown = recent.moment.session.items
        _, choice = offered(parts, state, context, recent, shown)
        q = q_values(plan, state.params.numbers, choice)
        q = jnp.where(chance < epsilon, jax.random.uniform(key, q.shape), q)
        place = best_place(choice.items < num_items, q)
        streaks = episode.like_streak, episode.dislike_streak
        key_step = jax.random.fold_in(key_world, episode.step)
        item = choice.items[place]
        episode, seen, reward, _ = world.step(key_step, episode, item)
        answered = Answered(
            choice=choice,
            place=place,
            of_streaks=streak_reward(*streaks, world.alpha),
            reward=reward,
            liked=seen.liked,
        )
        return (episode, policy["observe"](state, context, recent, seen)), answered

    episode, _ = world.reset(key_world, user)
    carry = episode, policy["begin"](state, context, user, key_world)
    return jax.lax.scan(step, carry, (chances, keys))[1]


def learn(plan: OrderPlan, state: AnswerState, answered: Answered, rate):
    """A few steps of Adam on the answers [B, T] -> the state, and the mean losses."""

    def loss(numbers, target):
        losses = functools.partial(episode_losses, plan, numbers, target)
        of_likes, of_later = map(jnp.mean, jax.vmap(losses)(answered))  # adds B
        return of_likes + of_later, (of_likes, of_later)

    def descend(carry, _):
        numbers, average, optimizer = carry
        gradients, losses = jax.grad(loss, has_aux=True)(numbers, average)
        updates, optimizer = OPTIMIZER.update(gradients, optimizer)
        numbers = apply_scaled(numbers, updates, rate)
        average = optax.incremental_update(numbers, average, AVERAGE_STEP)
        return (numbers, average, optimizer), losses

    carry = state.numbers, state.params.numbers, state.optimizer
    carry, losses = jax.lax.scan(descend, carry, length=STEPS)
    numbers, average, optimizer = carry
    params = state.params.replace(numbers=average)
    state = state.replace(numbers=numbers, params=params, optimizer=optimizer)
    return state, jax.tree.map(jnp.mean, losses)


def episode_losses(
    plan: OrderPlan, numbers: AnswerNumbers, target: AnswerNumbers, answered: Answered
):
    """Of one episode [T]: cross entropy of its answers, and squared errors of what
    later steps pay, [T] each; 0 where nothing was shown."""
    worth = jax.vmap(functools.partial(_worth, plan, target))(answered)  # adds T
    wanted = plan.gamma * jnp.append(worth[1:], 0.0)
    numbers_at = functools.partial(_of_shown, plan, numbers, target)
    logits, later, is_item = jax.vmap(numbers_at)(answered)  # adds T
    of_likes = optax.sigmoid_binary_cross_entropy(logits, answered.liked)
    return is_item * of_likes, is_item * (later - wanted) ** 2


def _worth(plan: OrderPlan, target: AnswerNumbers, step: Answered) -> jax.Array:
    """What a step and those after it pay if the best is shown: []."""
    choice = step.choice
    is_item = choice.items < len(target.like.alone)
    q = q_values(plan, target, choice)
    best = jnp.max(q, where=is_item, initial=-jnp.inf)
    later = of_moment(plan, target, choice) @ target.moment
    return jnp.where(is_item.any(), best + later + step.of_streaks, 0.0)


def _of_shown(plan: OrderPlan, numbers, target, step: Answered):
    """Log-odds of the item shown, what comes later, and whether it is an item: []."""
    choice = step.choice.replace(items=step.choice.items[step.place, None])
    choice = choice.replace(logits=choice.logits[step.place, None])
    later = later_added(numbers, choice)[0]
    later += of_moment(plan, target, step.choice) @ numbers.moment
    is_item = choice.items[0] < len(numbers.like.alone)
    return like_log_odds(numbers, choice)[0], later, is_item
