"""What offline policies are trained on: visible likes, and items that are not liked.

`Feedback` is a pytree of training users' likes that lives in an agent's shared arrays.
Samplers are exact: a negative is looked up in the user's sorted likes, never drawn by
rejection.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dlerse_jax.data.feedback import training_mask, visible_likes
from dlerse_jax.environment.simulator import liked_items, likes_table
from dlerse_jax.runtime.ranks import check_ranks
from dlerse_jax.types import Dataset, Likes, Newcomer


@struct.dataclass(kw_only=True)
class Feedback:
    """Training users' likes; rows of validation and test users are there and empty."""

    likes: Likes
    users: jax.Array  # [L] int32: who gave each like
    likers: jax.Array  # [<=U] int32: users with a visible like, each once
    is_training: jax.Array  # [U] bool
    num_items: int = struct.field(pytree_node=False)  # N


def training_feedback(dataset: Dataset) -> Feedback:
    """The visible likes of a data set. ValueError where there is none to learn from."""
    visible = visible_likes(dataset)
    if not visible.nnz:
        raise ValueError("no visible like: found 0 training users with feedback")
    visible.sort_indices()
    known = dataclasses.replace(
        dataset,
        like_offsets=visible.indptr,
        liked_items=visible.indices.astype(np.int32),
        like_weights=visible.data,
    )
    users = np.repeat(np.arange(dataset.num_users, dtype=np.int32), known.num_likes)
    return Feedback(
        likes=likes_table(known),
        users=jnp.asarray(users),
        likers=jnp.asarray(np.unique(users)),
        is_training=jnp.asarray(training_mask(dataset)),
        num_items=dataset.num_items,
    )


def draw_likes(feedback: Feedback, key: jax.Array, count: int) -> jax.Array:
    """Slots [count] of random likes: of `feedback.users` and `feedback.likes.items`.

    Every like has the same chance, so an active user comes up more often.
    """
    return jax.random.randint(key, (count,), 0, feedback.users.shape[0])


def draw_users(feedback: Feedback, key: jax.Array, count: int) -> jax.Array:
    """Users [count] int32 with a visible like, each with the same chance."""
    slots = jax.random.randint(key, (count,), 0, feedback.likers.shape[0])
    return feedback.likers[slots]


@check_ranks(user=0)
def draw_session(
    feedback: Feedback, user: jax.Array, key: jax.Array, length: int
) -> jax.Array:
    """Likes of one user in a random order: [length] int32, padded with N at the end.

    The data sets do not say what was liked first, so every draw is a new order. A user
    with more likes than `length` gives a random part of them.
    """
    items = liked_items(feedback.likes, user)
    is_like = items < feedback.num_items
    places = jnp.where(is_like, jax.random.uniform(key, items.shape), 2.0)
    session = items[jnp.argsort(places)][:length]
    missing = length - session.shape[0]
    return jnp.pad(session, (0, missing), constant_values=feedback.num_items)


def draw_sessions(
    length: int, feedback: Feedback, key: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    """Users [count] and a session of each: [count, length]."""
    key_users, key_order = jax.random.split(key)
    users = draw_users(feedback, key_users, count)
    keys = jax.random.split(key_order, count)
    draw = jax.vmap(draw_session, in_axes=(None, 0, 0, None))  # adds count
    return users, draw(feedback, users, keys, length)


@check_ranks(user=0)
def draw_unliked(feedback: Feedback, user: jax.Array, key: jax.Array) -> jax.Array:
    """A random item that one user does not like, each with the same chance: [] int32.

    The r-th of them is found by binary search: l_i - i of them precede the i-th like
    l_i. A user who likes everything gets the last item.
    """
    likes = feedback.likes
    first = likes.offsets[user]
    num_likes = likes.offsets[user + 1] - first
    rank = jax.random.randint(
        key, (), 0, jnp.maximum(feedback.num_items - num_likes, 1)
    )
    low, high = jnp.int32(0), num_likes
    for _ in range(likes.max_per_user.bit_length()):
        middle = (low + high) // 2
        before = likes.items[first + middle] - middle <= rank
        searching = low < high
        low = jnp.where(searching & before, middle + 1, low)
        high = jnp.where(searching & ~before, middle, high)
    return jnp.minimum(rank + low, feedback.num_items - 1)


@check_ranks(user=0)
def draw_liked(feedback: Feedback, user: jax.Array, key: jax.Array) -> jax.Array:
    """A random item that one user likes: [] int32; N for one without visible likes."""
    first, end = feedback.likes.offsets[user], feedback.likes.offsets[user + 1]
    slot = jax.random.randint(key, (), first, jnp.maximum(end, first + 1))
    return jnp.where(first < end, feedback.likes.items[slot], feedback.num_items)


def draw_pairs(
    feedback: Feedback, key: jax.Array, count: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Users, an item that each likes and one that each does not: [count] int32 each."""
    key_like, key_unliked = jax.random.split(key)
    slots = draw_likes(feedback, key_like, count)
    users = feedback.users[slots]
    keys = jax.random.split(key_unliked, count)
    # adds count
    unliked = jax.vmap(draw_unliked, in_axes=(None, 0, 0))(feedback, users, keys)
    return users, feedback.likes.items[slots], unliked


def mean_row(table: jax.Array, visible: jax.Array) -> jax.Array:
    """Mean of the visible users' rows: table [U, D], visible [U] 1 or 0 -> [D]."""
    return visible @ table / jnp.maximum(visible.sum(), 1.0)


def known_rows(table: jax.Array, visible: jax.Array) -> jax.Array:
    """A table of users [U, D] in which every user who is not visible has the mean row.

    What a method with one vector per user knows about a new one.
    """
    return jnp.where(visible[:, None] > 0, table, mean_row(table, visible)[None])


def row_of(known: jax.Array, mean: jax.Array, person: jax.Array | Newcomer):
    """A person's row of `known_rows` [U, D]; a newcomer has the mean row [D]."""
    return mean if isinstance(person, Newcomer) else known[person]
