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
from dlerse_jax.runtime.sparse_rows import row_contains, row_starts


@struct.dataclass(kw_only=True)
class Rows:
    """A sparse matrix [R, C]; row R, one past the last, is there and empty."""

    starts: jax.Array  # [R + 2] int32
    columns: jax.Array  # [E + padding] int32; padded with C
    values: jax.Array  # [E + padding] float32; padded with 0
    num_columns: int = struct.field(pytree_node=False)  # C
    longest: int = struct.field(pytree_node=False)  # entries of the longest row


def make_rows(matrix: sparse.csr_matrix) -> Rows:
    """On the device, in the order in which the matrix has its entries."""
    starts = np.append(matrix.indptr, matrix.indptr[-1]).astype(np.int64)
    longest = int(np.diff(matrix.indptr).max(initial=0))
    padding = (0, longest + 1)  # a slice that starts at any row ends in the array
    columns = np.pad(matrix.indices, padding, constant_values=matrix.shape[1])
    return Rows(
        starts=row_starts(starts, "entries in a table of dlerse_rank"),
        columns=jnp.asarray(columns, jnp.int32),
        values=jnp.asarray(np.pad(matrix.data, padding), jnp.float32),
        num_columns=matrix.shape[1],
        longest=longest,
    )


def counts(rows: Rows, row: jax.Array) -> jax.Array:
    """Entries of some rows: [...] -> [...] int32."""
    return rows.starts[row + 1] - rows.starts[row]


@check_ranks(row=1)
def first_entries(rows: Rows, row: jax.Array, width: int):
    """The first entries of rows [A] -> columns, values and which are real, [A, width].

    The width is cut to the longest row, and is 1 where no row has an entry. Slices,
    many times faster than entries one by one. What is not real belongs to another row;
    mask what is looked up with it, not the columns: XLA makes one loop of that.
    """
    width = max(min(width, rows.longest), 1)

    def of_row(start):
        return tuple(
            jax.lax.dynamic_slice(entries, (start,), (width,))
            for entries in (rows.columns, rows.values)
        )

    columns, values = jax.vmap(of_row)(rows.starts[row])  # adds A
    is_real = jnp.arange(width)[None] < counts(rows, row)[:, None]
    return columns, values, is_real


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


@check_ranks(row=0)
def contains(rows: Rows, row: jax.Array, columns: jax.Array) -> jax.Array:
    """Whether a row that ascends, [], has columns [...]: [...] bool, by bisection."""
    return row_contains(rows.starts, rows.columns, rows.longest, row, columns)
