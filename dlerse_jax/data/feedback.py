"""The feedback that agents may read: that of training users.

Likes of validation and test users are dropped here, once: whatever is made from
`visible_likes` cannot know them.
"""

import numpy as np
from scipy import sparse

from dlerse_jax.types import Dataset


def training_mask(dataset: Dataset) -> np.ndarray:
    """Whether each user is a training user: [U] bool."""
    is_training = np.zeros(dataset.num_users, bool)
    is_training[dataset.split.train] = True
    return is_training


def visible_likes(dataset: Dataset) -> sparse.csr_matrix:
    """Ones where a training user likes an item, [U, N] float32.

    Rows of validation and test users are there and empty, so that a user's index is
    the row's. Columns ascend within a row.
    """
    rows = np.repeat(np.arange(dataset.num_users), dataset.num_likes)
    is_visible = training_mask(dataset)[rows]
    rows, columns = rows[is_visible], dataset.liked_items[is_visible]
    return sparse.csr_matrix(
        (np.ones(len(rows), np.float32), (rows, columns)),
        shape=(dataset.num_users, dataset.num_items),
    )
