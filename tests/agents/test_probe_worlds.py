"""Worlds of which the right values and the right choice are known beforehand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import one_seed, q_of_catalogue, small_agent
from worlds import friends_decide, make_world

from dlerse_jax.environment.rollout import rollout
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.learning.train_loop import init_states, seed_keys, train_chunk
from dlerse_jax.types import Taggings

GAMMA, HORIZON, NUM_ITEMS = 0.5, 3, 16
IS_GOOD = np.arange(NUM_ITEMS) % 2 == 0
ROOTS = seed_keys(jnp.arange(1))


@functools.cache
def _same_taste():
    """A world where all users like the same items, and an agent that can learn it."""
    world = make_world(np.tile(IS_GOOD, (40, 1)), num_validation=4, num_test=4)
    # Half of the choices stay random: every item is seen at every step.
    settings = {"gamma": GAMMA, "epsilon_last": 0.5}
    agent = small_agent(world, HORIZON, settings)
    return world, agent, train_chunk(agent, "q_learning", 600)


def _learned_q(alpha, miss_reward, gamma=GAMMA):
    """What a network has learned of Q [T, N]: all but the streak's share.

    Of a test user who is shown items 0, 1, 2.
    """
    world, agent, q_learning = _same_taste()
    simulator = make_simulator(world, alpha=alpha, horizon=HORIZON)
    simulator = simulator.replace(miss_reward=jnp.float32(miss_reward))
    states = init_states(agent, ROOTS)
    settings = states.settings.replace(gamma=jnp.full(1, gamma))
    states = states.replace(settings=settings)
    states, _ = q_learning(states, simulator, ROOTS, 0, 600)
    return np.asarray(_q_of_episode(one_seed(states), simulator))


@jax.jit
def _q_of_episode(state, simulator):
    world, agent, _ = _same_taste()
    user = jnp.int32(world.split.test[0])
    context = agent.context(state, jnp.zeros(world.num_users, bool))
    memory = agent.begin(state, context, user, jax.random.key(0))
    episode, _ = simulator.reset(None, user)
    q = []
    for item in range(HORIZON):
        is_allowed = jnp.arange(NUM_ITEMS) >= item
        q.append(q_of_catalogue(agent, state, context, memory, is_allowed))
        episode, seen, _, _ = simulator.step(None, episode, jnp.int32(item))
        memory = agent.observe(state, context, memory, seen)
    return jnp.stack(q)


def _true_q(step, like_streak, dislike_streak, alpha, miss_reward):
    """Q of a bad and of a good item when the best choice follows: Bellman's equation.

    Good items never run out, so what has been shown does not matter.
    """
    if step == HORIZON:
        return 0.0, 0.0
    q = []
    for base, streaks in (
        (miss_reward, (0, dislike_streak + 1)),
        (1.0, (like_streak + 1, 0)),
    ):
        reward = base + alpha * (like_streak - dislike_streak)
        q.append(reward + GAMMA * max(_true_q(step + 1, *streaks, alpha, miss_reward)))
    return tuple(q)


@pytest.mark.parametrize(
    "alpha, miss_reward",
    [
        # A miss that pays as much as a like is no miss: the reward is constant.
        (0.0, 1.0),
        (0.0, -1.0),  # reward by item
        (0.3, -1.0),  # by item, and by the answers before
    ],
)
def test_learned_q_is_the_true_one(alpha, miss_reward):
    learned = _learned_q(alpha, miss_reward)
    streaks = [(0, 0), (1, 0), (0, 1)]  # before item 0, which is good, 1, bad, and 2
    for step in range(HORIZON):
        bad, good = _true_q(step, *streaks[step], alpha, miss_reward)
        expected = np.where(IS_GOOD, good, bad)[step:]
        like_streak, dislike_streak = streaks[step]
        found = learned[step, step:] + alpha * (like_streak - dislike_streak)
        np.testing.assert_allclose(found, expected, atol=0.1)


def test_a_network_that_does_not_look_ahead_learns_nothing_of_streaks():
    learned = [_learned_q(alpha, -1.0, gamma=0.0) for alpha in (0.0, 0.3)]
    np.testing.assert_allclose(*learned, atol=1e-4)


def _unseen_users_play(fusion):
    """Feedback [B, T] of new users with friends of their own kind, once fitted."""
    world, horizon = friends_decide(), 8
    agent = small_agent(world, horizon, fusion=fusion)
    simulator = make_simulator(world, alpha=0.0, horizon=horizon)
    pretrain = train_chunk(agent, "pretrain", 200)
    states, _ = pretrain(init_states(agent, ROOTS), simulator, ROOTS, 0, 200)
    users = np.concatenate([world.split.validation, world.split.test])

    @jax.jit
    def play(state):
        masked = jnp.zeros(world.num_users, bool).at[users].set(True)
        context = agent.context(state, masked)
        key = jax.random.key(0)
        return rollout(agent, state, context, simulator, jnp.array(users), key)

    return np.asarray(play(one_seed(states)).feedback)


def test_friends_of_the_same_kind_leave_nothing_to_guess():
    np.testing.assert_array_equal(_unseen_users_play(fusion="con"), 1)


def test_without_friends_the_first_item_is_a_guess_and_the_answer_tells_the_rest():
    feedback = _unseen_users_play(fusion="none")
    # The checkerboard: half of the users are of either kind and get the same item.
    assert feedback[:, 0].mean() == 0.5
    np.testing.assert_array_equal(feedback[:, 1:], 1)


def _broad_and_narrow():
    """Everybody likes everything; items are of topic 0, of topic 1, or of both."""
    world = make_world(np.ones((40, NUM_ITEMS)), num_validation=4, num_test=4)
    items = np.arange(NUM_ITEMS, dtype=np.int32)
    tagged = np.concatenate([items[items % 3 != 1], items[items % 3 != 2]])
    tags = np.repeat([0, 1], [np.sum(items % 3 != 1), np.sum(items % 3 != 2)])
    taggings = Taggings(
        users=np.zeros_like(tagged),
        items=tagged,
        tags=tags.astype(np.int32),
        num_tags=2,
    )
    return dataclasses.replace(world, taggings=taggings)


def test_looking_ahead_spares_the_item_that_satiates_every_topic():
    """Both are liked; after a broad item everything is disliked, after a narrow one
    not the items of the other topic."""
    world = _broad_and_narrow()
    settings = {"gamma": GAMMA, "epsilon_last": 0.5}
    agent = small_agent(world, 2, settings, factors="random", fusion="none")
    simulator = make_simulator(world, alpha=0.0, horizon=2, satiation=1)
    q_learning = train_chunk(agent, "q_learning", 800)
    states, _ = q_learning(init_states(agent, ROOTS), simulator, ROOTS, 0, 800)

    @jax.jit
    def first_q(state):
        context = agent.context(state, jnp.zeros(world.num_users, bool))
        user = jnp.int32(world.split.test[0])
        memory = agent.begin(state, context, user, jax.random.key(0))
        return q_of_catalogue(agent, state, context, memory, jnp.ones(NUM_ITEMS, bool))

    is_broad = np.arange(NUM_ITEMS) % 3 == 0
    expected = np.where(is_broad, 1 - GAMMA, 1 + GAMMA)
    np.testing.assert_allclose(first_q(one_seed(states)), expected, atol=0.2)
