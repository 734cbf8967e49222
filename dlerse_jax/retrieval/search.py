"""The best item of a catalogue, found without scoring all of it.

Exact: the item is that of an arg-max over all scores q . o_v + b_v (+ g c_v of a copy
head). The search goes block by block, longest vectors first, and ends when what it has
found is above all that the rest could score: after a tenth of a large catalogue, often.
Where all vectors are equally long, it ends at the last block.
"""

import functools

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.retrieval.argmax import fast_argmax
from dlerse_jax.retrieval.index import Catalogue, Copied, in_order
from dlerse_jax.runtime.ranks import check_ranks

EPISODES_AT_ONCE = 16  # static: times T rows of scores stay in a core's cache
FEW = 4  # static: a share of 1 / FEW of the states goes on without the others
SLACK = 2.0**-10  # of a bound, for what rounding adds to a product


@struct.dataclass(kw_only=True)
class _Asked:
    """What is looked for, G users of R states each, in each of C catalogues."""

    directions: jax.Array  # [C, G, R, D]
    gains: jax.Array | None  # [C, G, R] of the copy head; None without one
    copied: Copied | None  # [C, G, ...]
    left_out: jax.Array  # [C, G, R, S] items that may not be chosen, padded with N


@struct.dataclass(kw_only=True)
class _Rows:
    """The same, Q states of any user side by side."""

    directions: jax.Array  # [C, Q, D]
    gains: jax.Array | None  # [C, Q]
    owners: jax.Array  # [C, Q] whose state it is, of G
    hidden: jax.Array  # [C, Q, S] places that may not be chosen
    bounds: jax.Array  # [C, Q, P] what no item from a block on scores more than


@check_ranks(direction=1, gain=0, shown=1)
def best_item(
    catalogue: Catalogue,
    direction: jax.Array,
    gain: jax.Array | None,
    copied: Copied | None,
    shown: jax.Array,
) -> jax.Array:
    """arg-max of q . o_v + b_v + g c_v over items not shown: [] int32, N if none left.

    direction [D], gain [], shown [S] padded with N. Ties go to the longer vector, then
    to the smaller index. Under `vmap` users go through the blocks together.
    """
    gain = None if gain is None else gain[None]
    return best_items(catalogue, direction[None], gain, copied, shown[None])[0]


@check_ranks(directions=2, gains=1, shown=2)
def best_items(catalogue, directions, gains, copied, shown) -> jax.Array:
    """The same for R states of one user: [R, D], [R], [R, S] -> [R] int32."""
    shards = len(catalogue.items)

    def in_each_shard(array):
        return jnp.broadcast_to(array, (shards, 1, *array.shape))

    asked = _Asked(
        directions=in_each_shard(directions),
        gains=None if gains is None else in_each_shard(gains),
        copied=jax.tree.map(lambda leaf: leaf[:, None], copied),
        left_out=in_each_shard(shown),
    )
    scores, items = (found[:, 0] for found in _search(catalogue, asked))
    share = jnp.argmax(scores, axis=0)
    return jnp.take_along_axis(items, share[None], axis=0)[0]


@check_ranks(directions=3, gains=2, copied=2, items=2)
def best_items_of_episodes(catalogue, directions, gains, copied, items) -> jax.Array:
    """The same before every step of B episodes, given items [B, T] as shown in order.

    directions [B, T, D], gains [B, T], copied [B, N] -> [B, T] int32. Before step t
    the items of the steps before it are left out. EPISODES_AT_ONCE go together.
    """
    num_items = catalogue.places.shape[1] - 1
    steps = jnp.arange(items.shape[1])
    was_shown = steps[None, :] < steps[:, None]

    def of_episode(episode):
        directions, gains, copied, items = episode
        shown = jnp.where(was_shown, items[None], num_items)
        copied = in_order(catalogue, copied)
        return best_items(catalogue, directions, gains, copied, shown)

    count = items.shape[0]
    group = max(n for n in range(1, EPISODES_AT_ONCE + 1) if count % n == 0)

    def in_groups(array):
        """[B, ...] -> [B / G, G, ...]; users stay on their devices."""
        return jnp.moveaxis(array.reshape(group, -1, *array.shape[1:]), 1, 0)

    episodes = jax.tree.map(in_groups, (directions, gains, copied, items))
    best = jax.lax.map(jax.vmap(of_episode), episodes)
    return jnp.moveaxis(best, 0, 1).reshape(items.shape)


@jax.custom_batching.custom_vmap
def _search(catalogue: Catalogue, asked: _Asked) -> tuple[jax.Array, jax.Array]:
    """Highest allowed score and whose it is: [C, G, R] each; -inf and N for none.

    All states go through the blocks together until few are unfinished, and those go on
    without the others: one slow state would keep the whole batch waiting otherwise.
    A loop under `vmap` would take a block number for each user, and copy a block for
    each: the axes that `vmap` adds become part of C or G instead, see `_fold`.
    """
    shape = asked.directions.shape[:-1]
    rows = _rows_of(catalogue, asked)
    num_items = catalogue.places.shape[1] - 1
    count = rows.owners.shape[1]
    nothing = jnp.full((shape[0], count), -jnp.inf)
    best = nothing, jnp.full_like(nothing, num_items, jnp.int32)
    few = count // FEW
    block, best = _through_blocks(catalogue, asked, rows, jnp.int32(0), best, few)
    if catalogue.lengths.shape[1] > 1 and few:
        is_left = _bound(rows, block) > best[0]
        _, left = jax.lax.top_k(is_left.astype(jnp.float32), few)  # [C, few]
        _, of_left = _through_blocks(
            catalogue,
            asked,
            jax.tree.map(functools.partial(_take, which=left), rows),
            block,
            tuple(_take(array, left) for array in best),
            0,
        )
        catalogues = jnp.arange(shape[0])[:, None]
        best = tuple(
            array.at[catalogues, left].set(found)
            for array, found in zip(best, of_left, strict=True)
        )
    scores, items = best
    return scores.reshape(shape), items.reshape(shape)


def _rows_of(catalogue: Catalogue, asked: _Asked) -> _Rows:
    """The states of all users in one row: Q = G R."""
    num_catalogues, num_users, num_states, _ = asked.directions.shape
    owners = jnp.repeat(jnp.arange(num_users), num_states)[None]
    owners = jnp.broadcast_to(owners, (num_catalogues, owners.size))

    def in_a_row(array):
        return array.reshape(*owners.shape, *array.shape[3:])

    return _Rows(
        directions=in_a_row(asked.directions),
        gains=None if asked.gains is None else in_a_row(asked.gains),
        owners=owners,
        hidden=in_a_row(_take(catalogue.places, asked.left_out)),
        bounds=in_a_row(_bounds(catalogue, asked)),
    )


def _through_blocks(catalogue, asked, rows: _Rows, block, best, few: int):
    """From a block on, until at most `few` of the rows are unfinished.

    best: scores and items [C, Q] so far -> the block that comes next, and best.
    """
    num_blocks = catalogue.lengths.shape[1]

    def is_unfinished(state):
        block, (score, _) = state
        left = jnp.sum(_bound(rows, block) > score, axis=1)
        return (block < num_blocks) & jnp.any(left > few)

    def improve(state):
        block, (score, item) = state
        scores = _scores_of_block(catalogue, asked, rows, block)
        winner = fast_argmax(scores)[..., None]
        found = jnp.take_along_axis(scores, winner, axis=-1)[..., 0]
        items = catalogue.items[:, block][:, None]
        found_item = jnp.take_along_axis(items, winner, axis=-1)[..., 0]
        is_better = found > score
        score = jnp.where(is_better, found, score)
        return block + 1, (score, jnp.where(is_better, found_item, item))

    if num_blocks == 1:
        return improve((block, best))
    return jax.lax.while_loop(is_unfinished, improve, (block, best))


def _bounds(catalogue: Catalogue, asked: _Asked) -> jax.Array:
    """What no item from a block on scores more than: [C, G, R, P]."""
    lengths = jnp.linalg.norm(asked.directions, axis=-1)
    most = (1 + SLACK) * lengths[..., None] * catalogue.lengths[:, None, None]
    most += catalogue.tops[:, None, None]
    if asked.copied is None:
        return most
    return most + jnp.abs(asked.gains)[..., None] * asked.copied.tops[:, :, None]


def _bound(rows: _Rows, block) -> jax.Array:
    """Of what is left from a block on: [C, Q]; -inf behind the last."""
    num_blocks = rows.bounds.shape[-1]
    bound = rows.bounds[..., jnp.minimum(block, num_blocks - 1)]
    return jnp.where(block < num_blocks, bound, -jnp.inf)


def _scores_of_block(catalogue, asked, rows: _Rows, block) -> jax.Array:
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


@_search.def_vmap
def _fold(size: int, is_batched, catalogue: Catalogue, asked: _Asked):
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
        found = _search(catalogue, asked)
        found = tuple(x.reshape(size, count, *x.shape[1:]) for x in found)
    else:
        asked = jax.tree.map(
            lambda x: jnp.moveaxis(x, 0, 1).reshape(count, -1, *x.shape[3:]), asked
        )
        found = _search(catalogue, asked)
        found = tuple(
            jnp.moveaxis(x.reshape(count, size, num_users, -1), 1, 0) for x in found
        )
    return found, (True, True)


def _side_by_side(leaf, has_axis: bool, size: int, count: int) -> jax.Array:
    """[size, C or 1, ...] or [C or 1, ...] -> [size C, ...], or 1 if alike in all."""
    if not has_axis:
        if len(leaf) == 1:
            return leaf
        leaf = jnp.broadcast_to(leaf, (size, *leaf.shape))
    leaf = jnp.broadcast_to(leaf, (size, count, *leaf.shape[2:]))
    return leaf.reshape(size * count, *leaf.shape[2:])
