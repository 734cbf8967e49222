"""The simulated user: answers, rewards and streaks are those of a plain loop."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import make_world, random_world

from dlerse_jax.agents.classical.popularity import random_items
from dlerse_jax.data import synthetic_dataset
from dlerse_jax.environment.rollout import (
    Exploration,
    episode_keys,
    rollout,
    user_keys,
)
from dlerse_jax.environment.simulator import (
    is_liked,
    item_topics,
    liked_items,
    likes_table,
    make_simulator,
)
from dlerse_jax.types import Taggings

WORLD = random_world()
NUM_USERS, NUM_ITEMS = WORLD.num_users, WORLD.num_items


def _dense(world):
    likes = np.zeros((world.num_users, world.num_items), bool)
    rows = np.repeat(np.arange(world.num_users), world.num_likes)
    likes[rows, world.liked_items] = True
    return likes


def _play(simulator, user, items):
    """Observations, rewards and done flags of one user shown `items` [T]."""
    state, _ = simulator.reset(jax.random.key(0), user)

    def step(state, item):
        state, observation, reward, done = simulator.step(None, state, item)
        return state, (observation, reward, done)

    return jax.lax.scan(step, state, items)[1]


@functools.cache
def _random_episodes(alpha, horizon=NUM_ITEMS, miss_reward=-1.0):
    """Items [U, T] by chance, and what a world answers to them."""
    simulator = make_simulator(
        WORLD, alpha=alpha, horizon=horizon, miss_reward=miss_reward
    )
    draws = np.random.default_rng(0)
    orders = [draws.permutation(NUM_ITEMS)[:horizon] for _ in range(NUM_USERS)]
    items = np.array(orders, np.int32)
    play = jax.jit(jax.vmap(functools.partial(_play, simulator)))  # adds U
    return items, jax.device_get(play(jnp.arange(NUM_USERS), items))


@pytest.mark.parametrize(
    "likes",
    [
        _dense(WORLD),
        [[0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 0]],  # none, all, one, none at the end
        [[0, 0, 0, 0, 0]],  # nobody likes anything
        [[1]],
    ],
)
def test_is_liked_is_membership_in_the_users_set(likes):
    likes = np.asarray(likes, bool)
    num_users, num_items = likes.shape
    table = likes_table(make_world(likes))
    # The past-the-end item, which stands for nothing shown, is liked by nobody.
    items = jnp.arange(num_items + 1)
    over_items = jax.vmap(is_liked, in_axes=(None, None, 0))
    over_users = jax.vmap(over_items, in_axes=(None, 0, None))
    found = jax.jit(over_users)(table, jnp.arange(num_users), items)
    np.testing.assert_array_equal(found, np.pad(likes, ((0, 0), (0, 1))))


def test_liked_items_are_the_row_padded_with_the_past_the_end_item():
    table = likes_table(make_world([[0, 1, 1], [0, 0, 0], [1, 1, 1], [1, 0, 0]]))
    rows = [liked_items(table, jnp.int32(user)).tolist() for user in range(4)]
    assert rows == [[1, 2, 3], [3, 3, 3], [0, 1, 2], [0, 3, 3]]


def test_an_episode_of_every_item_equals_a_plain_loop():
    items, (seen, rewards, done) = _random_episodes(alpha=0.1)
    likes = _dense(WORLD)
    for user in range(NUM_USERS):
        run = {1: 0, 0: 0}
        for step, item in enumerate(items[user]):
            answer = int(likes[user, item])
            base = 1 if answer else -1
            expected = base + 0.1 * (run[1] - run[0])
            assert rewards[user, step] == pytest.approx(expected, abs=1e-5)
            run = {answer: run[answer] + 1, 1 - answer: 0}
            assert seen.liked[user, step] == answer
            assert seen.like_streak[user, step] == run[1]
            assert seen.dislike_streak[user, step] == run[0]
            assert seen.item[user, step] == item
            assert seen.step[user, step] == step + 1
            left = [NUM_ITEMS] * (NUM_ITEMS - step - 1)
            assert seen.shown[user, step].tolist() == [*items[user, : step + 1], *left]
    assert done[:, -1].all() and not done[:, :-1].any()


@pytest.mark.parametrize("miss, slope, intercept", [(-1.0, 2, -1), (0.0, 1, 0)])
def test_mean_reward_without_alpha_is_a_line_in_precision(miss, slope, intercept):
    _, (seen, rewards, _) = _random_episodes(0.0, horizon=5, miss_reward=miss)
    precision = seen.liked.mean(axis=1)
    np.testing.assert_allclose(
        rewards.mean(axis=1), slope * precision + intercept, atol=1e-6
    )


def test_alpha_may_be_vmapped():
    world = make_simulator(WORLD, alpha=0.0, horizon=NUM_ITEMS)
    items, user = jnp.arange(NUM_ITEMS), jnp.int32(3)

    @jax.jit
    @jax.vmap  # adds alphas
    def rewards(alpha):
        return _play(world.replace(alpha=alpha), user, items)[1]

    plain, some, more = rewards(jnp.array([0.0, 0.1, 0.2]))
    np.testing.assert_allclose(plain, np.where(_dense(WORLD)[3], 1, -1))
    np.testing.assert_allclose(more - some, some - plain, atol=1e-6)
    assert np.abs(some - plain).max() > 0.05


def test_nothing_shown_pays_nothing_and_keeps_the_runs():
    world = make_simulator(make_world([[1, 1, 0, 0]]), alpha=0.5, horizon=4)
    nothing = world.num_items
    seen, rewards, _ = _play(world, jnp.int32(0), jnp.array([0, nothing, 1, nothing]))
    np.testing.assert_allclose(rewards, [1, 0, 1.5, 0])
    assert seen.like_streak.tolist() == [1, 1, 2, 2]
    assert seen.liked.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0])
def test_exploring_never_shows_an_item_twice(epsilon):
    episodes = _explore()(jnp.float32(epsilon))
    everything = np.broadcast_to(np.arange(NUM_ITEMS), episodes.items.shape)
    np.testing.assert_array_equal(np.sort(episodes.items, axis=1), everything)


@functools.cache
def _explore():
    """Episodes over the whole catalogue as a compiled function of epsilon."""
    agent = random_items(WORLD)
    world = make_simulator(WORLD, alpha=0.0, horizon=NUM_ITEMS)
    state = agent.init(jax.random.key(0))
    context = agent.context(state, jnp.zeros(NUM_USERS, bool))

    @jax.jit
    def explore(epsilon):
        exploration = Exploration(
            epsilon=epsilon, cumulative_weights=jnp.arange(1, NUM_ITEMS + 1)
        )
        return rollout(
            agent,
            state,
            context,
            world,
            jnp.arange(NUM_USERS),
            jax.random.key(1),
            exploration=exploration,
        )

    return explore


def test_epsilon_is_the_share_of_steps_that_chance_decides():
    agent = random_items(WORLD)
    keys = user_keys(jax.random.key(1), NUM_USERS)
    scores = jax.vmap(lambda key: agent.scores((), (), episode_keys(key)[0], None))
    best = np.argsort(-scores(keys), axis=1)
    never, always = (_explore()(jnp.float32(epsilon)).items for epsilon in (0, 1))
    np.testing.assert_array_equal(never, best)
    assert (always[:, 0] == best[:, 0]).mean() < 0.5


def test_a_short_candidate_list_runs_out_and_pays_nothing_more():
    agent = random_items(WORLD)
    world = make_simulator(WORLD, alpha=0.1, horizon=4)
    state = agent.init(jax.random.key(0))
    users = jnp.array([0, 1])
    candidates = jnp.array([[3, 5, NUM_ITEMS], [7, NUM_ITEMS, NUM_ITEMS]])
    episodes = rollout(
        agent,
        state,
        agent.context(state, jnp.zeros(NUM_USERS, bool)),
        world,
        users,
        jax.random.key(1),
        candidates=candidates,
    )
    assert np.sort(episodes.items, axis=1).tolist() == [[3, 5, 12, 12], [7, 12, 12, 12]]
    ran_out = np.array(episodes.items) == NUM_ITEMS
    assert not np.array(episodes.rewards)[ran_out].any()
    assert not np.array(episodes.feedback)[ran_out].any()


def _tagged(likes, *taggings):
    """A world of these likes and (user, item, tag)s."""
    users, items, tags = np.array(taggings, np.int32).T
    given = Taggings(users=users, items=items, tags=tags, num_tags=tags.max() + 1)
    return dataclasses.replace(make_world(likes), taggings=given)


def test_topics_are_the_tags_given_most_often_of_equals_the_first():
    likes = np.ones((3, 4))
    world = _tagged(
        likes, (0, 0, 2), (1, 0, 2), (0, 0, 1), (1, 0, 0), (2, 2, 1), (2, 3, 0)
    )
    everything = item_topics(world)
    assert everything.tolist() == [
        [2, 0, 1],
        [-1, -1, -1],
        [1, -1, -1],
        [0, -1, -1],
        [-1, -1, -1],  # the item that stands for nothing shown
    ]
    np.testing.assert_array_equal(item_topics(world, 2), everything[:, :2])
    np.testing.assert_array_equal(item_topics(world, 9), everything)


@pytest.mark.parametrize(
    "satiation, expected",
    [
        # Items 0 and 1 share topic 0, items 1 and 2 share topic 1, item 3 has none and
        # item 4 is not liked. "Last" counts what was shown, liked or not.
        (0, [1, 1, 1, 1, 0, 1]),
        (1, [1, 0, 0, 1, 0, 1]),  # topic 0 again only at item 4, which is disliked
        (2, [1, 0, 0, 1, 0, 1]),
        (3, [1, 0, 0, 1, 0, 0]),  # item 5 has topic 1, of item 2 three before
        (9, [1, 0, 0, 1, 0, 0]),
    ],
)
def test_a_topic_of_the_last_items_shown_gets_a_dislike(satiation, expected):
    world = _tagged(
        [[1, 1, 1, 1, 0, 1]],
        *[(0, 0, 0), (0, 1, 0), (0, 1, 1), (0, 2, 1), (0, 4, 0), (0, 5, 1)],
    )
    simulator = make_simulator(world, alpha=0.0, horizon=6, satiation=satiation)
    seen, rewards, _ = _play(simulator, jnp.int32(0), jnp.arange(6))
    assert seen.liked.tolist() == expected
    np.testing.assert_array_equal(rewards, 2 * np.array(expected) - 1)


def test_an_empty_step_is_shown_too_and_satiates_nobody():
    world = _tagged([[1, 1]], (0, 0, 0), (0, 1, 0))
    simulator = make_simulator(world, alpha=0.0, horizon=2, satiation=1)
    nothing = world.num_items
    for horizon, items, expected in (
        (2, [0, 1], [1, 0]),
        (3, [0, nothing, 1], [1, 0, 1]),
    ):
        simulator = simulator.replace(horizon=horizon)
        seen, _, _ = _play(simulator, jnp.int32(0), jnp.array(items))
        assert seen.liked.tolist() == expected


def test_satiated_answers_equal_a_plain_loop_and_preferences_are_what_is_liked():
    world = synthetic_dataset(num_users=30, num_items=40, most_topics=3)
    likes, topics, m = _dense(world), item_topics(world, 2), 4
    simulator = make_simulator(world, alpha=0.1, horizon=40, satiation=m, most_topics=2)
    draws = np.random.default_rng(0)
    items = np.array([draws.permutation(40) for _ in range(30)], np.int32)
    play = jax.jit(jax.vmap(functools.partial(_play, simulator)))  # adds U
    seen, _, _ = jax.device_get(play(jnp.arange(30), items))
    preferences = jax.vmap(simulator.preferences)(jnp.arange(30), items, seen.liked)
    num_satiated = 0
    for user, shown in enumerate(items):
        of_items = [set(topics[item]) - {-1} for item in shown]
        for step, item in enumerate(shown):
            satiated = of_items[step] & set().union(*of_items[max(0, step - m) : step])
            assert seen.liked[user, step] == (likes[user, item] and not satiated)
            num_satiated += bool(likes[user, item] and satiated)
        np.testing.assert_array_equal(preferences[user], likes[user, shown])
    assert 100 < num_satiated < likes.sum() - 100


def test_a_user_without_satiation_answers_as_ever():
    world = synthetic_dataset(num_users=30, num_items=40, most_topics=3)
    simulator = make_simulator(world, alpha=0.1, horizon=8, satiation=0, most_topics=2)
    assert simulator.topics is None
    liked = jnp.array([1.0, 0.0, 1.0])
    assert simulator.preferences(jnp.int32(0), jnp.arange(3), liked) is liked


def test_satiation_needs_tags():
    with pytest.raises(
        ValueError, match="user.satiation needs items with tags, and pr"
    ):
        make_simulator(WORLD, alpha=0.0, horizon=4, satiation=1)


@pytest.mark.parametrize("key", ["satiation", "most_topics"])
def test_negative_memories_are_refused(key):
    with pytest.raises(ValueError, match=f"user.{key} must be 0 or more, got -1"):
        make_simulator(WORLD, alpha=0.0, horizon=4, **{key: -1})


@pytest.mark.parametrize(
    "horizon, miss, message",
    [
        (0, -1, "episode.horizon is 0.*set it between 1 and 12"),
        (13, -1, "episode.horizon is 13, but probe has 12 items"),
        (2.5, -1, "episode.horizon is 2.5, but probe has 12 items"),
        (4, -0.5, "reward.miss must be -1 or 0, got -0.5"),
    ],
)
def test_impossible_worlds_are_refused(horizon, miss, message):
    with pytest.raises(ValueError, match=message):
        make_simulator(WORLD, alpha=0.0, horizon=horizon, miss_reward=miss)


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), float("inf")])
def test_streaks_are_paid_by_a_number_from_0_on(alpha):
    with pytest.raises(ValueError, match="reward.alpha must be 0 or more, got"):
        make_simulator(WORLD, alpha=alpha, horizon=4)
