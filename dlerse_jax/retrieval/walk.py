"""Goes through the blocks of a catalogue for many states at once, the longest first.

What a search keeps of the blocks behind it, one item or a list, is its caller's
(`Keep`). It ends when no item ahead can score above what is kept: after a tenth of a
large catalogue, often. Where all vectors are equally long, it ends at the last block.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.retrieval.index import Catalogue, Copied

FEW = 4  # static: a share of 1 / FEW of the states goes on without the others
SLACK = 2.0**-10  # of a bound, for what rounding adds to a product


@struct.dataclass(kw_only=True)
class Asked:
    """What is looked for, G users of R states each, in each of C catalogues."""

    directions: jax.Array  # [C, G, R, D]
    gains: jax.Array | None  # [C, G, R] of the copy head; None without one
    copied: Copied | None  # [C, G, ...]
    left_out: jax.Array  # [C, G, R, S] items that may not be chosen, padded with N


@struct.dataclass(kw_only=True)
class Rows:
    """The same, Q states of any user side by side."""

    directions: jax.Array  # [C, Q, D]
    gains: jax.Array | None  # [C, Q]
    owners: jax.Array  # [C, Q] whose state it is, of G
    hidden: jax.Array  # [C, Q, S] places that may not be chosen
    bounds: jax.Array  # [C, Q, P] what no item from a block on scores more than


class Keep(NamedTuple):
    """What is kept of the blocks gone through, a tree of arrays [C, Q, ...]."""

    # ((C, Q), N) -> what is kept before the first block
    nothing: Callable[[tuple[int, int], int], Any]
    # (kept, scores of a block [C, Q, A], its items [C, A]) -> kept
    improve: Callable[[Any, jax.Array, jax.Array], Any]
    # (kept, bounds [C, Q]) -> [C, Q] bool: whether an item that scores so is kept
    takes: Callable[[Any, jax.Array], jax.Array]


def asked_of(
    catalogue: Catalogue,
    directions: jax.Array,
    gains: jax.Array | None,
    copied: Copied | None,
    left_out: jax.Array,
) -> Asked:
    """R states of one user: directions [R, D], gains [R], left_out [R, S]."""
    shards = len(catalogue.items)

    def in_each_shard(array):
        return jnp.broadcast_to(array, (shards, 1, *array.shape))

    return Asked(
        directions=in_each_shard(directions),
        gains=None if gains is None else in_each_shard(gains),
        copied=jax.tree.map(lambda leaf: leaf[:, None], copied),
        left_out=in_each_shard(left_out),
    )


def searching(keep: Keep) -> Callable[[Catalogue, Asked], Any]:
    """A function of a catalogue and what is asked -> what is kept, [C, G, R, ...].

    A loop under `vmap` would take a block number for each user, and copy a block for
    each: the axes that `vmap` adds become part of C or G instead, see `_fold`.
    """

    @jax.custom_batching.custom_vmap
    def search(catalogue: Catalogue, asked: Asked) -> Any:
        shape = asked.directions.shape[:-1]
        kept = _walk(keep, catalogue, asked)
        return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[2:]), kept)

    search.def_vmap(functools.partial(_fold, search))
    return search


def _walk(keep: Keep, catalogue: Catalogue, asked: Asked) -> Any:
    """All states go through the blocks together until few are unfinished, and those go
    on without the others: one slow state would keep the whole batch waiting otherwise.
    """
    rows = _rows_of(catalogue, asked)
    num_catalogues, count = rows.owners.shape
    few = count // FEW
    kept = keep.nothing((num_catalogues, count), catalogue.places.shape[1] - 1)
    block, kept = _through_blocks(keep, catalogue, asked, rows, jnp.int32(0), kept, few)
    if catalogue.lengths.shape[1] == 1 or not few:
        return kept
    is_left = keep.takes(kept, _bound(rows, block))
    _, left = jax.lax.top_k(is_left.astype(jnp.float32), few)  # [C, few]
    take_left = functools.partial(_take, which=left)
    rows, of_left = jax.tree.map(take_left, (rows, kept))
    _, of_left = _through_blocks(keep, catalogue, asked, rows, block, of_left, 0)
    catalogues = jnp.arange(num_catalogues)[:, None]
    return jax.tree.map(
        lambda array, found: array.at[catalogues, left].set(found), kept, of_left
    )


def _through_blocks(keep: Keep, catalogue, asked, rows: Rows, block, kept, few: int):
    """From a block on, until at most `few` of the rows are unfinished.

    -> the block that comes next, and what is kept.
    """
    num_blocks = catalogue.lengths.shape[1]

    def is_unfinished(state):
        block, kept = state
        left = jnp.sum(keep.takes(kept, _bound(rows, block)), axis=1)
        return (block < num_blocks) & jnp.any(left > few)

    def improve(state):
        block, kept = state
        scores = _scores_of_block(catalogue, asked, rows, block)
        return block + 1, keep.improve(kept, scores, catalogue.items[:, block])

    if num_blocks == 1:
        return improve((block, kept))
    return jax.lax.while_loop(is_unfinished, improve, (block, kept))


def _rows_of(catalogue: Catalogue, asked: Asked) -> Rows:
    """The states of all users in one row: Q = G R."""
    num_catalogues, num_users, num_states, _ = asked.directions.shape
    owners = jnp.repeat(jnp.arange(num_users), num_states)[None]
    owners = jnp.broadcast_to(owners, (num_catalogues, owners.size))

    def in_a_row(array):
        return array.reshape(*owners.shape, *array.shape[3:])

    return Rows(
        directions=in_a_row(asked.directions),
        gains=None if asked.gains is None else in_a_row(asked.gains),
        owners=owners,
        hidden=in_a_row(_take(catalogue.places, asked.left_out)),
        bounds=in_a_row(_bounds(catalogue, asked)),
    )


def _bounds(catalogue: Catalogue, asked: Asked) -> jax.Array:
    """What no item from a block on scores more than: [C, G, R, P]."""
    lengths = jnp.linalg.norm(asked.directions, axis=-1)
    most = (1 + SLACK) * lengths[..., None] * catalogue.lengths[:, None, None]
    most += catalogue.tops[:, None, None]
    if asked.copied is None:
        return most
    return most + jnp.abs(asked.gains)[..., None] * asked.copied.tops[:, :, None]


def _bound(rows: Rows, block) -> jax.Array:
    """Of what is left from a block on: [C, Q]; -inf behind the last."""
    num_blocks = rows.bounds.shape[-1]
    bound = rows.bounds[..., jnp.minimum(block, num_blocks - 1)]
    return jnp.where(block < num_blocks, bound, -jnp.inf)


def _scores_of_block(catalogue, asked, rows: Rows, block) -> jax.Array:
    """Scores of a block's items, -inf where one may not be chosen: [C, Q, A]."""
    biases = catalogue.biases[:, block][:, None]
    size = biases.shape[-1]
    mask = jnp.broadcast_to(biases, (*rows.owners.shape, size))
    place = rows.hidden - block * size
    place = jnp.where(place >= 0, place, size)  # not the end of this block
    mask = jnp.put_along_axis(
        mask, place, -jnp.inf, axis=-1, inplace=False, mode="drop"
    )
    scores = _products(rows.directions, catalogue.vectors[:, block]) + mask
    if asked.copied is None:
        return scores
    copied = _take(asked.copied.scores[:, :, block], rows.owners)
    return scores + rows.gains[..., None] * copied


def _products(directions: jax.Array, vectors: jax.Array) -> jax.Array:
    """[C, Q, D], [C or 1, A, D] -> [C, Q, A]; one product if C is 1."""
    if len(vectors) == 1:
        return jnp.einsum("cqd,ad->cqa", directions, vectors[0])
    return jnp.einsum("cqd,cad->cqa", directions, vectors)


def _take(table: jax.Array, which: jax.Array) -> jax.Array:
    """Rows of each: table [C or 1, N, ...], which [C, M...] -> [C, M..., ...]."""
    if len(table) == 1:
        return table[0][which]
    return jax.vmap(lambda row, of_row: row[of_row])(table, which)


def _fold(search, size: int, is_batched, catalogue: Catalogue, asked: Asked):
    """Users of one catalogue become part of G, and catalogues part of C."""
    count = asked.directions.shape[int(is_batched[1].directions)]
    num_users = asked.directions.shape[int(is_batched[1].directions) + 1]

    def batched(leaf, has_axis):
        return leaf if has_axis else jnp.broadcast_to(leaf, (size, *leaf.shape))

    asked = jax.tree.map(batched, asked, is_batched[1])
    if any(jax.tree.leaves(is_batched[0])):
        catalogue = jax.tree.map(
            lambda leaf, has_axis: _side_by_side(leaf, has_axis, size, count),
            catalogue,
            is_batched[0],
        )
        asked = jax.tree.map(lambda x: x.reshape(size * count, *x.shape[2:]), asked)
        found = search(catalogue, asked)
        found = jax.tree.map(lambda x: x.reshape(size, count, *x.shape[1:]), found)
    else:
        asked = jax.tree.map(
            lambda x: jnp.moveaxis(x, 0, 1).reshape(count, -1, *x.shape[3:]), asked
        )
        found = search(catalogue, asked)
        found = jax.tree.map(
            lambda x: jnp.moveaxis(
                x.reshape(count, size, num_users, *x.shape[2:]), 1, 0
            ),
            found,
        )
    return found, jax.tree.map(lambda _: True, found)


def _side_by_side(leaf, has_axis: bool, size: int, count: int) -> jax.Array:
    """[size, C or 1, ...] or [C or 1, ...] -> [size C, ...], or 1 if alike in all."""
    if not has_axis:
        if len(leaf) == 1:
            return leaf
        leaf = jnp.broadcast_to(leaf, (size, *leaf.shape))
    leaf = jnp.broadcast_to(leaf, (size, count, *leaf.shape[2:]))
    return leaf.reshape(size * count, *leaf.shape[2:])
