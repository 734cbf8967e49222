"""Statistics of a data set, for `dlerse data stats` and the report, and its digest."""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from dlerse_jax.types import Dataset

# Fields that a digest leaves out where they are None or 0: it is then what it was
# before there were cold items and weights of friends.
_YOUNGER = ("friend_weights", "item_features", "num_cold_items")


def dataset_statistics(dataset: Dataset) -> dict[str, int | float]:
    """Counts and means of the filtered data, in the order to print them.

    All but the last ones are of users who like something, and of pairs of these; means
    are over all of them, friendless ones included. `density` is the liked share of all
    (user, item) pairs, `friendless_share` that of users who name no friend.
    `newcomers` like nothing and name friends; `newcomer_pairs` have one of them. Cold
    items are counted where there are any, and nowhere else.
    """
    num_users, num_items = dataset.num_known_users, dataset.num_known_items
    num_likes = len(dataset.liked_items)
    targets, sources = dataset.friend_targets, dataset.friend_sources
    is_known = (targets < num_users) & (sources < num_users)
    num_pairs = int(is_known.sum())
    num_friends = np.bincount(targets[is_known], minlength=num_users)
    return {
        "users": num_users,
        "items": num_items,
        "interactions": num_likes,
        "friend_pairs": num_pairs,
        "items_per_user": num_likes / num_users,
        "friends_per_user": num_pairs / num_users,
        "density": num_likes / (num_users * num_items),
        "friendless_share": float(np.mean(num_friends == 0)),
        "train_users": len(dataset.split.train),
        "validation_users": len(dataset.split.validation),
        "test_users": len(dataset.split.test),
        "newcomers": dataset.num_newcomers,
        "newcomer_pairs": len(targets) - num_pairs,
        **({"cold_items": cold} if (cold := dataset.num_cold_items) else {}),
    }


def dataset_digest(dataset: Dataset) -> str:
    """The same word for the same content, split included; another for any other.

    Notes are left out: the same content packed, or in another encoding, is the same.
    """
    digest = hashlib.sha256()
    for name, value in _parts("", dataclasses.replace(dataset, notes=())):
        if isinstance(value, np.ndarray):
            digest.update(f"{name} {value.dtype} {value.shape}".encode())
            # An array of objects has addresses where others have numbers.
            has_numbers = value.dtype != object
            value = value.tobytes() if has_numbers else str(value.tolist()).encode()
        digest.update(value if isinstance(value, bytes) else f"{name} {value}".encode())
    return digest.hexdigest()


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(name, array or plain value) of all that a data set holds."""
    if not dataclasses.is_dataclass(value):
        yield name, value
        return
    for field in dataclasses.fields(value):
        found = getattr(value, field.name)
        is_absent = found is None or (isinstance(found, int) and found == 0)
        if field.name not in _YOUNGER or not is_absent:
            yield from _parts(f"{name}.{field.name}", found)
