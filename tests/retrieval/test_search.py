"""A search that stops early finds what an arg-max over every score finds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlerse_jax.retrieval.argmax import LANES
from dlerse_jax.retrieval.index import in_order, longest_first, sort_catalogue
from dlerse_jax.retrieval.search import (
    EPISODES_AT_ONCE,
    best_item,
    best_items_of_episodes,
)
from dlerse_jax.retrieval.walk import _bounds, asked_of

NUM_ITEMS, WIDTH = 5 * LANES + 3, 4
KINDS = ("alike", "few long ones", "biases alone", "few long ones, copied")


_sorted = jax.jit(sort_catalogue, static_argnames="most")
_best_item = jax.jit(best_item)


@jax.jit
def _bounds_of(catalogue, directions, gains, copied):
    shown = jnp.full((len(directions), 1), NUM_ITEMS)
    near = in_order(catalogue, copied)
    return _bounds(catalogue, asked_of(catalogue, directions, gains, near, shown))[0, 0]


@functools.partial(jax.jit, static_argnames=("most", "shards"))
def _best_of_episodes(item_out, item_bias, asked, items, most, shards=1):
    catalogue = sort_catalogue(item_out, item_bias, most, shards)
    return best_items_of_episodes(catalogue, *asked, items)


def _world(kind: str, shape, num_items=NUM_ITEMS):
    """item_out [N, D], item_bias [N], what is asked of B episodes, items [B, T]."""
    draws = np.random.default_rng((len(kind), *shape))
    item_out = draws.normal(size=(num_items, WIDTH))
    if kind.startswith("few"):
        item_out *= draws.permutation(1 / np.arange(1, num_items + 1))[:, None]
    item_out *= kind != "biases alone"
    item_bias = draws.normal(size=num_items) / 10
    copied = gains = None
    if kind.endswith("copied"):
        gains = draws.normal(size=shape)
        copied = draws.random((shape[0], num_items)) ** 9
    order = np.argsort(draws.random((shape[0], num_items)), axis=1)
    asked = draws.normal(size=(*shape, WIDTH)), gains, copied
    single = functools.partial(jnp.asarray, dtype=jnp.float32)
    arrays = jax.tree.map(single, (item_out, item_bias, asked))
    return *arrays, order[:, : shape[1]].astype(np.int32)


def _plain_argmax(item_out, item_bias, asked, items):
    # NumPy: each length of what was shown would compile anew.
    item_out, item_bias, directions = map(np.asarray, (item_out, item_bias, asked[0]))
    _, gains, copied = asked
    best = np.zeros(items.shape, np.int32)
    for episode, step in np.ndindex(*items.shape):
        scores = item_out @ directions[episode, step] + item_bias
        if copied is not None:
            scores += np.asarray(gains)[episode, step] * np.asarray(copied)[episode]
        scores[items[episode, :step]] = -np.inf
        best[episode, step] = scores.argmax()
    return best


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("most, shards", [(LANES, 1), (3 * LANES, 1), (LANES, 2)])
def test_the_best_before_each_step_is_that_of_a_plain_argmax(kind, most, shards):
    world = _world(kind, (3, 6))
    found = _best_of_episodes(*world, most, shards)
    np.testing.assert_array_equal(found, _plain_argmax(*world))


@pytest.mark.parametrize("count", [1, EPISODES_AT_ONCE + 1, 2 * EPISODES_AT_ONCE])
def test_episodes_in_groups_are_those_one_by_one(count):
    world = _world("few long ones, copied", (count, 3))
    found = _best_of_episodes(*world, LANES)
    np.testing.assert_array_equal(found, _plain_argmax(*world))


@pytest.mark.parametrize("num_items, shards", [(23, 1), (23, 3), (23, 23), (1, 1)])
def test_a_catalogue_smaller_than_its_blocks_and_shares(num_items, shards):
    world = _world("alike", (2, min(7, num_items)), num_items)
    found = _best_of_episodes(*world, 5, shards)
    np.testing.assert_array_equal(found, _plain_argmax(*world))


@pytest.mark.parametrize("own_vectors", [False, True])
def test_users_seeds_and_settings_are_searched_as_if_alone(own_vectors):
    """Axes that vmap adds: users of a catalogue, and catalogues that differ in part."""
    item_out, item_bias, asked, _ = _world("few long ones, copied", (24, 4))
    directions, gains, copied = asked  # 24 users, four seeds
    scale = jnp.arange(1.0, 5)[:, None, None]
    tables = item_out[None] * scale if own_vectors else item_out
    biases = item_bias[None] * scale[:, :, 0]
    shown = np.arange(5)[None] * np.arange(1, 25)[:, None]

    def of_seed(item_out, item_bias, directions, gains):
        catalogue = sort_catalogue(item_out, item_bias, LANES)

        def of_user(direction, gain, copied, shown):
            near = in_order(catalogue, copied)
            return best_item(catalogue, direction, gain, near, shown)

        return jax.vmap(of_user)(directions, gains, copied, shown)

    axis = 0 if own_vectors else None
    over_seeds = jax.vmap(of_seed, in_axes=(axis, 0, 1, 1))

    def over_settings(gain):
        return over_seeds(tables, biases, directions, gain * gains)

    found = jax.jit(jax.vmap(over_settings))(jnp.array([0.5, 2.0]))
    vectors = jnp.broadcast_to(tables, (4, *item_out.shape))
    scores = jnp.einsum("usd,svd->suv", directions, vectors) + biases[:, None]
    copies = gains.T[..., None] * copied[None]
    for setting, factor in enumerate((0.5, 2.0)):
        allowed = np.array(scores + factor * copies)
        allowed[:, np.arange(24)[:, None], shown] = -np.inf
        np.testing.assert_array_equal(found[setting], allowed.argmax(axis=-1))


@pytest.mark.parametrize("is_sorted", [True, False])
def test_whatever_order_is_given_the_best_is_found(is_sorted):
    item_out, item_bias, asked, items = _world("few long ones", (3, 6))
    order = longest_first(np.asarray(item_out))[:: 1 if is_sorted else -1]

    @jax.jit
    def best():
        catalogue = sort_catalogue(item_out, item_bias, LANES, order=jnp.array(order))
        return best_items_of_episodes(catalogue, *asked, items)

    expected = _plain_argmax(item_out, item_bias, asked, items)
    np.testing.assert_array_equal(best(), expected)


@pytest.mark.parametrize(("kind", "bias"), [("alike", 0), ("few long ones, copied", 1)])
def test_no_item_scores_above_the_bound_of_its_block(kind, bias):
    """Along the longest vector of each, where rounding alone lifts a product above that
    of the lengths."""
    item_out, item_bias, asked, _ = _world(kind, (1, 1))
    item_bias *= bias
    longest = item_out[longest_first(np.asarray(item_out))[::LANES]]
    directions = jnp.concatenate([scale * longest for scale in np.arange(1.0, 3, 0.1)])
    scores = np.array(directions @ item_out.T) + np.asarray(item_bias)
    gains = copied = None
    if asked[1] is not None:
        gains, copied = jnp.linspace(-2, 2, len(directions)), asked[2][0]
        scores += np.outer(gains, copied)
    catalogue = _sorted(item_out, item_bias, most=LANES)
    bounds = _bounds_of(catalogue, directions, gains, copied)
    by_block = np.full((len(directions), catalogue.items.size), -np.inf)
    by_block[:, np.asarray(catalogue.places)[0, :-1]] = scores
    highest = by_block.reshape(len(directions), -1, LANES).max(axis=2)
    ahead = np.maximum.accumulate(highest[:, ::-1], axis=1)[:, ::-1]
    assert (ahead <= bounds).all()


def test_none_is_found_where_all_are_shown():
    catalogue = _sorted(jnp.ones((3, WIDTH)), jnp.zeros(3))
    ask = functools.partial(_best_item, catalogue, jnp.ones(WIDTH), None, None)
    assert ask(jnp.array([0, 2, 3, 3])) == 1
    assert ask(jnp.array([0, 2, 1, 3])) == 3


def test_ties_go_to_the_longer_vector_and_then_to_the_smaller_index():
    item_out = jnp.array([[1.0, 0], [1.0, 2], [1.0, 1], [1.0, 2]])
    catalogue = _sorted(item_out, jnp.zeros(4))
    ask = functools.partial(_best_item, catalogue, jnp.array([1.0, 0]), None, None)
    found = [int(ask(jnp.array(shown))) for shown in ([4, 4], [1, 4], [1, 3])]
    assert found == [1, 3, 2]


def test_the_search_ends_where_nothing_behind_can_be_better():
    """Infinite biases behind, which no bound tells of, win only where they are read."""
    item_out = jnp.zeros((2 * LANES, WIDTH)).at[:LANES, 0].set(10.0)
    item_out = item_out.at[LANES:, 1].set(1.0)
    catalogue = _sorted(item_out, jnp.zeros(2 * LANES), most=LANES)
    spoiled = catalogue.biases.at[:, 1].set(jnp.inf)
    ask = functools.partial(
        _best_item,
        catalogue.replace(biases=spoiled),
        gain=None,
        copied=None,
        shown=jnp.zeros(0, jnp.int32),
    )
    assert ask(direction=jnp.eye(WIDTH)[0]) == 0
    assert ask(direction=jnp.eye(WIDTH)[1]) == LANES
