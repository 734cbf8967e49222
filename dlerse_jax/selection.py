"""Choosing one item: the best of those allowed, or a random one of those allowed.

"Allowed" means not yet shown in this episode. Shown items come as a short list [T],
padded with N, never as a mask over the catalogue that has to be carried along.
Everything here is for one user; the caller vmaps.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

LANES = 64  # items a group of `fast_argmax`: a few vector registers wide
CATALOGUE_BLOCK = 32_768  # static: most items scored at a time by `best_allowed`
EPISODES_AT_ONCE = 16  # static: times T rows of scores stay in a core's cache


def first_maximum(scores: jax.Array) -> jax.Array:
    """Index of the first maximum along the last axis: [..., A] -> [...] int32.

    Two plain reductions, which XLA turns into vector instructions on a CPU; its
    arg-max is one element at a time.
    """
    size = scores.shape[-1]
    places = jax.lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1)
    is_best = scores == scores.max(axis=-1, keepdims=True)
    return jnp.min(jnp.where(is_best, places, size - 1), axis=-1)


def fast_argmax(scores: jax.Array) -> jax.Array:
    """The same in one pass over the scores: [..., A] -> [...] int32.

    Groups are reduced first; the maximum is then looked for among the maxima of the
    groups, and inside the winning group alone. Fastest where A is a multiple of LANES.
    """
    size = scores.shape[-1]
    if size <= 2 * LANES:
        return first_maximum(scores)
    padding = [(0, 0)] * (scores.ndim - 1) + [(0, -size % LANES)]
    padded = jnp.pad(scores, padding, constant_values=-jnp.inf)
    group, winner = _best_group(padded.reshape(*scores.shape[:-1], -1, LANES))
    return group * LANES + first_maximum(winner)


def _best_group(groups: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first group that holds the maximum: [..., G, A] -> ([...], its [..., A])."""
    best = first_maximum(groups.max(axis=-1))
    winner = jnp.take_along_axis(groups, best[..., None, None], axis=-2)
    return best, winner[..., 0, :]


def block_length(num_items: int, most: int) -> int:
    """Length of equal blocks of at most `most` items, a multiple of LANES if it can.

    So that as few as possible of the last block's items are past the end.
    """
    num_blocks = -(-num_items // most)
    length = -(-num_items // num_blocks)
    aligned = -(-length // LANES) * LANES
    return aligned if aligned <= most else length


def block_starts(num_items: int, block: int) -> jax.Array:
    """Where blocks start that cover the catalogue: [blocks] int32.

    The last one reaches back into the one before and sees some items twice, which
    moves no maximum: so tables need no spare rows, and no copy that has them.
    """
    starts = jnp.arange(0, num_items, block, dtype=jnp.int32)
    return jnp.minimum(starts, max(num_items - block, 0))


def padded_length(num_items: int) -> int:
    """How long a catalogue must be for `best_allowed`: a block of it at least."""
    return max(num_items, block_length(num_items, CATALOGUE_BLOCK))


def best_of_shares(scores: jax.Array, shares: int) -> jax.Array:
    """`fast_argmax` of scores [..., A] whose last axis is dealt over devices.

    Each of `shares` devices finds the best of its own part; what crosses between them
    is one score and one index each.
    """
    if shares == 1:
        return fast_argmax(scores)
    size = -(-scores.shape[-1] // shares)
    spare = shares * size - scores.shape[-1]
    padding = [(0, 0)] * (scores.ndim - 1) + [(0, spare)]
    padded = jnp.pad(scores, padding, constant_values=-jnp.inf)
    parts = padded.reshape(*scores.shape[:-1], shares, size)
    return _best_part(parts.max(axis=-1), fast_argmax(parts), size)


def _best_part(best: jax.Array, index: jax.Array, size: int) -> jax.Array:
    """From the best score and index within each part [..., P] to the index overall."""
    part = first_maximum(best)
    within = jnp.take_along_axis(index, part[..., None], axis=-1)[..., 0]
    return part * size + within


def best_allowed(
    score_items: Callable[[jax.Array | None], jax.Array],
    shown: jax.Array,
    num_items: int,
    most: int = CATALOGUE_BLOCK,
    shares: int = 1,
    score_block: Callable[[jax.Array, int], jax.Array] | None = None,
) -> jax.Array:
    """The allowed item with the highest score; ties go to the smaller index.

    score_items maps items [A] (or None: all N in order) to scores [A]; shown [T]
    padded with N. Catalogues above `most` items are scored block by block with a
    running maximum, so memory does not grow with N. score_block, where there is one,
    is asked instead for the scores of the items from a start on: (start, A) -> [A],
    -inf past the end of the catalogue. A catalogue dealt over `shares` devices is
    scored at once, N / shares items on each.
    """
    block = block_length(num_items, most)
    if shares > 1 or (score_block is None and block >= num_items):
        scores = score_items(None).at[shown].set(-jnp.inf, mode="drop")
        return best_of_shares(scores, shares)
    if score_block is None:
        score_block = functools.partial(_gathered_block, score_items, num_items)

    def best_of_block(start):
        # Items before this block must not wrap around to its end.
        in_block = jnp.where(shown >= start, shown - start, block)
        scores = score_block(start, block).at[in_block].set(-jnp.inf, mode="drop")
        winner = fast_argmax(scores)
        return scores[winner], start + winner

    if block >= num_items:
        return best_of_block(jnp.int32(0))[1]

    def keep_better(best, start):
        found = best_of_block(start)
        is_better = found[0] > best[0]
        return jax.tree.map(functools.partial(jnp.where, is_better), found, best), None

    first = (jnp.float32(-jnp.inf), jnp.int32(num_items))
    return jax.lax.scan(keep_better, first, block_starts(num_items, block))[0][1]


def _gathered_block(score_items, num_items: int, start, size: int) -> jax.Array:
    items = start + jnp.arange(size, dtype=jnp.int32)
    scores = score_items(jnp.minimum(items, num_items - 1))
    return jnp.where(items < num_items, scores, -jnp.inf)


def best_candidate(
    score_items: Callable[[jax.Array | None], jax.Array],
    shown: jax.Array,
    candidates: jax.Array,
    num_items: int,
) -> jax.Array:
    """The same among candidates [C], padded with N; N where none is left."""
    scores = score_items(jnp.minimum(candidates, num_items - 1))
    allowed = (candidates < num_items) & ~jnp.isin(candidates, shown)
    winner = jnp.argmax(jnp.where(allowed, scores, -jnp.inf))
    return jnp.where(allowed.any(), candidates[winner], num_items).astype(jnp.int32)


def best_allowed_each_step(
    directions: jax.Array,
    item_out: jax.Array,
    item_bias: jax.Array,
    items: jax.Array,
    most: int,
    shares: int = 1,
    copy_gains: jax.Array | None = None,
    copied: jax.Array | None = None,
) -> jax.Array:
    """arg-max of q_t . o_v + b_v + g_t c_v over the items not shown before t, each t.

    directions [B, T, D], item_out [N, D], item_bias [N], items [B, T] as shown in
    order -> [B, T] int32. g and c are copy_gains [B, T] and copied [B, N], None
    without a copy head. Items of an episode are left out of the pass over the
    catalogue and compared afterwards where they were still allowed. The pass takes at
    most `most` items and EPISODES_AT_ONCE episodes at a time, in equal parts. Where
    item_out is dealt over `shares` devices, each goes through its own rows. Products
    are of numbers as precise as item_out, and their sums are float32.
    """
    directions = directions.astype(item_out.dtype)
    tables = item_out, item_bias, copied
    best_scores, best_items = _best_unshown(
        directions, copy_gains, tables, items, most, shares
    )
    rest_score = best_scores.max(axis=-1)
    rest_item = _best_part(best_scores, best_items, -(-item_out.shape[0] // shares))
    own_scores = _products("btd,bsd->bts", directions, item_out[items])
    own_scores += item_bias[items][:, None]
    if copied is not None:
        of_own = jnp.take_along_axis(copied, items, axis=1)
        own_scores += copy_gains[..., None] * of_own[:, None]
    order = jnp.arange(items.shape[1])
    is_allowed = order[None, :] >= order[:, None]
    own_scores = jnp.where(is_allowed[None], own_scores, -jnp.inf)
    own_item = jnp.take_along_axis(items, first_maximum(own_scores), axis=1)
    return jnp.where(own_scores.max(axis=-1) > rest_score, own_item, rest_item)


def _best_unshown(directions, copy_gains, tables, items, most: int, shares: int):
    """Highest score in each share, and its place there: [B, T, P] each.

    Among items that the episode shows at no step; -inf where there is none.
    """
    item_out, item_bias, copied = tables
    num_episodes = items.shape[0]
    size = max(n for n in range(1, EPISODES_AT_ONCE + 1) if num_episodes % n == 0)
    rows = -(-item_out.shape[0] // shares)
    block = -(-block_length(rows, most) // LANES) * LANES
    deal = functools.partial(_deal, shares=shares, least=block)
    vectors, biases = deal(item_out, fill=0.0), deal(item_bias, fill=-jnp.inf)
    if copied is not None:
        copied = jax.vmap(functools.partial(deal, fill=0.0))(copied)  # adds B

    def in_groups(array):
        """[B, ...] -> [B / G, G, ...]; users dealt over devices stay where they are."""
        return jnp.moveaxis(array.reshape(size, -1, *array.shape[1:]), 1, 0)

    groups = jax.tree.map(in_groups, (directions, copy_gains, items))

    def keep_better(best, start):
        part = functools.partial(jax.lax.dynamic_slice_in_dim, slice_size=block)
        of_block = part(vectors, start, axis=1), part(biases, start, axis=1)
        near = None if copied is None else in_groups(part(copied, start, axis=2))
        improve = functools.partial(_improve, *of_block, start, rows)
        return jax.lax.map(lambda of: improve(*of), (*groups, near, best)), None

    shape = (num_episodes // size, size, items.shape[1], shares)
    none_yet = (
        jnp.full(shape, -jnp.inf),
        jnp.zeros(shape, jnp.int32),
        jnp.full((*shape, LANES), -jnp.inf),
    )
    (score, place, lanes), _ = jax.lax.scan(
        keep_better, none_yet, block_starts(rows, block)
    )
    place += first_maximum(lanes)
    shape = (*items.shape, shares)
    return tuple(jnp.moveaxis(x, 0, 1).reshape(shape) for x in (score, place))


def _improve(vectors, biases, start, rows, directions, copy_gains, items, copied, best):
    """One block of each share against what was best before it, for some episodes.

    vectors [P, A, D], biases [P, A] of the items from `start` on in shares of `rows`;
    directions [G, T, D], copy_gains [G, T], items [G, T], copied [G, P, A]. best: score
    [G, T, P], place of the winning group's first item [G, T, P] and that group's
    scores [G, T, P, LANES], to be looked through when all blocks are done.
    """
    num_episodes, (shares, block) = items.shape[0], biases.shape
    place = items % rows - start
    place = jnp.where(place >= 0, place, block)
    episodes = jnp.arange(num_episodes)[:, None]
    mask = jnp.tile(biases[None], (num_episodes, 1, 1))
    mask = mask.at[episodes, items // rows, place].set(-jnp.inf, mode="drop")
    products = _products("gtd,pad->gtpa", directions, vectors)
    scores = products + mask[:, None]
    if copied is not None:
        scores += copy_gains[..., None, None] * copied[:, None]
    which = first_maximum(_in_lanes(scores).max(axis=-1))
    # The winning lanes are put together again from their parts: scores then have one
    # reader, so that XLA takes the maximum without ever writing them down.
    at = episodes[..., None], jnp.arange(shares), which
    winner = jnp.take_along_axis(
        _in_lanes(products), which[..., None, None], axis=-2
    ).squeeze(-2)
    winner += _in_lanes(mask)[at]
    if copied is not None:
        winner += copy_gains[..., None, None] * _in_lanes(copied)[at]
    score, first, lanes = best
    found = winner.max(axis=-1)
    is_better = found > score
    return (
        jnp.where(is_better, found, score),
        jnp.where(is_better, start + which * LANES, first),
        jnp.where(is_better[..., None], winner, lanes),
    )


_products = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)


def _deal(rows: jax.Array, shares: int, least: int, fill: float) -> jax.Array:
    """Rows [N, ...] in equal shares of at least `least` rows: [P, N / P, ...]."""
    size = -(-len(rows) // shares)
    no_padding = [(0, 0)] * (rows.ndim - 1)
    spare = (0, shares * size - len(rows))
    rows = jnp.pad(rows, [spare, *no_padding], constant_values=fill)
    parts = rows.reshape(shares, size, *rows.shape[1:])
    spare = (0, max(least - size, 0))
    return jnp.pad(parts, [(0, 0), spare, *no_padding], constant_values=fill)


def _in_lanes(scores: jax.Array) -> jax.Array:
    """[..., A] -> [..., A / LANES, LANES]."""
    return scores.reshape(*scores.shape[:-1], -1, LANES)


def sample_allowed(
    word: jax.Array, cumulative_weights: jax.Array, shown: jax.Array
) -> jax.Array:
    """Draws an allowed item with probability proportional to its weight.

    word [] uint32: random bits. cumulative_weights [N] int32: running sum of whole,
    positive weights (arange(1, N + 1) draws uniformly); shown [T] padded with N, fewer
    than N of them. In O(T log T + log N): a point is drawn in the mass left, then
    pushed past the masses of shown items; whole numbers leave no rounding that could
    land on one. Chances are off by a share of at most (all weights) / 2^32.
    """
    num_items = cumulative_weights.shape[0]
    ordered = jnp.sort(shown)
    padded = jnp.concatenate([jnp.zeros(1, jnp.int32), cumulative_weights])
    before = padded[jnp.minimum(ordered, num_items)]
    mass = padded[jnp.minimum(ordered + 1, num_items)] - before
    left = cumulative_weights[-1] - mass.sum()
    point = (word % left.astype(jnp.uint32)).astype(jnp.int32)
    shown_before = jnp.cumsum(mass) - mass
    point += jnp.sum(jnp.where(before - shown_before <= point, mass, 0))
    drawn = jnp.searchsorted(cumulative_weights, point, side="right")
    return drawn.astype(jnp.int32)
