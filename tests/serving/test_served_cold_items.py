"""A recommender serves items that nobody likes; other items' scores do not change."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config

from dlerse_jax.data.features import make_cold, restore_cold_items, without_cold_items
from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.experiment.build import build_agent, build_dataset, build_task
from dlerse_jax.experiment.restore import Restored, with_cold_items
from dlerse_jax.learning.train_loop import init_states, seed_keys
from dlerse_jax.serving.recommender import Recommender
from dlerse_jax.types import ItemFeatures

COLD = np.array([3, 50])


@functools.cache
def world():
    dataset = build_dataset(tiny_config())
    draws = np.random.default_rng(0)
    items, columns = np.nonzero(draws.random((60, 5)) < 0.5)
    features = ItemFeatures(
        items=items.astype(np.int32),
        columns=columns.astype(np.int32),
        values=np.ones(len(items), np.float32),
        num_columns=5,
    )
    return make_cold(dataclasses.replace(dataset, item_features=features), COLD)


def untrained(name, dataset):
    config = tiny_config()
    agent, roots = build_agent(config, dataset, name), seed_keys(jnp.arange(1))
    return Restored(
        agent=agent,
        states=init_states(agent, roots),
        roots=roots,
        dataset=dataset,
        selected=None,
    )


def scores(recommender, dataset):
    """{item id: score} of all items for somebody with two friends."""
    friends = dataset.user_ids[dataset.split.train[:2]].tolist()
    found = recommender.recommend(friends=friends, liked=[0], k=dataset.num_items - 1)
    return {each.item: each.score for each in found}


def test_cold_items_are_recommended_beside_the_others():
    dataset = world()
    known = without_cold_items(dataset)
    found = scores(Recommender(untrained("linear_plus", dataset)), dataset)
    expected = scores(Recommender(untrained("linear_plus", known)), known)
    assert set(found) - set(expected) == set(COLD.tolist())
    for item, score in expected.items():
        assert found[item] == pytest.approx(score, abs=1e-5)


def test_an_agent_without_item_factors_serves_the_other_items():
    recommender = Recommender(untrained("popularity", world()))
    assert recommender.dataset.num_items == 58
    assert not set(COLD) & set(recommender.dataset.item_ids)


def test_a_deep_agent_s_trained_biases_are_predicted_for_cold_items():
    restored = untrained("dlerse_con", world())
    params = restored.states.average
    trained = {**params, "item_bias": params["item_bias"] + 7.0}
    states = restored.states.replace(average=trained)
    served = with_cold_items(dataclasses.replace(restored, states=states))
    bias = np.asarray(served.states.average["item_bias"])[0]
    np.testing.assert_array_equal(bias[:58], np.asarray(trained["item_bias"])[0])
    assert bias.shape == (60,) and (bias[58:] > 5).all()


def test_a_task_s_data_set_gets_its_cold_items_back():
    dataset = world()
    known = build_task(tiny_config(), dataset).known
    assert known.num_items == 58
    back = restore_cold_items(known, dataset)
    assert back.num_cold_items == 2 and (back.item_ids == dataset.item_ids).all()
    assert (visible_likes(back) != visible_likes(dataset)).nnz == 0
