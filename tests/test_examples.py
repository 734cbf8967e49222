"""Training examples: liked by training users, or truly not liked."""

import functools

import jax
import numpy as np
from worlds import make_world, random_world

from dlerse_jax.agents.examples import (
    draw_pairs,
    draw_unliked,
    known_rows,
    training_feedback,
)
from dlerse_jax.factors import visible_likes


def test_pairs_are_of_training_users_one_liked_and_one_not():
    world = random_world()
    likes = visible_likes(world).toarray()
    draw = jax.jit(functools.partial(draw_pairs, count=4000))
    users, liked, unliked = draw(training_feedback(world), jax.random.key(0))
    assert likes[users, liked].all() and not likes[users, unliked].any()
    # Every like comes up, and so does everything that is not liked.
    assert len(set(zip(*map(np.asarray, (users, liked)), strict=True))) == likes.sum()
    active = np.flatnonzero(likes.any(axis=1))
    others = {(user, i) for user in active for i in np.flatnonzero(likes[user] == 0)}
    assert set(zip(*map(np.asarray, (users, unliked)), strict=True)) == others


def test_each_item_that_is_not_liked_has_the_same_chance():
    likes = np.array([[1, 0, 1, 0, 0], [0] * 5, [1, 1, 1, 0, 1], [0, 1, 1, 1, 1]])
    feedback = training_feedback(make_world(likes))
    keys = jax.random.split(jax.random.key(0), 3000)
    draw = jax.jit(jax.vmap(draw_unliked, in_axes=(None, None, 0)))
    for user, row in enumerate(likes):
        drawn = np.bincount(draw(feedback, user, keys), minlength=5) / 3000
        np.testing.assert_allclose(drawn, (1 - row) / (1 - row).sum(), atol=0.05)


def test_users_who_are_not_visible_have_the_mean_row_of_those_who_are():
    table = np.array([[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], np.float32)
    rows = known_rows(table, np.array([1.0, 1.0, 0.0], np.float32))
    np.testing.assert_array_equal(rows, [[1, 2], [3, 6], [2, 4]])
