"""Losses: the closed forms equal what they stand for, written as loops."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import small_plan
from worlds import make_world

from dlerse_jax.agents.dqn.objective import pretrain_losses
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.learning.losses import (
    catalogue_sums,
    cross_entropy_reward_loss,
    squared_reward_loss,
)
from dlerse_jax.learning.returns import one_step_targets
from dlerse_jax.networks.heads import Query
from dlerse_jax.networks.q_network import Tables, q_values
from dlerse_jax.retrieval.index import sort_catalogue
from dlerse_jax.retrieval.search import best_items_of_episodes
from dlerse_jax.types import Taggings

NUM_ITEMS, WIDTH, HORIZON = 30, 4, 6
DRAWS = np.random.default_rng(0)


def _normal(*shape):
    return jnp.asarray(DRAWS.normal(size=shape), jnp.float32)


TABLES = Tables(
    item_in=None,
    item_out=_normal(NUM_ITEMS, WIDTH),
    item_bias=_normal(NUM_ITEMS),
    user=None,
)
QUERY = Query(
    value=_normal(HORIZON),
    direction=_normal(HORIZON, WIDTH),
)
ITEMS = DRAWS.permutation(NUM_ITEMS)[:HORIZON].astype(np.int32)
# Two of the items shown are liked, and five more.
LIKES = np.sort([*ITEMS[[1, 4]], *np.setdiff1d(np.arange(NUM_ITEMS), ITEMS)[::5]])
PADDED_LIKES = jnp.array([*LIKES, *[NUM_ITEMS] * 4], jnp.int32)
IS_LIKE = np.isin(np.arange(NUM_ITEMS), LIKES)
LIKED = jnp.asarray(np.isin(ITEMS, LIKES), jnp.float32)


def _allowed_q(step, tables=TABLES, query=QUERY):
    """Which items are allowed at a step, and Q of each: [N], [N]."""
    is_allowed = ~np.isin(np.arange(NUM_ITEMS), ITEMS[:step])
    advantage = tables.item_out @ query.direction[step] + tables.item_bias
    if tables.copied is not None:
        advantage += query.copy_gain[step] * tables.copied
    return is_allowed, query.value[step] + advantage - advantage.mean(where=is_allowed)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.9])
def test_double_q_takes_the_choice_of_one_network_and_the_value_of_the_other(gamma):
    slow_query = Query(
        value=_normal(HORIZON),
        direction=_normal(HORIZON, WIDTH),
    )
    slow_tables = TABLES.replace(item_out=_normal(NUM_ITEMS, WIDTH))
    rewards = _normal(HORIZON)
    expected = np.array(rewards)
    for step in range(HORIZON - 1):
        is_allowed, online = _allowed_q(step + 1)
        _, slow = _allowed_q(step + 1, slow_tables, slow_query)
        expected[step] += gamma * slow[np.where(is_allowed, online, -np.inf).argmax()]
    catalogue = sort_catalogue(TABLES.item_out, TABLES.item_bias)
    best = best_items_of_episodes(
        catalogue, QUERY.direction[None], None, None, ITEMS[None]
    )[0]
    values = q_values(slow_query, slow_tables, best, ITEMS)
    targets = one_step_targets(rewards, values, gamma)
    np.testing.assert_allclose(targets, expected, atol=1e-4)


def _squared(tables, query, miss):
    sums = catalogue_sums(tables)
    return squared_reward_loss(query, tables, sums, ITEMS, LIKED, PADDED_LIKES, miss)


def _squared_by_hand(tables, query, miss):
    losses = []
    for step in range(HORIZON):
        is_allowed, q = _allowed_q(step, tables, query)
        rewards = np.where(IS_LIKE, 1.0, miss)
        losses.append(jnp.mean((q - rewards) ** 2, where=is_allowed))
    return jnp.stack(losses)


@pytest.mark.parametrize("miss", [-1.0, 0.0])
def test_squared_fit_is_a_mean_over_the_catalogue(miss):
    np.testing.assert_allclose(
        _squared(TABLES, QUERY, miss), _squared_by_hand(TABLES, QUERY, miss), rtol=1e-4
    )


def test_the_fit_is_of_preferences_whatever_a_satiated_user_answered():
    likes = np.tile(IS_LIKE, (3, 1))
    everything = Taggings(
        users=np.zeros(NUM_ITEMS, np.int32),
        items=np.arange(NUM_ITEMS, dtype=np.int32),
        tags=np.zeros(NUM_ITEMS, np.int32),
        num_tags=1,
    )
    tagged = dataclasses.replace(make_world(likes), taggings=everything)
    world = make_simulator(tagged, alpha=0.0, horizon=HORIZON, satiation=1)
    acting = SimpleNamespace(tables=TABLES, tables_for=lambda social: TABLES)
    users, answers = jnp.zeros(1, jnp.int32), jnp.zeros((1, HORIZON))
    pretrain = functools.partial(pretrain_losses, small_plan(HORIZON), acting, world)
    found = jax.jit(pretrain)(
        jnp.zeros(1),
        jax.tree.map(lambda leaf: leaf[None], QUERY),
        (users, jnp.asarray(ITEMS)[None], answers),
        jax.random.key(0),
    )
    expected = _squared_by_hand(TABLES, QUERY, -1.0).mean()
    np.testing.assert_allclose(found, expected[None], rtol=1e-4)


def test_squared_fit_of_copied_scores_is_a_mean_over_the_catalogue():
    tables = TABLES.replace(copied=_normal(NUM_ITEMS))
    query = QUERY.replace(copy_gain=_normal(HORIZON))
    np.testing.assert_allclose(
        _squared(tables, query, -1.0), _squared_by_hand(tables, query, -1.0), rtol=1e-4
    )


def _gradients(loss):
    tables = TABLES.replace(item_in=jnp.zeros(()), user=jnp.zeros(()))
    gradients = jax.grad(lambda *args: loss(*args).sum(), argnums=(0, 1))
    return jax.jit(gradients)(tables, QUERY)


def test_gradient_of_the_squared_fit_is_that_of_the_mean_over_the_catalogue():
    found = _gradients(functools.partial(_squared, miss=-1.0))
    expected = _gradients(functools.partial(_squared_by_hand, miss=-1.0))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4),
        found,
        expected,
    )


def test_squared_fit_of_a_user_without_likes_is_finite_and_zero_where_q_is_the_miss():
    nothing = jnp.full(4, NUM_ITEMS, jnp.int32)
    flat = TABLES.replace(item_bias=jnp.zeros(NUM_ITEMS))
    still = QUERY.replace(
        value=jnp.full(HORIZON, -1.0), direction=jnp.zeros((HORIZON, WIDTH))
    )
    losses = squared_reward_loss(
        still, flat, catalogue_sums(flat), ITEMS, jnp.zeros(HORIZON), nothing, -1.0
    )
    np.testing.assert_allclose(losses, np.zeros(HORIZON), atol=1e-6)


def test_cross_entropy_fit_is_a_mean_over_the_catalogue_at_the_steps_asked_for():
    steps = jnp.array([0, 5, 2])
    losses = cross_entropy_reward_loss(QUERY, TABLES, ITEMS, PADDED_LIKES, steps)
    for loss, step in zip(losses, steps, strict=True):
        is_allowed, q = _allowed_q(int(step))
        chance = 1 / (1 + np.exp(-np.float64(q)))
        right = np.where(IS_LIKE, chance, 1 - chance)
        expected = -np.log(right).mean(where=is_allowed)
        assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_cross_entropy_of_huge_q_is_finite_with_a_finite_gradient():
    loud = QUERY.replace(value=jnp.full(HORIZON, 1e4))

    def loss(query):
        return cross_entropy_reward_loss(
            query, TABLES, ITEMS, PADDED_LIKES, jnp.arange(2)
        ).sum()

    value, gradient = jax.value_and_grad(loss)(loud)
    assert np.isfinite(value)
    assert np.isfinite(gradient.value).all() and np.isfinite(gradient.direction).all()
