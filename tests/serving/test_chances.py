"""The mean advantage that a chance of a like is measured from."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from dlerse_jax.serving.chances import chance_of, mean_left

NUM_ITEMS, WIDTH = 9, 3


@pytest.mark.parametrize("has_copies", [False, True])
@pytest.mark.parametrize("answered", [[], [9, 9], [4, 0, 9], [8, 1, 2]])
def test_the_mean_is_that_of_all_that_was_not_answered(answered, has_copies):
    draws = np.random.default_rng(len(answered))
    vectors, biases = (
        draws.normal(size=(NUM_ITEMS, WIDTH)),
        draws.normal(size=NUM_ITEMS),
    )
    direction, copied = draws.normal(size=WIDTH), draws.normal(size=NUM_ITEMS)
    advantages = vectors @ direction + biases + (2.5 * copied if has_copies else 0)
    memory = SimpleNamespace(
        query=SimpleNamespace(direction=jnp.asarray(direction), copy_gain=2.5),
        social=SimpleNamespace(copied=jnp.asarray(copied) if has_copies else None),
    )
    sums = SimpleNamespace(
        vectors=jnp.asarray(vectors.sum(axis=0)), biases=biases.sum()
    )
    found = mean_left(
        lambda items: jnp.asarray(advantages)[items],
        sums,
        memory,
        jnp.asarray(answered, jnp.int32),
        NUM_ITEMS,
    )
    left = np.setdiff1d(np.arange(NUM_ITEMS), answered)
    assert float(found) == pytest.approx(advantages[left].mean(), abs=1e-5)


@pytest.mark.parametrize(("miss", "chance"), [(-1.0, 0.5), (0.0, 0.0)])
def test_of_a_mean_reward_between_a_miss_and_a_like_the_chance_is_the_place(
    miss, chance
):
    config = {"pretrain": {"loss": "squared"}, "reward": {"miss": miss}}
    agent = SimpleNamespace(
        name="dlerse_con",
        source=SimpleNamespace(config=config),
        scores=lambda state, context, memory, items: jnp.zeros(len(items)),
    )
    restored = SimpleNamespace(
        agent=agent,
        selected=[{"update": 1, "phase": "pretrain"}],
        dataset=SimpleNamespace(num_items=NUM_ITEMS),
    )
    query = SimpleNamespace(value=0.0, direction=jnp.zeros(WIDTH))
    memory = SimpleNamespace(query=query, social=SimpleNamespace(copied=None))
    sums = SimpleNamespace(vectors=jnp.zeros(WIDTH), biases=0.0)
    shared = (), SimpleNamespace(sums=sums)
    items, nothing = jnp.arange(2), jnp.full(1, NUM_ITEMS)
    found = chance_of(restored, 0)(shared, memory, items, nothing)
    np.testing.assert_allclose(found, chance, atol=1e-6)
