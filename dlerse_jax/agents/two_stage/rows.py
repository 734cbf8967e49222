"""Sparse rows that a session looks into: who likes an item, what somebody likes.

`Rows` holds the entries of all rows one after the other, so memory is what is stored.
Every look-up has a fixed size, which vmap and scan need: the first `width` entries of
some rows, a budget of entries for all rows of a list together, or a bisection.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy import sparse

from dlerse_jax.runtime.ranks import check_ranks
from dlerse_jax.types import row_starts


@struct.dataclass(kw_only=True)
class Rows:
    """A sparse matrix [R, C]; row R, one past the last, is there and empty."""

    starts: jax.Array  # [R + 2] int32
    columns: jax.Array  # [E + 1] int32; the last, C, is padding
    values: jax.Array  # [E + 1] float32; the last is 0
    num_columns: int = struct.field(pytree_node=False)  # C
    longest: int = struct.field(pytree_node=False)  # entries of the longest row


def make_rows(matrix: sparse.csr_matrix) -> Rows:
    """On the device, in the order in which the matrix has its entries."""
    starts = np.append(matrix.indptr, matrix.indptr[-1]).astype(np.int64)
    return Rows(
        starts=row_starts(starts, "entries in a table of dlerse_rank"),
        columns=jnp.asarray(np.append(matrix.indices, matrix.shape[1]), jnp.int32),
        values=jnp.asarray(np.append(matrix.data, 0), jnp.float32),
        num_columns=matrix.shape[1],
        longest=int(np.diff(matrix.indptr).max(initial=0)),
    )


def counts(rows: Rows, row: jax.Array) -> jax.Array:
    """Entries of some rows: [...] -> [...] int32."""
    return rows.starts[row + 1] - rows.starts[row]


def first_columns(rows: Rows, row: jax.Array, width: int) -> jax.Array:
    """Columns of the first entries of some rows [...]: [..., width], padded with C."""
    shape = (*row.shape, width)
    places = rows.starts[row][..., None] + jax.lax.broadcasted_iota(
        jnp.int32, shape, row.ndim
    )
    is_real = places < rows.starts[row + 1][..., None]
    return rows.columns[jnp.where(is_real, places, len(rows.columns) - 1)]


@check_ranks(row=1)
def entries_of(rows: Rows, row: jax.Array, budget: int):
    """Entries of rows [P], as many whole rows as the budget holds, in their order.

    -> which of the P each entry is of, its column and its value, [budget] each, padded
    with P, C and 0; and which rows are in, [P] bool. An empty row is always in.
    """
    lengths = counts(rows, row)
    ends = jnp.cumsum(lengths)
    is_in = ends <= budget
    slots = jnp.arange(budget)
    owner = jnp.searchsorted(ends, slots, side="right").astype(jnp.int32)
    nearest = jnp.minimum(owner, len(row) - 1)
    is_real = (owner < len(row)) & is_in[nearest]
    place = rows.starts[row[nearest]] + slots - (ends - lengths)[nearest]
    place = jnp.where(is_real, place, len(rows.columns) - 1)
    owner = jnp.where(is_real, owner, len(row))
    return owner, rows.columns[place], rows.values[place], is_in


def find(rows: Rows, row: jax.Array, column: jax.Array):
    """Where a matrix whose rows ascend has (row, column), both broadcast.

    -> whether it is there, and its place in `columns`; by bisection.
    """
    row, column = jnp.broadcast_arrays(row, column)
    low, end = rows.starts[row], rows.starts[row + 1]
    high = end
    for _ in range(rows.longest.bit_length()):
        middle = (low + high) // 2
        is_below = (rows.columns[middle] < column) & (low < high)
        low = jnp.where(is_below, middle + 1, low)
        high = jnp.where(is_below, high, middle)
    return (low < end) & (rows.columns[low] == column), low


def value_at(rows: Rows, row: jax.Array, column: jax.Array) -> jax.Array:
    """Values of a matrix whose rows ascend; 0 where it has none."""
    is_found, place = find(rows, row, column)
    return jnp.where(is_found, rows.values[place], 0.0)
