"""What the copy head reads, made on the host: people one and two hops away.

Beside the lists of people there are features of each friend pair, and the feedback that
scores are copied from.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from dlerse_jax.graph.friends import (
    FriendTable,
    common_friends,
    friend_table,
    people_lists,
    two_hop_table,
)
from dlerse_jax.networks.copy_head import NUM_PAIR_FEATURES, Neighbourhoods
from dlerse_jax.types import Dataset

MOST_CELLS = 2**29  # 2 GiB of float32


def make_neighbourhoods(
    dataset: Dataset,
    feedback: sparse.csr_matrix,
    *,
    prior_weight: float,
    two_hop_weight: float,
    far_hops: int = 2,
) -> Neighbourhoods:
    """Lists and features of a data set; feedback [U, N] holds visible likes alone.

    Raises ValueError where users x items are too many to be held as a matrix.
    """
    num_users, num_items = feedback.shape
    if num_users * num_items > MOST_CELLS:
        raise ValueError(
            f"a copy head holds feedback as a matrix, and {num_users:,} users x "
            f"{num_items:,} items are more than {MOST_CELLS:,} cells; "
            "set agent.name to dlerse_con"
        )
    table = friend_table(dataset, far_hops)
    pair_features, feature_scale = _pair_features(table, feedback)
    return Neighbourhoods(
        friends=people_lists(table),
        two_hop=people_lists(two_hop_table(table)),
        pair_features=pair_features,
        feature_scale=feature_scale,
        feedback=jnp.asarray(feedback.toarray(), jnp.float32),
        prior_weight=jnp.float32(prior_weight),
        two_hop_weight=jnp.float32(two_hop_weight),
    )


def _pair_features(
    table: FriendTable, feedback: sparse.csr_matrix
) -> tuple[jax.Array, tuple[tuple[float, float], ...]]:
    """Common friends, likes and friends of the friend: logs, standardised, [E + 1, 3].

    The row at the end belongs to the padding of the lists. With them the mean and
    deviation of each number, by which it is standardised.
    """
    num_likes = feedback.getnnz(axis=1)[table.friends]
    num_friends = table.num_friends[table.friends]
    counts = np.stack([common_friends(table), num_likes, num_friends], axis=1)
    features = np.log1p(counts.astype(np.float64))
    mean, deviation = np.zeros(NUM_PAIR_FEATURES), np.ones(NUM_PAIR_FEATURES)
    if len(features):
        mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    padding = np.zeros((1, NUM_PAIR_FEATURES))
    padded = np.concatenate([(features - mean) / deviation, padding])
    scale = tuple(zip(mean.tolist(), deviation.tolist(), strict=True))
    return jnp.asarray(padded, jnp.float32), scale
