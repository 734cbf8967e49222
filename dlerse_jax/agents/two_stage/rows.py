"""Sparse rows that a session looks into: who likes an item, what somebody likes.

`Rows` holds the entries of all rows one after the other, so memory is what is stored.
Every look-up here has a fixed size, which vmap and scan need: first entries of
some rows. Sums over rows of any length are in `pieces`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy import sparse

from dlerse_jax.runtime.ranks import check_ranks
from dlerse_jax.runtime.sparse_rows import row_starts

PIECE = 16  # entries that are summed up, or gone through, at a time


@struct.dataclass(kw_only=True)
class Rows:
    """A sparse matrix [R, C]; row R, one past the last, is there and empty."""

    starts: jax.Array  # [R + 2] int32
    columns: jax.Array  # [E + padding] int32; padded with C
    values: jax.Array  # [E + padding] float32; padded with 0
    num_columns: int = struct.field(pytree_node=False)  # C
    longest: int = struct.field(pytree_node=False)  # entries of the longest row

    def pieces(self, starts: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Columns and values of the PIECE entries from each of starts [G] on:
        [G, PIECE]. What comes after a row is of the next ones, or padding."""

        def of_piece(start):
            return tuple(
                jax.lax.dynamic_slice(entries, (start,), (PIECE,))
                for entries in (self.columns, self.values)
            )

        return jax.vmap(of_piece)(starts)  # adds G


def make_rows(matrix: sparse.csr_matrix) -> Rows:
    """On the device, in the order in which the matrix has its entries."""
    starts = np.append(matrix.indptr, matrix.indptr[-1]).astype(np.int64)
    longest = int(np.diff(matrix.indptr).max(initial=0))
    # A slice that starts in any row, or at the empty one, ends in the array.
    padding = (0, max(longest, PIECE) + 1)
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
def first_pieces(rows: Rows, row: jax.Array, width: int):
    """Columns of the first `width` entries of rows [A], in pieces: [A x G, PIECE], and
    which of them are real.

    To be summed up over pieces, and then over the G of a row: a sum over a whole row
    adds one number after the other, and waits for each.
    """
    width = max(min(width, rows.longest), 1)
    begin = jnp.arange(0, width, PIECE)[None]
    starts = rows.starts[row][:, None] + begin
    left = jnp.minimum(counts(rows, row), width)[:, None] - begin
    columns, _ = rows.pieces(starts.reshape(-1))
    return columns, jnp.arange(PIECE)[None] < left.reshape(-1, 1)


@check_ranks(row=1)
def whole_rows(rows: Rows, row: jax.Array, budget: int) -> jax.Array:
    """Which of rows [P] a budget of entries holds, whole and in their order: [P] bool.

    After the first that it does not hold, none is.
    """
    return jnp.cumsum(counts(rows, row)) <= budget
