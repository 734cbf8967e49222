"""Sparse rows that a session of dlerse_rank looks into, against a dense matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from dlerse_jax.agents.two_stage.alike import RARE, in_random_order, most_alike
from dlerse_jax.agents.two_stage.rows import (
    contains,
    counts,
    entries_of,
    first_entries,
    make_rows,
)

RNG = np.random.default_rng(0)
DENSE = (RNG.random((7, 11)) < 0.4) * RNG.integers(1, 9, (7, 11)).astype(np.float32)
DENSE[3] = 0  # an empty row
DENSE[5] = 1  # a full one
ROWS = make_rows(sparse.csr_matrix(DENSE))
EVERY = jnp.arange(8)  # with the one past the last


def test_counts_and_membership_are_those_of_the_dense_matrix():
    padded = np.vstack([DENSE, np.zeros((1, 11))])
    np.testing.assert_array_equal(counts(ROWS, EVERY), (padded != 0).sum(axis=1))
    for row in range(8):
        found = contains(ROWS, jnp.int32(row), jnp.arange(11))
        np.testing.assert_array_equal(found, padded[row] != 0)


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


def test_whole_rows_are_read_one_after_the_other_while_the_budget_lasts():
    asked = np.array([5, 7, 3, 0, 6])
    lengths = np.array([11, 0, 0, *(DENSE[[0, 6]] != 0).sum(axis=1)])
    budget = int(lengths[:4].sum() + lengths[4] - 1)  # one short of the last row
    found = jax.device_get(entries_of(ROWS, jnp.asarray(asked), budget))
    owner, columns, values, is_in = found
    np.testing.assert_array_equal(is_in, [True, True, True, True, False])
    total = np.zeros((5, 11))
    is_real = owner < 5
    np.add.at(total, (owner[is_real], columns[is_real]), values[is_real])
    wanted = np.vstack([DENSE[5], np.zeros((2, 11)), DENSE[0], np.zeros(11)])
    np.testing.assert_array_equal(total, wanted)
    assert np.all(columns[~is_real] == 11) and np.all(values[~is_real] == 0)


def test_the_most_alike_items_are_kept_whatever_is_multiplied_at_a_time(monkeypatch):
    likes = (RNG.random((60, 30)) < RNG.random(30) * 0.5).astype(np.float32)
    both = likes.T @ likes
    count = np.diagonal(both).copy()
    np.fill_diagonal(both, 0)
    fewer = np.minimum.outer(count, count)
    scores = both / np.sqrt(np.maximum(np.outer(count, count), 1))
    scores *= fewer / (fewer + RARE)
    monkeypatch.setattr("dlerse_jax.agents.two_stage.alike.BLOCK_PAIRS", 200)
    found = most_alike(sparse.csr_matrix(likes), most=4).toarray()
    for row in range(30):
        kept = np.flatnonzero(found[row])
        np.testing.assert_array_equal(found[row, kept], both[row, kept])
        # Equal scores may stand for one another.
        best = np.sort(scores[row])[::-1][: len(kept)]
        np.testing.assert_allclose(np.sort(scores[row, kept])[::-1], best, rtol=1e-6)
        assert len(kept) == min(4, np.count_nonzero(both[row]))


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
