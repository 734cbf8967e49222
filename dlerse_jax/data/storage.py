"""A data set as one file: what a trained agent needs when the data files are gone.

`known_part` leaves out what no agent may read; `write_dataset` and `read_dataset` keep
a `Dataset` as `.npz`, without pickles.
"""

import dataclasses
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from dlerse_jax.data.feedback import training_mask
from dlerse_jax.types import Dataset, ItemFeatures, Split, Taggings

FORMAT = 1  # of the file; another number is refused
_ARRAYS = (
    "user_ids",
    "item_ids",
    "like_offsets",
    "liked_items",
    "like_weights",
    "friend_sources",
    "friend_targets",
)
_PARTS = ("train", "validation", "test")


def known_part(dataset: Dataset) -> Dataset:
    """The data set without the feedback of validation and test users.

    Users, items, ids, titles, friends and split stay: an agent made of this part is the
    agent made of the whole. The same object where there is no such feedback.
    """
    is_training = training_mask(dataset)
    rows = np.repeat(np.arange(dataset.num_users), dataset.num_likes)
    is_known = is_training[rows]
    if is_known.all() and not dataset.notes:
        return dataset
    counts = np.where(is_training, dataset.num_likes, 0)
    taggings = dataset.taggings
    if taggings is not None:
        own = is_training[taggings.users]
        taggings = dataclasses.replace(
            taggings,
            users=taggings.users[own],
            items=taggings.items[own],
            tags=taggings.tags[own],
        )
    return dataclasses.replace(
        dataset,
        like_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        liked_items=dataset.liked_items[is_known],
        like_weights=dataset.like_weights[is_known],
        taggings=taggings,
        notes=(),
    )


def dataset_bytes(dataset: Dataset, *, origin: str = "") -> bytes:
    """The content of a data set's file; origin: digest of what it is a part of."""
    content = {name: getattr(dataset, name) for name in _ARRAYS}
    content |= {f"split_{part}": getattr(dataset.split, part) for part in _PARTS}
    content |= {
        "format": np.int64(FORMAT),
        "name": np.array(dataset.name),
        "origin": np.array(origin),
        "num_newcomers": np.int64(dataset.num_newcomers),
        "num_cold_items": np.int64(dataset.num_cold_items),
    }
    if dataset.friend_weights is not None:
        content["friend_weights"] = dataset.friend_weights
    if dataset.item_titles is not None:
        content["item_titles"] = np.array(dataset.item_titles, dtype=str)
    if (taggings := dataset.taggings) is not None:
        content |= {
            "tagging_users": taggings.users,
            "tagging_items": taggings.items,
            "tagging_tags": taggings.tags,
            "num_tags": np.int64(taggings.num_tags),
        }
    if (features := dataset.item_features) is not None:
        content |= {
            "feature_items": features.items,
            "feature_columns": features.columns,
            "feature_values": features.values,
            "num_features": np.int64(features.num_columns),
        }
    stream = io.BytesIO()
    np.savez_compressed(stream, **content)
    return stream.getvalue()


def read_dataset(path: str | Path, *, origin: str | None = None) -> Dataset:
    """A data set from its file.

    FileNotFoundError where there is none, ValueError where it is damaged, of another
    version of the format, or a part of other data than those of the digest `origin`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no data set there")
    try:
        with zipfile.ZipFile(path) as file:
            if damaged := file.testzip():  # NumPy alone does not check every sum
                raise ValueError(f"{damaged} is not what was written")
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        if int(found["format"]) != FORMAT:
            raise ValueError(f"its format is {int(found['format'])}, expected {FORMAT}")
        dataset = _dataset(found)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise of every kind
        raise ValueError(
            f"{path}: not a data set that this package wrote "
            f"({str(error)[:200]}); remove that file alone, and the data files are "
            "read in its place"
        ) from error
    if origin and str(found["origin"]) != origin:
        raise ValueError(
            f"{path} is of another data set than the agent beside it; remove that file "
            "alone, and the data files are read in its place"
        )
    return dataset


def _dataset(found: dict[str, np.ndarray]) -> Dataset:
    taggings = None
    if "tagging_users" in found:
        taggings = Taggings(
            users=found["tagging_users"],
            items=found["tagging_items"],
            tags=found["tagging_tags"],
            num_tags=int(found["num_tags"]),
        )
    arrays: dict[str, Any] = {name: found[name] for name in _ARRAYS}
    features = None
    if "feature_items" in found:
        features = ItemFeatures(
            items=found["feature_items"],
            columns=found["feature_columns"],
            values=found["feature_values"],
            num_columns=int(found["num_features"]),
        )
    titles = found.get("item_titles")
    return Dataset(
        name=str(found["name"]),
        **arrays,
        split=Split(**{part: found[f"split_{part}"] for part in _PARTS}),
        friend_weights=found.get("friend_weights"),
        item_titles=None if titles is None else tuple(titles.tolist()),
        taggings=taggings,
        num_newcomers=int(found["num_newcomers"]),
        item_features=features,
        num_cold_items=int(found.get("num_cold_items", 0)),
    )
