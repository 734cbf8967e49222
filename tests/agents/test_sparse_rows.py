"""Sparse rows that a session of dlerse_rank looks into, against a dense matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from dlerse_jax.agents.two_stage.alike import RARE, in_random_order, most_alike
from dlerse_jax.agents.two_stage.pieces import sums_by_column
from dlerse_jax.agents.two_stage.rows import (
    PIECE,
    counts,
    first_entries,
    first_pieces,
    make_rows,
    whole_rows,
)

RNG = np.random.default_rng(0)
DENSE = (RNG.random((7, 11)) < 0.4) * RNG.integers(1, 9, (7, 11)).astype(np.float32)
DENSE[3] = 0  # an empty row
DENSE[5] = 1  # a full one
ROWS = make_rows(sparse.csr_matrix(DENSE))
EVERY = jnp.arange(8)  # with the one past the last
LONG = (RNG.random((9, 70)) < RNG.random((9, 1))) * RNG.random((9, 70))
LONG[4], LONG[6] = 0, 1  # an empty row, and a full one
LONG_ROWS = make_rows(sparse.csr_matrix(LONG.astype(np.float32)))


def test_counts_are_those_of_the_dense_matrix():
    padded = np.vstack([DENSE, np.zeros((1, 11))])
    np.testing.assert_array_equal(counts(ROWS, EVERY), (padded != 0).sum(axis=1))


@pytest.mark.parametrize("width", [3, 99])
def test_first_entries_are_those_of_the_row_alone(width):
    columns, values, is_real = jax.device_get(first_entries(ROWS, EVERY, width))
    assert columns.shape == (8, min(width, 11))
    for row in range(8):
        wanted = np.flatnonzero(DENSE[row])[:width] if row < 7 else np.zeros(0)
        np.testing.assert_array_equal(columns[row][is_real[row]], wanted)
        if row < 7:
            np.testing.assert_array_equal(
                values[row][is_real[row]], DENSE[row, wanted.astype(int)]
            )


def test_rows_without_any_entry_have_one_place_and_nothing_in_it():
    """As where nobody likes two items: no item is like another."""
    empty = make_rows(sparse.csr_matrix((4, 4), dtype=np.float32))
    columns, values, is_real = first_entries(empty, jnp.arange(5), empty.longest)
    assert columns.shape == values.shape == (5, 1) and not is_real.any()


@pytest.mark.parametrize("width", [1, 20, 99])
def test_pieces_of_a_row_are_its_first_entries_and_no_more(width):
    asked = np.array([6, 4, 0, 9, 8])  # full, empty, one past the last, the last
    columns, is_real = jax.device_get(first_pieces(LONG_ROWS, asked, width))
    assert columns.shape[1] == PIECE
    columns, is_real = (x.reshape(len(asked), -1) for x in (columns, is_real))
    for row, found, real in zip(asked, columns, is_real, strict=True):
        wanted = np.flatnonzero(LONG[row])[:width] if row < 9 else np.zeros(0)
        np.testing.assert_array_equal(found[real], wanted)


def test_a_budget_holds_whole_rows_one_after_the_other_and_none_after_that():
    asked = jnp.array([5, 7, 3, 0, 6, 3])
    lengths = [11, 0, 0, *(DENSE[[0, 6]] != 0).sum(axis=1)]
    for budget, is_in in ((sum(lengths), [True] * 6), (sum(lengths) - 1, [True] * 4)):
        wanted = is_in + [False] * (6 - len(is_in))
        np.testing.assert_array_equal(whole_rows(ROWS, asked, budget), wanted)


@pytest.mark.parametrize("at_once", [2, 2**12])
def test_sums_over_rows_are_those_of_the_dense_matrix_for_every_session(
    at_once, monkeypatch
):
    """Sessions of two axes that read very different numbers of rows, with padding."""
    monkeypatch.setattr(
        "dlerse_jax.agents.two_stage.pieces.AT_ONCE", (at_once, at_once)
    )
    row = RNG.integers(0, 9, (2, 3, 5))
    row[0, 0], row[1, 2, 1:] = 9, 9  # nobody, and one row alone
    factors = RNG.standard_normal((2, 3, 5, 3)).astype(np.float32)
    over_users = jax.vmap(sums_by_column, in_axes=(None, 0, 0))  # adds users
    over_seeds = jax.vmap(over_users, in_axes=(None, 0, 0))  # adds seeds
    found = over_seeds(LONG_ROWS, jnp.asarray(row), jnp.asarray(factors))
    dense = np.vstack([LONG, np.zeros((1, 70))])[row]  # [2, 3, 5, 70]
    numbers = np.stack([dense, dense != 0, dense != 0], axis=-1)
    wanted = np.einsum("supck,supk->suck", numbers, factors)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    alone = sums_by_column(LONG_ROWS, jnp.asarray(row[1, 1]), factors[1, 1])
    np.testing.assert_array_equal(alone, found[1, 1])
    shared = jax.vmap(sums_by_column, in_axes=(None, None, 0))(
        LONG_ROWS, jnp.asarray(row[1, 1]), factors[1]
    )
    np.testing.assert_array_equal(shared[1], alone)


@pytest.mark.parametrize(("num_items", "most"), [(30, 4), (300, 40)])
def test_the_most_alike_items_are_kept_whatever_is_multiplied_at_a_time(
    monkeypatch, num_items, most
):
    chances = RNG.random(num_items) * 0.5
    likes = (RNG.random((60, num_items)) < chances).astype(np.float32)
    both = likes.T @ likes
    count = np.diagonal(both).copy()
    np.fill_diagonal(both, 0)
    fewer = np.minimum.outer(count, count)
    scores = both / np.sqrt(np.maximum(np.outer(count, count), 1))
    scores *= fewer / (fewer + RARE)
    monkeypatch.setattr("dlerse_jax.agents.two_stage.alike.BLOCK_PAIRS", 200)
    found = most_alike(sparse.csr_matrix(likes), most=most).toarray()
    for row in range(num_items):
        kept = np.flatnonzero(found[row])
        np.testing.assert_array_equal(found[row, kept], both[row, kept])
        # Equal scores may stand for one another.
        best = np.sort(scores[row])[::-1][: len(kept)]
        np.testing.assert_allclose(np.sort(scores[row, kept])[::-1], best, rtol=1e-6)
        assert len(kept) == min(most, np.count_nonzero(both[row]))


def test_pairs_are_made_of_a_share_of_what_somebody_likes(monkeypatch):
    monkeypatch.setattr("dlerse_jax.agents.two_stage.alike.MOST_LIKES", 2)
    likes = sparse.csr_matrix(np.ones((1, 10), np.float32))
    assert most_alike(likes, most=4).nnz == 2  # one pair, from either side


def test_random_order_moves_entries_within_their_row_and_is_the_same_every_time():
    matrix = sparse.csr_matrix(DENSE)
    shuffled = in_random_order(matrix)
    np.testing.assert_array_equal(shuffled.toarray(), DENSE)
    assert not np.array_equal(shuffled.indices, matrix.indices)
    np.testing.assert_array_equal(shuffled.indices, in_random_order(matrix).indices)


def test_nobody_shares_an_item():
    assert most_alike(sparse.csr_matrix(np.eye(5, dtype=np.float32)), most=3).nnz == 0
