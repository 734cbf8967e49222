"""The best K items of a catalogue, found without scoring all of it.

Exact, ties included: the list is that of a stable sort of all scores, of which equal
ones go to the smaller index. Blocks have to hold their items in the order of indices
(`sort_catalogue`, by_index). How the search goes is in `walk`; it ends when no item
ahead can score as high as the last of the list.
"""

import functools

import jax
import jax.numpy as jnp

from dlerse_jax.retrieval.argmax import LANES
from dlerse_jax.retrieval.index import Catalogue, Copied
from dlerse_jax.retrieval.walk import Keep, asked_of, searching
from dlerse_jax.runtime.ranks import check_ranks


@check_ranks(direction=1, gain=0, left_out=1)
def best_list(
    catalogue: Catalogue,
    direction: jax.Array,
    gain: jax.Array | None,
    copied: Copied | None,
    left_out: jax.Array,
    count: int,
) -> tuple[jax.Array, jax.Array]:
    """The `count` highest q . o_v + b_v + g c_v: scores and items [K], descending.

    direction [D], gain [], left_out [S] padded with N, count static, up to N. Where
    fewer are left, the last scores are -inf and their items N. Under `vmap` users go
    through the blocks together. ValueError for a catalogue that is sharded.
    """
    if len(catalogue.items) > 1:
        raise ValueError("a list is of one catalogue, not of one that is sharded")
    gains = None if gain is None else gain[None]
    asked = asked_of(catalogue, direction[None], gains, copied, left_out[None])
    scores, items = (found[0, 0, 0] for found in _search_for(count)(catalogue, asked))
    nothing = catalogue.places.shape[1] - 1
    return scores, jnp.where(jnp.isneginf(scores), nothing, items)


@functools.cache
def _search_for(count: int):
    def nothing(shape: tuple[int, int], num_items: int):
        """Scores and items of a list: [C, Q, K] each."""
        whole = (*shape, count)
        return jnp.full(whole, -jnp.inf), jnp.full(whole, num_items, jnp.int32)

    def improve(kept, scores: jax.Array, items: jax.Array):
        can_improve = jnp.any(scores.max(axis=-1) >= kept[0][..., -1])
        return jax.lax.cond(
            can_improve, _merged, lambda *same: same[0], kept, scores, items
        )

    def takes(kept, bound: jax.Array) -> jax.Array:
        """An equal score counts: its index may be smaller."""
        return bound >= kept[0][..., -1]

    return searching(Keep(nothing, improve, takes))


def _merged(kept, scores: jax.Array, items: jax.Array):
    """A list and the best of a block as one list: scores [C, Q, A], items [C, A]."""
    count = kept[0].shape[-1]
    found, places = top_of(scores, min(count, scores.shape[-1]))
    of_block = jnp.take_along_axis(items[:, None], places, axis=-1)
    both = (
        jnp.concatenate([-kept[0], -found], axis=-1),
        jnp.concatenate([kept[1], of_block], axis=-1),
    )
    lost, both_items = jax.lax.sort(both, num_keys=2)
    return -lost[..., :count], both_items[..., :count]


def top_of(scores: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The highest scores and their places, as `jax.lax.top_k`: [..., A] -> [..., K].

    The K best are in the K groups with the highest maxima, of equal ones the first: a
    pass that takes maxima alone is several times as fast as one that keeps a list.
    """
    size = scores.shape[-1]
    if size <= 4 * LANES * count:
        return jax.lax.top_k(scores, count)
    padding = [(0, 0)] * (scores.ndim - 1) + [(0, -size % LANES)]
    padded = jnp.pad(scores, padding, constant_values=-jnp.inf)
    groups = padded.reshape(*scores.shape[:-1], -1, LANES)
    _, which = jax.lax.top_k(groups.max(axis=-1), count)
    which = jnp.sort(which, axis=-1)  # so that equal scores stay in order
    best = jnp.take_along_axis(groups, which[..., None], axis=-2)
    found, places = jax.lax.top_k(best.reshape(*scores.shape[:-1], -1), count)
    group = jnp.take_along_axis(which, places // LANES, axis=-1)
    return found, group * LANES + places % LANES
