"""Which items are most alike: training users who like both, for the nearest alone.

Made on the host, a block of items at a time, so that no matrix of items x items is ever
held.
"""

import numpy as np
from scipy import sparse

BLOCK_PAIRS = 2**24  # pairs of likes that are multiplied at a time
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
    (`RARE`). likes [U, N] are ones.
    """
    likes = _first_of_each(in_random_order(likes), MOST_LIKES)
    by_item = likes.T.tocsr()
    num_likers = by_item.getnnz(axis=1)
    ends = np.cumsum(by_item @ likes.getnnz(axis=1))  # pairs, item by item
    parts, first = [], 0
    while first < len(ends):
        before = ends[first - 1] if first else 0
        last = np.searchsorted(ends, before + BLOCK_PAIRS, side="right")
        last = max(int(last), first + 1)
        both = (by_item[first:last] @ likes).tocoo()
        parts.append(_nearest(both, first, num_likers, most))
        first = last
    rows, columns, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    found = sparse.csr_matrix(
        (values, (rows, columns)), shape=(len(num_likers),) * 2, dtype=np.float32
    )
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


def _nearest(both: sparse.coo_matrix, first: int, num_likers: np.ndarray, most: int):
    """Rows, columns and values of a block's largest entries off the diagonal."""
    rows, columns, values = both.row + first, both.col, both.data
    off = rows != columns
    rows, columns, values = rows[off], columns[off], values[off]
    fewer = np.minimum(num_likers[rows], num_likers[columns])
    cosine = values / np.sqrt(num_likers[rows].astype(float) * num_likers[columns])
    order = np.lexsort((columns, -cosine * fewer / (fewer + RARE), rows))
    rows, columns, values = rows[order], columns[order], values[order]
    starts = (
        np.searchsorted(rows, np.arange(rows[0], rows[-1] + 1)) if len(rows) else rows
    )
    place = np.arange(len(rows)) - starts[rows - rows[0]] if len(rows) else rows
    kept = place < most
    return rows[kept], columns[kept], values[kept]
