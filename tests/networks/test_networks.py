"""The Q-network: attention, fusion and head against plain NumPy, and what must not
move them."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_agents import small_agent
from tiny_network import (
    HORIZON,
    ITEMS,
    USER,
    WIDTH,
    WORLD,
    episode_q,
    episode_query,
    make_network,
    make_params,
    make_tables,
    social,
)
from worlds import make_world

from dlerse_jax.graph.attention_graph import friend_graph
from dlerse_jax.graph.friends import friend_table
from dlerse_jax.networks import gat
from dlerse_jax.networks.fusion import Fusion
from dlerse_jax.networks.gat import GraphAttention
from dlerse_jax.networks.q_network import (
    advantages,
    allowed_means,
    q_values,
    taken_advantages,
)

GOLDENS = Path(__file__).parent / "goldens" / "q_values.json"
GRAPH, TABLES = friend_graph(friend_table(WORLD)), make_tables()
NUM_USERS, NUM_ITEMS = WORLD.num_users, WORLD.num_items
FRIENDLESS = 0


@functools.cache
def _tiny(**changes):
    """A network and its weights; what it needs to be called with."""
    network = make_network(**changes)
    return network, make_params(network)


@functools.cache
def _q_of(**changes):
    """Compiled Q [T, N] of the fixed episode, as a function of graph and tables."""
    return jax.jit(functools.partial(episode_q, *_tiny(**changes)))


@functools.cache
def _social_of(**changes):
    """Compiled k [U, D] as a function of graph, user features and who is cold."""
    return jax.jit(functools.partial(social, *_tiny(**changes)))


def _leaky(x, slope=0.2):
    return np.where(x > 0, x, slope * x)


def _elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _dense_attention(world, nodes, values, logits, average):
    """One hop with a [U, U] table, head by head."""
    names = np.eye(world.num_users, dtype=bool)
    names[world.friend_targets, world.friend_sources] = True
    heads = []
    for projection, (of_self, of_friend) in zip(values, logits, strict=True):
        projected = nodes @ projection
        scores = projected @ of_self
        scores = _leaky(scores[:, None] + (projected @ of_friend)[None])
        weights = np.where(names, np.exp(scores), 0)
        heads.append(weights / weights.sum(axis=1, keepdims=True) @ projected)
    merged = np.mean(heads, axis=0) if average else np.concatenate(heads, axis=1)
    return nodes + _elu(merged)


@pytest.mark.parametrize("average", [False, True])
def test_graph_attention_equals_a_dense_table(average):
    layer = GraphAttention(WIDTH, heads=2, average=average)
    draws = np.random.default_rng(0)
    nodes = draws.normal(size=(NUM_USERS, WIDTH))
    variables = layer.init(jax.random.key(0), GRAPH, jnp.float32(nodes))
    params = jax.tree.map(lambda leaf: draws.normal(size=leaf.shape), variables)
    expected = _dense_attention(
        WORLD,
        nodes,
        params["params"]["DenseGeneral_0"]["kernel"].transpose(1, 0, 2),
        params["params"]["attention"].transpose(0, 2, 1),
        average,
    )
    attended = layer.apply(jax.tree.map(jnp.float32, params), GRAPH, jnp.float32(nodes))
    np.testing.assert_allclose(attended, expected, atol=1e-4)


@pytest.mark.parametrize("most", [1, 7, 10_000])
@pytest.mark.parametrize("heads, head_width", [(1, 8), (2, 6), (3, 1)])
def test_sums_over_stretches_of_edges_and_their_gradients_are_plain_ones(
    most, heads, head_width, monkeypatch
):
    monkeypatch.setattr(gat, "EDGES_AT_ONCE", (most, most))
    draws = np.random.default_rng(most)
    senders, receivers = draws.integers(0, 9, (2, 50))  # one way, and some twice
    values, weights = (
        jnp.float32(draws.normal(size=(*shape, heads, width)))
        for shape, width in (((9,), head_width), ((50,), 1))
    )
    upstream = jnp.float32(draws.normal(size=values.shape))

    def plain(values, weights):
        return (
            jnp.zeros_like(values)
            .at[receivers]
            .add(values[senders] * weights[..., None])
        )

    def ours(values, weights):
        return gat._weighed_sums(values, weights, senders, receivers)

    def sums_and_gradients(of):
        sums, backward = jax.vjp(of, values, weights[..., 0])
        return sums, *backward(upstream)

    both = zip(sums_and_gradients(ours), sums_and_gradients(plain), strict=True)
    for found, expected in both:
        np.testing.assert_allclose(found, expected, atol=1e-4)


@settings(deadline=None, max_examples=4)
@given(st.integers(1, 5), st.integers(0, 7), st.floats(-100, 100))
def test_padding_of_the_graph_does_not_change_q(spare_nodes, spare_edges, feature):
    num_nodes = NUM_USERS + spare_nodes
    num_edges = len(GRAPH.senders) + spare_nodes + spare_edges
    padded = jraph.pad_with_graphs(GRAPH, num_nodes, num_edges)
    junk = jnp.full((spare_nodes, WIDTH), feature)
    tables = TABLES.replace(user=jnp.concatenate([TABLES.user, junk]))
    q = _q_of()
    np.testing.assert_allclose(q(padded, tables), q(GRAPH, TABLES), atol=1e-5)


def _relabelled(order):
    """The same friendships where new user i is old user order[i]."""
    new_name = np.argsort(order)
    pairs = [new_name[WORLD.friend_targets], new_name[WORLD.friend_sources]]
    likes = np.ones((NUM_USERS, NUM_ITEMS))
    return friend_graph(friend_table(make_world(likes, np.stack(pairs, axis=1))))


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(NUM_USERS)))
def test_relabelling_users_permutes_their_social_influence(order):
    order = np.array(order)
    influence = _social_of()
    expected = influence(GRAPH, TABLES.user)[order]
    found = influence(_relabelled(order), TABLES.user[order])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "changes, reads", [({}, True), ({"hops": 0}, False), ({"fusion": "none"}, False)]
)
def test_only_hops_and_fusion_let_friends_in(changes, reads):
    q = _q_of(**changes)
    others = _relabelled(np.roll(np.arange(NUM_USERS), 3))
    moved = np.abs(q(GRAPH, TABLES) - q(others, TABLES)).max()
    assert moved > 1e-3 if reads else moved == 0


def test_fusion_none_ignores_what_users_are_like():
    q = _q_of(fusion="none")
    other = TABLES.replace(user=-TABLES.user)
    np.testing.assert_array_equal(q(GRAPH, TABLES), q(GRAPH, other))


@pytest.mark.parametrize("hops", [1, 2])
def test_influence_travels_exactly_as_far_as_there_are_hops(hops):
    # A chain: user 0 names 1, 1 names 2, 2 names 3.
    world = make_world(np.ones((4, 1)), [(0, 1), (1, 2), (2, 3)])
    chain = friend_graph(friend_table(world))
    network, params = _tiny(hops=hops)
    user = TABLES.user[:4]

    @jax.jit
    @jax.grad
    def gradient(user):
        return social(network, params, chain, user)[0].sum()

    felt = np.abs(gradient(user)).max(axis=1) > 1e-6
    assert felt.tolist() == [distance <= hops for distance in range(4)]


def test_feature_of_a_cold_user_is_not_read_and_the_friends_of_theirs_are():
    influence = _social_of()
    cold = jnp.zeros(NUM_USERS, bool).at[USER].set(True)
    before = influence(GRAPH, TABLES.user, cold)
    after = influence(GRAPH, TABLES.user.at[USER].set(9.0), cold)
    np.testing.assert_array_equal(before, after)
    friend = WORLD.friend_sources[WORLD.friend_targets == USER][0]
    after = influence(GRAPH, TABLES.user.at[friend].set(9.0), cold)
    assert np.abs(before - after)[USER].max() > 1e-3


def test_friendless_user_is_finite_and_so_are_the_gradients():
    assert FRIENDLESS not in WORLD.friend_targets
    network, params = _tiny()

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        q = episode_q(network, params, GRAPH, TABLES, user=FRIENDLESS)
        return jnp.sum(q**2)

    value, gradients = loss(params)
    assert np.isfinite(value) and value > 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_con_projects_both_add_adds_gate_mixes_and_the_others_take_one():
    draws = np.random.default_rng(0)
    h, k, clock = (jnp.asarray(draws.normal(size=n), jnp.float32) for n in (4, 4, 3))
    fused = {}
    for kind in ("con", "add", "gate", "none", "social_only"):
        fusion = Fusion(kind, 4)
        params = fusion.init(jax.random.key(0), h, k, clock)["params"]
        zero_clock = jnp.zeros(3)
        fused[kind] = fusion.apply({"params": params}, h, k, zero_clock), params
    both = np.concatenate([h, k])
    np.testing.assert_allclose(fused["none"][0], h)
    np.testing.assert_allclose(fused["social_only"][0], k)
    np.testing.assert_allclose(fused["add"][0], h + k)
    con, params = fused["con"]
    np.testing.assert_allclose(con, both @ params["Dense_0"]["kernel"], atol=1e-6)
    gate, params = fused["gate"]
    share = 1 / (1 + np.exp(-both @ params["Dense_0"]["kernel"]))
    np.testing.assert_allclose(gate, share * h + (1 - share) * k, atol=1e-6)


@functools.cache
def _query():
    network, params = _tiny()
    influence = _social_of()(GRAPH, TABLES.user)[USER]
    return jax.jit(functools.partial(episode_query, network))(params, TABLES, influence)


def test_closed_form_mean_and_q_equal_brute_force():
    query, out, bias = _query(), np.float64(TABLES.item_out), TABLES.item_bias
    asked = jnp.array([3, 1, 0, 6, 10])
    means = allowed_means(query, TABLES, ITEMS)
    q = q_values(query, TABLES, asked, ITEMS)
    for step in range(HORIZON):
        advantage = out @ np.float64(query.direction[step]) + np.float64(bias)
        allowed = np.setdiff1d(np.arange(NUM_ITEMS), ITEMS[:step])
        mean = advantage[allowed].mean()
        assert means[step] == pytest.approx(mean, abs=1e-4)
        expected = query.value[step] + advantage[asked[step]] - mean
        assert q[step] == pytest.approx(float(expected), abs=1e-4)


def test_mean_of_q_over_allowed_items_is_the_value():
    q = np.array(_q_of()(GRAPH, TABLES))
    for step in range(HORIZON):
        allowed = np.setdiff1d(np.arange(NUM_ITEMS), ITEMS[:step])
        value = float(_query().value[step])
        assert q[step, allowed].mean() == pytest.approx(value, abs=1e-4)


def test_scores_are_the_plain_product_to_the_bit():
    query = jax.tree.map(lambda leaf: leaf[0], _query())
    plain = TABLES.item_out @ query.direction + TABLES.item_bias
    np.testing.assert_array_equal(advantages(query, TABLES, None), plain)


def test_advantage_of_the_items_played_touches_their_rows_alone():
    def of_tables(tables):
        return taken_advantages(_query(), tables, ITEMS).sum()

    gradient = jax.grad(of_tables)(TABLES)
    touched = np.flatnonzero(np.abs(gradient.item_out).max(axis=1))
    np.testing.assert_array_equal(touched, np.sort(ITEMS))
    np.testing.assert_array_equal(np.flatnonzero(gradient.item_bias), np.sort(ITEMS))


def test_mean_of_the_advantage_touches_every_row_through_one_sum():
    # The price of the exact mean: each row gets the same small push per step.
    def of_tables(tables):
        return allowed_means(_query(), tables, ITEMS)[0]

    rows = np.asarray(jax.grad(of_tables)(TABLES).item_out)
    pushed = np.broadcast_to(_query().direction[0] / NUM_ITEMS, rows.shape)
    np.testing.assert_allclose(rows, pushed, atol=1e-6)


@pytest.mark.parametrize("fusion", ["con", "add"])
def test_q_of_the_tiny_network_is_what_it_was(fusion):
    golden = json.loads(GOLDENS.read_text())
    q = _q_of(fusion=fusion)(GRAPH, TABLES)
    np.testing.assert_allclose(
        q, golden["q"][fusion], atol=1e-5, err_msg=f"see {golden['command']}"
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"fusion": "mul"}, "network.fusion must be one of .* got 'mul'"),
        ({"encoder": "rnn"}, "network.encoder must be one of .* got 'rnn'"),
        ({"factors": "nmf"}, "network.factors must be one of .* got 'nmf'"),
        ({"fusion": "add", "hidden": 16}, "must equal network.width, got 16 and 8"),
        ({"heads": 3}, "must divide network.width, got 3 and 8"),
        ({"hops": -1}, "network.hops must be 0 or more, got -1"),
        ({"exploration": "greedy"}, "exploration must be"),
    ],
)
def test_impossible_networks_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small_agent(WORLD, horizon=4, **changes)
