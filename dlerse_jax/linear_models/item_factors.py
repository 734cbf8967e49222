"""Item factors from the training users' likes, by linear algebra on the host.

Several agents start from what liking one item says about the others: EASE and the
linear policy score with it, bandits and matrix factorisation learn on top of it,
DLERSE puts it into its embeddings. All of them take it from here, as NumPy arrays, and
give it `visible_likes` alone. Memory grows with the likes and with N * D; a dense
matrix is made only while it is small (`spectra.fits`), beyond that a truncated
decomposition.
"""

import dataclasses
from typing import TypedDict

import numpy as np
from scipy import sparse
from scipy.linalg import lapack, solve_triangular

from dlerse_jax.data.features import without_cold_items
from dlerse_jax.data.feedback import training_mask
from dlerse_jax.linear_models.spectra import Spectrum, fits, gram_spectrum
from dlerse_jax.types import Dataset

ROWS_AT_ONCE = 2**16  # of which float64 is held


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemFactors:
    """Two vectors per item: having shown item a moves the score of v by e_a . o_v."""

    item_in: np.ndarray  # [N, D] float32: e, of the item shown
    item_out: np.ndarray  # [N, D] float32: o, of the item scored


@dataclasses.dataclass(frozen=True, kw_only=True)
class UserItemFactors:
    """likes ~= users @ items.T; users without visible feedback have zeros."""

    users: np.ndarray  # [U, D] float32
    items: np.ndarray  # [N, D] float32


def weigh_by_rank(
    likes: sparse.csr_matrix, dataset: Dataset, strength: float
) -> sparse.csr_matrix:
    """Likes that say how much: of a user's n, from 1 + s for the most played item (or
    best rated) down to 1 - s for the least, s = strength (n - 1) / 2n, [U, N] float32.

    likes [U, N] are the visible ones of the data set. Ranks, not counts: some people
    play everything a hundred times as often. Equal counts share their mean rank, so a
    data set without counts keeps ones. Raises ValueError outside 0 <= strength <= 2.
    """
    if not 0 <= strength <= 2:
        raise ValueError(f"rank_weight must be between 0 and 2, got {strength}")
    if strength == 0:
        return likes
    counts = np.diff(dataset.like_offsets)
    place, users = _mean_ranks(dataset.like_weights, counts), np.repeat(counts, counts)
    weighed = 1 + strength * ((place - 0.5) / users - 0.5)
    weights = likes.copy()
    weights.data[:] = weighed[np.repeat(likes.getnnz(axis=1) > 0, counts)]
    return weights


def _mean_ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ranks [L] within a user, 1 for the least; equal values share their mean rank.

    values [L] in the order of users, who have counts [U] of them. As SciPy's
    `rankdata` for each user, whose import takes longer than all else at a start.
    """
    users = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((values, users))
    own, sorted_values = users[order], values[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (own[1:] != own[:-1]) | (sorted_values[1:] != sorted_values[:-1])
    group = np.cumsum(is_first) - 1
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], len(order))
    offset = np.repeat(np.cumsum(counts) - counts, counts)
    ranks = np.empty(len(order))
    ranks[order] = ((first + last + 1) / 2)[group] - offset
    return ranks


def tag_rows(dataset: Dataset, *, min_uses: int) -> sparse.csr_matrix:
    """What training users call items: log(1 + times) per tag and item, [tags, N].

    A row more for every tag on at least `min_uses` items, which factors read as one
    more user. No row where the data set has no taggings.
    """
    taggings, num_items = dataset.taggings, dataset.num_items
    if taggings is None:
        return sparse.csr_matrix((0, num_items), dtype=np.float32)
    visible = training_mask(dataset)[taggings.users]
    pairs = (taggings.tags[visible], taggings.items[visible])
    ones = np.ones(visible.sum(), np.float32)
    rows = sparse.csr_matrix((ones, pairs), shape=(taggings.num_tags, num_items))
    return rows[rows.getnnz(axis=1) >= min_uses].log1p()


class SideInformation(TypedDict, total=False):
    """What factors may read beside who likes what; a key left out is off."""

    rank_weight: float  # strength of `weigh_by_rank`, from 0 (off) to 2
    tag_weight: float  # of a tag's row among the users' rows; 0: no tags
    min_tag_uses: int  # items that a tag must be on


def feature_rows(
    likes: sparse.csr_matrix,
    dataset: Dataset,
    *,
    rank_weight: float = 0.0,
    tag_weight: float = 0.0,
    min_tag_uses: int = 1,
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Likes as they count [U, N], and the rows that factors are made of [U + tags, N].

    likes [U, N] are the visible ones of the data set. The second matrix is the first
    with `tag_rows` below it, times tag_weight; both are the likes themselves where
    rank_weight and tag_weight are 0. It has no columns of cold items, whose vectors
    `cold_items` makes. ValueError where a number is out of range.
    """
    if tag_weight < 0:
        raise ValueError(f"tag_weight must not be negative, got {tag_weight}")
    if min_tag_uses < 1:
        raise ValueError(f"min_tag_uses must be 1 or more, got {min_tag_uses}")
    weighed = weigh_by_rank(likes, dataset, rank_weight)
    known = known_columns(weighed, dataset)
    if not tag_weight:
        return weighed, known
    tags = tag_rows(without_cold_items(dataset), min_uses=min_tag_uses)
    return weighed, sparse.vstack([known, tag_weight * tags], format="csr")


def known_columns(likes: sparse.csr_matrix, dataset: Dataset) -> sparse.csr_matrix:
    """Likes [U, N] without the empty columns of cold items."""
    return likes[:, : dataset.num_known_items] if dataset.num_cold_items else likes


@dataclasses.dataclass(frozen=True, kw_only=True)
class RidgeFactors:
    """Item vectors for a ridge regression, and the way into their space."""

    items: np.ndarray  # [N, R] float32: a score is theta . item
    projection: np.ndarray  # [N, R] float32: theta of someone is their likes @ this


def ridge_factors(
    likes: sparse.csr_matrix,
    *,
    rank: int,
    power: float,
    spectrum: Spectrum | None = None,
) -> RidgeFactors:
    """Eigenvectors of X'X scaled by s^power, and by s^-power the other way.

    A half makes every direction vary as likes do (principal components), a quarter is
    the even share of `svd_factors`. likes [U, N]; missing ranks are zeros. spectrum: of
    these likes, with this rank or more, where it is known already.
    """
    _check_positive(rank=rank)
    spectrum = spectrum or gram_spectrum(likes, rank)
    scale = np.maximum(spectrum.energies[:rank], 1e-12) ** power
    vectors = spectrum.vectors[:, :rank]
    scale = scale.astype(vectors.dtype)  # float32 where the likes are many
    return RidgeFactors(
        items=with_columns((vectors * scale).astype(np.float32, copy=False), rank),
        projection=with_columns((vectors / scale).astype(np.float32, copy=False), rank),
    )


def with_columns(vectors: np.ndarray, count: int) -> np.ndarray:
    """Vectors [N, D] with columns of zeros where they have fewer than `count`."""
    missing = count - vectors.shape[1]
    return np.pad(vectors, ((0, 0), (0, missing))) if missing > 0 else vectors


def ease_factors(
    likes: sparse.csr_matrix,
    *,
    rank: int,
    regularisation: float,
    spectrum: Spectrum | None = None,
) -> ItemFactors:
    """Low-rank EASE (Steck, WWW 2019): B = e o' off the diagonal.

    With G = X'X = V S V': e_v = V_vk sqrt(s_k / (s_k + regularisation)) for the `rank`
    largest s_k, o_v = e_v / (1 - l_v), where the leverage l_v is the same sum of
    squares over all k. At full rank B is EASE itself, -P / diag(P) with
    P = (G + regularisation I)^-1. The diagonal of B, which EASE sets to zero, is not
    zero in e_a . o_a: it concerns shown items only, and those are never scored.

    likes [U, N]. An item nobody likes gets zeros. A rank above min(U, N) is cut to
    it. spectrum: of these likes, with this rank or more, where it is known already.
    """
    _check_positive(rank=rank, regularisation=regularisation)
    spectrum = spectrum or gram_spectrum(likes, rank)
    leverage = _leverage(likes, regularisation, spectrum)
    energies = spectrum.energies[:rank]
    shrinkage = np.sqrt(energies / (energies + regularisation))
    left = (1.0 - leverage)[:, None]
    if not (left > 0).all():  # rounding: nothing of an item's own is left to divide by
        raise ValueError(
            f"regularisation is {regularisation:g}, too small for these likes: EASE "
            "divides by 0; raise it, to 1 or more as a rule"
        )
    vectors = spectrum.vectors[:, :rank]
    found = ItemFactors(
        item_in=np.empty_like(vectors, np.float32),
        item_out=np.empty_like(vectors, np.float32),
    )
    for rows in _parts(len(vectors)):  # of them all float64 would be a GiB
        item_in = vectors[rows] * shrinkage
        found.item_in[rows] = item_in
        found.item_out[rows] = item_in / left[rows]
    return found


def _leverage(likes, regularisation: float, spectrum: Spectrum) -> np.ndarray:
    """Sum over all k of V_vk^2 s_k / (s_k + regularisation): [N].

    Without all eigenvectors it is the diagonal of G (G + regularisation I)^-1, by one
    Cholesky decomposition. Where that does not fit (`DENSE_CELLS`), and of a rough
    spectrum, the part beyond the rank is the largest that its share of G_vv allows
    (Jensen's inequality).
    """
    energies, vectors = spectrum.energies, spectrum.vectors
    known = _squares(vectors, energies / (energies + regularisation))
    if spectrum.is_complete:
        return known
    rows = likes[likes.getnnz(axis=1) > 0].astype(np.float64)
    if spectrum.is_rough or not fits(rows):
        diagonal = np.asarray(rows.multiply(rows).sum(axis=0)).ravel()  # of G
        energy_left = np.maximum(diagonal - _squares(vectors, energies), 0.0)
        mass = _squares(vectors, np.ones_like(energies))
        mass_left = np.maximum(1.0 - mass, 1e-9)
        return known + energy_left / (energy_left / mass_left + regularisation)
    num_rows, num_items = rows.shape
    if num_rows < num_items:
        lower = _cholesky((rows @ rows.T).toarray(), regularisation)
        return np.sum(solve_triangular(lower, rows.toarray(), lower=True) ** 2, axis=0)
    lower = _cholesky((rows.T @ rows).toarray(), regularisation)
    inverse, _ = lapack.dpotri(lower, lower=1)
    return 1.0 - regularisation * np.diagonal(inverse)


def _squares(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums of squares, [N, D] and [D] -> [N] float64, some rows at a time: all
    squares of a million vectors in float64 are a GiB."""
    return np.concatenate(
        [vectors[rows] ** 2 @ weights for rows in _parts(len(vectors))]
    )


def _parts(num_rows: int) -> list[slice]:
    """All rows, `ROWS_AT_ONCE` in a part."""
    starts = range(0, num_rows, ROWS_AT_ONCE)
    return [slice(start, start + ROWS_AT_ONCE) for start in starts]


def _cholesky(gram: np.ndarray, regularisation: float) -> np.ndarray:
    gram[np.diag_indices_from(gram)] += regularisation
    return np.linalg.cholesky(gram)


def svd_factors(
    likes: sparse.csr_matrix, *, rank: int, spectrum: Spectrum | None = None
) -> UserItemFactors:
    """The best approximation of the likes in `rank` dimensions, in least squares.

    Singular values are shared half and half: users are X V S^-1/4, items V S^1/4 with
    S the eigenvalues of X'X, so both sides have the same size in every dimension.
    likes [U, N]; a rank above min(U, N) is cut to it. Users without likes get zeros.
    """
    _check_positive(rank=rank)
    spectrum = spectrum or gram_spectrum(likes, rank)
    scale = np.maximum(spectrum.energies[:rank], 1e-12) ** 0.25
    vectors = spectrum.vectors[:, :rank]
    users, items = (likes @ vectors) / scale, vectors * scale
    return UserItemFactors(
        users=users.astype(np.float32), items=items.astype(np.float32)
    )


def _check_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if number <= 0:
            raise ValueError(f"{name} must be above 0, got {number}")
