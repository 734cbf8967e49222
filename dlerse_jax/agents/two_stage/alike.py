"""Which items are most alike: training users who like both, for the nearest alone.

Made on the host, a block of items at a time, so that no matrix of items x items is ever
held.
"""

import numpy as np
from scipy import sparse

from dlerse_jax.runtime.sparse_rows import places_in_rows, row_blocks

BLOCK_PAIRS = 2**22  # pairs of likes that are multiplied at a time
MOST_LIKES = 1024  # of a user that pairs are made of; more are a random share of them
RARE = 5.0  # likes at which a cosine counts half
ORDER_SEED = 0


def in_random_order(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same rows with their entries in random order, the same order every time."""
    draws = np.random.default_rng(ORDER_SEED).random(matrix.nnz)
    owner = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((draws, owner))
    parts = matrix.data[order], matrix.indices[order], matrix.indptr
    return sparse.csr_matrix(parts, shape=matrix.shape)


def most_alike(likes: sparse.csr_matrix, *, most: int) -> sparse.csr_matrix:
    """Training users who like both items, [N, N], items ascending in a row.

    Of each row the `most` entries with the largest cosine; few likers weaken it
    (`RARE`). likes [U, N] are ones. Which items are named says what these users like, a
    pair that one user makes alike above all: for users who are to be as new ones, lists
    must be made without them.
    """
    likes = _first_of_each(in_random_order(likes), MOST_LIKES)
    by_item = likes.T.tocsr()
    num_likers = by_item.getnnz(axis=1)
    pairs = by_item @ likes.getnnz(axis=1)  # of each item
    blocks = [
        _nearest(by_item[first:last] @ likes, first, num_likers, most)
        for first, last in row_blocks(pairs, BLOCK_PAIRS)
    ]
    found = sparse.vstack(blocks, format="csr", dtype=np.float32)
    found.sort_indices()
    return found


def _first_of_each(matrix: sparse.csr_matrix, most: int) -> sparse.csr_matrix:
    """The first entries of every row."""
    place = np.arange(matrix.nnz) - np.repeat(
        matrix.indptr[:-1], np.diff(matrix.indptr)
    )
    matrix = matrix.copy()
    matrix.data = np.where(place < most, matrix.data, 0)
    matrix.eliminate_zeros()
    return matrix


def _nearest(
    both: sparse.csr_matrix, first: int, num_likers: np.ndarray, most: int
) -> sparse.csr_matrix:
    """Of a block's rows, those of items from `first` on, the `most` largest entries off
    the diagonal; of equal ones those with the lower column."""
    rows = np.repeat(np.arange(both.shape[0], dtype=np.int32), np.diff(both.indptr))
    columns = both.indices
    scores = _alike(both.data, num_likers[first + rows], num_likers[columns])
    scores[columns == first + rows] = 0
    least = _nth_largest(scores, both.indptr, most)
    is_kept = scores > least[rows]
    left = most - np.bincount(rows[is_kept], minlength=both.shape[0])
    equal = np.flatnonzero((scores == least[rows]) & (scores > 0))
    equal = equal[np.lexsort((columns[equal], rows[equal]))]
    of_equal = rows[equal]
    is_kept[equal[places_in_rows(of_equal) < left[of_equal]]] = True
    counts = np.bincount(rows[is_kept], minlength=both.shape[0])
    starts = np.concatenate([[0], np.cumsum(counts)])
    return sparse.csr_matrix(
        (both.data[is_kept], columns[is_kept], starts), shape=both.shape
    )


def _alike(both: np.ndarray, likers: np.ndarray, likers_of_other: np.ndarray):
    """Cosine of two items, less where one has few likers: [E] each -> [E] float64."""
    fewer = np.minimum(likers, likers_of_other)
    cosine = both / np.sqrt(likers.astype(float) * likers_of_other)
    return cosine * fewer / (fewer + RARE)


def _nth_largest(scores: np.ndarray, starts: np.ndarray, count: int) -> np.ndarray:
    """Of each row the largest score but count - 1; 0 where it has no more than that.

    Row by row: a sort of all scores by row takes ten times as long.
    """
    found = np.zeros(len(starts) - 1)
    for row in np.flatnonzero(np.diff(starts) > count):
        of_row = scores[starts[row] : starts[row + 1]]
        found[row] = np.partition(of_row, len(of_row) - count)[len(of_row) - count]
    return found
