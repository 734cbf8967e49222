"""Choosing one item: the best of those allowed, or a random one of those allowed.

"Allowed" means not yet shown in this episode. Shown items come as a short list [T],
padded with N, never as a mask over the catalogue that has to be carried along.
Everything here is for one user; the caller vmaps.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

LANES = 64  # items a block of `fast_argmax`: a few vector registers wide
CATALOGUE_BLOCK = 16_384  # static: items scored at a time by `best_allowed`


def fast_argmax(scores: jax.Array) -> jax.Array:
    """Index of the first maximum along the last axis: scores [..., A] -> [...] int32.

    XLA's arg-max on a CPU costs several times the matrix product that makes the
    scores. A plain maximum is fast, so blocks are reduced first and the arg-max
    looks at the block maxima and then inside the winning block alone.
    """
    size = scores.shape[-1]
    if size <= 2 * LANES:
        return jnp.argmax(scores, axis=-1).astype(jnp.int32)
    padding = [(0, 0)] * (scores.ndim - 1) + [(0, -size % LANES)]
    padded = jnp.pad(scores, padding, constant_values=-jnp.inf)
    blocks = padded.reshape(*scores.shape[:-1], -1, LANES)
    best_block = jnp.argmax(blocks.max(axis=-1), axis=-1)[..., None, None]
    winner = jnp.take_along_axis(blocks, best_block, axis=-2)[..., 0, :]
    index = best_block[..., 0, 0] * LANES + jnp.argmax(winner, axis=-1)
    return index.astype(jnp.int32)


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
    part = jnp.argmax(best, axis=-1).astype(jnp.int32)
    within = jnp.take_along_axis(index, part[..., None], axis=-1)[..., 0]
    return part * size + within


def best_allowed(
    score_items: Callable[[jax.Array | None], jax.Array],
    shown: jax.Array,
    num_items: int,
    block: int = CATALOGUE_BLOCK,
    shares: int = 1,
) -> jax.Array:
    """The allowed item with the highest score; ties go to the smaller index.

    score_items maps items [A] (or None: all N in order) to scores [A]; shown [T]
    padded with N. Catalogues above `block` items are scored block by block with a
    running maximum, so memory does not grow with N. A catalogue dealt over `shares`
    devices is scored at once, N / shares items on each.
    """
    if num_items <= block or shares > 1:
        scores = score_items(None).at[shown].set(-jnp.inf, mode="drop")
        return best_of_shares(scores, shares)

    def keep_better(best, start):
        best_score, best_item = best
        items = start + jnp.arange(block, dtype=jnp.int32)
        scores = score_items(jnp.minimum(items, num_items - 1))
        scores = jnp.where(items < num_items, scores, -jnp.inf)
        # Items before this block must not wrap around to its end.
        in_block = jnp.where(shown >= start, shown - start, block)
        scores = scores.at[in_block].set(-jnp.inf, mode="drop")
        winner = fast_argmax(scores)
        better = scores[winner] > best_score
        best_score = jnp.where(better, scores[winner], best_score)
        return (best_score, jnp.where(better, items[winner], best_item)), None

    starts = jnp.arange(0, num_items, block, dtype=jnp.int32)
    first = (jnp.float32(-jnp.inf), jnp.int32(num_items))
    (_, best_item), _ = jax.lax.scan(keep_better, first, starts)
    return best_item


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
    block: int,
    shares: int = 1,
    copy_gains: jax.Array | None = None,
    copied: jax.Array | None = None,
) -> jax.Array:
    """arg-max of q_t . o_v + b_v + g_t c_v over the items not shown before t, each t.

    directions [T, D], item_out [N, D], item_bias [N], items [T] as shown in order
    -> [T] int32. g and c are copy_gains [T] and copied [N], None without a copy head.
    Items of the episode are left out of the pass over the catalogue,
    whose memory is T x block, and compared afterwards where they were still allowed.
    Where item_out is dealt over `shares` devices, each goes through its own rows.
    """
    num_items = item_out.shape[0]
    size = -(-num_items // shares)  # rows of a share; P shares, on an axis of their own
    num_blocks = -(-size // block)
    bias = item_bias.at[items].set(-jnp.inf)
    blocks = (
        _blocks(item_out, shares, num_blocks, block, fill=0.0),
        _blocks(bias, shares, num_blocks, block, fill=-jnp.inf),
        jnp.arange(num_blocks, dtype=jnp.int32) * block,
        None
        if copied is None
        else _blocks(copied, shares, num_blocks, block, fill=0.0),
    )

    def keep_better(best, part):
        best_score, best_item = best
        vectors, biases, start, copied_part = part
        scores = jnp.einsum("td,pbd->tpb", directions, vectors) + biases[None]
        if copied_part is not None:
            scores += copy_gains[:, None, None] * copied_part[None]
        winner = fast_argmax(scores)
        score = jnp.take_along_axis(scores, winner[..., None], axis=-1)[..., 0]
        better = score > best_score
        best_item = jnp.where(better, winner + start, best_item)
        return (jnp.where(better, score, best_score), best_item), None

    horizon = items.shape[0]
    none_yet = (
        jnp.full((horizon, shares), -jnp.inf),
        jnp.full((horizon, shares), num_items, jnp.int32),
    )
    (best_scores, best_items), _ = jax.lax.scan(keep_better, none_yet, blocks)
    rest_score = best_scores.max(axis=1)
    rest_item = _best_part(best_scores, best_items, size)
    own_scores = directions @ item_out[items].T + item_bias[items][None]
    if copied is not None:
        own_scores += copy_gains[:, None] * copied[items][None]
    still_allowed = jnp.arange(horizon)[None, :] >= jnp.arange(horizon)[:, None]
    own_scores = jnp.where(still_allowed, own_scores, -jnp.inf)
    own_best = jnp.argmax(own_scores, axis=1)
    return jnp.where(own_scores.max(axis=1) > rest_score, items[own_best], rest_item)


def _blocks(rows: jax.Array, shares: int, num_blocks: int, block: int, fill: float):
    """Rows [N, ...] as blocks of every share: [num_blocks, P, block, ...]."""
    size = -(-len(rows) // shares)
    no_padding = [(0, 0)] * (rows.ndim - 1)
    rows = jnp.pad(
        rows, [(0, shares * size - len(rows)), *no_padding], constant_values=fill
    )
    parts = rows.reshape(shares, size, *rows.shape[1:])
    spare = (0, num_blocks * block - size)
    parts = jnp.pad(parts, [(0, 0), spare, *no_padding], constant_values=fill)
    blocks = parts.reshape(shares, num_blocks, block, *rows.shape[1:])
    return jnp.moveaxis(blocks, 0, 1)


def sample_allowed(
    key: jax.Array, cumulative_weights: jax.Array, shown: jax.Array
) -> jax.Array:
    """Draws an allowed item with probability proportional to its weight.

    cumulative_weights [N] int32: running sum of whole, positive weights (arange(1,
    N + 1) draws uniformly); shown [T] padded with N, fewer than N of them. Exact, in
    O(T log T + log N): a point is drawn in the mass left, then pushed past the masses
    of shown items; whole numbers leave no rounding that could land on one.
    """
    num_items = cumulative_weights.shape[0]
    ordered = jnp.sort(shown)
    padded = jnp.concatenate([jnp.zeros(1, jnp.int32), cumulative_weights])
    before = padded[jnp.minimum(ordered, num_items)]
    mass = padded[jnp.minimum(ordered + 1, num_items)] - before
    left = cumulative_weights[-1] - mass.sum()
    point = jax.random.randint(key, (), 0, left)
    shown_before = jnp.cumsum(mass) - mass
    point += jnp.sum(jnp.where(before - shown_before <= point, mass, 0))
    drawn = jnp.searchsorted(cumulative_weights, point, side="right")
    return drawn.astype(jnp.int32)
