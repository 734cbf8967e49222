"""DEERS, SADQN and SADQN++: what sets them apart from DLERSE, and that they run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from thorough import IS_FUZZ
from tiny import tiny_config

import dlerse_jax as dj
from dlerse_jax.agents.registry import DEEP
from dlerse_jax.experiment.build import build_agent, build_dataset
from dlerse_jax.learning.losses import contrastive_loss, opposite_steps
from dlerse_jax.networks.heads import Query, mix_queries
from dlerse_jax.networks.q_network import Tables

NO_COMPETITOR = -1


@pytest.mark.parametrize(
    ("liked", "competitors"),
    [
        ([1, 0], [1, 0]),
        ([1, 1, 0, 1], [2, 2, 1, 2]),  # of two at the same distance, the earlier
        ([0, 1, 0], [1, 0, 1]),
        ([1, 0, 0, 0, 1], [1, 0, 0, 4, 3]),
        ([1, 1, 1], [NO_COMPETITOR] * 3),
        ([0], [NO_COMPETITOR]),
    ],
)
def test_the_competitor_is_the_nearest_step_of_the_opposite_answer(liked, competitors):
    steps, exists = opposite_steps(jnp.array(liked, jnp.float32))
    found = np.where(exists, steps, NO_COMPETITOR)
    assert found.tolist() == competitors


def make_tables(num_items):
    rng = np.random.default_rng(0)
    vectors = jnp.asarray(rng.normal(size=(num_items, 3)), jnp.float32)
    bias = jnp.asarray(rng.normal(size=num_items), jnp.float32)
    return Tables(item_in=vectors, item_out=vectors, item_bias=bias, user=vectors)


def make_query(shape, seed):
    rng = np.random.default_rng(seed)
    return Query(
        value=jnp.asarray(rng.normal(size=shape), jnp.float32),
        direction=jnp.asarray(rng.normal(size=(*shape, 3)), jnp.float32),
    )


def test_contrast_is_the_printed_loss_step_by_step():
    tables, query = make_tables(9), make_query((4,), 1)
    items, liked = jnp.array([7, 2, 5, 0]), jnp.array([1.0, 1.0, 0.0, 1.0])
    expected = []
    for t, rival in enumerate([2, 2, 1, 2]):
        scores = tables.item_out @ query.direction[t] + tables.item_bias
        margin = scores[items[t]] - scores[items[rival]]
        expected.append(np.log1p(np.exp(-margin if liked[t] else margin)))
    loss = contrastive_loss(query, tables, items, liked)
    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-5)


def test_an_episode_without_contrast_has_no_loss_and_no_gradient():
    tables, query = make_tables(9), make_query((3,), 1)
    items, likes_alone = jnp.array([7, 2, 5]), jnp.ones(3)

    def loss(direction):
        return contrastive_loss(
            query.replace(direction=direction), tables, items, likes_alone
        )

    value, gradient = jax.value_and_grad(loss)(query.direction)
    assert value == 0 and not gradient.any()


def test_half_and_half_is_the_sum_of_two_heads():
    personal, social = make_query((2,), 1), make_query((2,), 2)
    mixed = mix_queries(personal, social, 0.5)
    np.testing.assert_allclose(mixed.value, personal.value + social.value, rtol=1e-6)
    np.testing.assert_allclose(
        mixed.direction, personal.direction + social.direction, rtol=1e-6
    )


def test_a_gate_at_its_ends_leaves_one_head():
    personal, social = make_query((2,), 1), make_query((2,), 2)
    mixed = mix_queries(personal, social, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(mixed.value[0], 2 * personal.value[0])
    np.testing.assert_allclose(mixed.value[1], 2 * social.value[1])
    np.testing.assert_allclose(mixed.direction[1], 2 * social.direction[1])


@pytest.mark.parametrize(
    ("name", "phase"),
    [
        *([("deers", "q_learning"), ("dlerse_plus", "pretrain")] if IS_FUZZ else []),
        ("sadqn_plus", "q_learning"),
    ],
)
def test_relatives_learn_without_breaking_and_repeat_no_item(name, phase):
    """In the phase in which each is another than the rest; each compiles for long."""
    config = tiny_config()
    dataset = build_dataset(config)
    agent = build_agent(config, dataset, name)
    world = dj.make_simulator(dataset, alpha=0.1, horizon=config.episode.horizon)
    updates = {"pretrain_updates": 0, "q_learning_updates": 0, f"{phase}_updates": 1}
    trained = dj.train(agent, world, seeds=jnp.arange(1), **updates)
    assert all(np.isfinite(x).all() for m in trained.history for x in m.values())
    shown = dj.evaluate(trained, world, dataset.split.test).items
    assert all(len(set(items)) == len(items) for items in shown[0])


def test_presets_say_what_the_papers_say():
    config = tiny_config()
    dataset = build_dataset(config)
    states = {
        name: build_agent(config, dataset, name).init(jax.random.key(0))
        for name in ("deers", "sadqn", "dlerse_myopic", "dlerse_con")
    }
    assert states["deers"].settings.contrastive_weight == pytest.approx(
        DEEP["deers"]["contrastive_weight"]
    )
    assert states["dlerse_con"].settings.contrastive_weight == 0
    assert states["dlerse_myopic"].settings.gamma == 0
    networks = {name: state.params["network"] for name, state in states.items()}
    assert "influence" not in networks["deers"]
    assert set(networks["sadqn"]["influence"]) == {
        "Dense_0",
        "GraphAttention_0",  # one hop
        "cold_user",
    }
    assert {"head", "social_head"} <= set(networks["sadqn"])
