"""Rewards and streaks by hand, alike in one step and in an episode, on both arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlerse_jax.environment.reward import (
    episode_rewards,
    step_reward,
    streaks_after,
    streaks_before,
)

ARRAYS = {"numpy": np.asarray, "jax": jnp.asarray}
ANSWERS = np.array([1.0, 1, 1, 0, 0, 1])
EXPECTED = [
    # alpha, miss, reward of each answer
    (0.0, -1.0, [1.0, 1.0, 1.0, -1.0, -1.0, 1.0]),
    (0.0, 0.0, [1.0, 1.0, 1.0, 0.0, 0.0, 1.0]),
    # Likes less dislikes in a row before each step are 0, 1, 2, 3, -1, -2.
    (0.1, -1.0, [1.0, 1.1, 1.2, -0.7, -1.1, 0.8]),
    (0.1, 0.0, [1.0, 1.1, 1.2, 0.3, -0.1, 0.8]),
    (1.0, -1.0, [1.0, 2.0, 3.0, 2.0, -2.0, -1.0]),
]


@pytest.mark.parametrize("alpha, miss, expected", EXPECTED)
def test_reward_counts_the_streaks_before_the_step(alpha, miss, expected):
    likes, dislikes, rewards = 0.0, 0.0, []
    for liked in ANSWERS:
        rewards.append(step_reward(liked, likes, dislikes, alpha, miss))
        likes, dislikes = streaks_after(likes, dislikes, liked)
    np.testing.assert_allclose(rewards, expected, atol=1e-6)


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("alpha, miss, expected", EXPECTED)
def test_an_episode_earns_what_its_steps_do(alpha, miss, expected, array):
    found = episode_rewards(array(ANSWERS), alpha=alpha, miss_reward=miss)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_a_step_without_an_item_pays_nothing_and_breaks_no_streak(array):
    liked = array(np.array([[1.0, 0, 1, 0, 0], [1, 0, 0, 1, 1]]))
    showed = array(np.array([[1, 1, 1, 0, 0], [1, 0, 0, 1, 1]], bool))
    found = episode_rewards(liked, showed, alpha=0.5, miss_reward=-1.0)
    np.testing.assert_allclose(found, [[1, -0.5, 0.5, 0, 0], [1, 0, 0, 1.5, 2]])
    likes, dislikes = streaks_before(liked, showed)
    np.testing.assert_array_equal(likes, [[0, 1, 0, 1, 1], [0, 1, 1, 1, 2]])
    np.testing.assert_array_equal(dislikes, [[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]])


def test_numpy_stays_numpy_and_float64_and_jax_stays_traced():
    assert streaks_before(ANSWERS)[0].dtype == np.float64
    of_traced = jax.jit(lambda x: episode_rewards(x, alpha=0.1, miss_reward=-1.0))
    found = of_traced(jnp.asarray(ANSWERS, jnp.float32))
    assert isinstance(found, jax.Array) and found.dtype == jnp.float32
