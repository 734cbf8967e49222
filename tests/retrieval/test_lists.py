"""A list that is searched for is that of a stable sort of all scores, with its ties."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlerse_jax.retrieval.argmax import LANES
from dlerse_jax.retrieval.index import in_order, sort_catalogue
from dlerse_jax.retrieval.lists import best_list, top_of

NUM_ITEMS, WIDTH, PEOPLE = 9 * LANES + 5, 4, 6
KINDS = ("random", "ties", "few long ones", "ties, copied", "biases alone")


def _world(kind: str, seed: int):
    """Vectors [N, D], biases [N], directions [B, D], gains, copied, left_out [B, S].

    Small whole numbers give equal scores to many items, and no sum of them is rounded.
    """
    draws = np.random.default_rng((len(kind), seed))
    shapes = (NUM_ITEMS, WIDTH), (NUM_ITEMS,), (PEOPLE, WIDTH)
    if kind.startswith("ties"):
        arrays = [draws.integers(-2, 3, shape) for shape in shapes]
    else:
        arrays = [draws.normal(size=shape) for shape in shapes]
    if kind.startswith("few"):
        arrays[0] *= draws.permutation(1 / np.arange(1, NUM_ITEMS + 1))[:, None]
    arrays[0] = arrays[0] * (kind != "biases alone")
    gains = copied = None
    if kind.endswith("copied"):
        gains = draws.integers(1, 3, PEOPLE).astype(np.float32)
        copied = draws.integers(0, 2, (PEOPLE, NUM_ITEMS)).astype(np.float32)
    left_out = np.full((PEOPLE, 40), NUM_ITEMS, np.int32)
    for row, count in zip(left_out, (0, 1, 5, 20, 39, 40), strict=True):
        row[:count] = draws.choice(NUM_ITEMS, count, replace=False)
    item_out, item_bias, directions = (array.astype(np.float32) for array in arrays)
    return item_out, item_bias, directions, gains, copied, left_out


@functools.partial(jax.jit, static_argnames=("most", "count"))
def _lists(item_out, item_bias, directions, gains, copied, left_out, *, most, count):
    catalogue = sort_catalogue(item_out, item_bias, most, by_index=True)

    def of_person(direction, gain, copied, left_out):
        near = in_order(catalogue, copied)
        return best_list(catalogue, direction, gain, near, left_out, count)

    return jax.vmap(of_person)(directions, gains, copied, left_out)


def _sorted_lists(item_out, item_bias, directions, gains, copied, left_out, count):
    scores = directions @ item_out.T + item_bias
    if copied is not None:
        scores += gains[:, None] * copied
    for row, hidden in zip(scores, left_out, strict=True):
        row[hidden[hidden < NUM_ITEMS]] = -np.inf
    items = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(scores, items, axis=1), items


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("most, count", [(LANES, 10), (3 * LANES, 100), (10_000, 10)])
def test_a_list_is_that_of_a_stable_sort_of_all_scores(kind, most, count):
    for seed in range(3):
        world = _world(kind, seed)
        scores, items = _lists(*world, most=most, count=count)
        expected = _sorted_lists(*world, count)
        np.testing.assert_array_equal(items, expected[1])
        np.testing.assert_allclose(scores, expected[0], rtol=1e-5, atol=1e-5)


def test_what_is_left_is_listed_and_then_nothing():
    item_out, item_bias, directions, *_ = _world("random", 0)
    hidden = np.tile(np.arange(3, NUM_ITEMS, dtype=np.int32), (PEOPLE, 1))
    asked = directions, None, None, hidden
    scores, items = _lists(item_out, item_bias, *asked, most=LANES, count=5)
    assert {frozenset(row[:3].tolist()) for row in np.asarray(items)} == {
        frozenset({0, 1, 2})
    }
    assert np.isneginf(scores[:, 3:]).all() and (items[:, 3:] == NUM_ITEMS).all()


def test_the_search_ends_where_nothing_behind_can_come_into_the_list():
    """Infinite biases behind, which no bound tells of, win only where they are read."""
    item_out = jnp.zeros((2 * LANES, WIDTH)).at[:LANES, 0].set(10.0)
    item_out = item_out.at[LANES:, 1].set(1.0)
    catalogue = sort_catalogue(item_out, jnp.zeros(2 * LANES), LANES, by_index=True)
    spoiled = catalogue.replace(biases=catalogue.biases.at[:, 1].set(jnp.inf))
    nobody = jnp.zeros(0, jnp.int32)

    def items_for(direction, count):
        return best_list(spoiled, direction, None, None, nobody, count)[1].tolist()

    assert items_for(jnp.eye(WIDTH)[0], 3) == [0, 1, 2]
    assert items_for(jnp.eye(WIDTH)[0], LANES + 1)[0] == LANES  # not all are before it
    assert items_for(jnp.eye(WIDTH)[1], 3) == [LANES, LANES + 1, LANES + 2]


@pytest.mark.parametrize("size", [3 * LANES, 50 * LANES + 7])
def test_the_top_in_groups_is_the_top(size):
    scores = np.random.default_rng(size).integers(0, 40, (4, size)).astype(np.float32)
    found, places = top_of(jnp.asarray(scores), 9)
    expected = jax.lax.top_k(scores, 9)
    np.testing.assert_array_equal(places, expected[1])
    np.testing.assert_array_equal(found, expected[0])


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_an_equal_score_behind_comes_first_where_its_index_is_smaller(bias):
    """Nothing but the bias counts, and the longest vectors have the largest indices."""
    item_out = jnp.tile(jnp.arange(1.0, 3 * LANES + 1)[:, None], WIDTH)
    item_bias = jnp.full(3 * LANES, bias)
    catalogue = sort_catalogue(item_out, item_bias, LANES, by_index=True)
    nobody = jnp.zeros(0, jnp.int32)
    found = best_list(catalogue, jnp.zeros(WIDTH), None, None, nobody, 3)
    assert found[1].tolist() == [0, 1, 2]
