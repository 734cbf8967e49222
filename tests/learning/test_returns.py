"""One-step targets by hand, and what they do not read."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlerse_jax.learning.returns import one_step_targets

REWARDS, VALUES = jnp.array([1.0, 0.0, -1.0]), jnp.array([8.0, 4.0, 2.0])


@pytest.mark.parametrize(
    "gamma, expected",
    [(0.0, [1, 0, -1]), (0.5, [1 + 2, 1, -1]), (1.0, [1 + 4, 2, -1])],
)
def test_the_reward_and_what_the_next_state_is_worth(gamma, expected):
    np.testing.assert_allclose(one_step_targets(REWARDS, VALUES, gamma), expected)


def test_the_value_of_the_first_state_is_not_read():
    other = VALUES.at[0].set(jnp.nan)
    found = one_step_targets(REWARDS, other, 0.5)
    np.testing.assert_array_equal(found, one_step_targets(REWARDS, VALUES, 0.5))


def test_an_episode_of_one_step_is_its_reward():
    np.testing.assert_array_equal(one_step_targets(REWARDS[:1], VALUES[:1], 0.9), [1])
