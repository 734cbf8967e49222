"""Which items the same people like, and how many like one.

Everything here is counted in the visible likes: nothing of validation and test users.
"""

import numpy as np
from scipy import sparse

from dlerse_jax.types import Dataset


class LikeTable:
    """Likes of one data set, by user and by item."""

    def __init__(self, dataset: Dataset) -> None:
        shape = (dataset.num_users, dataset.num_items)
        ones = np.ones(len(dataset.liked_items), np.float32)
        self._by_user = sparse.csr_matrix(
            (ones, dataset.liked_items, dataset.like_offsets), shape=shape
        )
        self._by_item = self._by_user.tocsc()
        self.num_likers = np.diff(self._by_item.indptr)  # [N]
        self._num_active = int(np.count_nonzero(np.diff(self._by_user.indptr)))

    def likers(self, item: int) -> np.ndarray:
        """Users who like an item, ascending: [<=U] int32."""
        table = self._by_item
        return table.indices[table.indptr[item] : table.indptr[item + 1]]

    def share(self, item: int) -> float:
        """Share of users with likes who like the item."""
        return float(self.num_likers[item]) / max(self._num_active, 1)

    def similar(self, item: int, k: int) -> list[tuple[int, float]]:
        """At most k items with common likers and their cosine, the most alike first."""
        cosines = self._cosines(item)
        cosines[item] = 0.0
        best = np.argsort(-cosines, kind="stable")[:k]
        return [(int(other), float(cosines[other])) for other in best if cosines[other]]

    def _cosines(self, item: int) -> np.ndarray:
        """[N]; 0 where nobody likes both."""
        common = np.asarray(self._by_user[self.likers(item)].sum(axis=0)).ravel()
        norms = np.sqrt(self.num_likers[item] * np.maximum(self.num_likers, 1.0))
        return common / np.maximum(norms, 1.0)
