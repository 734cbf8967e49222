"""The best allowed item, found fast, is the one a plain arg-max finds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlerse_jax.environment.exploration import draw_items, first_allowed
from dlerse_jax.retrieval.argmax import LANES, best_allowed, best_candidate, fast_argmax

SIZES = (1, 2, LANES, 2 * LANES, 2 * LANES + 1, 3 * LANES - 1, 3 * LANES, 300)
NUM_ITEMS = 23
jitted_argmax = jax.jit(fast_argmax)


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None, None))  # adds draws
def drawn_and_next(words, cumulative_weights, shown):
    """Two explorations in a row: the second knows that the first was shown."""
    items = draw_items(words, cumulative_weights)
    first = first_allowed(items, shown, otherwise=-1)
    return first, first_allowed(items, jnp.append(shown, first), otherwise=-1)


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(SIZES), st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_fast_argmax_is_the_first_maximum(size, seed, num_levels):
    levels = np.random.default_rng(seed).integers(0, num_levels, (3, size))
    # Few levels make ties; the lowest is -inf, as masked items are.
    scores = np.where(levels == 0, -np.inf, levels).astype(np.float32)
    np.testing.assert_array_equal(jitted_argmax(scores), scores.argmax(axis=1))


def _scores_of(scores, items):
    return scores if items is None else scores[items]


@functools.partial(jax.jit, static_argnames="most")
def _best(scores, shown, most):
    return best_allowed(functools.partial(_scores_of, scores), shown, NUM_ITEMS, most)


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
    for most in (NUM_ITEMS, 64, 8, 5):
        assert _best(scores, shown, most) == expected


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "weights, shown",
    [
        ([1] * 8, []),
        ([1] * 8, [5, 0, 7]),
        ([1, 2, 3, 4, 5, 6, 7, 8], []),
        ([1, 2, 3, 4, 5, 6, 7, 8], [6, 1]),
        ([10, 1, 1, 10, 1, 1, 10, 1], [3, 0, 6]),  # most of the mass is shown
        ([1, 2, 3, 4, 5, 6, 7, 8], [0, 1, 2, 3, 5, 6, 7]),  # one item left
    ],
)
def test_random_item_is_drawn_by_weight_and_never_shown(weights, shown):
    num_items, num_draws = len(weights), 20_000
    words = jax.random.bits(jax.random.key(0), (num_draws, 150))
    padded = jnp.array(shown + [num_items] * (7 - len(shown)), jnp.int32)
    cumulative = jnp.cumsum(jnp.array(weights, jnp.int32))
    first, second = drawn_and_next(words, cumulative, padded)
    is_left = ~np.isin(np.arange(num_items), shown)
    chances = np.where(is_left, weights, 0) / np.dot(is_left, weights)
    _assert_counts(np.bincount(first, minlength=num_items), num_draws * chances)
    if is_left.sum() == 1:
        assert (second == -1).all()
        return
    # Drawn without replacement: sum over what went first of p_i p_j / (1 - p_i).
    after = chances[:, None] * chances / (1 - chances[:, None])
    np.fill_diagonal(after, 0)
    expected = num_draws * after.sum(axis=0)
    _assert_counts(np.bincount(second, minlength=num_items), expected)


def _assert_counts(counts, expected):
    """Four standard deviations of a Poisson count; exactly none of those shown."""
    assert len(counts) == len(expected)
    assert (np.abs(counts - expected) <= 4 * np.sqrt(expected)).all()
