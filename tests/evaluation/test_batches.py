"""Users are played in batches of a few sizes, and everybody once."""

import jax
import numpy as np
import pytest
from worlds import random_world

from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.evaluation.episodes import new_users, user_batches

ONE_SEED = jax.numpy.arange(1)


@pytest.mark.parametrize("num_users", [1, 12, 64, 187, 188, 1000])
def test_a_batch_repeats_its_last_user_and_misses_nobody(num_users):
    rows = user_batches(num_users, 2**14, ONE_SEED).ravel()
    np.testing.assert_array_equal(rows[:num_users], np.arange(num_users))
    assert (rows[num_users:] == num_users - 1).all()


def test_folds_that_differ_by_a_user_share_a_program():
    sizes = {user_batches(n, 2**10, ONE_SEED).shape for n in (177, 187, 188, 192)}
    assert sizes == {(1, 192)}
    assert user_batches(12, 2**10, ONE_SEED).shape == (1, 12)


def test_users_are_new_but_for_those_whose_past_is_given():
    world = make_simulator(random_world(num_users=12), alpha=0.0, horizon=2)
    users = np.array([2, 7])
    hidden = new_users(world, users, None)
    assert hidden[users].all() and hidden.sum() == 2
    assert not new_users(world, users, np.zeros((2, 3), np.int32)).any()
