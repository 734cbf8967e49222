"""A new re-ranker keeps the order of the first stage, also where few are liked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlerse_jax.networks.rank_head import LEAST_SLOPE, RankHead, calibrated

HEAD = RankHead(hidden=4)


def examples(slope, bias, seed=0):
    """Features [S, A, F], which items are liked and which are real."""
    draws = np.random.default_rng(seed)
    features = draws.standard_normal((40, 50, 3)).astype(np.float32)
    chance = 1 / (1 + np.exp(-(slope * features[..., 0] + bias)))
    liked = (draws.random(chance.shape) < chance).astype(np.float32)
    return jnp.asarray(features), jnp.asarray(liked), draws.random(chance.shape) < 0.9


@pytest.mark.parametrize(("slope", "bias"), [(1.5, -4.0), (0.4, 0.0), (2.0, -1.0)])
def test_the_first_feature_becomes_the_log_odds_that_it_stands_for(slope, bias):
    features, liked, is_item = examples(slope, bias)
    new = HEAD.init(jax.random.key(0), features[0])
    found = calibrated(new, features, liked, is_item)
    linear = found["params"]["linear"]
    assert float(linear["kernel"][0, 0]) == pytest.approx(slope, rel=0.25)
    assert float(linear["bias"][0]) == pytest.approx(bias, rel=0.2, abs=0.2)
    chances = jax.nn.sigmoid(HEAD.apply(found, features))[is_item]
    assert float(chances.mean()) == pytest.approx(
        float(liked[is_item].mean()), rel=0.02
    )
    order = np.argsort(np.asarray(HEAD.apply(found, features)), axis=1)
    assert np.array_equal(order, np.argsort(np.asarray(features[..., 0]), axis=1))
    rest = dict(found["params"], linear=new["params"]["linear"])
    assert jax.tree.all(jax.tree.map(np.array_equal, rest, new["params"]))


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_the_order_stays_where_the_first_feature_tells_nothing(slope):
    features, liked, is_item = examples(slope, -2.0)
    new = HEAD.init(jax.random.key(0), features[0])
    kernel = calibrated(new, features, liked, is_item)["params"]["linear"]["kernel"]
    assert float(kernel[0, 0]) == pytest.approx(LEAST_SLOPE, abs=0.05)


def test_nobody_who_likes_anything_is_no_obstacle():
    features, liked, is_item = examples(1.0, 0.0)
    new = HEAD.init(jax.random.key(0), features[0])
    found = calibrated(new, features, jnp.zeros_like(liked), is_item)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
