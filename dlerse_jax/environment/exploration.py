"""Random items for epsilon-greedy: drawn by weight, and not yet shown.

Everything here is for one user; the caller vmaps.
"""

import jax
import jax.numpy as jnp

from dlerse_jax.runtime.ranks import check_ranks


@check_ranks(words=1, cumulative_weights=1)
def draw_items(words: jax.Array, cumulative_weights: jax.Array) -> jax.Array:
    """Items drawn with probability proportional to weight, with replacement: [M] int32.

    words [M] uint32: random bits. cumulative_weights [N] int32: running sum of whole
    weights; arange(1, N + 1) draws uniformly. Chances are off by a share of at most
    (all weights) / 2^32.
    """
    points = words % cumulative_weights[-1].astype(jnp.uint32)
    drawn = jnp.searchsorted(cumulative_weights, points.astype(jnp.int32), side="right")
    return drawn.astype(jnp.int32)


@check_ranks(items=1, shown=1)
def first_allowed(
    items: jax.Array, shown: jax.Array, otherwise: jax.Array
) -> jax.Array:
    """The first of items [M] that is not among those shown [T]; `otherwise` if all are.

    Where items are draws with replacement, those that are passed over leave the chances
    of the rest in proportion: called repeatedly in an episode, with what it gave shown
    in between, it draws without replacement from what is allowed.
    """
    count = items.shape[0]
    is_shown = jnp.isin(items, shown, method="compare_all")
    # One reduction where `first_maximum` has two: on a GPU a step is what it launches.
    place = jnp.min(jnp.where(is_shown, count, jnp.arange(count)))
    return jnp.where(place < count, items[jnp.minimum(place, count - 1)], otherwise)
