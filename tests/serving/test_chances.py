"""The mean advantage that a chance of a like is measured from."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from dlerse_jax.serving.chances import mean_left

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
