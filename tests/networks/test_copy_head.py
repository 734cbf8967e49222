"""The copy head: what people around a user like, and a start at the linear policy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import small_agent
from worlds import friends_decide, random_world

from dlerse_jax.agents.classical.ease import linear
from dlerse_jax.agents.dqn.initialization import Plus
from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.graph.friends import common_friends, friend_table
from dlerse_jax.graph.neighbourhoods import make_neighbourhoods
from dlerse_jax.linear_models.item_factors import weigh_by_rank
from dlerse_jax.networks import copy_head
from dlerse_jax.networks.copy_head import copied_scores, newcomer_pairs, people_of

WORLD = random_world()
LIKES = visible_likes(WORLD)
NEIGHBOURHOODS = make_neighbourhoods(WORLD, LIKES, prior_weight=4.0, two_hop_weight=0.3)
PLAIN = Plus(
    prior_weight=4.0,
    two_hop_weight=0.3,
    rank_weight=0.0,
    tag_weight=0.0,
    min_tag_uses=1,
    ridge_rank=0,
    ridge_power=0.5,
    ridge_regularisation=1.0,
    ridge_weight=0.0,
    scale=1.0,
)
VISIBLE = jnp.asarray(LIKES.getnnz(axis=1) > 0)
ZERO_LOGITS = jnp.zeros(NEIGHBOURHOODS.friends.people.shape[0])


def friends_of(user):
    named = WORLD.friend_sources[WORLD.friend_targets == user]
    return set(named.tolist()) - {user}


def expected_scores(user, weight_of=lambda friend: 1.0):
    """Loop over people; weight_of a friend against 4 for popularity."""
    feedback, visible = LIKES.toarray(), np.asarray(VISIBLE)
    friends = [friend for friend in friends_of(user) if visible[friend]]
    popularity = feedback[visible].mean(axis=0)
    total = sum(weight_of(friend) for friend in friends) + 4.0
    near = sum(
        (weight_of(friend) * feedback[friend] for friend in friends), 4.0 * popularity
    )
    reached = {far for friend in friends_of(user) for far in friends_of(friend)}
    far = [v for v in reached - friends_of(user) - {user} if visible[v]]
    beyond = feedback[far].mean(axis=0) if far else 0.0
    return near / total + 0.3 * beyond


@pytest.mark.parametrize("user", range(0, WORLD.num_users, 3))
def test_with_zero_logits_friends_and_popularity_are_averaged(user):
    scores = copied_scores(NEIGHBOURHOODS, ZERO_LOGITS, VISIBLE, jnp.int32(user))
    np.testing.assert_allclose(scores, expected_scores(user), atol=1e-6)


def test_a_friend_with_a_higher_logit_counts_more():
    user = int(np.argmax(WORLD.num_friends))
    friend = sorted(friends_of(user))[0]
    loud = ZERO_LOGITS + jnp.where(
        NEIGHBOURHOODS.friends.people == friend, jnp.log(3.0), 0.0
    )
    scores = copied_scores(NEIGHBOURHOODS, loud, VISIBLE, jnp.int32(user))
    expected = expected_scores(user, lambda other: 3.0 if other == friend else 1.0)
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_likes_of_masked_friends_are_not_copied():
    user = int(np.argmax(WORLD.num_friends))
    masked = jnp.asarray(np.isin(np.arange(WORLD.num_users), list(friends_of(user))))
    other = dataclasses.replace(NEIGHBOURHOODS).replace(
        feedback=jnp.where(masked[:, None], 7.0, NEIGHBOURHOODS.feedback)
    )
    seen = [
        copied_scores(neighbourhoods, ZERO_LOGITS, VISIBLE & ~masked, jnp.int32(user))
        for neighbourhoods in (NEIGHBOURHOODS, other)
    ]
    np.testing.assert_array_equal(*seen)


def test_pairs_of_a_newcomer_have_the_features_of_a_users(monkeypatch):
    monkeypatch.setattr(copy_head, "STRETCH", 3)  # several go through the friends
    assert common_friends(friend_table(WORLD)).any()
    lists, num_likes = NEIGHBOURHOODS.friends, jnp.asarray(LIKES.getnnz(axis=1))
    of_all = jax.vmap(people_of, in_axes=(None, 0))  # adds U
    people, places, is_real = of_all(lists, jnp.arange(WORLD.num_users))
    friends = jnp.where(is_real, people, WORLD.num_users)
    pairs = jax.vmap(newcomer_pairs, in_axes=(None, None, 0))  # adds U
    found = pairs(NEIGHBOURHOODS, num_likes, friends)[is_real]
    expected = NEIGHBOURHOODS.pair_features[places][is_real]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_new_network_plays_as_the_tuned_linear_policy():
    world, width = friends_decide(), 8
    plus = small_agent(
        world,
        5,
        plus=PLAIN,
        width=width,
        factors="ease",
        factor_regularisation=10.0,
        session_gain=3.0,
        dislike_weight=0.1,
    )
    policy = linear(
        world,
        rank=width,
        regularisation=10.0,
        prior_weight=4.0,
        two_hop_weight=0.3,
        answer_weight=3.0,
        dislike_weight=0.1,
    )
    plus_scores, linear_scores = (
        scores_by_step(each, world) for each in (plus, policy)
    )
    # Rewards of 1 and -1 lie two apart, likes of 1 and 0 lie one apart.
    np.testing.assert_allclose(plus_scores, 2 * linear_scores, atol=1e-5)


def test_a_ridge_posterior_needs_no_session_gain():
    with_ridge = dataclasses.replace(PLAIN, ridge_rank=4, ridge_weight=1.0)
    world = friends_decide()
    agent = small_agent(world, 5, plus=with_ridge, width=8, session_gain=0.0)
    scores = scores_by_step(agent, world)
    assert np.isfinite(scores).all()
    assert np.ptp(scores, axis=1).max() > 0.01  # answers move them


def scores_by_step(agent, dataset):
    """Scores of every item, for some users, before and after each of three answers."""
    world = make_simulator(dataset, alpha=0.0, horizon=5)
    nobody = jnp.zeros(dataset.num_users, bool)

    def of_user(state, context, user):
        episode, observation = world.reset(jax.random.key(0), user)
        memory = agent.begin(state, context, user, jax.random.key(4))
        scores = [agent.scores(state, context, memory, None)]
        for item in (3, 0, 7):
            episode, observation, _, _ = world.step(jax.random.key(0), episode, item)
            memory = agent.observe(state, context, memory, observation)
            scores.append(agent.scores(state, context, memory, None))
        return jnp.stack(scores)

    @jax.jit
    def of_users(key):
        state = agent.init(key)
        each = functools.partial(of_user, state, agent.context(state, nobody))
        return jax.vmap(each)(jnp.arange(6))

    return of_users(jax.random.key(3))


def test_weights_by_rank_run_from_above_one_to_below_it():
    counts = np.arange(len(WORLD.liked_items), dtype=np.float32)
    counted = dataclasses.replace(WORLD, like_weights=counts)
    weighed = weigh_by_rank(LIKES, counted, 1.0)
    user = int(np.argmax(LIKES.getnnz(axis=1)))
    mine = weighed[user].data
    num = len(mine)
    expected = 0.5 + (np.arange(num) + 0.5) / num
    np.testing.assert_allclose(mine, expected, rtol=1e-6)
    same = weigh_by_rank(LIKES, WORLD, 1.0)
    np.testing.assert_allclose(same.data, 1.0, rtol=1e-6)


def test_a_strength_that_would_make_likes_negative_is_refused():
    with pytest.raises(ValueError, match="rank_weight must be between 0 and 2, got 3"):
        weigh_by_rank(LIKES, WORLD, 3.0)
