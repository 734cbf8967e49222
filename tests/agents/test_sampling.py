"""Training examples: liked by training users, or truly not liked."""

import functools

import jax
import numpy as np
from worlds import make_world, random_world

from dlerse_jax.agents.offline.sampling import (
    draw_pairs,
    draw_session,
    draw_sessions,
    draw_unliked,
    known_rows,
    training_feedback,
)
from dlerse_jax.data.feedback import visible_likes


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


def test_a_session_is_a_random_part_of_the_likes_in_random_order():
    likes = np.array([[1, 0, 1, 1, 0, 1, 0], [0, 1, 0, 0, 0, 0, 1]])
    feedback = training_feedback(make_world(likes))
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = jax.vmap(draw_session, in_axes=(None, None, 0, None))
    short = np.array(draw(feedback, 0, keys, 3))
    for place in short.T:  # each like has the same chance to be in each place
        chances = np.bincount(place, minlength=7) / len(keys)
        np.testing.assert_allclose(chances, likes[0] / 4, atol=0.05)
    assert all(len(set(session)) == 3 for session in short)
    long = np.array(draw(feedback, 1, keys[:50], 6))
    np.testing.assert_array_equal(np.sort(long[:, :2], axis=1), [[1, 6]] * 50)
    np.testing.assert_array_equal(long[:, 2:], 7)  # padding


def test_sessions_are_of_training_users_who_like_something():
    world = random_world()
    visible = visible_likes(world).toarray()
    users, sessions = draw_sessions(4, training_feedback(world), jax.random.key(0), 500)
    assert set(np.array(users)) == set(np.flatnonzero(visible.any(axis=1)))
    padded = np.pad(visible, ((0, 0), (0, 1)), constant_values=1)
    assert padded[np.array(users)[:, None], sessions].all()


def test_users_who_are_not_visible_have_the_mean_row_of_those_who_are():
    table = np.array([[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], np.float32)
    rows = known_rows(table, np.array([1.0, 1.0, 0.0], np.float32))
    np.testing.assert_array_equal(rows, [[1, 2], [3, 6], [2, 4]])
