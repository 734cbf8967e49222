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
import numpy as np
import optax
from flax import struct

from dlerse_jax.agents.offline.base import WARMUP, Training, make_adamw
from dlerse_jax.agents.two_stage.belonging import community_scores
from dlerse_jax.agents.two_stage.features import FEATURES, features
from dlerse_jax.agents.two_stage.fold_tables import (
    CrossFittedTables,
    Surroundings,
    surroundings,
)
from dlerse_jax.agents.two_stage.session import (
    Session,
    candidates,
    first_scores,
    observe_answer,
    start_session,
)
from dlerse_jax.environment.simulator import liked_items
from dlerse_jax.learning.optimizer import apply_scaled, warmup_cosine
from dlerse_jax.networks.rank_head import (
    STEPS,
    Moments,
    RankHead,
    calibrated,
    no_moments,
    seen,
    standardised,
)
from dlerse_jax.runtime import sharding
from dlerse_jax.runtime.random_streams import stream_key
from dlerse_jax.types import Agent


@struct.dataclass(kw_only=True)
class RankParams:
    """What the policy plays with, besides the cross-fitted tables."""

    head: dict  # parameters of `RankHead`: the running average of those that learn
    moments: Moments  # of the features


@struct.dataclass(kw_only=True)
class RankState:
    """Everything a resumed run needs besides its seed."""

    shared: CrossFittedTables
    without: jax.Array  # [] int32: which tables play; 0: those of all training users
    head: dict  # parameters that learn
    params: RankParams
    optimizer: optax.OptState


CELLS_AT_ONCE = 2**26  # numbers held by the sessions played together: 256 MiB

# Of seeds, in the place of arrays; see `Agent.seed_axes`.
AXES: dict[str, Any] = {"shared": None, "without": None}
AXES |= {"head": 0, "params": 0, "optimizer": 0}
AVERAGE_STEP = 0.01  # per minibatch, of the head that plays towards the one that learns


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """What is static, and so may be closed over: no arrays."""

    head: RankHead
    training: Training
    optimizer: optax.GradientTransformation
    horizon: int
    episodes: int  # per update
    epsilon: float  # chance that any candidate is shown in place of the best
    friendless_share: float  # of episodes are played as if the user named nobody
    holds_out: bool  # whether the last fold is not learned from, and selects


def rank_parts(
    *,
    training: Training,
    hidden: int,
    horizon: int,
    episodes: int,
    epsilon: float,
    friendless_share: float,
    holds_out: bool,
) -> Parts:
    """What is static of an agent; ValueError where a number is out of range.

    holds_out: the users of the last fold are not learned from. They are played with the
    tables made without them, and so can select checkpoints beside validation users.
    """
    counts = {"width": hidden, "episodes": episodes}
    for key, number in counts.items():
        if number < 1:
            raise ValueError(f"rank.{key} must be 1 or more, got {number}")
    shares = {"epsilon": epsilon, "friendless_share": friendless_share}
    for key, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"rank.{key} must be between 0 and 1, got {share}")
    return Parts(
        head=RankHead(hidden),
        training=training,
        optimizer=make_adamw(training.weight_decay),
        horizon=horizon,
        episodes=episodes,
        epsilon=epsilon,
        friendless_share=friendless_share,
        holds_out=holds_out,
    )


def rank_agent(name: str, cross_fitted: CrossFittedTables, parts: Parts) -> Agent:
    """The agent without Q-learning."""

    def init(key):
        head = jax.jit(parts.head.init)(key, jnp.zeros((1, len(FEATURES))))
        return RankState(
            shared=cross_fitted,
            without=jnp.int32(0),
            head=head,
            params=RankParams(head=head, moments=no_moments(len(FEATURES))),
            optimizer=parts.optimizer.init(head),
        )

    return Agent(
        name=name,
        init=init,
        seed_axes=RankState(**AXES),
        served="params",
        horizon=parts.horizon,
        context=lambda state, masked: surroundings(state.shared, masked, state.without),
        held_out=_play_held_out if parts.holds_out else None,
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
            return log_odds(parts, state.params, numbers)
        first, items, numbers = rerank(state, context, session, session.items)
        return before_the_rest(first, items, log_odds(parts, state.params, numbers))

    def best(state, context, session, shown):
        first, items, numbers = rerank(state, context, session, shown)
        return top_item(items, log_odds(parts, state.params, numbers), len(first))

    return {"begin": begin, "observe": observe, "scores": scores, "best": best}


def rerank(state: RankState, context, session: Session, shown):
    """First scores of all items [N], candidates [A] and their features [A, F]."""
    first = first_scores(state.shared, context, session)
    of_communities = community_scores(context.fold_tables, session.belonging)
    items = candidates(context, first, of_communities, shown)
    by_item = first[context.fold_tables.place]
    return by_item, items, features(state.shared, context, session, items)


def log_odds(parts: Parts, params: RankParams, numbers: jax.Array) -> jax.Array:
    """Log-odds of a like, as the head has them, from features [A, F]: [A]."""
    numbers = standardised(params.moments, numbers)
    return parts.head.apply(params.head, numbers)


def before_the_rest(first: jax.Array, items: jax.Array, ranked: jax.Array) -> jax.Array:
    """Scores of all items [N]: candidates [A] as they rank [A], and all others behind
    them in the order of the first stage, first [N]."""
    behind = first - first.max() + ranked.min() - 1.0
    return behind.at[items].set(ranked, mode="drop")


def best_place(is_item: jax.Array, ranked: jax.Array) -> jax.Array:
    """Where the candidate that ranks highest stands: [A], [A] -> [] int32."""
    return jnp.argmax(jnp.where(is_item, ranked, -jnp.inf))


def top_item(items: jax.Array, ranked: jax.Array, num_items: int) -> jax.Array:
    """Of candidates [A] the one that ranks highest: [] int32; N where none is left."""
    return items[best_place(items < num_items, ranked)]


def _play_held_out(states: RankState) -> tuple[RankState, np.ndarray]:
    """States that play the last fold with the tables made without it, and its users."""
    folds = states.shared.folds
    users = np.unique(np.asarray(folds[-1]))
    return states.replace(without=jnp.int32(len(folds))), users


def _pretrain(parts: Parts, state: RankState, world, key, progress):
    """One update: a fold plays, and the head learns from all its candidates.

    What plays is the running average of the head: it starts in the order of the first
    stage and leaves it slowly.
    """
    play = functools.partial(_play, parts, state, world)
    played = play_fold(play, parts, state.shared, world, key, parts.episodes)
    numbers, liked, is_item, answers = played
    moments = seen(state.params.moments, numbers, is_item)
    examples = standardised(moments, numbers), liked, is_item
    state = _started(state, examples)
    state = state.replace(params=state.params.replace(moments=moments))
    state, losses, norms = _descend(parts, state, examples, key, progress)
    return state, {
        "pretrain_loss": losses.mean(),
        "gradient_norm": norms.mean(),
        "precision": answers.mean(),
    }


def _started(state: RankState, examples) -> RankState:
    """At the first update both heads are calibrated; later they stay as they are."""
    is_first = state.params.moments.count == 0
    pick = functools.partial(jax.tree.map, functools.partial(jnp.where, is_first))
    # What is not taken is not looked for either.
    own = calibrated(state.head, *examples, steps=jnp.where(is_first, STEPS, 0))
    served = state.params.replace(head=pick(own, state.params.head))
    return state.replace(head=pick(own, state.head), params=served)


def play_fold(
    play, parts: Parts, cross_fitted: CrossFittedTables, world, key, episodes: int
):
    """play(context, user, key) of B = episodes users of one fold, with replacement.

    The context has the one set of tables that was made without them. A few play after
    the others where all would fill memory.
    """
    key_fold, key_user = jax.random.split(stream_key(key, "users"))
    num_folds = cross_fitted.folds.shape[0] - parts.holds_out
    fold = jax.random.randint(key_fold, (), 0, num_folds)
    members = cross_fitted.folds[fold]
    users = jax.random.choice(key_user, members, (episodes,))
    masked = jnp.zeros_like(cross_fitted.is_training).at[members].set(True)
    context = surroundings(cross_fitted, masked, 1 + fold)
    keys = jax.random.split(stream_key(key, "act"), episodes)
    users, keys = sharding.over_users(world.mesh, (users, keys))
    play = functools.partial(play, context)
    of_session = jax.eval_shape(
        lambda user: start_session(cross_fitted, context, user, parts.horizon), users[0]
    )
    cells = sum(leaf.size for leaf in jax.tree.leaves(of_session))
    at_once = max(1, CELLS_AT_ONCE // cells)
    if world.mesh or at_once >= len(users):
        return jax.vmap(play)(users, keys)  # adds B
    return jax.lax.map(lambda pair: play(*pair), (users, keys), batch_size=at_once)


def _play(parts: Parts, state: RankState, world, context: Surroundings, user, key):
    """One episode, and the candidates before each answer.

    -> features [T, A, F], which are liked [T, A] and real [T, A], and answers [T].
    With chance epsilon any candidate is shown, and else the one that ranks highest.
    Some users are played without their friends, so that the head learns what to do with
    who names nobody, where training users all have friends.
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
        _, items, numbers = rerank(state, context, session, session.items)
        ranked = log_odds(parts, state.params, numbers)
        ranked = jnp.where(
            chance < parts.epsilon, jax.random.uniform(key, ranked.shape), ranked
        )
        item = top_item(items, ranked, num_items)
        key_step = jax.random.fold_in(key_world, episode.step)
        episode, seen, _, _ = world.step(key_step, episode, item)
        session = observe_answer(cross_fitted, context, session, item, seen.liked)
        noted = numbers, is_liked[items], items < num_items, seen.liked
        return (episode, session), noted

    episode, _ = world.reset(key_world, user)
    key_friends = stream_key(key, "friendless")
    is_friendless = jax.random.bernoulli(key_friends, parts.friendless_share)
    session = start_session(cross_fitted, context, user, parts.horizon, is_friendless)
    return jax.lax.scan(step, (episode, session), (chances, keys))[1]


def minibatch_rows(training: Training, key: jax.Array, count: int) -> jax.Array:
    """Rows of each minibatch, of `count` in random order: [batches, size] int32."""
    order = jax.random.permutation(stream_key(key, "replay"), count)
    size = min(training.batch_size, count)
    starts = jnp.arange(training.batches) * size % (count - size + 1)
    return order[starts[:, None] + jnp.arange(size)[None]]


def _descend(parts: Parts, state: RankState, examples, key, progress):
    """Minibatches of states in random order -> the state, loss and gradient of each."""
    training = parts.training
    rate = training.learning_rate * warmup_cosine(progress, WARMUP)
    examples = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), examples)
    minibatches = minibatch_rows(training, key, len(examples[0]))

    def loss(head, numbers, liked, is_item):
        logits = parts.head.apply(head, numbers)
        losses = optax.sigmoid_binary_cross_entropy(logits, liked)
        return jnp.sum(losses * is_item) / jnp.maximum(is_item.sum(), 1)

    def descend(carry, rows):
        head, average, optimizer = carry
        # Candidates as rows of one matrix: with an axis more, products are slower.
        batch = jax.tree.map(lambda x: x[rows].reshape(-1, *x.shape[2:]), examples)
        value, gradients = jax.value_and_grad(loss)(head, *batch)
        updates, optimizer = parts.optimizer.update(gradients, optimizer, head)
        head = apply_scaled(head, updates, rate)
        average = optax.incremental_update(head, average, AVERAGE_STEP)
        return (head, average, optimizer), (value, optax.tree.norm(gradients))

    carry = state.head, state.params.head, state.optimizer
    carry, (losses, norms) = jax.lax.scan(descend, carry, minibatches)
    head, average, optimizer = carry
    params = state.params.replace(head=average)
    state = state.replace(head=head, params=params, optimizer=optimizer)
    return state, losses, norms
