"""Eigenvalues and eigenvectors of X'X, X the likes: what all item factors are made of.

All of them where the matrix is small, else the largest; of one that differs from a
known one in a few rows, by a few steps from there.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import svds
from threadpoolctl import threadpool_limits

DENSE_CELLS = 2**25  # 256 MiB of float64; LastFM needs a tenth of it
MOST_COMPLETE = 1600  # of the smaller side: all eigenvectors, in half a second
KEPT_SPECTRA, KEPT_CELLS = 4, 2**23  # at most 256 MiB in all
FEWEST_NEARBY = 256  # of the smaller side: fewer are decomposed anew
OVERSAMPLED, ITERATIONS = 16, 3  # of `nearby_spectrum`
FEWEST_LEFT = 8  # beyond that all of them only for a rank above a share of 1 / this


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Eigenvalues s, falling, and eigenvectors V of X'X: all of them, or the largest.

    Signs are fixed (largest entry positive), so that equal likes give equal factors.
    """

    energies: np.ndarray  # [R] float64
    vectors: np.ndarray  # [N, R]
    is_complete: bool  # whether every eigenvalue above 0 is in
    is_rough: bool = False  # made from a nearby matrix's, see `nearby_spectrum`


def gram_spectrum(likes: sparse.csr_matrix, rank: int) -> Spectrum:
    """Of X'X, likes X [U, N]: all of it where that is small, else the `rank` largest.

    The last few are kept: agents of one run, and trials of a search, ask for the same.
    ValueError where nobody likes anything.
    """
    rows = likes[likes.getnnz(axis=1) > 0]
    if not rows.shape[0]:
        raise ValueError("no visible like: found 0 training users with feedback")
    is_small = rows.shape[1] * min(rows.shape) <= KEPT_CELLS
    return (_kept_spectrum if is_small else _spectrum)(_Rows(rows), rank)


class _Rows:
    """A sparse matrix as the key of a cache: equal where the numbers are."""

    def __init__(self, rows: sparse.csr_matrix) -> None:
        self.rows = rows
        parts = (rows.indptr, rows.indices, rows.data)
        digest = hashlib.sha256(str((rows.shape, rows.dtype)).encode())
        for part in parts:
            digest.update(np.ascontiguousarray(part).data)
        self._digest = digest.digest()

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rows) and self._digest == other._digest


def nearby_spectrum(likes: sparse.csr_matrix, rank: int, near: Spectrum) -> Spectrum:
    """Of likes that are nearly those of a known spectrum, as a fold less of users.

    A few steps of subspace iteration from its eigenvectors: a small part of the time of
    `gram_spectrum`, and close enough to compare settings with. Exact where that is
    quick.
    """
    rows = likes[likes.getnnz(axis=1) > 0]
    if min(rows.shape) <= FEWEST_NEARBY:
        return _spectrum(_Rows(rows), rank)
    rows = rows.astype(_precision(rows))
    known = near.vectors[:, :rank]
    extra = np.random.default_rng(0).standard_normal((len(known), OVERSAMPLED))
    basis = np.concatenate([known, extra], axis=1, dtype=rows.dtype)
    with threadpool_limits(1, user_api="blas"):  # as `_eigh`: 150 s become 3 s
        for _ in range(ITERATIONS):  # each array is let go when the next is made
            basis = rows @ basis
            basis = rows.T @ basis
            basis = _orthonormal(basis)
        projected = rows @ basis
        energies, rotation = np.linalg.eigh(projected.T @ projected)
        del projected
        order = np.argsort(energies)[::-1][:rank]
        basis = basis @ rotation[:, order]
    found = _sorted_spectrum(energies[order].astype(np.float64), basis, False)
    return dataclasses.replace(found, is_rough=True)


def _orthonormal(basis: np.ndarray) -> np.ndarray:
    """A basis of the same columns; NumPy's would go by way of float64."""
    return linalg.qr(basis, mode="economic", overwrite_a=True, check_finite=False)[0]


def _precision(rows: sparse.csr_matrix) -> type:
    """float32 where rows are many: half the time and memory, and six equal digits."""
    return np.float64 if fits(rows) else np.float32


def spectra_of_folds() -> Callable[[sparse.csr_matrix, int], Spectrum]:
    """`gram_spectrum` for likes that are asked for one after the other.

    The first are those of all users, the others lack a fold of them. Where the first
    do not fit a dense matrix, the others are found from there (`nearby_spectrum`), at
    the rank that was asked for first.
    """
    whole: list[Spectrum] = []

    def spectrum_of(rows: sparse.csr_matrix, rank: int) -> Spectrum:
        if fits(rows):
            return gram_spectrum(rows, rank)
        if whole:
            return nearby_spectrum(rows, rank, whole[0])
        whole.append(gram_spectrum(rows, rank))
        return whole[0]

    return spectrum_of


def _spectrum(key: _Rows, rank: int) -> Spectrum:
    rows = key.rows
    smaller = min(rows.shape)
    if fits(rows) and (smaller <= MOST_COMPLETE or FEWEST_LEFT * rank > smaller):
        return _complete_spectrum(rows.astype(np.float64))
    rows = rows.astype(_precision(rows))
    start = np.ones(smaller, rows.dtype)  # ARPACK's own would be random
    with threadpool_limits(1, user_api="blas"):  # as `_eigh`
        _, singular, transposed = svds(rows, k=rank, v0=start)
    return _sorted_spectrum(singular.astype(np.float64) ** 2, transposed.T, False)


_kept_spectrum = functools.lru_cache(maxsize=KEPT_SPECTRA)(_spectrum)


def fits(rows) -> bool:
    """Whether a dense matrix of the smaller side may be made of rows [R, N]."""
    return rows.shape[1] * min(rows.shape) <= DENSE_CELLS


def _complete_spectrum(rows) -> Spectrum:
    num_rows, num_items = rows.shape
    if num_items <= num_rows:
        energies, vectors = _eigh((rows.T @ rows).toarray())
    else:
        energies, left = _eigh((rows @ rows.T).toarray())
        vectors = (rows.T @ left) / np.sqrt(np.maximum(energies, 1e-9))
    return _sorted_spectrum(energies, vectors, True)


def _eigh(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A small matrix in one thread: OpenBLAS' threads wait for each other by spinning,
    and where another process has a core, 1,500 rows take 14 s in place of 0.7 s.
    """
    if len(gram) > MOST_COMPLETE:
        return np.linalg.eigh(gram)
    with threadpool_limits(1, user_api="blas"):
        return np.linalg.eigh(gram)


def _sorted_spectrum(energies, vectors, is_complete: bool) -> Spectrum:
    order = np.argsort(energies)[::-1]
    energies, vectors = np.maximum(energies[order], 0.0), vectors[:, order]
    for column in vectors.T:  # one at a time: vectors may fill half a GiB
        column *= -1 if column[np.abs(column).argmax()] < 0 else 1
    return Spectrum(energies=energies, vectors=vectors, is_complete=is_complete)
