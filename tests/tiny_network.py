"""A Q-network of fixed weights on a fixed world, small enough to check by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from worlds import random_world

from dlerse_jax.environment.reward import streaks_before
from dlerse_jax.networks.q_network import (
    QNetwork,
    Tables,
    advantages,
    allowed_means,
    clock_features,
    session_weights,
)

WIDTH, HORIZON = 4, 5
WORLD = random_world()
USER = 7  # with friends; user 0 has none
ITEMS = jnp.array([3, 8, 0, 11, 5])
LIKED = jnp.array([1.0, 0, 1, 1, 0])


def make_network(**changes) -> QNetwork:
    settings = {
        "width": WIDTH,
        "hidden": WIDTH,
        "hops": 2,
        "heads": 2,
        "fusion": "con",
        "encoder": "gru",
        "horizon": HORIZON,
        "dropout": 0.2,
        "initial_value": -0.9,
        "remembers": True,
    }
    return QNetwork(**settings | changes)


def make_tables(num_users=WORLD.num_users) -> Tables:
    draws = np.random.default_rng(1)

    def normal(*shape):
        return jnp.asarray(draws.normal(size=shape), jnp.float32)

    item_in, item_out = normal(WORLD.num_items, WIDTH), normal(WORLD.num_items, WIDTH)
    item_bias, user = normal(WORLD.num_items), normal(num_users, WIDTH)
    return Tables(item_in=item_in, item_out=item_out, item_bias=item_bias, user=user)


def make_params(network: QNetwork):
    """Weights from NumPy, so that no initialiser and no JAX version moves them."""
    init = jax.eval_shape(network.init, jax.random.key(0), make_tables())
    draws = np.random.default_rng(2)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.5 * draws.normal(size=leaf.shape), leaf.dtype), init
    )


def social(network, params, graph, user, cold=None):
    """k of every user [U, D]; nobody is cold unless said so."""
    cold = jnp.zeros(user.shape[0], bool) if cold is None else cold
    return network.apply(params, graph, user, cold, method="social")


def episode_query(network, params, tables, influence):
    """Queries of the T states of the fixed episode, for a user of this influence."""
    vectors = tables.item_in[ITEMS]
    h = network.apply(params, vectors, LIKED, method="unroll")[:-1]
    weighed = session_weights(LIKED, 0.1)[:, None] * vectors
    memory = 0.5 * (jnp.cumsum(weighed, axis=0) - weighed)
    clock = clock_features(jnp.arange(HORIZON), *streaks_before(LIKED), HORIZON)
    return network.apply(
        params, h, influence, clock, memory, train=False, method="query"
    )


def episode_q(network, params, graph, tables, user=USER):
    """Q of every item at every step of the fixed episode: [T, N]."""
    influence = social(network, params, graph, tables.user)[user]
    query = episode_query(network, params, tables, influence)
    level = query.value - allowed_means(query, tables, ITEMS)
    each = jax.vmap(advantages, in_axes=(0, None, None))  # adds T
    return level[:, None] + each(query, tables, None)
