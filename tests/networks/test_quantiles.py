"""Quantiles of the return: their loss, their mean, and an agent that learns them."""

import jax
import jax.numpy as jnp
import numpy as np
from small_agents import small_agent
from tiny_network import (
    HORIZON,
    ITEMS,
    WORLD,
    episode_query,
    make_network,
    make_params,
    make_tables,
)
from worlds import random_world

from dlerse_jax.learning.losses import quantile_huber
from dlerse_jax.learning.returns import lambda_targets
from dlerse_jax.networks.q_network import q_values, quantile_values

DRAWS = np.random.default_rng(0)
COUNT = 4
TABLES = make_tables()


def _query():
    network = make_network(quantiles=COUNT)
    return episode_query(network, make_params(network), TABLES, jnp.ones(4))


def test_the_loss_is_equation_10_of_the_paper():
    quantiles, targets = DRAWS.normal(scale=2.0, size=(2, HORIZON, COUNT))
    expected = np.zeros(HORIZON)
    for step, i, j in np.ndindex(HORIZON, COUNT, COUNT):
        error = targets[step, j] - quantiles[step, i]
        weight = abs((i + 0.5) / COUNT - (error < 0))
        size = min(abs(error), 1.0)
        expected[step] += weight * (size * abs(error) - size**2 / 2) / COUNT
    np.testing.assert_allclose(quantile_huber(quantiles, targets), expected, rtol=1e-5)


def test_the_loss_is_least_at_the_quantiles_of_the_targets():
    # Far apart beside kappa, where the Huber loss is all but the absolute error.
    targets = 100.0 * jnp.sort(jnp.asarray(DRAWS.normal(size=(1, 99)), jnp.float32))
    quantiles = jnp.zeros((1, 3))
    slope = jax.jit(jax.grad(lambda q: quantile_huber(q, targets).sum()))
    for step in range(2000):
        quantiles -= 300.0 / (1 + step / 20) * slope(quantiles)
    levels = np.quantile(targets[0], [1 / 6, 1 / 2, 5 / 6])
    np.testing.assert_allclose(quantiles[0], levels, atol=10)


def test_their_mean_is_q_and_each_is_dueling():
    query = _query()
    assert np.abs(query.spread).max() > 0.1
    found = quantile_values(query, TABLES, ITEMS, ITEMS)
    q = q_values(query, TABLES, ITEMS, ITEMS)
    np.testing.assert_allclose(found.mean(axis=1), q, atol=1e-5)
    step = 2  # of all items allowed then, the mean of a quantile is that of V
    first = jax.tree.map(
        lambda leaf: jnp.repeat(leaf[step : step + 1], HORIZON, 0), query
    )
    allowed = np.setdiff1d(np.arange(WORLD.num_items), ITEMS[:step])

    def of_item(item):
        row = jax.tree.map(lambda leaf: leaf.at[step].set(leaf[0]), first)
        items = jnp.full(HORIZON, item)
        return quantile_values(row, TABLES, items, ITEMS)[step]

    mean = jax.vmap(of_item)(jnp.asarray(allowed)).mean(axis=0)
    expected = query.value[step] + query.spread[step, :, -1]
    np.testing.assert_allclose(mean, expected, atol=1e-4)


def test_a_new_network_knows_of_no_spread_and_plays_as_without():
    world = random_world(num_users=20)
    plain, spread = (small_agent(world, 4, quantiles=n) for n in (0, COUNT))
    for agent in (plain, spread):
        state = agent.init(jax.random.key(0))
        context = agent.context(state, jnp.zeros(20, bool))
        memory = agent.begin(state, context, jnp.int32(0), jax.random.key(1))
        if agent is plain:
            scores = agent.scores(state, context, memory, None)
    np.testing.assert_allclose(memory.query.spread, 0.0)
    np.testing.assert_array_equal(agent.scores(state, context, memory, None), scores)


def test_returns_of_quantiles_are_those_of_each_alone():
    rewards, values = DRAWS.normal(size=HORIZON), DRAWS.normal(size=(HORIZON, COUNT))
    is_greedy = DRAWS.random(HORIZON) < 0.5
    found = lambda_targets(rewards, jnp.asarray(values), is_greedy, 0.9, 0.5)
    for column in range(COUNT):
        alone = lambda_targets(
            rewards, jnp.asarray(values[:, column]), is_greedy, 0.9, 0.5
        )
        np.testing.assert_allclose(found[:, column], alone, rtol=1e-6)
