"""Q-learning of dlerse_rank: in which order to show what is likely to be liked.

Double Q-learning over the candidates (van Hasselt et al., AAAI 2016): the online head
picks the next item, and its running average, which is what plays outside training,
values it. As in pre-training, each update plays the users of one fold with the tables
made without them.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dlerse_jax.agents.offline.base import WARMUP
from dlerse_jax.agents.two_stage.agent import (
    Parts,
    best_place,
    draw_fold,
    minibatch_rows,
    play_all,
)
from dlerse_jax.agents.two_stage.moment import (
    NUM_OF_CANDIDATE,
    NUM_OF_MOMENT,
    Numbers,
    numbers_of,
)
from dlerse_jax.agents.two_stage.order import (
    AXES,
    OrderParams,
    OrderPlan,
    OrderState,
    logits_and_later,
    offered,
    order_head,
    order_policy,
    q_values,
    rank_state,
    with_rank_state,
)
from dlerse_jax.environment.reward import streak_reward
from dlerse_jax.learning.optimizer import apply_scaled, warmup_cosine
from dlerse_jax.runtime import sharding
from dlerse_jax.runtime.random_streams import stream_key
from dlerse_jax.types import Agent


@struct.dataclass(kw_only=True)
class Played:
    """Steps of episodes: what stood to choose from, and what came of it."""

    numbers: Numbers
    is_item: jax.Array  # [A] bool: no padding
    place: jax.Array  # [] int32: which candidate was shown
    base: jax.Array  # [] its reward without that of the streaks
    of_streaks: jax.Array  # [] reward of the streaks before the step
    liked: jax.Array  # [] 1 or 0: its answer


def with_q_learning(agent: Agent, parts: Parts, plan: OrderPlan) -> Agent:
    """dlerse_rank, which learns an order after its pre-training."""
    head = order_head(parts)

    def init(key):
        rank = agent.init(key)
        fresh = jax.jit(head.init)(
            jax.random.fold_in(key, 1),
            jnp.zeros(NUM_OF_MOMENT),
            jnp.zeros((1, NUM_OF_CANDIDATE)),
        )
        return OrderState(
            shared=rank.shared,
            params=OrderParams(rank=rank.params, head=fresh),
            online=fresh,
            optimizer=parts.optimizer.init(fresh),
            rest=rank.replace(shared=None, params=None),
        )

    def pretrain(state, *rest):
        rank, metrics = agent.pretrain(rank_state(state), *rest)
        return with_rank_state(state, rank), metrics

    def held_out(states):
        rank, users = agent.held_out(rank_state(states))
        return with_rank_state(states, rank), users

    return dataclasses.replace(
        agent,
        init=init,
        seed_axes=OrderState(**AXES),
        context=lambda state, masked: agent.context(rank_state(state), masked),
        held_out=held_out if parts.holds_out else None,
        pretrain=pretrain,
        q_learning=functools.partial(_q_learning, parts, plan),
        go_on_from=_go_on_from,
        **order_policy(parts, plan),
    )


def _go_on_from(states: OrderState, params: OrderParams) -> OrderState:
    """Pre-training leaves the order head as it was: what is served is all there is."""
    return states.replace(params=jax.tree.map(jnp.copy, params))


def _q_learning(parts: Parts, plan: OrderPlan, state: OrderState, world, key, progress):
    """One update: a fold plays, and the order head learns from all its steps."""
    fall = plan.epsilon_first - plan.epsilon_last
    epsilon = plan.epsilon_first - progress * fall
    key_users = stream_key(key, "users")
    users, context = draw_fold(parts, state.shared, key_users, plan.episodes)
    keys = jax.random.split(stream_key(key, "act"), len(users))
    users, keys = sharding.over_users(world.mesh, (users, keys))
    play = functools.partial(_play, parts, plan, state, context, world, epsilon)
    played = play_all(play, parts, state.shared, context, world, users, keys)
    state, losses, norms = _descend(parts, plan, state, played, key, progress)
    surest = played.numbers.logit.argmax(axis=-1)
    return state, {
        "loss": losses.mean(),
        "gradient_norm": norms.mean(),
        "precision": played.liked.mean(),
        "reward": (played.base + played.of_streaks).mean(),
        "epsilon": epsilon,
        "held_back": (surest != played.place).mean(),
    }


def _play(parts: Parts, plan: OrderPlan, state, context, world, epsilon, user, key):
    """One episode by the online head: `Played` with leading axis T."""
    num_items = len(context.popularity)
    acting = state.replace(params=state.params.replace(head=state.online))
    begin, observe = (order_policy(parts, plan)[name] for name in ("begin", "observe"))
    key_world, key_draws = jax.random.split(key)
    draws = jax.random.uniform(key_draws, (parts.horizon, 2))

    def step(carry, draw):
        episode, moment = carry
        shown = moment.session.items
        _, items, logits = offered(parts, acting, context, moment, shown)
        numbers = numbers_of(moment, logits, logits, parts.horizon)
        is_item = items < num_items
        q = q_values(parts, plan, acting.params.head, numbers)
        explored = drawn_place(logits, draw[1])
        place = jnp.where(draw[0] < epsilon, explored, best_place(is_item, q))
        key_step = jax.random.fold_in(key_world, episode.step)
        of_streaks = streak_reward(
            episode.like_streak, episode.dislike_streak, world.alpha
        )
        episode, seen, reward, _ = world.step(key_step, episode, items[place])
        played = Played(
            numbers=numbers,
            is_item=is_item,
            place=place,
            base=reward - of_streaks,
            of_streaks=of_streaks,
            liked=seen.liked,
        )
        return (episode, observe(acting, context, moment, seen)), played

    episode, _ = world.reset(key_world, user)
    carry = episode, begin(acting, context, user, key_world)
    return jax.lax.scan(step, carry, draws)[1]


def drawn_place(chances: jax.Array, draw: jax.Array) -> jax.Array:
    """A candidate at a rank that is drawn log-uniformly: [A], [] in [0, 1) -> [].

    Half of the draws are among the surest of the root of A, for what is held back in
    favour of an unlikely item teaches little.
    """
    rank = jnp.floor(len(chances) ** draw).astype(jnp.int32) - 1
    return jnp.argsort(-chances)[rank]


def targets(parts: Parts, plan: OrderPlan, heads, later: Played, is_last):
    """Double-Q target of what one step's later steps pay, from the step after it: [].

    heads: the one that learns, which picks, and the slow one, which values.
    """
    online, slow = heads
    picked = best_place(later.is_item, q_values(parts, plan, online, later.numbers))
    value = q_values(parts, plan, slow, _only(later.numbers, picked))[0]
    return plan.gamma * jnp.where(is_last, 0.0, value + later.of_streaks)


def _only(numbers: Numbers, place: jax.Array) -> Numbers:
    """One candidate alone: A = 1."""
    return numbers.replace(
        candidate=numbers.candidate[place][None], logit=numbers.logit[place][None]
    )


def losses_of(parts: Parts, head: dict, step: Played, wanted):
    """Of one step: squared error of what later steps pay, and the cross entropy of its
    own answer, [] each; 0 where nothing was shown."""
    numbers = _only(step.numbers, step.place)
    logit, later = logits_and_later(parts, head, numbers)
    surprise = optax.sigmoid_binary_cross_entropy(logit[0], step.liked)
    is_item = step.is_item[step.place]
    return is_item * (later[0] - wanted) ** 2, is_item * surprise


def _descend(parts: Parts, plan: OrderPlan, state, played: Played, key, progress):
    """Minibatches of steps in random order -> the state, loss and gradient of each."""
    rate = plan.learning_rate * warmup_cosine(progress, WARMUP)
    num_episodes, horizon = played.base.shape
    steps = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), played)
    minibatches = minibatch_rows(parts.training, key, num_episodes * horizon)

    def loss(online, slow, rows):
        is_last = rows % horizon == horizon - 1
        here = jax.tree.map(lambda x: x[rows], steps)
        later = jax.tree.map(lambda x: x[rows + ~is_last], steps)
        heads = jax.lax.stop_gradient((online, slow))
        target = jax.vmap(functools.partial(targets, parts, plan, heads))
        wanted = target(later, is_last)  # adds rows
        of_steps = jax.vmap(functools.partial(losses_of, parts, online))
        error, surprise = of_steps(here, wanted)  # adds rows
        return error.mean() + surprise.mean(), error.mean()

    def descend(carry, rows):
        online, slow, optimizer = carry
        gradients, error = jax.grad(loss, has_aux=True)(online, slow, rows)
        updates, optimizer = parts.optimizer.update(gradients, optimizer, online)
        online = apply_scaled(online, updates, rate)
        slow = optax.incremental_update(online, slow, plan.target_step)
        return (online, slow, optimizer), (error, optax.tree.norm(gradients))

    carry = state.online, state.params.head, state.optimizer
    carry, (losses, norms) = jax.lax.scan(descend, carry, minibatches)
    online, slow, optimizer = carry
    params = state.params.replace(head=slow)
    state = state.replace(params=params, online=online, optimizer=optimizer)
    return state, losses, norms
