"""Who counts as a friend, who as two hops away, and what their mean is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse
from worlds import make_world, random_world

from dlerse_jax.graph import neighbour_means as social_module
from dlerse_jax.graph.friends import friend_table, two_hop_table
from dlerse_jax.graph.neighbour_means import (
    friends_of,
    mean_feedback,
    social_feedback,
    two_hops_of,
    visible_users,
    weigh_by_activity,
)

# 0 -> 1, 2; 1 -> 3 and 2 -> 3 (3 counts once), 1 -> 0, 1 -> 2 (a friend already);
# 3 has a loop to itself and names 1 twice; 4 has nobody.
PAIRS = [(0, 1), (0, 2), (1, 3), (2, 3), (1, 0), (1, 2), (3, 3), (3, 1), (3, 1)]
LIKES = [[1, 0, 0], [0, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    "user, friends, two_hops",
    [
        (0, [0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0]),
        (1, [1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]),
        (2, [0, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]),
        (3, [0, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0]),
        (4, [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]),
    ],
)
def test_friends_and_two_hops_by_hand(user, friends, two_hops):
    social = social_feedback(make_world(LIKES, PAIRS))
    found = friends_of(social, jnp.int32(user))
    np.testing.assert_array_equal(found, friends)
    np.testing.assert_array_equal(two_hops_of(social, jnp.int32(user), found), two_hops)


def test_three_hops_lead_as_far_as_the_table_of_friends_says():
    world = random_world(num_users=40)
    social = social_feedback(world, far_hops=3)
    table = two_hop_table(friend_table(world, far_hops=3))
    found = jax.vmap(lambda user: two_hops_of(social, user, friends_of(social, user)))(
        jnp.arange(40)
    )
    np.testing.assert_array_equal(found, table.matrix.toarray())


@pytest.mark.parametrize(
    "power, each",
    [(0, [1, 1, 1]), (1, [2, 1, 2 / 3]), (2, [36 / 11, 9 / 11, 4 / 11])],
)
def test_a_like_counts_less_where_its_user_likes_much(power, each):
    likes = sparse.csr_matrix([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]], dtype=float)
    found = weigh_by_activity(likes, power)
    np.testing.assert_allclose(found.data, np.repeat(each, [1, 2, 3]), rtol=1e-6)
    assert (found.indices == likes.indices).all()
    with pytest.raises(ValueError, match="activity_power must not be negative, got -1"):
        weigh_by_activity(likes, -1)


@pytest.mark.parametrize(
    "people, prior_weight, expected",
    [
        ([0, 1, 1, 0, 0, 0], 0.0, [0, 1, 0.5]),
        ([0, 1, 1, 0, 0, 0], 2.0, [0.25, 0.75, 0.5]),
        ([0, 0, 0, 0, 0, 0], 2.0, [0.5, 0.5, 0.5]),
        ([0, 0, 0, 0, 0, 0], 0.0, [0, 0, 0]),
    ],
)
def test_mean_feedback_is_smoothed_towards_the_prior(people, prior_weight, expected):
    social = social_feedback(make_world(LIKES, PAIRS))
    mean = mean_feedback(
        social,
        jnp.array(people, jnp.float32),
        prior=jnp.full(3, 0.5),
        prior_weight=prior_weight,
    )
    np.testing.assert_allclose(mean, expected, atol=1e-6)


def test_masked_and_test_users_are_not_visible():
    social = social_feedback(make_world(LIKES, PAIRS, num_validation=1, num_test=1))
    masked = jnp.array([0, 1, 0, 0, 0, 0], bool)
    np.testing.assert_array_equal(visible_users(social, masked), [1, 0, 1, 1, 0, 0])


def test_summing_in_small_blocks_changes_nothing(monkeypatch):
    world = random_world()
    people = jnp.asarray(np.random.default_rng(0).random(world.num_users), jnp.float32)
    whole = mean_feedback(social_feedback(world), people)
    monkeypatch.setattr(social_module, "BLOCK", 7)
    blocked = social_feedback(world)
    assert blocked.likes.rows.shape[0] > 1
    np.testing.assert_allclose(mean_feedback(blocked, people), whole, atol=1e-6)
