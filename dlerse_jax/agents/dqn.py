"""The deep Q-learner: DLERSE and everything that differs from it by a word of config.

In go a network, its tables, the friend graph and who may be learned from; out comes an
`Agent` whose `fit` and `learn` are one update each and whose policy plays the averaged
parameters. The order of one `learn`: act, store, sample, double-Q loss, step.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import jraph
import optax
from flax import struct

from dlerse_jax.keys import stream_key
from dlerse_jax.learning.losses import (
    catalogue_sums,
    cross_entropy_fit,
    double_q_targets,
    huber,
    squared_fit,
)
from dlerse_jax.learning.optimizer import apply_scaled, warmup_cosine
from dlerse_jax.learning.replay import Replay, empty_replay, sample, store
from dlerse_jax.networks.q_network import (
    QNetwork,
    Tables,
    advantages,
    clock_features,
    memory_weights,
    q_values,
)
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


@struct.dataclass(kw_only=True)
class Plan:
    """Counts of learning. Static: each is a shape, or a length."""

    num_fits: int = struct.field(pytree_node=False)
    num_updates: int = struct.field(pytree_node=False)
    act_batch: int = struct.field(pytree_node=False)  # episodes played an update
    batch_size: int = struct.field(pytree_node=False)  # episodes trained on an update
    replay_capacity: int = struct.field(pytree_node=False)
    warmup: int = struct.field(pytree_node=False)
    fit_loss: str = struct.field(pytree_node=False)  # "squared" or "cross_entropy"
    fit_steps: int = struct.field(pytree_node=False)  # steps an episode, cross entropy
    dislike_weight: float = struct.field(pytree_node=False)  # c of the item memory
    block: int = struct.field(pytree_node=False)  # items scored at a time in the target


@struct.dataclass(kw_only=True)
class Shared:
    """Arrays that every seed reads and none changes: one copy, whatever S."""

    tables: Tables | None  # None: embeddings are trained, and live in params
    graph: jraph.GraphsTuple
    visible: jax.Array  # [U] bool: users with feedback that may be seen
    train_users: jax.Array  # [<=U] int32
    exploration_weights: jax.Array  # [N] int32, cumulative: what a random item is


@struct.dataclass(kw_only=True)
class LearnerState:
    """Everything a resumed run needs besides its seed."""

    shared: Shared
    params: dict  # "network", "item_bias", and "tables" where they are trained
    target: dict
    average: dict
    optimizer: optax.OptState
    replay: Replay
    fits: jax.Array  # [] int32: updates of each phase done
    updates: jax.Array
    settings: Settings


@struct.dataclass(kw_only=True)
class Memory:
    """What the agent carries through one user's episode."""

    carry: jax.Array  # of the interest encoder
    influence: jax.Array  # k^K of the user [D]
    items: jax.Array  # item memory [D]
    query: struct.PyTreeNode  # for the next choice


@struct.dataclass(kw_only=True)
class Acting:
    """What the policy reads: the state of the greedy agent inside the learner."""

    shared: Shared
    params: dict

    @property
    def tables(self) -> Tables:
        """The embeddings, trained or frozen, with the item biases, always trained."""
        tables = self.params.get("tables", self.shared.tables)
        return tables.replace(item_bias=self.params["item_bias"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """What is static, and so may be closed over: modules and counts, no arrays."""

    network: QNetwork
    optimizer: optax.GradientTransformation
    plan: Plan
    horizon: int

    def apply(self, acting: Acting, method: str, *args, **kwargs):
        return self.network.apply(
            {"params": acting.params["network"]}, *args, method=method, **kwargs
        )


# --- acting: one user at a time, given parameters -------------------------------------


def _context(parts: Parts, acting, hidden):
    """Social influence of every user [U, D], hidden ones seen as cold."""
    cold = ~acting.shared.visible | hidden
    graph, user = acting.shared.graph, acting.tables.user
    return parts.apply(acting, "social", graph, user, cold)


def _query(parts: Parts, acting, carry, influence, items, step, likes, dislikes):
    clock = clock_features(step.astype(jnp.float32), likes, dislikes, parts.horizon)
    h = parts.apply(acting, "interest", carry)
    return parts.apply(acting, "query", h, influence, clock, items, train=False)


def _begin(parts: Parts, acting, context, user, key):
    del key
    carry = parts.apply(acting, "start")
    items = jnp.zeros(parts.network.width)
    zero = jnp.float32(0)
    influence = context[user]
    query = _query(parts, acting, carry, influence, items, jnp.int32(0), zero, zero)
    return Memory(carry=carry, influence=influence, items=items, query=query)


def _observe(parts: Parts, acting, context, memory, observation):
    del context
    vector = acting.tables.item_in[observation.item]
    carry = parts.apply(acting, "step", memory.carry, vector, observation.liked)
    weight = memory_weights(observation.liked, parts.plan.dislike_weight)
    items = memory.items + weight * vector
    query = _query(
        parts,
        acting,
        carry,
        memory.influence,
        items,
        observation.step,
        observation.like_run,
        observation.dislike_run,
    )
    return memory.replace(carry=carry, items=items, query=query)


def _scores(parts: Parts, acting, context, memory, items):
    del context
    return advantages(memory.query, acting.tables, items)


def _policy(parts: Parts, name: str) -> Agent:
    """The greedy policy, as an agent whose state is `Acting`."""
    return Agent(
        name=name,
        init=lambda key: None,
        context=functools.partial(_context, parts),
        begin=functools.partial(_begin, parts),
        observe=functools.partial(_observe, parts),
        scores=functools.partial(_scores, parts),
    )


# --- learning -------------------------------------------------------------------------


def _episode_queries(parts: Parts, acting, influence, items, liked, dropout_key):
    """Queries of the states before each step of one episode: leading axis T.

    dropout_key None switches dropout off. One scan of the encoder serves all T.
    """
    vectors = acting.tables.item_in[items]
    h = parts.apply(acting, "unroll", vectors, liked)[:-1]
    weights = memory_weights(liked, parts.plan.dislike_weight)[:, None] * vectors
    items_before = jnp.cumsum(weights, axis=0) - weights
    like_runs, dislike_runs = runs_before(liked)
    steps = jnp.arange(parts.horizon, dtype=jnp.float32)
    clock = clock_features(steps, like_runs, dislike_runs, parts.horizon)
    train = dropout_key is not None
    rngs = {"dropout": dropout_key} if train else None
    return parts.apply(
        acting, "query", h, influence, clock, items_before, train=train, rngs=rngs
    )


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


def _fit_losses(parts: Parts, acting, world, influence, users, items, liked, key):
    """The supervised loss of B episodes: [B]."""
    tables = acting.tables
    sums = catalogue_sums(tables)

    def one(influence, user, items, liked, key):
        key_dropout, key_steps = jax.random.split(key)
        query = _episode_queries(parts, acting, influence, items, liked, key_dropout)
        likes = liked_items(world.likes, user)
        if parts.plan.fit_loss == "squared":
            return squared_fit(
                query, tables, sums, items, liked, likes, world.miss_reward
            ).mean()
        steps = jax.random.choice(
            key_steps, parts.horizon, (parts.plan.fit_steps,), replace=False
        )
        return cross_entropy_fit(query, tables, items, likes, steps).mean()

    keys = jax.random.split(key, users.shape[0])
    return jax.vmap(one)(influence, users, items, liked, keys)  # adds B


def _td_losses(parts: Parts, acting, slow, influences, world, gamma, batch, key):
    """Huber loss of the double-Q error of B episodes: [B], and the mean Q: [B].

    acting is the online network and slow the target; influences [B, D] of either.
    """

    def one(influence, slow_influence, items, liked, key):
        query = _episode_queries(parts, acting, influence, items, liked, key)
        greedy = _episode_queries(parts, acting, influence, items, liked, None)
        later = _episode_queries(parts, slow, slow_influence, items, liked, None)
        best = best_allowed_each_step(
            greedy.direction,
            acting.tables.item_out,
            acting.tables.item_bias,
            items,
            parts.plan.block,
        )
        values = q_values(later, slow.tables, best, items)
        rewards = step_reward(
            liked, *runs_before(liked), world.alpha, world.miss_reward
        )
        # State t + 1 follows step t; the last step has none and is not bootstrapped.
        targets = double_q_targets(rewards, jnp.roll(values, -1), gamma)
        q = q_values(query, acting.tables, items, items)
        return huber(q - jax.lax.stop_gradient(targets)).mean(), q.mean()

    _, items, liked = batch
    keys = jax.random.split(key, items.shape[0])
    return jax.vmap(one)(*influences, items, liked, keys)  # adds B


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
        _policy(parts, "behaviour"),
        acting,
        _context(parts, acting, hidden),
        world,
        users,
        stream_key(key, "act"),
        exploration=exploration,
    )
    return episodes, hidden


def _fit(parts: Parts, state: LearnerState, world: Simulator, key):
    """One supervised update on episodes the network has just played itself."""
    settings, plan = state.settings, parts.plan
    episodes, hidden = _play(parts, state, world, key, settings.fit_epsilon)
    users, items, liked = episodes.users, episodes.items, episodes.feedback

    def loss(params):
        acting = Acting(shared=state.shared, params=params)
        influence = _context(parts, acting, hidden)[users]
        key_dropout = stream_key(key, "dropout")
        return _fit_losses(
            parts, acting, world, influence, users, items, liked, key_dropout
        ).mean()

    value, gradients = jax.value_and_grad(loss)(state.params)
    pace = warmup_cosine(state.fits, plan.num_fits, plan.warmup, 0.05)
    state = _descend(parts, state, gradients, settings.fit_learning_rate * pace)
    state = state.replace(
        target=state.params,
        replay=store(state.replay, episodes),
        fits=state.fits + 1,
    )
    return state, _metrics(episodes, gradients, {"fit_loss": value})


def _learn(parts: Parts, state: LearnerState, world: Simulator, key):
    """One double-Q update on replayed episodes, after acting and storing."""
    settings, plan = state.settings, parts.plan
    progress = jnp.clip(state.updates / plan.num_updates, 0.0, 1.0)
    epsilon_fall = settings.epsilon_first - settings.epsilon_last
    epsilon = settings.epsilon_first - progress * epsilon_fall
    episodes, _ = _play(parts, state, world, key, epsilon)
    replay = store(state.replay, episodes)
    batch = sample(replay, stream_key(key, "replay"), plan.batch_size)
    users, items, liked = batch
    hidden = _draw_hidden(state, users, stream_key(key, "replay_hide"))
    slow = Acting(shared=state.shared, params=state.target)
    slow_influence = _context(parts, slow, hidden)[users]
    key_dropout = stream_key(key, "dropout")

    def loss(params):
        acting = Acting(shared=state.shared, params=params)
        influence = _context(parts, acting, hidden)[users]
        influences = (influence, slow_influence)
        errors, q = _td_losses(
            parts, acting, slow, influences, world, settings.gamma, batch, key_dropout
        )
        fits = _fit_losses(
            parts, acting, world, influence, users, items, liked, key_dropout
        )
        total = errors.mean() + settings.anchor * fits.mean()
        return total, {"loss": total, "td_loss": errors.mean(), "q": q.mean()}

    gradients, measured = jax.grad(loss, has_aux=True)(state.params)
    pace = warmup_cosine(state.updates, plan.num_updates, plan.warmup, 0.05)
    state = _descend(parts, state, gradients, settings.learning_rate * pace)
    target = optax.incremental_update(state.params, state.target, settings.target_step)
    state = state.replace(target=target, replay=replay, updates=state.updates + 1)
    return state, _metrics(episodes, gradients, measured | {"epsilon": epsilon})


def _metrics(episodes, gradients, measured):
    return measured | {
        "gradient_norm": optax.global_norm(gradients),
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
    horizon: int,
) -> Agent:
    """A deep agent. tables are where it starts; shared.tables is None if they train."""
    parts = Parts(network=network, optimizer=optimizer, plan=plan, horizon=horizon)
    policy = _policy(parts, name)

    def init(key):
        variables = network.init(key, shared.graph, tables)
        params = {"network": variables["params"], "item_bias": tables.item_bias}
        if shared.tables is None:
            params["tables"] = tables.replace(item_bias=None)
        return LearnerState(
            shared=shared,
            params=params,
            target=params,
            average=params,
            optimizer=optimizer.init(params),
            replay=empty_replay(plan.replay_capacity, horizon),
            fits=jnp.int32(0),
            updates=jnp.int32(0),
            settings=settings,
        )

    def acting(state):
        return Acting(shared=state.shared, params=state.average)

    return Agent(
        name=name,
        init=init,
        seed_axes=_seed_axes(),
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
