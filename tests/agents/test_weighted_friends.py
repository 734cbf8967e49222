"""Friends count as much as the data say, in every mean over friends."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import random_world

import dlerse_jax as dj
from dlerse_jax.agents.two_stage import session as first_stage
from dlerse_jax.agents.two_stage.fold_tables import surroundings
from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.graph import communities
from dlerse_jax.graph.neighbour_means import friends_of, social_feedback, two_hops_of
from dlerse_jax.graph.neighbourhoods import make_neighbourhoods
from dlerse_jax.networks.copy_head import copied_scores

PLAIN = random_world(num_users=40, num_items=20)
DRAWN = np.random.default_rng(1).uniform(0.2, 3.0, len(PLAIN.friend_sources))
WORLD = dataclasses.replace(PLAIN, friend_weights=DRAWN.astype(np.float32))
LIKES = visible_likes(WORLD)
VISIBLE = np.asarray(LIKES.getnnz(axis=1) > 0)
USERS = [0, 1, 2, 38, 39]  # the first has no friend
PRIOR_WEIGHT = 4.0


def expected(user, values):
    """Mean of the rows of a user's friends, [U, D] -> [D]; everybody is 4 friends."""
    pairs = (WORLD.friend_targets == user) & VISIBLE[WORLD.friend_sources]
    weights, friends = WORLD.friend_weights[pairs], WORLD.friend_sources[pairs]
    total = weights @ values[friends] + PRIOR_WEIGHT * values[VISIBLE].mean(axis=0)
    return total / (weights.sum() + PRIOR_WEIGHT)


def begun(name, **settings):
    """An agent's state, and what each of USERS begins with, one after the other."""
    agent = dj.make_agent(name, WORLD, prior_weight=PRIOR_WEIGHT, **settings)
    state = agent.init(jax.random.key(0))
    context = agent.context(state, jnp.zeros(WORLD.num_users, bool))
    begin = jax.jit(lambda user: agent.begin(state, context, user, jax.random.key(1)))
    return state, [begin(jnp.int32(user)) for user in USERS]


@pytest.mark.parametrize("name", ["friends", "ease_friends", "linear"])
def test_policies_without_learning_start_from_the_weighted_mean(name):
    settings = {} if name == "friends" else {"rank": 4}
    settings |= {"two_hop_weight": 0.0} if name == "linear" else {}
    _, memories = begun(name, **settings)
    for user, memory in zip(USERS, memories, strict=True):
        prior = memory if name == "friends" else memory.prior
        np.testing.assert_allclose(prior, expected(user, LIKES.toarray()), rtol=1e-5)


def test_so_does_a_regression_on_the_answers():
    state, memories = begun("mf_friends", rank=4)
    for user, memory in zip(USERS, memories, strict=True):
        theta = expected(user, np.asarray(state.user_factors))
        scores = np.asarray(state.item_factors) @ theta
        np.testing.assert_allclose(memory.ridge.scores, scores, atol=1e-5)


def test_people_two_hops_away_are_the_same_and_count_once():
    @jax.jit
    def people(social, user):
        near = friends_of(social, user)
        return near > 0, two_hops_of(social, user, near)

    plain, weighed = social_feedback(PLAIN), social_feedback(WORLD)
    for user in map(jnp.int32, USERS):
        near, far = zip(people(plain, user), people(weighed, user), strict=True)
        np.testing.assert_array_equal(*near)
        np.testing.assert_array_equal(*far)
        assert set(np.unique(far)) <= {0.0, 1.0}


def test_a_new_copy_head_copies_the_weighted_mean():
    neighbourhoods = make_neighbourhoods(
        WORLD, LIKES, prior_weight=PRIOR_WEIGHT, two_hop_weight=0.0
    )
    zeros = jnp.zeros(neighbourhoods.friends.people.shape[0])
    copied = jax.jit(functools.partial(copied_scores, neighbourhoods, zeros))
    for user in USERS:
        found = copied(jnp.asarray(VISIBLE), jnp.int32(user))
        np.testing.assert_allclose(found, expected(user, LIKES.toarray()), rtol=1e-5)


def test_the_first_stage_of_dlerse_rank_starts_from_it_too():
    small = {"network.width": 6, "ridge_rank": 4, "folds": 4, "candidates": 3}
    unit = {"scale": 0.5, "miss": -1.0, "rank_weight": 0.0}
    agent = dj.make_agent(
        "dlerse_rank",
        WORLD,
        prior_weight=PRIOR_WEIGHT,
        two_hop_weight=0.0,
        **small,
        **unit,
    )
    tables = agent.init(jax.random.key(0)).shared
    nobody = jnp.zeros(WORLD.num_users, bool)

    @jax.jit
    def copied(user):
        around = surroundings(tables, nobody, 0)
        session = first_stage.start_session(tables, around, user, 5)
        return session.friends.copied[around.fold_tables.place]

    for user in USERS:
        likes = expected(user, LIKES.toarray())
        np.testing.assert_allclose(copied(jnp.int32(user)), likes, rtol=1e-5)


def test_communities_of_friends_count_as_much_as_the_friends_do(monkeypatch):
    """Before the first answer of a session, and while communities are found."""
    monkeypatch.setattr(communities, "USERS_EACH", 8)
    monkeypatch.setattr(communities, "CHANCE_USERS", 0.5)  # they differ by far
    small = {"network.width": 6, "ridge_rank": 4, "folds": 4, "candidates": 4}
    tables, plain = (
        dj.make_agent("dlerse_rank", world, **small).init(jax.random.key(0)).shared
        for world in (WORLD, PLAIN)
    )
    nobody = jnp.zeros(WORLD.num_users, bool)

    @jax.jit
    def belonging(user):
        around = surroundings(tables, nobody, 0)
        return first_stage.start_session(tables, around, user, 5).belonging

    own = jax.tree.map(lambda leaf: leaf[0], tables.tables_by_fold).communities
    for user in USERS:
        pairs = WORLD.friend_targets == user
        weights, friends = WORLD.friend_weights[pairs], WORLD.friend_sources[pairs]
        log = np.log(own.prior + weights @ np.asarray(own.members)[friends])
        np.testing.assert_allclose(belonging(jnp.int32(user)), log, rtol=1e-4)
    of_plain = plain.tables_by_fold.communities.members[0]
    assert np.abs(np.asarray(own.members) - np.asarray(of_plain)).max() > 0.01
