"""The best allowed item, found fast, is the one a plain arg-max finds."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlerse_jax.selection import (
    EPISODES_AT_ONCE,
    LANES,
    best_allowed,
    best_allowed_each_step,
    best_candidate,
    fast_argmax,
    sample_allowed,
)

SIZES = (1, 2, LANES, 2 * LANES, 2 * LANES + 1, 3 * LANES - 1, 3 * LANES, 300)
NUM_ITEMS, HORIZON = 23, 7
jitted_argmax = jax.jit(fast_argmax)
jitted_draws = jax.jit(  # adds draws
    jax.vmap(sample_allowed, in_axes=(0, None, None))
)
jitted_best_of_each_step = jax.jit(
    best_allowed_each_step, static_argnames=("most", "shares")
)


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(SIZES), st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_fast_argmax_is_the_first_maximum(size, seed, num_levels):
    levels = np.random.default_rng(seed).integers(0, num_levels, (3, size))
    # Few levels make ties; the lowest is -inf, as masked items are.
    scores = np.where(levels == 0, -np.inf, levels).astype(np.float32)
    np.testing.assert_array_equal(jitted_argmax(scores), scores.argmax(axis=1))


def _scores_of(scores, items):
    return scores if items is None else scores[items]


@functools.partial(jax.jit, static_argnames=("most", "in_blocks"))
def _best(scores, shown, most, in_blocks):
    def score_block(start, size):
        padded = jnp.pad(scores, (0, size), constant_values=-jnp.inf)
        return jax.lax.dynamic_slice_in_dim(padded, start, size)

    score_items = functools.partial(_scores_of, scores)
    score_block = score_block if in_blocks else None
    return best_allowed(score_items, shown, NUM_ITEMS, most, score_block=score_block)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(-2, 2), min_size=NUM_ITEMS, max_size=NUM_ITEMS),
    st.sets(st.integers(0, NUM_ITEMS - 1), max_size=NUM_ITEMS - 1),
    st.randoms(use_true_random=False),
)
def test_best_allowed_is_never_shown_and_ties_go_to_the_smaller(levels, seen, order):
    scores = np.array(levels, np.float32)
    # A shown list is in order of showing, not of items.
    shown = order.sample(sorted(seen), len(seen))
    shown = np.array(shown + [NUM_ITEMS] * (NUM_ITEMS - len(shown)), np.int32)
    expected = np.where(np.isin(np.arange(NUM_ITEMS), shown), -np.inf, scores).argmax()
    for most, in_blocks in itertools.product((NUM_ITEMS, 64, 8, 5), (False, True)):
        assert _best(scores, shown, most, in_blocks) == expected


@pytest.mark.parametrize(
    "shown, candidates, expected",
    [
        ([], [3, 1, 2], 2),
        ([2], [3, 1, 2], 3),
        ([2, 3], [3, 1, 2], 1),
        ([9], [1, 9], 1),
        ([3, 1, 2], [3, 1, 2], NUM_ITEMS),  # none left
        ([], [], NUM_ITEMS),  # a list of padding alone
        ([], [0], 0),
    ],
)
def test_best_candidate_is_on_the_list_and_not_shown(shown, candidates, expected):
    scores = jnp.array([-5.0, 1, 9, 4] + [20.0] * (NUM_ITEMS - 4))
    shown, candidates = (
        jnp.array(items + [NUM_ITEMS] * (4 - len(items)), jnp.int32)
        for items in (shown, candidates)
    )
    score_items = functools.partial(_scores_of, scores)
    assert best_candidate(score_items, shown, candidates, NUM_ITEMS) == expected


@pytest.mark.parametrize("most", [1, 5, NUM_ITEMS, 64])
@pytest.mark.parametrize("horizon, num_episodes", [(HORIZON, 1), (NUM_ITEMS, 2)])
@pytest.mark.parametrize("copies", [False, True])
def test_best_of_each_step_equals_a_loop_over_steps(
    most, horizon, num_episodes, copies
):
    _check_best_of_each_step(NUM_ITEMS, (num_episodes, horizon), most, copies)


@pytest.mark.parametrize("num_episodes", [EPISODES_AT_ONCE + 1, 3 * EPISODES_AT_ONCE])
@pytest.mark.parametrize("shares", [1, 2])
def test_best_of_each_step_over_blocks_groups_of_episodes_and_shares(
    num_episodes, shares
):
    num_items, most = 5 * LANES + 3, 2 * LANES
    _check_best_of_each_step(num_items, (num_episodes, 4), most, True, shares)


def _check_best_of_each_step(num_items, shape, most, copies, shares=1):
    draws = np.random.default_rng(shape)
    directions = draws.normal(size=(*shape, 4)).astype(np.float32)
    item_out = draws.normal(size=(num_items, 4)).astype(np.float32)
    item_bias = draws.normal(size=num_items).astype(np.float32)
    order = np.argsort(draws.random((shape[0], num_items)), axis=1)
    items = order[:, : shape[1]].astype(np.int32)
    gains = copies * draws.normal(size=shape).astype(np.float32)
    copied = draws.normal(size=(shape[0], num_items)).astype(np.float32)
    expected = np.zeros(shape, np.int32)
    for episode, step in np.ndindex(*shape):
        scores = item_out @ directions[episode, step] + item_bias
        scores += gains[episode, step] * copied[episode]
        scores[items[episode, :step]] = -np.inf
        expected[episode, step] = scores.argmax()
    found = jitted_best_of_each_step(
        directions,
        item_out,
        item_bias,
        items,
        most=most,
        shares=shares,
        **({"copy_gains": gains, "copied": copied} if copies else {}),
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("num_items", [NUM_ITEMS, 5 * LANES + 3])
def test_bfloat16_chooses_the_same_where_the_best_is_clearly_best(num_items):
    draws = np.random.default_rng(num_items)
    directions = draws.normal(size=(40, 4, 8)).astype(np.float32)
    item_out = draws.normal(size=(num_items, 8)).astype(np.float32)
    items = np.tile(np.arange(4, dtype=np.int32), (40, 1))
    rows, bias = jnp.asarray(item_out), jnp.zeros(num_items)
    exact, rough = (
        jitted_best_of_each_step(directions, table, bias, items, most=2 * LANES)
        for table in (rows, rows.astype(jnp.bfloat16))
    )
    scores = directions @ item_out.T
    for step in range(4):
        scores[:, step, :step] = -np.inf
    second, first = np.moveaxis(np.sort(scores, axis=-1)[..., -2:], -1, 0)
    # Both numbers of a product are rounded to eight bits: by 2^-9 of them at most.
    largest = (np.abs(directions) @ np.abs(item_out.T)).max(axis=-1)
    is_clear = first - second > 2 * 2**-8 * largest
    assert 0.5 < is_clear.mean() < 1
    np.testing.assert_array_equal(exact, scores.argmax(axis=-1))
    np.testing.assert_array_equal(rough[is_clear], exact[is_clear])


@pytest.mark.parametrize(
    "weights, shown",
    [
        ([1] * 8, []),
        ([1] * 8, [5, 0, 7]),
        ([1, 2, 3, 4, 5, 6, 7, 8], []),
        ([1, 2, 3, 4, 5, 6, 7, 8], [6, 1]),
        ([50, 1, 1, 50, 1, 1, 50, 1], [3, 0, 6]),  # most of the mass is shown
        ([1, 2, 3, 4, 5, 6, 7, 8], [0, 1, 2, 3, 5, 6, 7]),  # one item left
    ],
)
def test_random_item_is_drawn_by_weight_and_never_shown(weights, shown):
    num_items, num_draws = len(weights), 20_000
    words = jax.random.bits(jax.random.key(0), (num_draws,))
    padded = jnp.array(shown + [num_items] * (7 - len(shown)), jnp.int32)
    cumulative = jnp.cumsum(jnp.array(weights, jnp.int32))
    counts = np.bincount(jitted_draws(words, cumulative, padded), minlength=num_items)
    assert len(counts) == num_items
    is_left = ~np.isin(np.arange(num_items), shown)
    expected = num_draws * np.where(is_left, weights, 0) / np.dot(is_left, weights)
    # Four standard deviations of a Poisson count; exactly none of those shown.
    assert (np.abs(counts - expected) <= 4 * np.sqrt(expected)).all()
