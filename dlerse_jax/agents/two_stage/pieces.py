"""Sums over rows of a sparse matrix, for all sessions of a batch together.

Sessions read rows of very different lengths, and differ by far in how many they read.
With one fixed size for each of them, as `vmap` needs, most of what is read is padding.
Here rows are cut into pieces of equal size, those of all sessions stand one after the
other, and a loop goes through as many as there are.
"""

import jax
import jax.numpy as jnp

from dlerse_jax.agents.two_stage.rows import PIECE, Rows, counts
from dlerse_jax.runtime.ranks import check_ranks
from dlerse_jax.runtime.sharding import by_backend

AT_ONCE = 2**12, 2**18  # pieces: on a CPU, where they stay in its cache, and elsewhere


@check_ranks(row=1, factors=2)
def sums_by_column(rows: Rows, row: jax.Array, factors: jax.Array) -> jax.Array:
    """Sums of the entries in each column over rows [P], [C, K].

    factors [P, K] of a row: its first one is multiplied by the value of an entry, and
    the others stand for themselves. A row past the last one adds nothing.
    """
    return _of_sessions(rows, row[None], factors[None])[0]


@jax.custom_batching.custom_vmap
def _of_sessions(rows: Rows, row: jax.Array, factors: jax.Array) -> jax.Array:
    """The same for Q sessions: [Q, P] and [Q, P, K] -> [Q, C, K]."""
    num_sessions, num_rows, num_factors = factors.shape
    row, factors = row.reshape(-1), factors.reshape(-1, num_factors)
    lengths = counts(rows, row)
    num_pieces = -(-lengths // PIECE)
    ends = jnp.cumsum(num_pieces)
    most = len(row) * -(-rows.longest // PIECE)
    at_once = max(1, min(by_backend(AT_ONCE), most))
    size = num_sessions * rows.num_columns

    def add_pieces(carry):
        first, sums = carry
        piece = first + jnp.arange(at_once)
        owner = jnp.searchsorted(ends, piece, side="right")
        owner = jnp.minimum(owner, len(row) - 1)  # and then nothing is left of the row
        begin = (piece - ends[owner] + num_pieces[owner]) * PIECE
        columns, values = rows.pieces(rows.starts[row[owner]] + begin)
        left = lengths[owner] - begin
        place = (owner // num_rows * rows.num_columns)[:, None] + columns
        place = jnp.where(jnp.arange(PIECE)[None] < left[:, None], place, size)
        of_entries = jnp.repeat(factors[owner][:, None], PIECE, axis=1)  # [G, PIECE, K]
        of_entries = of_entries.at[..., 0].multiply(values)
        return first + at_once, sums.at[place].add(of_entries, mode="drop")

    carry = jnp.int32(0), jnp.zeros((size, num_factors))
    _, sums = jax.lax.while_loop(lambda carry: carry[0] < ends[-1], add_pieces, carry)
    return sums.reshape(num_sessions, rows.num_columns, num_factors)


@_of_sessions.def_vmap
def _more_sessions(axis_size: int, in_batched, rows: Rows, row, factors):
    """The axis that `vmap` adds becomes part of Q.

    A loop under `vmap` goes on for every session until the last one is done.
    """
    of_rows, *of_arrays = in_batched
    if any(jax.tree.leaves(of_rows)):
        raise ValueError("a batch of sessions reads the rows of one matrix")
    row, factors = (
        array if is_batched else jnp.broadcast_to(array, (axis_size, *array.shape))
        for array, is_batched in zip((row, factors), of_arrays, strict=True)
    )
    merged = (array.reshape(-1, *array.shape[2:]) for array in (row, factors))
    sums = _of_sessions(rows, *merged)
    return sums.reshape(axis_size, -1, *sums.shape[1:]), True
