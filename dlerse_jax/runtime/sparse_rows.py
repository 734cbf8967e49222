"""Sparse rows on the device: places are int32 there."""

import jax
import jax.numpy as jnp
import numpy as np


def row_starts(offsets: np.ndarray, what: str) -> jax.Array:
    """Where the rows of a sparse table start, for the device: [rows + 1] int32.

    ValueError where there are more entries than an int32 can count.
    """
    if offsets[-1] > np.iinfo(np.int32).max:
        raise ValueError(
            f"the data set has {offsets[-1]} {what}, and places are counted in int32: "
            f"at most {np.iinfo(np.int32).max}; leave some users out"
        )
    return jnp.asarray(offsets.astype(np.int32))


def row_contains(
    starts: jax.Array, columns: jax.Array, longest: int, row: jax.Array, wanted
) -> jax.Array:
    """Whether a row whose columns ascend, [], has what is wanted [...]: [...] bool.

    By bisection; longest: entries of the longest row. columns have an entry more than
    the rows, so that what is looked up is always there.
    """
    end = starts[row + 1]
    low = jnp.broadcast_to(starts[row], jnp.shape(wanted))
    high = jnp.broadcast_to(end, jnp.shape(wanted))
    for _ in range(longest.bit_length()):
        middle = (low + high) // 2
        is_below = (columns[middle] < wanted) & (low < high)
        low = jnp.where(is_below, middle + 1, low)
        high = jnp.where(is_below, high, middle)
    return (low < end) & (columns[low] == wanted)
