"""Sampled neighbourhoods: fair draws, and the full graph where they hold everybody."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_agents import small_agent
from tiny_network import WORLD, make_network, make_params, make_tables
from worlds import make_world

from dlerse_jax.agents.dqn.acting import Acting, Policy, Shared
from dlerse_jax.agents.dqn.social import (
    social_context,
    social_of,
    social_of_all,
)
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.graph.attention_graph import friend_graph
from dlerse_jax.graph.friends import friend_lists, friend_table
from dlerse_jax.graph.sampling import sample_friends, sample_tree
from dlerse_jax.runtime.sparse_rows import row_starts
from dlerse_jax.types import Newcomer

NUM_USERS = WORLD.num_users
LARGEST = int(WORLD.num_friends.max())
EVERYBODY = jnp.arange(NUM_USERS)


def _policy(hops):
    network = make_network(hops=hops, dropout=0.0)
    policy = Policy(network=network, dislike_weight=0.1, block=0)
    return policy, make_params(network)["params"]


def _acting(params, graph, tables):
    shared = Shared(
        tables=tables,
        order=None,
        graph=graph,
        visible=jnp.ones(NUM_USERS, bool),
        train_users=EVERYBODY,
        exploration_weights=jnp.arange(1, WORLD.num_items + 1),
        liked_share=jnp.float32(1),
        neighbourhoods=None,
        session_gain=jnp.float32(1),
        posterior=None,
    )
    return Acting(
        shared=shared, params={"network": params, "item_bias": tables.item_bias}
    )


def _influences(policy, graph, params, tables, masked, key):
    acting = _acting(params, graph, tables)
    return social_of_all(policy, acting, masked, EVERYBODY, key).influence


@functools.cache
def _influences_and_gradients(hops, fan_out):
    """Compiled: k of everybody, and what a sum of it says to weights and features."""
    policy, params = _policy(hops)
    friends = friend_table(WORLD)
    graph = friend_lists(friends, fan_out) if fan_out else friend_graph(friends)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(NUM_USERS, 4)))

    def weighed(params, tables, masked, key):
        k = _influences(policy, graph, params, tables, masked, key)
        return jnp.sum(weights * k), k

    both = jax.grad(weighed, argnums=(0, 1), has_aux=True)
    return jax.jit(functools.partial(both, params, make_tables()))


@pytest.mark.slow
@pytest.mark.parametrize("hops", [0, 1, 3])
@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 2**31 - 1))
def test_a_fan_out_that_covers_all_friends_is_the_full_graph(hops, seed):
    key = jax.random.key(seed)
    masked = jax.random.bernoulli(key, 0.3, (NUM_USERS,))
    full = _influences_and_gradients(hops, 0)(masked, key)
    sampled = _influences_and_gradients(hops, LARGEST)(masked, key)
    assert np.abs(full[1]).max() > 0.1
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4),
        full,
        sampled,
    )


@pytest.mark.parametrize("fan_out", [1, 3, 5, 8])
def test_friends_are_drawn_without_repeats_and_each_as_often(fan_out):
    # User 0 has the friends 1..7, nobody else has any.
    world = make_world(np.ones((8, 1)), [(0, friend) for friend in range(1, 8)])
    lists = friend_lists(friend_table(world), fan_out)
    keys = jax.random.split(jax.random.key(1), 4000)
    draw = jax.jit(jax.vmap(sample_friends, in_axes=(None, None, 0)))
    friends, is_real = jax.device_get(draw(lists, jnp.int32(0), keys))
    wanted = min(fan_out, 7)
    assert (is_real.sum(axis=1) == wanted).all()
    drawn = np.where(is_real, friends, -np.arange(1, fan_out + 1))
    assert all(len(set(row)) == fan_out for row in drawn)
    share = np.bincount(friends[is_real], minlength=8)[1:] / len(keys)
    np.testing.assert_allclose(share, wanted / 7, atol=0.04)


def test_without_a_key_friends_are_spread_along_the_list_and_stay():
    world = make_world(np.ones((8, 1)), [(0, friend) for friend in range(1, 8)])
    friends, is_real = sample_friends(
        friend_lists(friend_table(world), 3), jnp.int32(0), None
    )
    assert friends.tolist() == [1, 3, 5] and is_real.all()


def test_padding_of_a_tree_has_padding_below_it():
    # 0 names 1 and 2, 1 names 0: the second level has one real node of four.
    world = make_world(np.ones((3, 1)), [(0, 1), (0, 2), (1, 0)])
    draw = jax.jit(functools.partial(sample_tree, hops=2, key=None))
    tree = draw(friend_lists(friend_table(world), 2), jnp.int32(0))
    assert tree.is_real.tolist() == [True, True, True, True, False, False, False]
    assert tree.users[:4].tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("key", [None, jax.random.key(5)], ids=["even", "drawn"])
def test_a_newcomers_friends_are_sampled_as_a_users(key):
    table, user = friend_table(WORLD), int(np.argmax(WORLD.num_friends))
    named = table.friends[table.offsets[user] : table.offsets[user + 1]]
    # In any order, with the padding anywhere.
    friends = jnp.concatenate([jnp.array([NUM_USERS]), named[::-1]])
    newcomer = Newcomer(friends=friends, two_hops=jnp.zeros(0, jnp.int32))
    draw = jax.jit(functools.partial(sample_tree, friend_lists(table, 3), hops=2))
    ours, reference = draw(newcomer, key=key), draw(jnp.int32(user), key=key)
    assert ours.users[0] == NUM_USERS and len(named) > 3
    np.testing.assert_array_equal(ours.is_real, reference.is_real)
    np.testing.assert_array_equal(ours.users[1:], reference.users[1:])


@pytest.mark.slow
def test_a_batch_reads_the_friends_that_its_episodes_were_played_with():
    policy, params = _policy(hops=2)
    acting = _acting(params, friend_lists(friend_table(WORLD), 2), make_tables())
    masked = jnp.zeros(NUM_USERS, bool)
    user = jnp.int32(np.argmax(WORLD.num_friends))

    def both(key):
        context = social_context(policy, acting, masked, key)
        played = social_of(policy, acting, context, user)
        learned = social_of_all(policy, acting, masked, user[None], key)
        return played.influence, learned.influence[0]

    keys = jax.random.split(jax.random.key(3), 8)
    played, learned = jax.jit(jax.vmap(both))(keys)
    np.testing.assert_allclose(played, learned, atol=1e-6)
    assert np.ptp(learned, axis=0).max() > 0.01  # other keys, other friends


@pytest.mark.slow
def test_an_agent_learns_on_sampled_friends_and_is_evaluated_without_chance():
    agent = small_agent(WORLD, 3, fan_out=2)
    state = agent.init(jax.random.key(0))
    world = make_simulator(WORLD, alpha=0.1, horizon=3)
    masked = jnp.zeros(NUM_USERS, bool)

    @jax.jit
    def influence(state, key):
        context = agent.context(state, masked)
        return agent.begin(state, context, jnp.int32(7), key).social.influence

    before = influence(state, jax.random.key(0))
    np.testing.assert_array_equal(before, influence(state, jax.random.key(1)))
    update = jax.jit(lambda state, key: agent.pretrain(state, world, key, 0.5))
    first = state.params["network"]["influence"]
    # The head's last layers start at zero, so the first update reaches them alone.
    for step in range(3):
        state, metrics = update(state, jax.random.key(step))
    assert np.isfinite(metrics["pretrain_loss"])
    last = state.params["network"]["influence"]
    moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), first, last)
    # Adam moves whatever gets a gradient by about the learning rate, 0.01.
    assert min(jax.tree.leaves(moved)) > 1e-3, moved
    assert np.abs(influence(state, jax.random.key(0)) - before).max() > 1e-3


def test_fan_out_below_zero_is_refused():
    with pytest.raises(ValueError, match=r"network.fan_out must be 0 .* got -1"):
        small_agent(WORLD, 3, fan_out=-1)


def test_more_pairs_than_an_int32_counts_are_refused():
    with pytest.raises(ValueError, match="has 2147483648 friend pairs.*leave some"):
        row_starts(np.array([0, 2**31]), "friend pairs")
