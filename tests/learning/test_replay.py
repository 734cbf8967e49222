"""Replay: the newest episodes stay, the oldest go, empty slots are not drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlerse_jax.learning.replay import empty_replay, sample, store
from dlerse_jax.types import Episodes

CAPACITY, HORIZON = 5, 3


def _episodes(users) -> Episodes:
    """Episodes that bear the number of their user in every field that is kept."""
    users = np.array(users, np.int32)
    steps = np.arange(HORIZON)
    return Episodes(
        users=jnp.asarray(users),
        items=jnp.asarray(10 * users[:, None] + steps, jnp.int32),
        feedback=jnp.asarray((users[:, None] + steps) % 2, jnp.float32),
        rewards=jnp.zeros((len(users), HORIZON)),
    )


def _filled(*batches):
    replay = empty_replay(CAPACITY, HORIZON)
    for users in batches:
        replay = store(replay, _episodes(users))
    return replay


@pytest.mark.parametrize(
    "batches, users, cursor, size",
    [
        ([], [0, 0, 0, 0, 0], 0, 0),
        ([[1, 2]], [1, 2, 0, 0, 0], 2, 2),
        ([[1, 2], [3, 4]], [1, 2, 3, 4, 0], 4, 4),
        ([[1, 2], [3, 4], [5, 6]], [6, 2, 3, 4, 5], 1, 5),  # wraps over the oldest
        ([[1, 2, 3, 4, 5]], [1, 2, 3, 4, 5], 0, 5),
        ([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]], [6, 7, 8, 9, 10], 0, 5),
    ],
)
def test_the_newest_episodes_are_held_in_a_ring(batches, users, cursor, size):
    replay = _filled(*batches)
    assert replay.users.tolist() == users
    assert (replay.cursor, replay.size) == (cursor, size)


@pytest.mark.parametrize(
    "batches, held",
    [([[7, 8]], {7, 8}), ([[1, 2], [3, 4], [5, 6]], {2, 3, 4, 5, 6})],
)
def test_every_episode_held_is_drawn_and_nothing_else(batches, held):
    users, items, feedback = sample(_filled(*batches), jax.random.key(0), 100)
    assert set(users.tolist()) == held
    expected = _episodes(users)
    np.testing.assert_array_equal(items, expected.items)
    np.testing.assert_array_equal(feedback, expected.feedback)
    assert feedback.dtype == jnp.float32


def test_draws_are_uniform():
    replay = _filled([1, 2, 3, 4])
    users, _, _ = sample(replay, jax.random.key(0), 10_000)
    counts = np.bincount(users, minlength=5)[1:]
    assert np.abs(counts - 2500).max() < 4 * np.sqrt(2500)
