"""What decays, what learns slowly, and how the rate runs through a phase."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import small_agent
from worlds import random_world

from dlerse_jax.learning.optimizer import make_optimizer, warmup_cosine

DECAYING = {"kernel", "attention"}


def _first_update(params, gradients, **changes):
    settings = {"clip_norm": 1.0, "weight_decay": 0.1, "bias_rate": 0.5}
    optimizer = make_optimizer(**settings | changes)
    return jax.jit(
        lambda: optimizer.update(gradients, optimizer.init(params), params)[0]
    )()


@pytest.mark.slow
def test_weight_decay_is_of_kernels_alone():
    """Of a network with every embedding: nothing else moves where no gradient is."""
    agent = small_agent(random_world(), 3, encoder="transformer", train_tables=True)
    shapes = jax.eval_shape(agent.init, jax.random.key(0)).params
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
    updates = _first_update(params, jax.tree.map(jnp.zeros_like, params))
    names = {True: set(), False: set()}  # by whether the update moves the leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(updates):
        names[bool(leaf.any())].add(jax.tree_util.keystr(path[-1:]).strip("[]'."))
    assert names[True] == DECAYING
    assert {"cold_user", "positions", "bias", "scale", "item_bias"} <= names[False]
    assert {"item_in", "item_out", "user"} <= names[False]


def test_item_biases_learn_at_their_own_rate():
    params = {"network": {"kernel": jnp.ones((2, 2))}, "item_bias": jnp.ones(3)}
    gradients = jax.tree.map(lambda leaf: 0.1 * leaf, params)
    found = _first_update(params, gradients, weight_decay=0.0)
    np.testing.assert_allclose(found["network"]["kernel"], 1.0, rtol=1e-4)
    np.testing.assert_allclose(found["item_bias"], 0.5, rtol=1e-4)


def test_the_rate_rises_falls_and_ends_at_the_floor():
    found = [float(warmup_cosine(x, 0.2)) for x in (0.0, 0.1, 0.2, 0.6, 1.0)]
    np.testing.assert_allclose(found, [0.05, 0.525, 1.0, 0.525, 0.05], atol=1e-6)


def test_gradients_are_clipped_together():
    """Adam divides the size of the first one out; what it keeps shows in the second."""
    params = {"network": {"kernel": jnp.ones((2, 2))}, "item_bias": jnp.ones(3)}
    large = jax.tree.map(lambda leaf: 100.0 * leaf, params)
    clipped = jax.tree.map(lambda leaf: leaf / np.sqrt(7), params)  # of length 1
    small = jax.tree.map(lambda leaf: 0.01 * leaf, params)

    def second(first):
        optimizer = make_optimizer(clip_norm=1.0, weight_decay=0.0, bias_rate=1.0)
        state = optimizer.update(first, optimizer.init(params), params)[1]
        return optimizer.update(small, state, params)[0]["network"]["kernel"]

    np.testing.assert_allclose(second(large), second(clipped), rtol=1e-5)


def test_the_rate_is_whole_where_the_rise_ends():
    assert warmup_cosine(0.1499, 0.15) > 0.99
