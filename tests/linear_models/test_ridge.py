"""Rank-one regression against a matrix inverse, its draws against their spread."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.linear_models.ridge import (
    drawn_scores,
    posterior_start,
    posterior_update,
    ridge_start,
    ridge_update,
)


def test_ridge_by_rank_one_is_the_regression_from_scratch():
    draws = np.random.default_rng(0)
    factors = draws.normal(size=(30, 5))
    theta, regularisation = draws.normal(size=5), 0.7
    items, answers = draws.permutation(30)[:20], draws.integers(0, 2, size=20)
    on_device = jnp.asarray(factors, jnp.float32)
    ridge = ridge_start(on_device, jnp.asarray(theta, jnp.float32), regularisation)
    update = jax.jit(ridge_update)
    for item, liked in zip(items, answers, strict=True):
        ridge = update(ridge, on_device, jnp.int32(item), jnp.float32(liked))
    shown = factors[items]
    inverse = np.linalg.inv(regularisation * np.eye(5) + shown.T @ shown)
    posterior = inverse @ (regularisation * theta + shown.T @ answers)
    widths = np.einsum("nd,de,ne->n", factors, inverse, factors)
    np.testing.assert_allclose(ridge.inverse, inverse, atol=1e-5)
    np.testing.assert_allclose(ridge.scores, factors @ posterior, atol=1e-4)
    np.testing.assert_allclose(ridge.widths, widths, atol=1e-5)


def test_a_posterior_scores_items_as_the_regression_does():
    draws = np.random.default_rng(1)
    factors = jnp.asarray(draws.normal(size=(12, 4)), jnp.float32)
    theta = jnp.asarray(draws.normal(size=4), jnp.float32)
    ridge, posterior = ridge_start(factors, theta, 0.5), posterior_start(theta, 4)
    for item, liked in ((3, 1.0), (7, 0.0), (1, 1.0), (0, 0.0)):
        ridge = ridge_update(ridge, factors, jnp.int32(item), jnp.float32(liked))
        posterior = posterior_update(posterior, factors[item], jnp.float32(liked), 0.5)
        np.testing.assert_allclose(factors @ posterior.theta, ridge.scores, atol=1e-5)
    full = posterior_update(posterior, factors[5], jnp.float32(1), 0.5)
    np.testing.assert_array_equal(full.theta, posterior.theta)


def test_drawn_scores_have_the_posterior_mean_and_spread():
    factors = jax.random.normal(jax.random.key(0), (6, 3))
    ridge = ridge_start(factors, jnp.ones(3), 2.0)
    ridge = ridge_update(ridge, factors, jnp.int32(2), jnp.float32(1))
    draw = functools.partial(drawn_scores, ridge, factors, jnp.float32(0.5))
    draws = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), 20_000))
    np.testing.assert_allclose(draws.mean(axis=0), ridge.scores, atol=0.03)
    spread = 0.5 * np.sqrt(ridge.widths)
    np.testing.assert_allclose(draws.std(axis=0), spread, rtol=0.03)
