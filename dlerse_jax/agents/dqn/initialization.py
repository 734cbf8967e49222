"""Where a deep agent starts: embeddings and scores that data give before any learning.

Tables of unit mean square and, for dlerse_plus, the neighbourhoods that its copy head
reads and the prior of its ridge posterior. All of it is linear algebra on the host, on
training users' likes: a new network ranks as these scores do.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from dlerse_jax.agents.dqn.acting import RidgePrior
from dlerse_jax.graph.neighbour_means import weigh_by_activity
from dlerse_jax.graph.neighbourhoods import make_neighbourhoods
from dlerse_jax.linear_models.cold_items import with_cold_items, with_zero_rows
from dlerse_jax.linear_models.item_factors import (
    ItemFactors,
    ease_factors,
    feature_rows,
    known_columns,
    ridge_factors,
    svd_factors,
    with_columns,
)
from dlerse_jax.linear_models.spectra import Spectrum, gram_spectrum
from dlerse_jax.networks.copy_head import Neighbourhoods
from dlerse_jax.networks.q_network import Tables
from dlerse_jax.runtime.sharding import adopted, aligned_empty
from dlerse_jax.types import Dataset

FACTORS = ("ease", "svd", "random")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plus:
    """What dlerse_plus adds: the copy head, a ridge posterior, and more of the data."""

    prior_weight: float  # friends that popularity counts for
    two_hop_weight: float  # of the mean feedback two hops away
    rank_weight: float  # of `weigh_by_rank`; 0: every like counts the same
    tag_weight: float  # of a tag's row among the users' in the factors; 0: no tags
    min_tag_uses: int  # items that a tag must be on
    ridge_rank: int  # R of the regression on the answers; 0: none
    ridge_power: float  # of `ridge_factors`
    ridge_regularisation: float  # penalty on leaving what friends like
    ridge_weight: float  # of the regression's score beside the copied one
    scale: float  # of all three scores at the start: what makes them chances
    far_hops: int = 2  # how far away those of two_hop_weight are, at most
    activity_power: float = 0.0  # of `weigh_by_activity`, in what is copied; 0: alike


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """What a network is built around."""

    tables: Tables
    liked_share: float  # of all items, that a training user likes on average; above 0
    value: float  # V, what a random item pays on average
    session_gain: (
        float  # of the session embedding, in the units of Q and of these tables
    )
    neighbourhoods: Neighbourhoods | None
    posterior: RidgePrior | None

    @property
    def remembers(self) -> bool:
        """Whether the session embedding holds anything."""
        return self.session_gain != 0 or self.posterior is not None


def make_start(
    likes: sparse.csr_matrix,
    dataset: Dataset,
    *,
    factors: str,
    width: int,
    regularisation: float,
    session_gain: float,
    miss_reward: float,
    plus: Plus | None,
    copies: bool = True,
    spectrum_of: Callable[[sparse.csr_matrix, int], Spectrum] = gram_spectrum,
) -> Start:
    """From likes [U, N], the visible ones of the data set.

    spectrum_of rows and a rank gives what EASE and a ridge posterior are made of.
    copies: whether a plus has the copy head's neighbourhoods, a matrix [U, N].
    session_gain is in the units of EASE; miss_reward is what a dislike pays, a like 1.
    """
    span, unit = 1.0 - miss_reward, _unit(plus, miss_reward)
    weighed, rows = _features(likes, dataset, plus)
    spectrum = None
    if plus and plus.ridge_rank and factors == "ease":
        spectrum = spectrum_of(rows, max(width, plus.ridge_rank))
    counts = np.asarray(known_columns(likes, dataset).sum(axis=0)).ravel()
    popularity = counts / len(dataset.split.train)
    likes_possible = len(counts) * len(dataset.split.train)
    # The copy head knows popularity; what is learned on top starts from nothing.
    bias = np.zeros_like(popularity) if plus else unit * popularity
    found = _item_factors(rows, factors, width, regularisation, spectrum)
    tables, size = _tables(weighed, found, bias, dataset)
    del found  # half a GiB for a million items
    start = Start(
        tables=tables,
        liked_share=float(max(counts.sum(), 1) / likes_possible),
        value=float(miss_reward + span * popularity.mean()),
        session_gain=float(session_gain * size * unit),
        neighbourhoods=None,
        posterior=None,
    )
    if plus and plus.ridge_rank:
        start = _with_posterior(start, plus, dataset, rows, unit, spectrum)
    if plus and copies:
        neighbourhoods = make_neighbourhoods(
            dataset,
            _copied(weighed, plus, miss_reward),
            prior_weight=plus.prior_weight,
            two_hop_weight=plus.two_hop_weight,
            far_hops=plus.far_hops,
        )
        start = dataclasses.replace(start, neighbourhoods=neighbourhoods)
    return start


def copied_feedback(
    likes: sparse.csr_matrix, dataset: Dataset, plus: Plus, miss_reward: float
) -> sparse.csr_matrix:
    """What a copy head copies, [U, N]: likes as they count, in the units of Q."""
    return _copied(_features(likes, dataset, plus)[0], plus, miss_reward)


def _copied(weighed: sparse.csr_matrix, plus: Plus, miss_reward: float):
    """The same from likes as they count in the factors, [U, N]."""
    said = weigh_by_activity(weighed, plus.activity_power)
    return _unit(plus, miss_reward) * said


def _unit(plus: Plus | None, miss_reward: float) -> float:
    """What a like is in Q at the start."""
    return (1.0 - miss_reward) * (plus.scale if plus else 1.0)


def _features(likes, dataset: Dataset, plus: Plus | None):
    """Likes as they count [U, N], and with tags' rows below them [U + tags, N]."""
    if plus is None:
        return likes, known_columns(likes, dataset)
    return feature_rows(
        likes,
        dataset,
        rank_weight=plus.rank_weight,
        tag_weight=plus.tag_weight,
        min_tag_uses=plus.min_tag_uses,
    )


def _item_factors(
    likes, kind: str, width: int, regularisation: float, spectrum
) -> ItemFactors:
    """Vectors of `width`, whichever way; a rank the data lack is filled with zeros."""
    if kind == "ease":
        found = ease_factors(
            likes, rank=width, regularisation=regularisation, spectrum=spectrum
        )
    elif kind == "svd":
        items = svd_factors(likes, rank=width).items
        found = ItemFactors(item_in=items, item_out=items)
    else:
        rng = np.random.default_rng(0)
        items = rng.standard_normal((likes.shape[1], width), np.float32)
        found = ItemFactors(item_in=items, item_out=items)
    return ItemFactors(
        item_in=with_columns(found.item_in, width),
        item_out=with_columns(found.item_out, width),
    )


def _tables(likes, factors: ItemFactors, item_bias, dataset: Dataset):
    """Embeddings of unit mean square, and what an inner product lost by that.

    Factors and biases are of items that are liked. Rows of cold items are added, and do
    not count in the mean square, so that no other row depends on them. A user's feature
    is the sum of the vectors of what they like, over the square root of how many: zero
    for a user without visible feedback.
    """
    in_size, out_size = _size(factors.item_in), _size(factors.item_out)
    item_in = with_cold_items(factors.item_in / in_size, dataset)
    item_out = with_cold_items(factors.item_out / out_size, dataset)
    item_bias = with_cold_items(item_bias[:, None], dataset)[:, 0]
    counts = likes.getnnz(axis=1)
    users = likes @ item_in
    users /= np.sqrt(np.maximum(counts, 1), dtype=np.float32)[:, None]
    tables = Tables(
        item_in=jnp.asarray(item_in, jnp.float32),
        item_out=jnp.asarray(item_out, jnp.float32),
        item_bias=jnp.asarray(item_bias, jnp.float32),
        user=jnp.asarray(users, jnp.float32),
    )
    return tables, in_size * out_size


def _with_posterior(
    start: Start, plus: Plus, dataset: Dataset, rows, unit: float, spectrum
) -> Start:
    """Adds the ridge posterior to a start; spectrum of the rows, None if not known."""
    found = ridge_factors(
        rows, rank=plus.ridge_rank, power=plus.ridge_power, spectrum=spectrum
    )
    items, projection, size = found.items, found.projection, _size(found.items)
    del found
    items /= size  # in place: for a million items each is half a GiB
    projection *= size
    projection /= unit
    item_out = _beside(start.tables.item_out, with_cold_items(items, dataset))
    del items
    posterior = RidgePrior(
        projection=jnp.asarray(with_zero_rows(projection, dataset)),
        regularisation=jnp.float32(plus.ridge_regularisation / size**2),
        weight=jnp.float32(plus.ridge_weight * unit),
    )
    return dataclasses.replace(
        start,
        tables=start.tables.replace(item_out=item_out),
        posterior=posterior,
    )


def _beside(left: jax.Array, right: np.ndarray) -> jax.Array:
    """Columns of both, [N, D] and [N, R] -> [N, D + R], and no other copy of them."""
    width = left.shape[1]
    both = aligned_empty((len(left), width + right.shape[1]), left.dtype)
    both[:, :width], both[:, width:] = left, right
    return adopted(both)


def _size(table: np.ndarray) -> float:
    """Root of the mean square of its entries, above 0."""
    return max(float(np.sqrt(np.mean(table**2))), 1e-12)
