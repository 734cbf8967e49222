"""Raw tables to the indexed `Dataset`: merge, filter, number, split.

Memory grows with interactions and friend pairs: nothing here is users x items. What
is merged or dropped on the way ends up in `Dataset.notes`, one line each.
"""

import numpy as np
import polars as pl

from dlerse_jax.data.raw import RawTables
from dlerse_jax.data.split import split_users
from dlerse_jax.types import Dataset, Taggings

Notes = tuple[str, ...]


def prepare_dataset(
    raw: RawTables,
    *,
    name: str,
    split: int,
    min_rating: float | None,
    min_items_per_user: int,
    min_users_per_item: int,
    symmetric_friends: bool,
) -> Dataset:
    """The filter of METHOD.md section 1, then ids to indices in ascending order.

    One pass each: ratings below `min_rating` go (None keeps all), then users with
    fewer items than asked, then items with fewer of the remaining users. Users and
    items are those with a like left; other users' friend pairs go. `symmetric_friends`
    adds the reverse of each pair. ValueError where a filter leaves nothing.
    """
    likes, merge_notes = merge_duplicates(raw.interactions, raw.merge)
    likes, filter_notes = filter_likes(
        likes, name, min_rating, min_items_per_user, min_users_per_item
    )
    users = likes.select(pl.col("user").unique().sort()).with_row_index("u")
    items = likes.select(pl.col("item").unique().sort()).with_row_index("v")
    friends, friend_notes = index_friends(raw.friends, users, symmetric_friends)
    rows = likes.join(users, on="user").join(items, on="item").sort("u", "v")
    return Dataset(
        name=name,
        user_ids=_as_ids(users["user"]),
        item_ids=_as_ids(items["item"]),
        like_offsets=row_offsets(rows["u"].to_numpy(), users.height),
        liked_items=rows["v"].to_numpy().astype(np.int32),
        like_weights=rows["weight"].to_numpy().astype(np.float32),
        friend_sources=friends["source"].to_numpy().astype(np.int32),
        friend_targets=friends["target"].to_numpy().astype(np.int32),
        split=split_users(users.height, split),
        item_titles=_titles(items, raw.titles),
        taggings=_taggings(users, items, raw.taggings),
        notes=raw.notes + merge_notes + filter_notes + friend_notes,
    )


def row_offsets(sorted_rows: np.ndarray, num_rows: int) -> np.ndarray:
    """Where each row starts in a list sorted by row: [L] -> [num_rows + 1] int64."""
    counts = np.bincount(sorted_rows, minlength=num_rows)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def merge_duplicates(
    interactions: pl.DataFrame, merge: str
) -> tuple[pl.DataFrame, Notes]:
    """One row a (user, item); weights of repeated rows are summed or their maximum."""
    weight = pl.col("weight").cast(pl.Float64)
    combined = weight.sum() if merge == "sum" else weight.max()
    merged = interactions.group_by("user", "item").agg(combined)
    num_merged = interactions.height - merged.height
    note = f"merged {num_merged} repeated (user, item) rows: {merge} of their weights"
    return merged, (note,) if num_merged else ()


def filter_likes(
    likes: pl.DataFrame,
    name: str,
    min_rating: float | None,
    min_items_per_user: int,
    min_users_per_item: int,
) -> tuple[pl.DataFrame, Notes]:
    """Likes that pass all three filters, in this order, one pass each."""
    num_read = likes.height
    if min_rating is not None:
        likes = keep_positive(likes, name, min_rating)
    num_positive = likes.height
    likes = keep_frequent(likes, name, "user", min_items_per_user)
    likes = keep_frequent(likes, name, "item", min_users_per_item)
    notes = (
        f"kept {likes.height} of {num_positive} likes, {likes['user'].n_unique()} users"
        f" and {likes['item'].n_unique()} items: users with {min_items_per_user} items "
        f"or more, then items with {min_users_per_item} of these users or more",
    )
    if min_rating is not None:
        below = f"{num_read - num_positive} of {num_read} interactions"
        notes = (f"no like: {below} of weight below {min_rating:g}", *notes)
    return likes, notes


def keep_positive(likes: pl.DataFrame, name: str, min_rating: float) -> pl.DataFrame:
    """Rows of weight >= min_rating; ValueError if there is none."""
    positive = likes.filter(pl.col("weight") >= min_rating)
    if positive.is_empty():
        highest = likes["weight"].max()
        found = "no interaction at all" if highest is None else f"at most {highest:g}"
        raise ValueError(
            f"{name}: no rating reaches min_rating {min_rating:g}, found {found}; "
            "lower min_rating"
        )
    return positive


def keep_frequent(
    likes: pl.DataFrame, name: str, side: str, minimum: int
) -> pl.DataFrame:
    """Rows whose `side` ("user" or "item") has at least `minimum` rows, one pass."""
    other = "item" if side == "user" else "user"
    setting = f"min_{other}s_per_{side}"
    counts = likes.group_by(side).len()
    frequent = counts.filter(pl.col("len") >= minimum)
    if frequent.is_empty():
        raise ValueError(
            f"{name}: {setting} {minimum} leaves nothing: the most {other}s any {side} "
            f"has is {counts['len'].max() or 0}; lower {setting}"
        )
    return likes.join(frequent.select(side), on=side, how="semi")


def index_friends(
    pairs: pl.DataFrame, users: pl.DataFrame, symmetric: bool
) -> tuple[pl.DataFrame, Notes]:
    """Friend pairs as user indices `target`, `source`, sorted, each once, no loops.

    pairs: target and source ids; users: user id and index u.
    """
    known = (
        pairs.join(users, left_on="target", right_on="user", how="inner")
        .select("source", target="u")
        .join(users, left_on="source", right_on="user", how="inner")
        .select("target", source="u")
    )
    proper = known.filter(pl.col("target") != pl.col("source"))
    distinct = proper.unique()
    dropped = {
        "friend pairs with a user outside the data": pairs.height - known.height,
        "friend pairs of a user with themselves": known.height - proper.height,
        "repeated friend pairs": proper.height - distinct.height,
    }
    notes = [f"dropped {count} {what}" for what, count in dropped.items() if count]
    if symmetric:
        reverse = distinct.select(target="source", source="target")
        both = pl.concat([distinct, reverse]).unique()
        notes.append(f"added {both.height - distinct.height} reverse friend pairs")
        distinct = both
    return distinct.sort("target", "source"), tuple(notes)


def _titles(items: pl.DataFrame, titles: pl.DataFrame | None) -> tuple[str, ...] | None:
    if titles is None:
        return None
    # An item that the catalogue leaves out is called by its id.
    named = items.join(titles, on="item", how="left", maintain_order="left")
    own_id = pl.col("item").cast(pl.String)
    return tuple(named.select(pl.coalesce("title", own_id)).to_series())


def _taggings(
    users: pl.DataFrame, items: pl.DataFrame, taggings: pl.DataFrame | None
) -> Taggings | None:
    """Taggings of users and items that are left, as indices; tags by ascending id."""
    if taggings is None:
        return None
    known = taggings.join(users, on="user").join(items, on="item")
    tags = known["tag"].rank("dense").to_numpy() - 1
    return Taggings(
        users=known["u"].to_numpy().astype(np.int32),
        items=known["v"].to_numpy().astype(np.int32),
        tags=tags.astype(np.int32),
        num_tags=known["tag"].n_unique(),
    )


def _as_ids(ids: pl.Series) -> np.ndarray:
    if ids.dtype == pl.String:
        return np.array(ids.to_list(), dtype=np.str_)
    return ids.to_numpy().astype(np.int64)
