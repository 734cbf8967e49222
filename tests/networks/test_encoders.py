"""Interest encoders: acting and learning see the same, and nobody sees the future."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlerse_jax.networks.encoders import (
    CNN_REACH,
    ENCODERS,
    click_features,
    make_encoder,
)

WIDTH, HIDDEN, HORIZON = 3, 6, 12
DRAWS = np.random.default_rng(0)
VECTORS = DRAWS.normal(size=(HORIZON, WIDTH)).astype(np.float32)
LIKED = np.array([1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 1, 0], np.float32)
CLICKS = np.asarray(click_features(jnp.asarray(VECTORS), jnp.asarray(LIKED)))
OTHER_FUTURE = np.concatenate([CLICKS[:5], -3 * CLICKS[5:]])
OTHER_START = np.concatenate([CLICKS[:1] + 1, CLICKS[1:]])
SWAPPED = CLICKS[[1, 0, *range(2, HORIZON)]]
USERS = jnp.stack([CLICKS, OTHER_FUTURE, OTHER_START, SWAPPED])


@pytest.fixture(scope="module", params=ENCODERS)
def kind(request):
    return request.param


@functools.cache
def _weights(kind):
    """An encoder and its weights for two seeds, made by one vmapped init."""
    encoder = make_encoder(kind, hidden=HIDDEN, horizon=HORIZON)
    init = functools.partial(encoder.init, method="unroll")
    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    return encoder, jax.jit(jax.vmap(init, in_axes=(0, None)))(keys, CLICKS)


@functools.cache
def _interests(kind):
    """Interests of both seeds, all users, unrolled and stepwise: [2, 4, T + 1, H]."""
    encoder, weights = _weights(kind)

    def both(variables, clicks):
        unrolled = encoder.apply(variables, clicks, method="unroll")
        return unrolled, _stepwise(encoder, variables, clicks)

    over_users = jax.vmap(both, in_axes=(None, 0))  # adds users
    over_seeds = jax.vmap(over_users, in_axes=(0, None))  # adds seeds
    return jax.device_get(jax.jit(over_seeds)(weights, USERS))


def _stepwise(encoder, variables, clicks):
    """Interests [T + 1, H] by a scan of `step`, as an agent acts."""

    def step(carry, click):
        carry = encoder.apply(variables, carry, click, method="step")
        return carry, encoder.apply(variables, carry, method="interest")

    first = encoder.apply(variables, method="start")
    _, later = jax.lax.scan(step, first, clicks)
    before = encoder.apply(variables, first, method="interest")
    return jnp.concatenate([before[None], later])


def _change(kind, other):
    """How much the interests [T + 1] of seed 0 differ between CLICKS and others."""
    unrolled, _ = _interests(kind)
    return np.abs(unrolled[0, 0] - unrolled[0, other]).max(axis=1)


@functools.cache
def _dual_carries():
    """What the dual GRU carries before, after each click: all, likes alone."""
    encoder, weights = _weights("dual_gru")
    variables = jax.tree.map(lambda leaf: leaf[0], weights)

    @jax.jit
    def carries(clicks):
        def step(carry, click):
            carry = encoder.apply(variables, carry, click, method="step")
            return carry, carry

        first = encoder.apply(variables, method="start")
        return jnp.concatenate([first[None], jax.lax.scan(step, first, clicks)[1]])

    return np.asarray(carries(CLICKS)), np.asarray(carries(CLICKS[LIKED == 1]))


def test_click_tells_likes_from_dislikes():
    np.testing.assert_allclose(CLICKS[0], [*VECTORS[0], 0, 0, 0, 1, 0])
    np.testing.assert_allclose(CLICKS[2], [0, 0, 0, *VECTORS[2], 0, 1])


def test_unroll_equals_stepping_for_vmapped_users_and_seeds(kind):
    unrolled, stepwise = _interests(kind)
    assert unrolled.shape == (2, len(USERS), HORIZON + 1, HIDDEN)
    np.testing.assert_allclose(unrolled, stepwise, atol=1e-5)
    # Weights differ between the seeds, so does what they make of the same clicks.
    assert np.abs(unrolled[0, 0, 1:] - unrolled[1, 0, 1:]).max(axis=1).min() > 1e-3


def test_interest_never_sees_the_future_and_sees_its_own_click(kind):
    change = _change(kind, 1)
    assert change[:6].max() < 1e-6
    assert change[6:].min() > 1e-3


def test_order_of_two_likes_counts(kind):
    assert _change(kind, 3)[3] > 1e-4


def test_cnn_forgets_what_is_out_of_reach():
    change = _change("cnn", 2)
    assert change[1 : CNN_REACH + 1].max() > 1e-3
    assert change[CNN_REACH + 1 :].max() < 1e-6


def test_transformer_remembers_the_newest_clicks_of_a_long_past():
    encoder, weights = _weights("transformer")
    variables = jax.tree.map(lambda leaf: leaf[0], weights)
    past = np.tile(CLICKS, (3, 1))
    other = past.copy()
    other[2 * HORIZON] *= -3
    last = jax.jit(jax.vmap(lambda clicks: _stepwise(encoder, variables, clicks)[-1]))
    ours, reference = last(np.stack([past, other]))
    assert np.isfinite(ours).all()
    assert np.abs(ours - reference).max() > 1e-4


def test_dual_gru_keeps_likes_and_dislikes_apart():
    carries, _ = _dual_carries()
    moved = np.abs(np.diff(carries, axis=0)).max(axis=2) > 0
    np.testing.assert_array_equal(moved, np.stack([LIKED == 1, LIKED == 0], axis=1))


def test_dual_gru_state_of_likes_is_a_gru_over_the_likes_alone():
    everything, likes_alone = _dual_carries()
    np.testing.assert_allclose(everything[-1, 0], likes_alone[-1, 0], atol=1e-6)
    np.testing.assert_array_equal(likes_alone[-1, 1], np.zeros(HIDDEN))


def test_unknown_encoder_is_named():
    with pytest.raises(ValueError, match=r"gru, dual_gru.*got 'rnn'"):
        make_encoder("rnn", hidden=4, horizon=4)
