"""Replay of whole episodes: a ring buffer on the device.

An episode is kept as items and answers (int32 and int8, 5 T + 4 bytes): rewards and
streaks follow from the answers, so a buffer outlives a change of alpha, and one scan of
the encoder serves all T transitions of an episode.
"""

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.types import Episodes


@struct.dataclass(kw_only=True)
class Replay:
    """The last C episodes. Slots from `size` on hold nothing yet."""

    users: jax.Array  # [C] int32
    items: jax.Array  # [C, T] int32
    feedback: jax.Array  # [C, T] int8
    cursor: jax.Array  # [] int32: the slot written next
    size: jax.Array  # [] int32: episodes held, at most C


def empty_replay(capacity: int, horizon: int) -> Replay:
    """A buffer for `capacity` episodes of `horizon` steps."""
    return Replay(
        users=jnp.zeros(capacity, jnp.int32),
        items=jnp.zeros((capacity, horizon), jnp.int32),
        feedback=jnp.zeros((capacity, horizon), jnp.int8),
        cursor=jnp.int32(0),
        size=jnp.int32(0),
    )


def store(replay: Replay, episodes: Episodes) -> Replay:
    """Writes B episodes over the oldest; B must not exceed C."""
    capacity = replay.users.shape[0]
    num_episodes = episodes.users.shape[0]
    slots = (replay.cursor + jnp.arange(num_episodes)) % capacity
    return Replay(
        users=replay.users.at[slots].set(episodes.users),
        items=replay.items.at[slots].set(episodes.items),
        feedback=replay.feedback.at[slots].set(episodes.feedback.astype(jnp.int8)),
        cursor=(replay.cursor + num_episodes) % capacity,
        size=jnp.minimum(replay.size + num_episodes, capacity),
    )


def sample(
    replay: Replay, key: jax.Array, batch_size: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Users [B], items [B, T] and feedback [B, T] float32, uniform with replacement.

    The buffer must not be empty.
    """
    slots = jax.random.randint(key, (batch_size,), 0, replay.size)
    feedback = replay.feedback[slots].astype(jnp.float32)
    return replay.users[slots], replay.items[slots], feedback
