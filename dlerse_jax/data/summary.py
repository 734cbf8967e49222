"""What a data set looks like in numbers: for `dlerse data stats` and the report."""

import numpy as np

from dlerse_jax.types import Dataset


def dataset_statistics(dataset: Dataset) -> dict[str, int | float]:
    """Counts and means of the filtered data, in the order to print them.

    Means are over all users, friendless ones included. `density` is the liked share
    of all (user, item) pairs, `friendless_share` that of users who name no friend.
    """
    num_users, num_items = dataset.num_users, len(dataset.item_ids)
    num_likes, num_pairs = len(dataset.liked_items), len(dataset.friend_targets)
    return {
        "users": num_users,
        "items": num_items,
        "interactions": num_likes,
        "friend_pairs": num_pairs,
        "items_per_user": num_likes / num_users,
        "friends_per_user": num_pairs / num_users,
        "density": num_likes / (num_users * num_items),
        "friendless_share": float(np.mean(dataset.num_friends == 0)),
        "train_users": len(dataset.split.train),
        "validation_users": len(dataset.split.validation),
        "test_users": len(dataset.split.test),
    }
