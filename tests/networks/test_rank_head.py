"""A new re-ranker keeps the order of the first stage, also where few are liked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlerse_jax.networks.rank_head import (
    LEAST_SLOPE,
    RankHead,
    calibrated,
    opinion,
)

HEAD = RankHead(hidden=4, networks=3)


def _networks(head) -> dict:
    return head["params"]["networks"]


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
    linear = _networks(found)["linear"]
    np.testing.assert_allclose(linear["kernel"][:, 0, 0], slope, rtol=0.25)
    np.testing.assert_allclose(linear["bias"][:, 0], bias, rtol=0.2, atol=0.2)
    log_odds = opinion(HEAD.apply(found, features))
    chances = jax.nn.sigmoid(log_odds)[is_item]
    assert float(chances.mean()) == pytest.approx(
        float(liked[is_item].mean()), rel=0.02
    )
    order = np.argsort(np.asarray(log_odds), axis=1)
    assert np.array_equal(order, np.argsort(np.asarray(features[..., 0]), axis=1))
    rest = dict(_networks(found), linear=_networks(new)["linear"])
    assert jax.tree.all(jax.tree.map(np.array_equal, rest, _networks(new)))


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_the_order_stays_where_the_first_feature_tells_nothing(slope):
    features, liked, is_item = examples(slope, -2.0)
    new = HEAD.init(jax.random.key(0), features[0])
    kernel = _networks(calibrated(new, features, liked, is_item))["linear"]["kernel"]
    np.testing.assert_allclose(kernel[:, 0, 0], LEAST_SLOPE, atol=0.05)


def test_nobody_who_likes_anything_is_no_obstacle():
    features, liked, is_item = examples(1.0, 0.0)
    new = HEAD.init(jax.random.key(0), features[0])
    found = calibrated(new, features, jnp.zeros_like(liked), is_item)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_networks_are_drawn_apart_and_rank_by_their_mean():
    features, *_ = examples(1.0, 0.0)
    new = HEAD.init(jax.random.key(0), features[0])
    weights = _networks(new)["first"]["kernel"]
    assert len({row.tobytes() for row in np.asarray(weights)}) == HEAD.networks
    # The last layers are zero at the start; these tell the networks apart.
    found = jnp.arange(12.0).reshape(3, 4, 1)
    head = {"params": {"networks": dict(_networks(new), found={"kernel": found})}}
    alone = RankHead(hidden=4, networks=1)
    each = [
        alone.apply(jax.tree.map(lambda leaf, m=m: leaf[m : m + 1], head), features)[0]
        for m in range(3)
    ]
    assert np.abs(each[0] - each[1]).max() > 0.1
    np.testing.assert_allclose(
        opinion(HEAD.apply(head, features)), sum(each) / 3, rtol=1e-5, atol=1e-4
    )
