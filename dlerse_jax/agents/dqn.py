"""The deep Q-learner: DLERSE and everything that differs from it by a word of config.

In go a network, its tables, the friend graph and who may be learned from; out comes an
`Agent` whose `fit` and `learn` are one update each and whose policy plays the averaged
parameters. The order of one `learn`: act, store, sample, double-Q loss, step.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dlerse_jax import devices
from dlerse_jax.agents.q_policy import (
    ITEM_AXES,
    Acting,
    Policy,
    Shared,
    episode_queries,
    greedy_policy,
    social_context,
    social_of_all,
)
from dlerse_jax.keys import stream_key
from dlerse_jax.learning.losses import (
    catalogue_sums,
    contrast_loss,
    cross_entropy_fit,
    double_q_targets,
    huber,
    squared_fit,
)
from dlerse_jax.learning.optimizer import apply_scaled, warmup_cosine
from dlerse_jax.learning.replay import Replay, empty_replay, sample, store
from dlerse_jax.networks.q_network import QNetwork, Tables, q_values
from dlerse_jax.rollout import Exploration, rollout
from dlerse_jax.selection import best_allowed_each_step
from dlerse_jax.simulator import Simulator, liked_items, runs_before, step_reward
from dlerse_jax.types import Agent


@struct.dataclass(kw_only=True)
class Settings:
    """Numbers of learning that are traced, so that a sweep can vmap over them."""

    gamma: jax.Array
    learning_rate: jax.Array  # of `learn`
    fit_learning_rate: jax.Array
    epsilon_first: jax.Array  # exploration of `learn`, falling linearly
    epsilon_last: jax.Array
    fit_epsilon: jax.Array
    hide_least: jax.Array  # share of other users treated as cold, drawn each update
    hide_most: jax.Array
    target_step: jax.Array  # tau: the target moves this far to the network an update
    average_step: jax.Array  # the same for the parameters that act in evaluation
    anchor: jax.Array  # weight of the supervised fit beside the temporal difference
    contrast: jax.Array  # weight of DEERS' comparison with the opposite answer


@struct.dataclass(kw_only=True)
class Plan:
    """Counts of learning. Static: each is a shape, or a length."""

    act_batch: int = struct.field(pytree_node=False)  # episodes played an update
    batch_size: int = struct.field(pytree_node=False)  # episodes trained on an update
    replay_capacity: int = struct.field(pytree_node=False)
    warmup: float = struct.field(pytree_node=False)  # share of a phase
    fit_loss: str = struct.field(pytree_node=False)  # "squared" or "cross_entropy"
    fit_steps: int = struct.field(pytree_node=False)  # steps an episode, cross entropy
    horizon: int = struct.field(pytree_node=False)  # T
    block: int = struct.field(pytree_node=False)  # items scored at a time in the target


@struct.dataclass(kw_only=True)
class LearnerState:
    """Everything a resumed run needs besides its seed."""

    shared: Shared
    params: dict  # "network", "item_bias", and "tables" where they are trained
    target: dict
    average: dict
    optimizer: optax.OptState
    replay: Replay
    settings: Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """What is static, and so may be closed over: modules and counts, no arrays."""

    policy: Policy
    optimizer: optax.GradientTransformation
    plan: Plan


def _draw_hidden(state: LearnerState, users, key):
    """Users whose feedback counts as unknown: [U] bool, the batch's own included."""
    key_share, key_who = jax.random.split(key)
    share = jax.random.uniform(
        key_share,
        minval=state.settings.hide_least,
        maxval=state.settings.hide_most,
    )
    hidden = jax.random.uniform(key_who, state.shared.visible.shape) < share
    return hidden.at[users].set(True)


def _draw_users(state: LearnerState, count: int, key):
    """Training users [count], with replacement."""
    train_users = state.shared.train_users
    return train_users[jax.random.randint(key, (count,), 0, train_users.shape[0])]


def _fit_losses(parts: Parts, acting, world, social, users, items, liked, key):
    """The supervised loss of B episodes: [B]."""
    sums = catalogue_sums(acting.tables)

    def one(social, user, items, liked, key):
        tables = acting.tables_for(social)
        key_dropout, key_steps = jax.random.split(key)
        query = episode_queries(parts.policy, acting, social, items, liked, key_dropout)
        likes = liked_items(world.likes, user)
        if parts.plan.fit_loss == "squared":
            return squared_fit(
                query, tables, sums, items, liked, likes, world.miss_reward
            ).mean()
        steps = jax.random.choice(
            key_steps, parts.plan.horizon, (parts.plan.fit_steps,), replace=False
        )
        return cross_entropy_fit(query, tables, items, likes, steps).mean()

    keys = jax.random.split(key, users.shape[0])
    return jax.vmap(one)(social, users, items, liked, keys)  # adds B


def _td_losses(parts: Parts, acting, slow, socials, world, gamma, batch, key):
    """Double-Q error (Huber), contrast and mean Q of B episodes: [B] each.

    acting is the online network and slow the target; socials are [B] of either.
    """

    def one(social, slow_social, items, liked, key):
        query = episode_queries(parts.policy, acting, social, items, liked, key)
        greedy = episode_queries(parts.policy, acting, social, items, liked, None)
        later = episode_queries(parts.policy, slow, slow_social, items, liked, None)
        tables = acting.tables_for(social)
        best = best_allowed_each_step(
            greedy.direction,
            tables.item_out,
            tables.item_bias,
            items,
            parts.plan.block,
            devices.num_item_shares(world.mesh),
            copy_gains=greedy.copy_gain,
            copied=tables.copied,
        )
        values = q_values(later, slow.tables_for(slow_social), best, items)
        rewards = step_reward(
            liked, *runs_before(liked), world.alpha, world.miss_reward
        )
        # State t + 1 follows step t; the last step has none and is not bootstrapped.
        targets = double_q_targets(rewards, jnp.roll(values, -1), gamma)
        q = q_values(query, tables, items, items)
        error = huber(q - jax.lax.stop_gradient(targets)).mean()
        return error, contrast_loss(query, tables, items, liked), q.mean()

    _, items, liked = batch
    keys = jax.random.split(key, items.shape[0])
    return jax.vmap(one)(*socials, items, liked, keys)  # adds B


def _descend(parts: Parts, state, gradients, learning_rate):
    """One optimiser step, then the running average follows."""
    updates, optimizer_state = parts.optimizer.update(
        gradients, state.optimizer, state.params
    )
    params = apply_scaled(state.params, updates, learning_rate)
    average = optax.incremental_update(
        params, state.average, state.settings.average_step
    )
    return state.replace(params=params, average=average, optimizer=optimizer_state)


def _play(parts: Parts, state, world, key, epsilon):
    """Fresh episodes of random training users, played by the current parameters."""
    users = _draw_users(state, parts.plan.act_batch, stream_key(key, "users"))
    hidden = _draw_hidden(state, users, stream_key(key, "hide"))
    acting = Acting(shared=state.shared, params=state.params)
    exploration = Exploration(
        epsilon=epsilon, cumulative_weights=state.shared.exploration_weights
    )
    episodes = rollout(
        greedy_policy(parts.policy, "behaviour"),
        acting,
        social_context(parts.policy, acting, hidden, stream_key(key, "friends")),
        world,
        users,
        stream_key(key, "act"),
        exploration=exploration,
    )
    return episodes, hidden


def _fit(parts: Parts, state: LearnerState, world: Simulator, key, progress):
    """One supervised update on episodes the network has just played itself."""
    settings, plan = state.settings, parts.plan
    episodes, hidden = _play(parts, state, world, key, settings.fit_epsilon)
    users, items, liked = episodes.users, episodes.items, episodes.feedback

    def loss(params):
        acting = Acting(shared=state.shared, params=params)
        # The friends that were drawn for acting: the same key.
        key_friends = stream_key(key, "friends")
        social = social_of_all(parts.policy, acting, hidden, users, key_friends)
        key_dropout = stream_key(key, "dropout")
        return _fit_losses(
            parts, acting, world, social, users, items, liked, key_dropout
        ).mean()

    value, gradients = jax.value_and_grad(loss)(state.params)
    pace = warmup_cosine(progress, plan.warmup)
    state = _descend(parts, state, gradients, settings.fit_learning_rate * pace)
    replay = store(state.replay, episodes)
    state = state.replace(target=state.params, replay=replay)
    return state, _metrics(episodes, gradients, {"fit_loss": value})


def _learn(parts: Parts, state: LearnerState, world: Simulator, key, progress):
    """One double-Q update on replayed episodes, after acting and storing."""
    settings, plan = state.settings, parts.plan
    epsilon_fall = settings.epsilon_first - settings.epsilon_last
    epsilon = settings.epsilon_first - progress * epsilon_fall
    episodes, _ = _play(parts, state, world, key, epsilon)
    replay = store(state.replay, episodes)
    batch = sample(replay, stream_key(key, "replay"), plan.batch_size)
    users, items, liked = batch = devices.over_users(world.mesh, batch)
    hidden = _draw_hidden(state, users, stream_key(key, "replay_hide"))
    slow = Acting(shared=state.shared, params=state.target)
    key_friends = stream_key(key, "replay_friends")
    slow_social = social_of_all(parts.policy, slow, hidden, users, key_friends)
    key_dropout = stream_key(key, "dropout")

    def loss(params):
        acting = Acting(shared=state.shared, params=params)
        social = social_of_all(parts.policy, acting, hidden, users, key_friends)
        socials = (social, slow_social)
        errors, contrasts, q = _td_losses(
            parts, acting, slow, socials, world, settings.gamma, batch, key_dropout
        )
        fits = _fit_losses(
            parts, acting, world, social, users, items, liked, key_dropout
        )
        total = errors.mean() + settings.anchor * fits.mean()
        total += settings.contrast * contrasts.mean()
        return total, {"loss": total, "td_loss": errors.mean(), "q": q.mean()}

    gradients, measured = jax.grad(loss, has_aux=True)(state.params)
    pace = warmup_cosine(progress, plan.warmup)
    state = _descend(parts, state, gradients, settings.learning_rate * pace)
    target = optax.incremental_update(state.params, state.target, settings.target_step)
    state = state.replace(target=target, replay=replay)
    return state, _metrics(episodes, gradients, measured | {"epsilon": epsilon})


def _metrics(episodes, gradients, measured):
    return measured | {
        "gradient_norm": optax.tree.norm(gradients),
        "precision": episodes.feedback.mean(),
        "reward": episodes.rewards.mean(),
    }


def make_dqn(
    name: str,
    *,
    network: QNetwork,
    tables: Tables,
    shared: Shared,
    optimizer: optax.GradientTransformation,
    settings: Settings,
    plan: Plan,
    dislike_weight: float,
) -> Agent:
    """A deep agent. tables are where it starts; shared.tables is None if they train."""
    parts = Parts(
        policy=Policy(
            network=network, dislike_weight=dislike_weight, horizon=plan.horizon
        ),
        optimizer=optimizer,
        plan=plan,
    )
    policy = greedy_policy(parts.policy, name)

    def init(key):
        # Compiled apart from the tables: it reads the shape of a row, and no number.
        first_rows = jax.tree.map(lambda table: table[:1], tables)
        variables = jax.jit(network.init)(key, first_rows)
        params = {"network": variables["params"], "item_bias": tables.item_bias}
        if shared.tables is None:
            params["tables"] = tables.replace(item_bias=None)
        return LearnerState(
            shared=shared,
            params=params,
            target=params,
            average=params,
            optimizer=optimizer.init(params),
            replay=empty_replay(plan.replay_capacity, plan.horizon),
            settings=settings,
        )

    def acting(state):
        return Acting(shared=state.shared, params=state.average)

    return Agent(
        name=name,
        init=init,
        seed_axes=_seed_axes(),
        item_axes=ITEM_AXES,
        horizon=plan.horizon,
        context=lambda state, hidden: policy.context(acting(state), hidden),
        begin=lambda state, *rest: policy.begin(acting(state), *rest),
        observe=lambda state, *rest: policy.observe(acting(state), *rest),
        scores=lambda state, *rest: policy.scores(acting(state), *rest),
        fit=functools.partial(_fit, parts),
        learn=functools.partial(_learn, parts),
    )


def _seed_axes() -> LearnerState:
    """Every leaf of the state has a seed axis but the arrays that seeds share."""
    axes = {field.name: 0 for field in dataclasses.fields(LearnerState)}
    return LearnerState(**(axes | {"shared": None}))
