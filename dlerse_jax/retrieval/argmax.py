"""The best of many scores, and the best item of those allowed.

"Allowed" means not yet shown in this episode. Shown items come as a short list [T],
padded with N, never as a mask over the whole catalogue.
Everything here is for one user; the caller vmaps.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from dlerse_jax.runtime.ranks import check_ranks

LANES = 64  # items a group of `fast_argmax`: a few vector registers wide
CATALOGUE_BLOCK = 32_768  # static: most items scored at a time by `best_allowed`


def first_maximum(scores: jax.Array, axis: int = -1) -> jax.Array:
    """Index of the first maximum along an axis, the last one: [..., A] -> [...] int32.

    Two plain reductions, which XLA turns into vector instructions on a CPU; its
    arg-max is one element at a time.
    """
    size = scores.shape[axis]
    places = jax.lax.broadcasted_iota(jnp.int32, scores.shape, axis % scores.ndim)
    is_best = scores == scores.max(axis=axis, keepdims=True)
    return jnp.min(jnp.where(is_best, places, size - 1), axis=axis)


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
    changes no maximum: so tables need no spare rows, and no copy that has them.
    """
    starts = jnp.arange(0, num_items, block, dtype=jnp.int32)
    return jnp.minimum(starts, max(num_items - block, 0))


def best_of_shards(scores: jax.Array, shards: int) -> jax.Array:
    """`fast_argmax` of scores [..., A] whose last axis is sharded over devices.

    Each of `shards` devices finds the best of its own part; they
    exchange one score and one index each.
    """
    if shards == 1:
        return fast_argmax(scores)
    size = -(-scores.shape[-1] // shards)
    spare = shards * size - scores.shape[-1]
    padding = [(0, 0)] * (scores.ndim - 1) + [(0, spare)]
    padded = jnp.pad(scores, padding, constant_values=-jnp.inf)
    parts = padded.reshape(*scores.shape[:-1], shards, size)
    return _best_part(parts.max(axis=-1), fast_argmax(parts), size)


def _best_part(best: jax.Array, index: jax.Array, size: int) -> jax.Array:
    """From the best score and index within each part [..., P] to the index overall."""
    part = first_maximum(best)
    within = jnp.take_along_axis(index, part[..., None], axis=-1)[..., 0]
    return part * size + within


@check_ranks(shown=1)
def best_allowed(
    score_items: Callable[[jax.Array | None], jax.Array],
    shown: jax.Array,
    num_items: int,
    most: int = CATALOGUE_BLOCK,
    shards: int = 1,
) -> jax.Array:
    """The allowed item with the highest score; ties go to the smaller index.

    score_items maps items [A] (or None: all N in order) to scores [A]; shown [T]
    padded with N. Catalogues above `most` items are scored block by block with a
    running maximum, so memory does not grow with N. A catalogue sharded over `shards`
    devices is scored at once, N / shards items on each.
    """
    block = block_length(num_items, most)
    if shards > 1 or block >= num_items:
        scores = score_items(None).at[shown].set(-jnp.inf, mode="drop")
        return best_of_shards(scores, shards)

    def best_of_block(start):
        items = start + jnp.arange(block, dtype=jnp.int32)
        # Items before this block must not wrap around to its end.
        in_block = jnp.where(shown >= start, shown - start, block)
        scores = score_items(items).at[in_block].set(-jnp.inf, mode="drop")
        winner = fast_argmax(scores)
        return scores[winner], start + winner

    def keep_better(best, start):
        found = best_of_block(start)
        is_better = found[0] > best[0]
        return jax.tree.map(functools.partial(jnp.where, is_better), found, best), None

    first = (jnp.float32(-jnp.inf), jnp.int32(num_items))
    return jax.lax.scan(keep_better, first, block_starts(num_items, block))[0][1]


@check_ranks(shown=1, candidates=1)
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
