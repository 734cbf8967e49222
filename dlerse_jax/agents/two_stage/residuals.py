"""What friends and popularity leave open in training users' likes: its covariance.

Before the first answer an item is expected to be liked as far as friends like it. What
an answer says about other items is how people's departures from that go together: a
normal model whose covariance and noise are estimated from the data, without a number
to choose. Made on the host, from sparse products alone: no matrix of users x items.
"""

import dataclasses

import numpy as np
from scipy import sparse

OVERSAMPLED, ITERATIONS = 16, 3  # of the subspace iteration
LEAST_NOISE = 0.02  # variance of an answer that no direction explains, at the least


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResidualModel:
    """Departures from what is expected ~ N(mean, items @ items.T + diag(noise))."""

    mean: np.ndarray  # [N] float32
    items: np.ndarray  # [N, R] float32
    noise: np.ndarray  # [N] float32 variances, `LEAST_NOISE` or more


def residual_model(
    likes: sparse.csr_matrix,
    friends: sparse.csr_matrix,
    *,
    prior_weight: float,
    rank: int,
) -> ResidualModel:
    """likes [U, N], as they count, of users who are all visible.

    What is expected of a user is the mean of their friends' likes, smoothed with
    popularity that counts for prior_weight friends; friends [U, U] says how much each
    of them counts. Ranks beyond what there is are
    zeros.
    """
    table = _Departures(likes, friends, prior_weight)
    num_users, num_items = likes.shape
    kept = min(rank, num_users, num_items)
    size = min(kept + OVERSAMPLED, num_users, num_items)
    basis = np.random.default_rng(0).standard_normal((num_items, size))
    for _ in range(ITERATIONS):
        basis, _ = np.linalg.qr(table.transposed(table.times(basis)))
    projected = table.times(basis)
    energies, rotation = np.linalg.eigh(projected.T @ projected / num_users)
    largest = np.argsort(energies)[::-1][:kept]
    scale = np.sqrt(np.maximum(energies[largest], 0))
    items = basis @ rotation[:, largest] * scale
    squares = np.asarray(likes.multiply(likes).mean(axis=0)).ravel()
    left = squares - table.popularity**2 - np.sum(items**2, axis=1)
    return ResidualModel(
        mean=table.mean.astype(np.float32),
        items=np.pad(items, ((0, 0), (0, rank - kept))).astype(np.float32),
        noise=np.maximum(left, LEAST_NOISE).astype(np.float32),
    )


class _Departures:
    """The matrix of departures [U, N], as a product of sparse ones."""

    def __init__(self, likes, friends, prior_weight: float) -> None:
        smoothed = np.asarray(friends.sum(axis=1)).ravel() + prior_weight
        smoothed = np.maximum(smoothed, 1e-9)  # nobody to ask: nothing is expected
        self.likes = likes.astype(np.float64)
        self.friends = sparse.diags_array(1 / smoothed) @ friends.astype(np.float64)
        self.of_popularity = prior_weight / smoothed
        self.popularity = np.asarray(self.likes.mean(axis=0)).ravel()
        self.mean = np.zeros(likes.shape[1])
        self.mean = self.transposed(np.ones((likes.shape[0], 1)))[:, 0] / len(smoothed)

    def times(self, x: np.ndarray) -> np.ndarray:
        """[N, K] -> [U, K]."""
        liked = self.likes @ x
        expected = np.outer(self.of_popularity, self.popularity @ x) + self.mean @ x
        return liked - self.friends @ liked - expected

    def transposed(self, x: np.ndarray) -> np.ndarray:
        """[U, K] -> [N, K]."""
        liked = self.likes.T @ (x - self.friends.T @ x)
        expected = np.outer(self.popularity, self.of_popularity @ x)
        return liked - expected - np.outer(self.mean, x.sum(axis=0))
