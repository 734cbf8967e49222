"""LightGCN: vectors of users and items, smoothed over the graph of likes.

He, Deng, Wang, Li, Zhang and Wang, "LightGCN: Simplifying and Powering Graph
Convolution Network for Recommendation", SIGIR 2020. Every layer is a sum over
neighbours, each over sqrt(own degree * neighbour's degree), with nothing to train; the
final vector is the mean over the layers, and the loss is BPR's, with L2 of the drawn
rows of layer 0. `lightgcn_social` adds the friend pairs to the graph, under the same
normalisation (as social variants do: Wu et al., "DiffNet", SIGIR 2019; Liao et al.,
"SocialLGN", Information Sciences 2022): a message goes from the friend to the user.

A new user has no row: layer 0 is the mean row of visible training users. The layers
above are made anew after each answer, from the items liked so far and, in the social
variant, the friends; what the new user would send back to them is left out. As long as
neighbours are few, the mean final vector counts as `prior_weight` of them. A dislike
is no edge, so it changes nothing but that the item was shown.
"""

import functools

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.offline.base import OfflineState, Training, offline_agent
from dlerse_jax.agents.offline.sampling import (
    Feedback,
    draw_pairs,
    known_rows,
    mean_row,
    row_of,
    training_feedback,
)
from dlerse_jax.graph.friends import FriendPairs, friend_pairs, friend_table, no_friends
from dlerse_jax.graph.neighbour_means import visible_users
from dlerse_jax.types import Agent, Dataset, Newcomer, Observation


@struct.dataclass(kw_only=True)
class LightShared:
    """The graph, as likes and friend pairs (none for `lightgcn`)."""

    feedback: Feedback
    friends: FriendPairs

    @property
    def is_training(self) -> jax.Array:
        return self.feedback.is_training


@struct.dataclass(kw_only=True)
class LightParams:
    """Layer 0."""

    users: jax.Array  # [U, D]
    items: jax.Array  # [N, D]


@struct.dataclass(kw_only=True)
class Layers:
    """All layers at once: what they add up to."""

    users: jax.Array  # [U, D] final vectors
    items: jax.Array  # [N, D]
    sent_by_users: jax.Array  # [U, D] what a neighbour gets, over its own sqrt(degree)
    sent_by_items: jax.Array  # [N, D]


@struct.dataclass(kw_only=True)
class LightContext:
    """What every user of a batch shares."""

    items: jax.Array  # [N, D] final vectors
    sent_by_items: jax.Array  # [N, D] what an item sends a user who likes it
    sent_by_friends: jax.Array  # [U, D] the same, summed over the friends of each user
    num_friends: jax.Array  # [U]
    sent_by_users: jax.Array | None  # [U, D] what a newcomer gets; None without friends
    own: jax.Array  # [U, D] layer 0
    mean_own: jax.Array  # [D] the same of somebody without a row
    mean_user: jax.Array  # [D] final vector of the mean visible user


@struct.dataclass(kw_only=True)
class LightMemory:
    """One user's neighbours up to now."""

    own: jax.Array  # [D] layer 0
    received: jax.Array  # [D]
    num_neighbours: jax.Array  # []


def lightgcn(dataset: Dataset, **keywords) -> Agent:
    """Likes alone; keywords as for `lightgcn_social`."""
    alone = friend_pairs(no_friends(dataset.num_users))
    return _light_agent("lightgcn", dataset, alone, reads_friends=False, **keywords)


def lightgcn_social(dataset: Dataset, **keywords) -> Agent:
    """Likes and friends; keywords: width, layers, regularisation, prior_weight and
    those of `offline.Training`."""
    friends = friend_pairs(friend_table(dataset))
    return _light_agent(
        "lightgcn_social", dataset, friends, reads_friends=True, **keywords
    )


def _light_agent(
    name: str,
    dataset: Dataset,
    friends: FriendPairs,
    *,
    reads_friends: bool,
    width: int,
    layers: int,
    regularisation: float,
    prior_weight: float,
    **training,
) -> Agent:
    if layers < 1 or prior_weight <= 0:
        raise ValueError(
            "layers must be 1 or more and prior_weight above 0, "
            f"got {layers} and {prior_weight}"
        )

    def init_params(key):
        key_users, key_items = jax.random.split(key)
        shapes = (dataset.num_users, width), (dataset.num_items, width)
        return LightParams(
            users=0.1 * jax.random.normal(key_users, shapes[0]),
            items=0.1 * jax.random.normal(key_items, shapes[1]),
        )

    return offline_agent(
        name,
        training=Training(**training),
        shared=LightShared(feedback=training_feedback(dataset), friends=friends),
        init_params=init_params,
        draw=lambda shared, *rest: draw_pairs(shared.feedback, *rest),
        loss=functools.partial(_loss, layers, regularisation),
        context=functools.partial(_context, layers, reads_friends),
        begin=_begin,
        observe=_observe,
        scores=functools.partial(_scores, layers, prior_weight),
    )


def propagate(
    shared: LightShared, params: LightParams, visible: jax.Array, num_layers: int
) -> Layers:
    """The whole graph, layer by layer; users who are not visible [U] like nothing."""
    feedback, friends = shared.feedback, shared.friends
    num_users, num_items = len(params.users), len(params.items)
    givers, liked = feedback.users, feedback.likes.items[: len(feedback.users)]
    num_likes = visible * jnp.diff(feedback.likes.offsets)
    num_friends = jax.ops.segment_sum(
        jnp.ones(len(friends.targets)), friends.targets, num_users
    )
    popularity = jax.ops.segment_sum(visible[givers], liked, num_items)
    user_root = jnp.sqrt(jnp.maximum(num_likes + num_friends, 1.0))[:, None]
    item_root = jnp.sqrt(jnp.maximum(popularity, 1.0))[:, None]
    users, items = known_rows(params.users, visible), params.items
    zero = jnp.float32(0)
    sums = Layers(users=users, items=items, sent_by_users=zero, sent_by_items=zero)
    for _ in range(num_layers):
        from_users, from_items = users / user_root, items / item_root
        by_likes = jax.ops.segment_sum(
            from_items[liked], givers, num_users, indices_are_sorted=True
        )
        by_friends = sum_over_friends(friends, from_users)
        by_givers = jax.ops.segment_sum(
            (visible[:, None] * from_users)[givers], liked, num_items
        )
        users = (visible[:, None] * by_likes + by_friends) / user_root
        items = by_givers / item_root
        sums = Layers(
            users=sums.users + users,
            items=sums.items + items,
            sent_by_users=sums.sent_by_users + from_users,
            sent_by_items=sums.sent_by_items + from_items,
        )
    mean = 1.0 / (num_layers + 1)
    return sums.replace(users=mean * sums.users, items=mean * sums.items)


def sum_over_friends(friends: FriendPairs, rows: jax.Array) -> jax.Array:
    """Sum of the rows of each user's friends: rows [U, D] -> [U, D]."""
    return jax.ops.segment_sum(
        rows[friends.sources], friends.targets, len(rows), indices_are_sorted=True
    )


def _loss(
    num_layers, regularisation, params, shared: LightShared, minibatch, key, progress
):
    del key, progress
    users, liked, unliked = minibatch
    visible = shared.is_training.astype(jnp.float32)
    final = propagate(shared, params, visible, num_layers)
    difference = final.items[liked] - final.items[unliked]
    margin = jnp.sum(final.users[users] * difference, axis=1)
    drawn = params.users[users], params.items[liked], params.items[unliked]
    size = sum(jnp.sum(rows**2, axis=1) for rows in drawn)
    return jnp.mean(regularisation * size - jax.nn.log_sigmoid(margin))


def _context(
    num_layers: int, reads_friends: bool, state: OfflineState, masked: jax.Array
) -> LightContext:
    shared, params = state.shared, state.params
    visible = visible_users(shared, masked)
    final = propagate(shared, params, visible, num_layers)
    is_friend = jnp.ones((len(params.users), 1))
    return LightContext(
        items=final.items,
        sent_by_items=final.sent_by_items,
        sent_by_friends=sum_over_friends(shared.friends, final.sent_by_users),
        num_friends=sum_over_friends(shared.friends, is_friend)[:, 0],
        sent_by_users=final.sent_by_users if reads_friends else None,
        own=known_rows(params.users, visible),
        mean_own=mean_row(params.users, visible),
        mean_user=mean_row(final.users, visible),
    )


def _begin(state, context: LightContext, person, key) -> LightMemory:
    del key
    if isinstance(person, Newcomer):
        received, num_neighbours = _received(context, person.friends)
    else:
        received = context.sent_by_friends[person]
        num_neighbours = context.num_friends[person]
    return LightMemory(
        own=row_of(context.own, context.mean_own, person),
        received=received,
        num_neighbours=num_neighbours,
    )


def _received(context: LightContext, friends: jax.Array):
    """What a newcomer's friends [F] send, summed [D], and their number []: O(F D)."""
    if context.sent_by_users is None:
        return jnp.zeros_like(context.mean_user), jnp.float32(0)
    sent = context.sent_by_users.at[friends].get(mode="fill", fill_value=0)
    is_friend = friends < len(context.sent_by_users)
    return sent.sum(axis=0), is_friend.sum().astype(jnp.float32)


def _observe(
    state, context: LightContext, memory: LightMemory, seen: Observation
) -> LightMemory:
    num_items = len(context.items)
    is_edge = jnp.where(seen.item < num_items, seen.liked, 0.0)
    sent = context.sent_by_items[jnp.minimum(seen.item, num_items - 1)]
    return memory.replace(
        received=memory.received + is_edge * sent,
        num_neighbours=memory.num_neighbours + is_edge,
    )


def _scores(
    num_layers, prior_weight, state, context: LightContext, memory, items
) -> jax.Array:
    count = memory.num_neighbours
    received = memory.received / jnp.sqrt(jnp.maximum(count, 1.0))
    vector = (memory.own + received) / (num_layers + 1)
    total = prior_weight * context.mean_user + count * vector
    vectors = context.items if items is None else context.items[items]
    return (total / (prior_weight + count)) @ vectors.T
