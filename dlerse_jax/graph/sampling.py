"""Samples of a user's neighbourhood, for social graphs too large for a full pass.

`sample_tree` draws the neighbourhood of one person from the `FriendLists` of all users.
Its cost does not grow with users or friend pairs.
"""

import jax
import jax.numpy as jnp

from dlerse_jax.runtime.ranks import PERSON, check_ranks
from dlerse_jax.types import FriendLists, FriendTree, Newcomer


@check_ranks(person=PERSON)
def sample_tree(
    lists: FriendLists,
    person: jax.Array | Newcomer,
    hops: int,
    key: jax.Array | None,
) -> FriendTree:
    """Friends of a person and of theirs, `hops` levels deep, drawn level by level.

    The root is a user, [], or U for a newcomer. Each node gets all of its friends where
    they are `fan_out` or fewer, else as many, every set equally likely. Without a key
    those evenly spaced along the list: the same every time. A node without friends has
    padding below it.
    """
    is_real = jnp.ones(1, bool)
    if isinstance(person, Newcomer):
        root = jnp.int32(len(lists.offsets) - 1)
        rows, users = _own_list(lists, person), jnp.zeros(1, jnp.int32)
    else:
        root, rows, users = person, lists, person[None]
    levels = [(root[None], is_real)]
    for hop in range(hops):
        keys = None
        if key is not None:
            keys = jax.random.split(jax.random.fold_in(key, hop), len(users))
        draw = jax.vmap(sample_friends, in_axes=(None, 0, None if keys is None else 0))
        friends, exists = draw(rows, users, keys)  # adds the nodes of this level
        rows = lists
        users, is_real = friends.ravel(), (exists & is_real[:, None]).ravel()
        levels.append((users, is_real))
    users, is_real = (jnp.concatenate(parts) for parts in zip(*levels, strict=True))
    return FriendTree(users=users, is_real=is_real, fan_out=lists.fan_out)


def _own_list(lists: FriendLists, newcomer: Newcomer) -> FriendLists:
    """One row, the newcomer's, ascending as the rows of all users are."""
    num_friends = jnp.sum(newcomer.friends < len(lists.offsets) - 1)
    friends = jnp.pad(jnp.sort(newcomer.friends), (0, 1))
    return lists.replace(offsets=jnp.stack([0, num_friends]), friends=friends)


def tree_of_friends(newcomer: Newcomer, num_users: int) -> FriendTree:
    """All friends of a newcomer, one level deep, in the order of their list.

    A tree needs a friend, if only padding. Its root is U.
    """
    users = jnp.pad(newcomer.friends, (1, 0), constant_values=num_users)
    is_real = (users < num_users).at[0].set(True)
    return FriendTree(users=users, is_real=is_real, fan_out=len(users) - 1)


@check_ranks(user=0)
def sample_friends(
    lists: FriendLists, user: jax.Array, key: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """At most F different friends of one user: users [F] and which are real [F]."""
    fan_out, first = lists.fan_out, lists.offsets[user]
    num_friends = lists.offsets[user + 1] - first
    places = jnp.arange(fan_out)
    chosen = (
        places * num_friends // fan_out
        if key is None
        else _draw_places(key, num_friends, fan_out)
    )
    chosen = jnp.where(num_friends > fan_out, chosen, places)
    is_real = places < num_friends
    return lists.friends[jnp.where(is_real, first + chosen, -1)], is_real


def _draw_places(key: jax.Array, count: jax.Array, fan_out: int) -> jax.Array:
    """F different numbers below `count` [], which is above F: [F]. Floyd's sampling.

    Every set is equally likely (Bentley and Floyd 1987): number j is drawn among the
    first count - F + j + 1, and is the last of those where it was drawn before.
    """
    last = jnp.maximum(count - fan_out, 0) + jnp.arange(fan_out)
    drawn = jax.random.randint(key, (fan_out,), 0, last + 1)

    def draw(j, places):
        is_taken = jnp.any(places == drawn[j])
        return places.at[j].set(jnp.where(is_taken, last[j], drawn[j]))

    nothing_yet = jnp.full(fan_out, -1, drawn.dtype)
    return jax.lax.fori_loop(0, fan_out, draw, nothing_yet)
