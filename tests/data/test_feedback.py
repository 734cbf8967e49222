"""Agents read the feedback of training users alone."""

import numpy as np
from worlds import make_world

from dlerse_jax.data.feedback import training_mask, visible_likes

LIKES = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1]])
WORLD = make_world(LIKES, num_validation=1, num_test=1)


def test_visible_likes_are_those_of_training_users_in_their_own_rows():
    expected = [[1, 0, 1], [0, 1, 1], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(visible_likes(WORLD).toarray(), expected)


def test_the_mask_is_of_training_users():
    assert training_mask(WORLD).tolist() == [True, True, False, False]
