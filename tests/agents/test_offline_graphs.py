"""BPR's fold-in, LightGCN and GraphRec against dense algebra in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import random_world

from dlerse_jax.agents.offline.bpr import bpr
from dlerse_jax.agents.offline.lightgcn import lightgcn, lightgcn_social
from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.networks.graphrec_network import (
    Aggregator,
    GraphRecNetwork,
    RunningSoftmax,
)
from dlerse_jax.types import Observation

WORLD = random_world()
TRAINING = {
    "width": 4,
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "batches": 1,
    "batch_size": 8,
    "regularisation": 0.0,
}
LAYERS = 3


def _answer(user, item, liked):
    zero = jnp.float32(0)
    return Observation(
        user=jnp.int32(user),
        step=jnp.int32(1),
        item=jnp.int32(item),
        liked=jnp.float32(liked),
        like_streak=zero,
        dislike_streak=zero,
        shown=jnp.full(4, 99, jnp.int32),
    )


def _remember(agent, user, answers):
    """State, context and memory of one user after answers (item, liked)."""

    @jax.jit
    def remember(state):
        context = agent.context(state, jnp.zeros(WORLD.num_users, bool))
        memory = agent.begin(state, context, jnp.int32(user), jax.random.key(0))
        for item, liked in answers:
            seen = _answer(user, item, liked)
            memory = agent.observe(state, context, memory, seen)
        return context, memory, agent.scores(state, context, memory, None)

    state = jax.jit(agent.init)(jax.random.key(0))
    return state, *remember(state)


def _dense_lightgcn(params, likes, names):
    """Mean over the layers of (D^-1/2 A D^-1/2)^k E: users [U, D], items [N, D]."""
    num_users = len(likes)
    adjacency = np.block([[names, likes], [likes.T, np.zeros((likes.shape[1],) * 2)]])
    root = np.sqrt(np.maximum(adjacency.sum(axis=1), 1))
    matrix = adjacency / root[:, None] / root[None]
    is_training = np.isin(np.arange(num_users), WORLD.split.train)
    users = np.where(
        is_training[:, None], params.users, params.users[is_training].mean(axis=0)
    )
    layer = np.concatenate([users, params.items])
    powers = [np.linalg.matrix_power(matrix, k) for k in range(LAYERS + 1)]
    mean = np.mean(powers, axis=0) @ layer
    return mean[:num_users], mean[num_users:]


@pytest.mark.parametrize("make", [lightgcn, lightgcn_social])
def test_lightgcn_in_an_episode_is_the_whole_graph_with_the_answers_as_edges(make):
    """A training user says again what is in the graph: same vector, same scores.

    Of a new user the graph knows the friends alone.
    """
    agent = make(WORLD, layers=LAYERS, prior_weight=1e-9, **TRAINING)
    likes = visible_likes(WORLD).toarray()
    names = np.zeros((WORLD.num_users,) * 2)
    if make is lightgcn_social:
        names[WORLD.friend_targets, WORLD.friend_sources] = 1
    for user in (1, int(WORLD.split.test[0])):
        said = [(int(item), 1) for item in np.flatnonzero(likes[user])]
        state, _, _, scores = _remember(agent, user, said)
        users, items = _dense_lightgcn(jax.device_get(state.params), likes, names)
        if said or names[user].any():
            np.testing.assert_allclose(scores, items @ users[user], atol=1e-5)
        dislikes = [(int(item), 0) for item in np.flatnonzero(1 - likes[user])[:2]]
        _, _, _, after = _remember(agent, user, said + dislikes)
        np.testing.assert_allclose(after, scores, atol=1e-6)


def test_an_answer_moves_bpr_by_one_newton_step():
    weights = {"like_weight": 2.0, "dislike_weight": 0.5}
    agent = bpr(WORLD, **weights, **TRAINING)
    state, context, before, _ = _remember(agent, 0, [])
    for liked, weight in ((1, 2.0), (0, 0.5)):
        _, _, after, _ = _remember(agent, 0, [(3, liked)])
        x = np.asarray(state.params.items[3] - context.mean_item, np.float64)
        chance = 1 / (1 + np.exp(-(x @ np.asarray(before.vector))))
        precision = np.linalg.inv(np.asarray(before.covariance, np.float64))
        precision += weight * chance * (1 - chance) * np.outer(x, x)
        step = np.linalg.solve(precision, weight * (liked - chance) * x)
        np.testing.assert_allclose(after.vector, before.vector + step, atol=1e-5)
        inverse = np.linalg.inv(precision)
        np.testing.assert_allclose(after.covariance, inverse, atol=1e-5)


def test_graphrec_attends_by_a_softmax_over_the_edges_that_count():
    keys = jax.random.split(jax.random.key(0), 3)
    values, queries = (jax.random.normal(key, (5, 4)) for key in keys[:2])
    senders, receivers = jnp.array([0, 3, 4, 1, 2]), jnp.array([0, 0, 0, 2, 2])
    counts = jnp.array([1.0, 1.0, 0.0, 1.0, 1.0])
    layer = Aggregator(width=4)
    variables = layer.init(keys[2], values, queries, senders, receivers, counts)
    found = layer.apply(variables, values, queries, senders, receivers, counts)
    params = jax.tree.map(np.asarray, variables["params"])
    for receiver, neighbours in ((0, [0, 3]), (1, []), (2, [1, 2])):
        pooled = np.zeros(4)
        if neighbours:
            chosen = np.asarray(values)[neighbours]
            hidden = chosen @ params["of_value"]["kernel"] + params["of_value"]["bias"]
            hidden += np.asarray(queries)[receiver] @ params["of_query"]["kernel"]
            logits = np.maximum(hidden, 0) @ params["weight"]["kernel"][:, 0]
            pooled = np.exp(logits) @ chosen / np.exp(logits).sum()
        output = pooled @ params["output"]["kernel"] + params["output"]["bias"]
        np.testing.assert_allclose(found[receiver], np.maximum(output, 0), atol=1e-5)


def test_answers_one_by_one_are_what_training_sums_at_once():
    """Logits far apart, in an order where the largest comes last."""
    network = GraphRecNetwork(width=16)
    key_init, key_values = jax.random.split(jax.random.key(0))
    sizes = jnp.array([[1.0], [10.0], [100.0]])
    values = sizes * jax.random.normal(key_values, (3, 16))
    query, by_friends, zero = jnp.ones(16), jnp.ones(16), jnp.float32(0)

    def one_by_one(network):
        softmax = RunningSoftmax(weighted=jnp.zeros(16), total=zero, peak=zero)
        for value in values:
            softmax = network.add_answer(softmax, query, value)
        return network.answered_part(softmax, by_friends)

    def at_once(network):
        edges = jnp.arange(3), jnp.zeros(3, jnp.int32), jnp.ones(3)
        by_answers = network.answers(values, query[None], *edges)
        return network.user_part(by_answers[0], by_friends)

    variables = network.init(key_init, method=one_by_one)
    ours = network.apply(variables, method=one_by_one)
    reference = network.apply(variables, method=at_once)
    assert np.abs(ours).max() > 0.1
    np.testing.assert_allclose(ours, reference, rtol=1e-4)
