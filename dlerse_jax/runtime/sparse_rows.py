"""Sparse rows: on the device, where places are int32, and on the way there."""

from collections.abc import Iterator

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


def row_blocks(costs: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Rows in blocks that cost at most so much, or are one row: (first, behind last).

    costs [rows]: of each row, whole numbers.
    """
    ends, first = np.cumsum(costs), 0
    while first < len(ends):
        before = ends[first - 1] if first else 0
        behind = int(np.searchsorted(ends, before + most, side="right"))
        behind = max(behind, first + 1)
        yield first, behind
        first = behind


def places_in_rows(rows: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... for the entries of each row; rows [E] ascend."""
    return np.arange(len(rows)) - np.searchsorted(rows, rows)


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
        middle = (low + high) >> 1  # half: // would add a remainder and its sign
        is_below = (columns[middle] < wanted) & (low < high)
        low = jnp.where(is_below, middle + 1, low)
        high = jnp.where(is_below, high, middle)
    return (low < end) & (columns[low] == wanted)
