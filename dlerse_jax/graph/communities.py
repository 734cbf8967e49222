"""Communities: who likes the same and knows each other, found without being told.

A mixture of Bernoulli distributions over items, fitted by expectation maximisation.
Before a user's likes count, so do the communities of those whom the user knows: the
mean field of a hidden Markov random field (Zhang, Brady and Smith, 2001). Where likes
are few, friends of friends of friends so have a say in where somebody belongs.
"""

import dataclasses

import numpy as np
from scipy import sparse

NUM_COMMUNITIES, NUM_RUNS = 48, 4
USERS_EACH = 25  # fewer communities where users are not so many
FEWEST_COMMUNITIES, MOST_CELLS = 16, 2**24  # where users and items are many
ITERATIONS = 15
FIRST_TEMPER = 0.2  # of likes and friends; 1 from the ninth of ITERATIONS on
CHANCE_USERS = 20.0  # users by whom a chance is drawn to the popularity of its item
CHANCES = 1e-6, 0.99  # the smallest and the largest
PRIOR_FRIENDS = 0.3  # friends that the size of a community counts for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Communities:
    """K = runs x communities of a run; each run is a mixture of its own."""

    chances: np.ndarray  # [N, K] float32: that a member likes an item
    members: np.ndarray  # [U, K] float32: chance of belonging, 0 for who likes nothing
    shares: np.ndarray  # [K] float32: of all who like something
    num_runs: int


def num_communities(num_known: int, num_rows: int) -> tuple[int, int]:
    """Runs, and communities of each, for users who like something, and for all users
    and items together, whose tables have a column for each."""
    count = min(NUM_COMMUNITIES, max(1, num_known // USERS_EACH))
    most = max(FEWEST_COMMUNITIES, MOST_CELLS // num_rows)
    count = min(count, most)
    return max(1, min(NUM_RUNS, most // count)), count


def find_communities(
    likes: sparse.csr_matrix,
    friends: sparse.csr_matrix,
    *,
    runs: int,
    count: int,
    seed: int = 0,
) -> Communities:
    """Of users who like something: likes [U, N] ones, friends [U, U] who names whom.

    runs mixtures, each of so many communities (`num_communities`). A pair of friends
    counts in both directions, as much as the larger weight of both. Each run starts at
    random; their mean is less a matter of chance than any of them.
    """
    is_known = likes.getnnz(axis=1) > 0
    num_known = float(max(1, is_known.sum()))
    likes, by_item = likes.astype(np.float32), likes.T.tocsr().astype(np.float32)
    known = sparse.diags(is_known.astype(np.float32), format="csr")
    friends = (friends.maximum(friends.T) @ known).astype(np.float32)
    popularity = (np.asarray(by_item.sum(axis=1)) + 0.1).astype(np.float32) / num_known
    rng = np.random.default_rng(seed)
    start = rng.standard_exponential((len(is_known), runs * count), np.float32)
    members = _normalised(3 * np.log(start + 1e-9), runs, is_known)
    for step in range(ITERATIONS):
        weight = members.sum(axis=0)
        chances = by_item @ members + CHANCE_USERS * popularity
        chances = np.clip(chances / (weight + CHANCE_USERS), *CHANCES)
        shares = (weight + 1) / (num_known + count)
        dislikes = np.log1p(-chances)
        evidence = likes @ (np.log(chances) - dislikes) + dislikes.sum(axis=0)
        evidence += np.log(PRIOR_FRIENDS * shares + friends @ members)
        temper = FIRST_TEMPER + step / (2 / 3 * ITERATIONS)
        members = _normalised(evidence * min(1, temper), runs, is_known)
    return Communities(chances=chances, members=members, shares=shares, num_runs=runs)


def _normalised(logits: np.ndarray, runs: int, is_known: np.ndarray) -> np.ndarray:
    """Softmax over the communities of each run [U, K]; 0 for users not known."""
    each = logits.reshape(len(logits), runs, -1)
    each = np.exp(each - each.max(axis=2, keepdims=True))
    each /= each.sum(axis=2, keepdims=True)
    each *= is_known[:, None, None]
    return each.reshape(logits.shape)
