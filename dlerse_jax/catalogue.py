"""The best item of a catalogue, found without scoring all of it.

In go item vectors and biases; `sort_catalogue` puts the longest vectors first and cuts
the row into blocks. No item from a block on scores more than |q| times the longest
vector there plus the largest bias there (Cauchy and Schwarz), so a search that has
found more is done, and what it found is what an arg-max over everything finds. Vectors
made from data are long for the few items that many like: a tenth of the catalogue is
often enough. Where all are equally long, the search ends at the last block.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dlerse_jax.selection import LANES, block_length, fast_argmax

BLOCK = {"cpu": 1024}  # static: items scored at a time, at most
BLOCK_ELSEWHERE = 32_768
EPISODES_AT_ONCE = 16  # static: times T rows of scores stay in a core's cache
SLACK = 2.0**-10  # of a bound, for what rounding adds to a product


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


@struct.dataclass(kw_only=True)
class _Asked:
    """What is looked for, G users of R states each, in each of C catalogues."""

    directions: jax.Array  # [C, G, R, D]
    gains: jax.Array | None  # [C, G, R] of the copy head; None without one
    copied: Copied | None  # [C, G, ...]
    left_out: jax.Array  # [C, G, R, S] items that may not be chosen, padded with N


def sort_catalogue(
    item_out: jax.Array,
    item_bias: jax.Array,
    most: int = 0,
    shares: int = 1,
    order: jax.Array | None = None,
) -> Catalogue:
    """item_out [N, D] of any float type, item_bias [N] -> Catalogue, C = shares.

    most: items a block has at most; 0 takes what suits the device. Where item_out is
    dealt over `shares` devices, each of them sorts and keeps its own rows. order [N] is
    `longest_first` of vectors that do not change: sorting is then done once and for all
    (any order gives the same choice, sooner or later).
    """
    num_items, _ = item_out.shape
    most = most or BLOCK.get(jax.default_backend(), BLOCK_ELSEWHERE)
    rows = -(-num_items // shares)
    block = -(-block_length(rows, most) // LANES) * LANES
    size = -(-rows // block) * block

    def deal(array, fill):
        """[N, ...] -> [C, P A, ...], each share with its spare places at the end."""
        rest = [(0, 0)] * (array.ndim - 1)
        spare = (0, shares * rows - num_items)
        array = jnp.pad(array, [spare, *rest], constant_values=fill)
        array = array.reshape(shares, rows, *array.shape[1:])
        return jnp.pad(array, [(0, 0), (0, size - rows), *rest], constant_values=fill)

    lengths = jnp.linalg.norm(item_out.astype(jnp.float32), axis=1)
    lengths = deal(lengths, -1.0)
    if order is None or shares > 1:
        order = jnp.argsort(-lengths, axis=1, stable=True)
    else:
        order = jnp.concatenate([order, jnp.arange(num_items, size)])[None]

    def sort(array):
        array = jax.vmap(lambda rows, places: rows[places])(array, order)
        return array.reshape(shares, -1, block, *array.shape[2:])

    items = sort(deal(jnp.arange(num_items, dtype=jnp.int32), num_items))
    biases = sort(deal(item_bias, -jnp.inf))
    nowhere = jnp.full((shares, num_items + 1), size, jnp.int32)
    share = jnp.arange(shares)[:, None]
    everywhere = jnp.arange(size, dtype=jnp.int32)
    return Catalogue(
        vectors=sort(deal(item_out, 0)),
        biases=biases,
        items=items,
        places=nowhere.at[share, items.reshape(shares, -1)].set(everywhere),
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


def in_order(catalogue: Catalogue, copied: jax.Array | None) -> Copied | None:
    """What the copy head of one user says, [N] or None without one, in its blocks."""
    if copied is None:
        return None
    scores = copied.at[catalogue.items].get(mode="fill", fill_value=0.0)
    return Copied(scores=scores, tops=_largest_from(jnp.abs(scores)))


def best_item(
    catalogue: Catalogue,
    direction: jax.Array,
    gain: jax.Array | None,
    copied: Copied | None,
    shown: jax.Array,
) -> jax.Array:
    """arg-max of q . o_v + b_v + g c_v over items not shown: [] int32, N if none left.

    direction [D], gain [], shown [S] padded with N. Ties go to the longer vector, then
    to the smaller index. Under `vmap` all users go through the blocks together, until
    the last of them is done.
    """
    gain = None if gain is None else gain[None]
    return best_items(catalogue, direction[None], gain, copied, shown[None])[0]


def best_items(catalogue, directions, gains, copied, shown) -> jax.Array:
    """The same for R states of one user: [R, D], [R], [R, S] -> [R] int32."""
    shares = len(catalogue.items)

    def in_each_share(array):
        return jnp.broadcast_to(array, (shares, 1, *array.shape))

    asked = _Asked(
        directions=in_each_share(directions.astype(catalogue.vectors.dtype)),
        gains=None if gains is None else in_each_share(gains),
        copied=jax.tree.map(lambda leaf: leaf[:, None], copied),
        left_out=in_each_share(shown),
    )
    scores, items = (found[:, 0] for found in _search(catalogue, asked))
    share = jnp.argmax(scores, axis=0)
    return jnp.take_along_axis(items, share[None], axis=0)[0]


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
        """[B, ...] -> [B / G, G, ...]; users dealt over devices stay where they are."""
        return jnp.moveaxis(array.reshape(group, -1, *array.shape[1:]), 1, 0)

    episodes = jax.tree.map(in_groups, (directions, gains, copied, items))
    best = jax.lax.map(jax.vmap(of_episode), episodes)
    return jnp.moveaxis(best, 0, 1).reshape(items.shape)


@jax.custom_batching.custom_vmap
def _search(catalogue: Catalogue, asked: _Asked) -> tuple[jax.Array, jax.Array]:
    """Highest allowed score and whose it is: [C, G, R] each; -inf and N for none.

    A loop under `vmap` would take a block number for each user, and copy a block for
    each: the axes that `vmap` adds become part of C or G instead, see `_fold`.
    """
    num_blocks = catalogue.lengths.shape[1]
    bounds = _bounds(catalogue, asked)
    hidden_places = _take(catalogue.places, asked.left_out)

    def is_unfinished(state):
        block, score, _ = state
        bound = bounds[..., jnp.minimum(block, num_blocks - 1)]
        return (block < num_blocks) & jnp.any(bound > score)

    def improve(state):
        block, score, item = state
        scores = _scores_of_block(catalogue, asked, hidden_places, block)
        winner = fast_argmax(scores)[..., None]
        found = jnp.take_along_axis(scores, winner, axis=-1)[..., 0]
        items = catalogue.items[:, block][:, None, None]
        found_item = jnp.take_along_axis(items, winner, axis=-1)[..., 0]
        is_better = found > score
        score = jnp.where(is_better, found, score)
        return block + 1, score, jnp.where(is_better, found_item, item)

    shape = asked.directions.shape[:-1]
    num_items = catalogue.places.shape[1] - 1
    nothing = jnp.full(shape, -jnp.inf), jnp.full(shape, num_items, jnp.int32)
    start = (jnp.int32(0), *nothing)
    if num_blocks == 1:
        return improve(start)[1:]
    return jax.lax.while_loop(is_unfinished, improve, start)[1:]


def _bounds(catalogue: Catalogue, asked: _Asked) -> jax.Array:
    """What no item from a block on scores more than: [C, G, R, P]."""
    lengths = jnp.linalg.norm(asked.directions.astype(jnp.float32), axis=-1)
    most = (1 + SLACK) * lengths[..., None] * catalogue.lengths[:, None, None]
    most += catalogue.tops[:, None, None]
    if asked.copied is None:
        return most
    return most + jnp.abs(asked.gains)[..., None] * asked.copied.tops[:, :, None]


def _scores_of_block(catalogue, asked, hidden_places, block) -> jax.Array:
    """Scores of a block's items, -inf where one may not be chosen: [C, G, R, A]."""
    biases = catalogue.biases[:, block][:, None, None]
    size = biases.shape[-1]
    mask = jnp.broadcast_to(biases, (*asked.directions.shape[:-1], size))
    place = hidden_places - block * size
    place = jnp.where(place >= 0, place, size)  # not the end of this block
    mask = jnp.put_along_axis(
        mask, place, -jnp.inf, axis=-1, inplace=False, mode="drop"
    )
    scores = _products(asked.directions, catalogue.vectors[:, block]) + mask
    if asked.copied is None:
        return scores
    return scores + asked.gains[..., None] * asked.copied.scores[:, :, None, block]


def _products(directions: jax.Array, vectors: jax.Array) -> jax.Array:
    """[C, G, R, D], [C or 1, A, D] -> [C, G, R, A] float32; one product if C is 1."""
    if len(vectors) == 1:
        equation, vectors = "cgrd,ad->cgra", vectors[0]
    else:
        equation = "cgrd,cad->cgra"
    return jnp.einsum(equation, directions, vectors, preferred_element_type=jnp.float32)


def _take(table: jax.Array, which: jax.Array) -> jax.Array:
    """table [C or 1, N], which [C, ...] -> [C, ...]."""
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
