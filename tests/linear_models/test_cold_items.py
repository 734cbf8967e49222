"""Cold items get vectors from their features, and change nobody else's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse
from worlds import checkerboard

import dlerse_jax as dj
from dlerse_jax.agents.dqn.initialization import Plus, make_start
from dlerse_jax.data.features import make_cold, without_cold_items
from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.defaults import base_config
from dlerse_jax.experiment.build import build_agent, build_task
from dlerse_jax.linear_models.cold_items import (
    PENALTIES,
    best_penalty,
    feature_matrix,
    ridge_predictions,
    with_cold_items,
    with_cold_rows,
)
from dlerse_jax.types import ItemFeatures, Observation, Taggings

COLD = np.array([4, 7])  # an even one and an odd one: they come last, in this order


def parity_world():
    """Even users like even items; the features say which items are even."""
    world = checkerboard()
    items = np.arange(world.num_items, dtype=np.int32)
    features = ItemFeatures(
        items=items,
        columns=items % 2,
        values=np.ones(len(items), np.float32),
        num_columns=2,
    )
    return make_cold(dataclasses.replace(world, item_features=features), COLD)


def tagged(users, items, tags):
    return Taggings(
        users=np.asarray(users, np.int32),
        items=np.asarray(items, np.int32),
        tags=np.asarray(tags, np.int32),
        num_tags=3,
    )


def scores_after_a_like(agent, dataset, item):
    """Scores [N] for a test user who was shown an item and liked it."""
    state = agent.init(jax.random.key(0))
    user, num_items = jnp.int32(dataset.split.test[0]), dataset.num_items

    @jax.jit
    def scores(state):
        context = agent.context(state, jnp.zeros(dataset.num_users, bool))
        memory = agent.begin(state, context, user, jax.random.key(1))
        seen = Observation(
            user=user,
            step=jnp.int32(1),
            item=jnp.int32(item),
            liked=jnp.float32(1),
            like_streak=jnp.float32(1),
            dislike_streak=jnp.float32(0),
            shown=jnp.full(4, num_items).at[0].set(item),
        )
        memory = agent.observe(state, context, memory, seen)
        return agent.scores(state, context, memory, None)

    return np.asarray(scores(state))


@pytest.mark.parametrize(
    "name", ["mf_mean", "ease_friends", "linear_plus", "dlerse_con", "dlerse_plus"]
)
def test_a_cold_item_is_found_by_what_it_has_in_common(name):
    dataset, config = parity_world(), base_config()
    config.network.width = config.network.hidden = config.plus.ridge_rank = 8
    config.network.factor_regularisation = 1.0
    agent = build_agent(config, dataset, name, cold_items=True)
    even = scores_after_a_like(agent, dataset, 0)[-2:]
    odd = scores_after_a_like(agent, dataset, 1)[-2:]
    assert even[0] > even[1] and odd[0] < odd[1]


def test_other_items_do_not_know_of_cold_ones():
    dataset = parity_world()
    known = without_cold_items(dataset)
    assert known.item_ids.tolist() == [i for i in range(16) if i not in COLD]
    both = [
        build_agent(base_config(), data, "linear_plus", cold_items=True)
        for data in (dataset, known)
    ]
    found, expected = map(scores_after_a_like, both, (dataset, known), (0, 0))
    np.testing.assert_allclose(found[:-2], expected, rtol=1e-5, atol=1e-6)
    plus = dict(base_config().plus) | {"ridge_rank": 8}
    deep = {"factors": "ease", "width": 8, "regularisation": 1.0, "session_gain": 3.0}
    starts = [
        make_start(
            visible_likes(data), data, **deep, miss_reward=-1.0, plus=Plus(**plus)
        )
        for data in (dataset, known)
    ]
    for name in ("item_in", "item_out", "item_bias"):
        found, expected = (getattr(start.tables, name) for start in starts)
        np.testing.assert_array_equal(found[:14], expected)
    assert starts[0].value == starts[1].value
    assert starts[0].session_gain == starts[1].session_gain


def test_nobody_is_asked_about_cold_items():
    dataset = parity_world()
    world = dj.make_simulator(dataset, alpha=0.0, horizon=4)
    agent = dj.make_agent("popularity", dataset)
    assert world.num_items == len(scores_after_a_like(agent, dataset, 0)) == 14
    assert build_task(base_config(), dataset).known.num_items == 14


def test_the_regression_is_ridge_and_its_penalty_the_best_by_cross_validation():
    draws = np.random.default_rng(0)
    features = draws.normal(size=(30, 5)) * (draws.random((30, 5)) < 0.5)
    features[3] = 0  # says nothing, and is left out of the fit
    says_something = features.any(axis=1)
    vectors = features @ draws.normal(size=(5, 4)) + draws.normal(size=(30, 4)) + 2.0
    wanted = draws.normal(size=(3, 5))
    fitted, own = features[says_something], vectors[says_something]
    mean, gram = own.mean(axis=0), fitted.T @ fitted
    energies = np.linalg.eigvalsh(gram)[::-1]

    def error(penalty):
        hat = fitted @ np.linalg.solve(gram + penalty * np.eye(5), fitted.T)
        residual = (own - mean) - hat @ (own - mean)
        return np.sum(residual**2) / (len(own) - 1 - np.trace(hat)) ** 2

    best = min(PENALTIES * energies.mean(), key=error)
    weights = np.linalg.solve(gram + best * np.eye(5), fitted.T @ (own - mean))
    found = ridge_predictions(
        sparse.csr_matrix(features), vectors, sparse.csr_matrix(wanted)
    )
    np.testing.assert_allclose(found, mean + wanted @ weights, rtol=1e-8)
    noise = draws.normal(size=own.shape)
    explained = np.linalg.svd(fitted, full_matrices=False)[0].T @ noise
    assert best_penalty(energies, explained, noise) > best


def test_a_penalty_has_the_least_error_of_few_items_too():
    """Where the one degree of freedom that the mean takes is much of all."""
    draws = np.random.default_rng(1)
    chosen = set()
    for noise in np.linspace(0.05, 1, 40):
        directions, energies = np.linalg.qr(draws.normal(size=(6, 3)))[0], [9.0, 3, 1]
        vectors = directions * np.sqrt(energies) @ draws.normal(size=(3, 2))
        vectors += noise * draws.normal(size=(6, 2))
        vectors -= vectors.mean(axis=0)
        errors = []
        for penalty in PENALTIES * np.mean(energies):
            kept = energies / (energies + penalty)
            residual = vectors - directions * kept @ directions.T @ vectors
            errors.append(6 * np.sum(residual**2) / (6 - 1 - kept.sum()) ** 2)
        best = PENALTIES[np.argmin(errors)] * np.mean(energies)
        found = best_penalty(np.array(energies), directions.T @ vectors, vectors)
        assert found == pytest.approx(best)
        chosen.add(best)
    assert len(chosen) > 5


def test_tags_of_unseen_users_say_nothing():
    dataset = parity_world()
    train, test = dataset.split.train[:2], dataset.split.test[:1]
    seen = tagged([*train, *train], [0, 14, 1, 15], [0, 0, 1, 1])
    leaky = tagged([*train, *train, *test], [0, 14, 1, 15, 15], [0, 0, 1, 1, 2])
    matrices = [
        feature_matrix(dataclasses.replace(dataset, taggings=given)).toarray()
        for given in (seen, leaky)
    ]
    np.testing.assert_array_equal(*matrices)
    assert matrices[0].shape == (16, 5) and matrices[0][14, 2] > 0


def test_words_count_by_rarity_and_all_of_them_no_more_than_a_file():
    dataset = parity_world()
    first, second = dataset.split.train[:2]
    words = tagged(
        [first, second, first, first, first], [0, 0, 1, 2, 14], [0, 0, 0, 1, 0]
    )
    found = feature_matrix(dataclasses.replace(dataset, taggings=words)).toarray()
    expected = np.zeros((16, 3))
    expected[[0, 1, 14], 0] = np.log([3, 2, 2]) * np.log(16 / 3)
    expected[2, 1] = np.log(2) * np.log(16)
    size = np.sqrt(np.sum(expected[:14] ** 2) / 3)  # a cold item has no say in it
    np.testing.assert_allclose(found[:, 2:], expected / size)
    np.testing.assert_allclose(np.sum(found[:14, :2] ** 2, axis=1), 1)


def test_what_training_changed_is_predicted_too():
    dataset = parity_world()
    trained = {"other": np.ones(14)}
    even = np.append(dataset.item_ids[:14] % 2 == 0, [True, False])
    trained["item_bias"] = np.where(even[:14], 3.0, -1.0)
    found = with_cold_rows(trained, dataset, {"item_bias": 1})
    np.testing.assert_allclose(found["item_bias"], np.where(even, 3, -1), atol=0.01)
    assert found["other"].shape == (14,)


def test_without_anything_known_of_items_there_is_one_clear_line():
    dataset = dataclasses.replace(parity_world(), item_features=None)
    with pytest.raises(ValueError, match="probe: no item has a feature or a visible"):
        with_cold_items(np.ones((14, 2)), dataset)
