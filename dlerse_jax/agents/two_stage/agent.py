"""dlerse_rank: candidate generation, and a small network that re-ranks.

Candidates come from what dlerse_plus starts as: friends, friends of friends, and a
regression on the answers. The re-ranker reads the features of each candidate
(`features.py`) and learns, on episodes that it plays itself, which of them the user
likes. It is trained with cross-fitting: each update plays the users of one fold with
the tables made without them.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dlerse_jax.agents.offline.base import WARMUP, Training, make_adamw
from dlerse_jax.agents.two_stage.features import FEATURES, features
from dlerse_jax.agents.two_stage.session import (
    CrossFittedTables,
    Session,
    Surroundings,
    candidates,
    first_scores,
    observe_answer,
    start_session,
    surroundings,
)
from dlerse_jax.environment.simulator import liked_items
from dlerse_jax.learning.optimizer import apply_scaled, warmup_cosine
from dlerse_jax.networks.rank_head import (
    Moments,
    RankHead,
    calibrated,
    no_moments,
    opinion,
    seen,
    standardised,
)
from dlerse_jax.runtime import sharding
from dlerse_jax.runtime.random_streams import stream_key
from dlerse_jax.types import Agent


@struct.dataclass(kw_only=True)
class RankParams:
    """What the policy plays with, besides the cross-fitted tables."""

    head: dict  # parameters of `RankHead`
    moments: Moments  # of the features


@struct.dataclass(kw_only=True)
class RankState:
    """Everything a resumed run needs besides its seed."""

    shared: CrossFittedTables
    params: RankParams
    optimizer: optax.OptState


CELLS_AT_ONCE = 2**26  # numbers held by the sessions played together: 256 MiB

# Of seeds, in the place of arrays; see `Agent.seed_axes`.
AXES: dict[str, Any] = {"shared": None, "params": 0, "optimizer": 0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """What is static, and so may be closed over: no arrays."""

    head: RankHead
    training: Training
    optimizer: optax.GradientTransformation
    horizon: int
    episodes: int  # per update
    epsilon: float  # chance that any candidate is shown in place of the best


def rank_agent(
    name: str,
    cross_fitted: CrossFittedTables,
    *,
    training: Training,
    hidden: int,
    networks: int,
    horizon: int,
    episodes: int,
    epsilon: float,
) -> Agent:
    """The agent; ValueError where a number is out of range."""
    counts = {"width": hidden, "networks": networks, "episodes": episodes}
    for key, number in counts.items():
        if number < 1:
            raise ValueError(f"rank.{key} must be 1 or more, got {number}")
    if not 0 <= epsilon <= 1:
        raise ValueError(f"rank.epsilon must be between 0 and 1, got {epsilon}")
    optimizer = make_adamw(training.weight_decay)
    parts = Parts(
        head=RankHead(hidden, networks),
        training=training,
        optimizer=optimizer,
        horizon=horizon,
        episodes=episodes,
        epsilon=epsilon,
    )

    def init(key):
        head = jax.jit(parts.head.init)(key, jnp.zeros((1, len(FEATURES))))
        return RankState(
            shared=cross_fitted,
            params=RankParams(head=head, moments=no_moments(len(FEATURES))),
            optimizer=optimizer.init(head),
        )

    return Agent(
        name=name,
        init=init,
        seed_axes=RankState(**AXES),
        served="params",
        horizon=horizon,
        context=lambda state, masked: surroundings(state.shared, masked, jnp.int32(0)),
        pretrain=functools.partial(_pretrain, parts),
        **_policy(parts),
    )


def _policy(parts: Parts) -> dict:
    """begin, observe, scores and best of `Agent`; the context has the fold tables."""

    def begin(state, context, person, key):
        del key
        return start_session(state.shared, context, person, parts.horizon)

    def observe(state, context, session, seen):
        return observe_answer(state.shared, context, session, seen.item, seen.liked)

    def scores(state, context, session, items):
        if items is not None:
            numbers = features(state.shared, context, session, items)
            return _ranked(parts, state.params, numbers)
        first, items, numbers = _rerank(state, context, session, session.items)
        ranked = _ranked(parts, state.params, numbers)
        # The rest comes behind all candidates, in the order of the first stage.
        behind = first - first.max() + ranked.min() - 1.0
        return behind.at[items].set(ranked, mode="drop")

    def best(state, context, session, shown):
        first, items, numbers = _rerank(state, context, session, shown)
        return _top(items, _ranked(parts, state.params, numbers), len(first))

    return {"begin": begin, "observe": observe, "scores": scores, "best": best}


def _rerank(state: RankState, context, session: Session, shown):
    """First scores of all items [N], candidates [A] and their features [A, F]."""
    first = first_scores(state.shared, context, session)
    items = candidates(context, first, shown)
    return first, items, features(state.shared, context, session, items)


def _ranked(parts: Parts, params: RankParams, numbers: jax.Array) -> jax.Array:
    """Log-odds of a like, as the head has them, from features [A, F]: [A]."""
    numbers = standardised(params.moments, numbers)
    return opinion(parts.head.apply(params.head, numbers))


def _top(items: jax.Array, ranked: jax.Array, num_items: int) -> jax.Array:
    """Of candidates [A] the one that ranks highest: [] int32; N where none is left."""
    return items[jnp.argmax(jnp.where(items < num_items, ranked, -jnp.inf))]


def _pretrain(parts: Parts, state: RankState, world, key, progress):
    """One update: a fold plays, and the head learns from all its candidates."""
    cross_fitted = state.shared
    key_fold, key_user = jax.random.split(stream_key(key, "users"))
    fold = jax.random.randint(key_fold, (), 0, cross_fitted.folds.shape[0])
    members = cross_fitted.folds[fold]
    users = jax.random.choice(key_user, members, (parts.episodes,))
    masked = jnp.zeros_like(cross_fitted.is_training).at[members].set(True)
    context = surroundings(cross_fitted, masked, 1 + fold)
    keys = jax.random.split(stream_key(key, "act"), len(users))
    users, keys = sharding.over_users(world.mesh, (users, keys))
    played = _play_all(parts, state, context, world, users, keys)
    numbers, liked, is_item, answers = played
    moments = seen(state.params.moments, numbers, is_item)
    examples = standardised(moments, numbers), liked, is_item
    is_first = state.params.moments.count == 0
    head = calibrated(state.params.head, *examples)
    head = jax.tree.map(
        lambda new, old: jnp.where(is_first, new, old), head, state.params.head
    )
    state = state.replace(params=state.params.replace(head=head, moments=moments))
    state, losses, norms = _descend(parts, state, examples, key, progress)
    return state, {
        "pretrain_loss": losses.mean(),
        "gradient_norm": norms.mean(),
        "precision": answers.mean(),
    }


def _play_all(parts: Parts, state: RankState, context, world, users, keys):
    """`_play` for users [B]; a few after the others where all would fill the memory."""
    play = functools.partial(_play, parts, state, context, world)
    of_session = jax.eval_shape(
        lambda user: start_session(state.shared, context, user, parts.horizon), users[0]
    )
    cells = sum(leaf.size for leaf in jax.tree.leaves(of_session))
    at_once = max(1, CELLS_AT_ONCE // cells)
    if world.mesh or at_once >= len(users):
        return jax.vmap(play)(users, keys)  # adds B
    return jax.lax.map(lambda pair: play(*pair), (users, keys), batch_size=at_once)


def _play(parts: Parts, state: RankState, context: Surroundings, world, user, key):
    """One episode, and the candidates before each answer.

    -> features [T, A, F], which are liked [T, A] and real [T, A], and answers [T].
    With chance epsilon any candidate is shown, and else the one that ranks highest.
    """
    cross_fitted = state.shared
    num_items = len(context.popularity)
    likes = liked_items(world.likes, user)
    is_liked = jnp.zeros(num_items + 1).at[likes].set(1.0).at[num_items].set(0.0)
    key_world, key_whether, key_which = jax.random.split(key, 3)
    chances = jax.random.uniform(key_whether, (parts.horizon,))
    keys = jax.random.split(key_which, parts.horizon)

    def step(carry, draw):
        episode, session = carry
        chance, key = draw
        _, items, numbers = _rerank(state, context, session, session.items)
        ranked = _ranked(parts, state.params, numbers)
        ranked = jnp.where(
            chance < parts.epsilon, jax.random.uniform(key, ranked.shape), ranked
        )
        item = _top(items, ranked, num_items)
        key_step = jax.random.fold_in(key_world, episode.step)
        episode, seen, _, _ = world.step(key_step, episode, item)
        session = observe_answer(cross_fitted, context, session, item, seen.liked)
        noted = numbers, is_liked[items], items < num_items, seen.liked
        return (episode, session), noted

    episode, _ = world.reset(key_world, user)
    session = start_session(cross_fitted, context, user, parts.horizon)
    return jax.lax.scan(step, (episode, session), (chances, keys))[1]


def _descend(parts: Parts, state: RankState, examples, key, progress):
    """Minibatches of states in random order -> the state, loss and gradient of each."""
    training = parts.training
    rate = training.learning_rate * warmup_cosine(progress, WARMUP)
    examples = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), examples)
    count = len(examples[0])
    order = jax.random.permutation(stream_key(key, "replay"), count)
    size = min(training.batch_size, count)
    starts = jnp.arange(training.batches) * size % (count - size + 1)

    def loss(head, numbers, liked, is_item):
        logits = parts.head.apply(head, numbers)
        losses = jnp.mean(optax.sigmoid_binary_cross_entropy(logits, liked), axis=0)
        return jnp.sum(losses * is_item) / jnp.maximum(is_item.sum(), 1)

    def descend(carry, start):
        head, optimizer = carry
        rows = jax.lax.dynamic_slice(order, (start,), (size,))
        batch = jax.tree.map(lambda x: x[rows], examples)
        value, gradients = jax.value_and_grad(loss)(head, *batch)
        updates, optimizer = parts.optimizer.update(gradients, optimizer, head)
        head = apply_scaled(head, updates, rate)
        return (head, optimizer), (value, optax.tree.norm(gradients))

    carry = state.params.head, state.optimizer
    (head, optimizer), (losses, norms) = jax.lax.scan(descend, carry, starts)
    params = state.params.replace(head=head)
    return state.replace(params=params, optimizer=optimizer), losses, norms
