"""A catalogue in the order in which it is searched: the longest item vectors first.

Blocks of item vectors and biases, and for each block the longest vector and the
largest bias in it and all later ones. No item there scores more than |q| times the
length plus the bias (Cauchy and Schwarz), which is how `search.py` knows when to stop.
Vectors made from data are long for the few items that many people like.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dlerse_jax.retrieval.argmax import LANES, block_length
from dlerse_jax.runtime.ranks import check_ranks
from dlerse_jax.runtime.sharding import by_backend

BLOCK = 2048, 32_768  # static: items scored at a time, at most; on a CPU, elsewhere


@struct.dataclass(kw_only=True)
class Catalogue:
    """Items by falling length of their vectors, in P blocks of A.

    C is 1, or the number of catalogues that are searched side by side; a leaf that is
    the same in all of them may have 1 there.
    """

    vectors: jax.Array  # [C, P, A, D]
    biases: jax.Array  # [C, P, A]; -inf in spare places
    items: jax.Array  # [C, P, A] int32; N in spare places
    places: jax.Array  # [C, N + 1] int32: where an item is, P A where it is not
    lengths: jax.Array  # [C, P] longest vector from a block on
    tops: jax.Array  # [C, P] largest bias from a block on


@struct.dataclass(kw_only=True)
class Copied:
    """Scores of one user's copy head in the order of a catalogue."""

    scores: jax.Array  # [C, P, A]
    tops: jax.Array  # [C, P] largest size from a block on


@check_ranks(item_out=2, item_bias=1, order=1)
def sort_catalogue(
    item_out: jax.Array,
    item_bias: jax.Array,
    most: int = 0,
    shards: int = 1,
    order: jax.Array | None = None,
    *,
    by_index: bool = False,
) -> Catalogue:
    """item_out [N, D], item_bias [N] -> Catalogue, C = shards.

    most: items per block at most; 0 chooses by the device. Where item_out is
    sharded over `shards` devices, each of them sorts and keeps its own rows. order [N]
    is `longest_first` of vectors that do not change: sorting is then done once (any
    order gives the same choice, sooner or later). by_index: the items of a block are in
    the order of their indices, as lists need them.
    """
    num_items, _ = item_out.shape
    most = most or by_backend(BLOCK)
    rows = -(-num_items // shards)
    block = -(-block_length(rows, most) // LANES) * LANES
    size = -(-rows // block) * block

    def shard(array, fill):
        """[N, ...] -> [C, P A, ...], each shard with its spare places at the end."""
        rest = [(0, 0)] * (array.ndim - 1)
        spare = (0, shards * rows - num_items)
        array = jnp.pad(array, [spare, *rest], constant_values=fill)
        array = array.reshape(shards, rows, *array.shape[1:])
        return jnp.pad(array, [(0, 0), (0, size - rows), *rest], constant_values=fill)

    lengths = shard(jnp.linalg.norm(item_out, axis=1), -1.0)
    if order is None or shards > 1:
        order = jnp.argsort(-lengths, axis=1, stable=True)
    else:
        order = jnp.concatenate([order, jnp.arange(num_items, size)])[None]
    if by_index:
        of_block = order.reshape(shards, -1, block)
        order = jnp.sort(of_block, axis=-1).reshape(shards, -1)

    def sort(array):
        array = jax.vmap(lambda rows, places: rows[places])(array, order)
        return array.reshape(shards, -1, block, *array.shape[2:])

    items = sort(shard(jnp.arange(num_items, dtype=jnp.int32), num_items))
    biases = sort(shard(item_bias, -jnp.inf))
    nowhere = jnp.full((shards, num_items + 1), size, jnp.int32)
    shard_number = jnp.arange(shards)[:, None]
    all_places = jnp.arange(size, dtype=jnp.int32)
    return Catalogue(
        vectors=sort(shard(item_out, 0)),
        biases=biases,
        items=items,
        places=nowhere.at[shard_number, items.reshape(shards, -1)].set(all_places),
        lengths=_largest_from(sort(lengths)),
        tops=_largest_from(biases),
    )


def longest_first(item_out: np.ndarray) -> np.ndarray:
    """Items [N] by falling length of their vectors [N, D], on the host."""
    lengths = np.linalg.norm(item_out, axis=1)
    return np.argsort(-lengths, kind="stable").astype(np.int32)


def _largest_from(numbers: jax.Array) -> jax.Array:
    """The largest in a block or behind it: [..., P, A] -> [..., P]."""
    return jax.lax.cummax(numbers.max(axis=-1), axis=numbers.ndim - 2, reverse=True)


@check_ranks(copied=1)
def in_order(catalogue: Catalogue, copied: jax.Array | None) -> Copied | None:
    """The copied scores of one user, [N] or None without one, in its blocks."""
    if copied is None:
        return None
    scores = copied.at[catalogue.items].get(mode="fill", fill_value=0.0)
    return Copied(scores=scores, tops=_largest_from(jnp.abs(scores)))
