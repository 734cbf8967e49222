"""Raw tables to the indexed `Dataset`: merge, filter, number, split.

Memory grows with interactions and friend pairs: nothing here is users x items. What
is merged or dropped on the way ends up in `Dataset.notes`, one line each.
"""

import numpy as np
import polars as pl

from dlerse_jax.data.features import cold_items as find_cold_items
from dlerse_jax.data.features import index_features
from dlerse_jax.data.friends import (
    add_newcomers,
    index_friends,
    scaled_weights,
    with_reverse,
    without_pairs_of_no_weight,
)
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
    reverse_weight: float = 0.0,
    core: bool = False,
    cold_items: bool = False,
) -> Dataset:
    """Filters, then ids to indices in ascending order.

    Ratings below `min_rating` go (None keeps all), then users with fewer items than the
    minimum, then items with fewer of the remaining users: one pass each, or with `core`
    until both minima hold. Whoever falls to a filter goes with their friend pairs, as
    do strangers who are merely named as a friend. People without any interaction who
    name friends (`friends.add_newcomers`) stay: users without likes, whose indices
    follow all others and who are in no part of the split. The reverse of each pair is
    added where `reverse_weight`, its weight against that of the pair, is above 0. Items
    that nobody left likes stay behind all others where the features name them or, with
    `cold_items`, a training user tagged them. ValueError where nothing is left.
    """
    if raw.interactions.is_empty():
        raise ValueError(
            f"{name}: the interactions have columns and not one row; is the file whole?"
        )
    likes, merge_notes = merge_duplicates(raw.interactions, raw.merge)
    likes, filter_notes = filter_likes(
        likes, name, min_rating, min_items_per_user, min_users_per_item, core
    )
    users = likes["user"].unique().sort()
    folds = split_users(len(users), split)
    tagged = _tagged(raw.taggings, users, folds.train, name) if cold_items else None
    known = likes["item"].unique().sort()
    cold, cold_notes = find_cold_items(known, raw.features, tagged)
    items = pl.concat([known, cold]).to_frame("item").with_row_index("v")
    everybody, friends, friend_notes = _people(raw, users, reverse_weight)
    rows = likes.join(everybody, on="user").join(items, on="item").sort("u", "v")
    return Dataset(
        name=name,
        user_ids=_as_ids(everybody["user"]),
        item_ids=_as_ids(items["item"]),
        like_offsets=row_offsets(rows["u"].to_numpy(), everybody.height),
        liked_items=rows["v"].to_numpy().astype(np.int32),
        like_weights=_as_weights(rows["weight"], name),
        friend_sources=friends["source"].to_numpy().astype(np.int32),
        friend_targets=friends["target"].to_numpy().astype(np.int32),
        friend_weights=scaled_weights(friends),
        split=folds,
        item_titles=_titles(items, raw.titles),
        taggings=_taggings(everybody, items, raw.taggings),
        notes=raw.notes + merge_notes + filter_notes + friend_notes + cold_notes,
        num_newcomers=everybody.height - len(users),
        item_features=None
        if raw.features is None
        else index_features(raw.features, items),
        num_cold_items=len(cold),
    )


def _tagged(
    taggings: pl.DataFrame | None, users: pl.Series, train: np.ndarray, name: str
) -> pl.DataFrame:
    """Taggings by training users; others' are feedback that may not be seen."""
    if taggings is None:
        raise ValueError(
            f"{name}: data.cold_items is True, and no item has tags; name a features "
            "table (data.table.features)"
        )
    return taggings.filter(pl.col("user").is_in(users.gather(train).implode()))


def _people(
    raw: RawTables, users: pl.Series, reverse_weight: float
) -> tuple[pl.DataFrame, pl.DataFrame, Notes]:
    """`user` and index `u` of all, newcomers last; friend pairs as indices; notes."""
    known = raw.interactions["user"] if raw.known_users is None else raw.known_users
    known = known.unique()
    pairs, weight_notes = without_pairs_of_no_weight(raw.friends)
    pairs, reverse_notes = with_reverse(pairs, reverse_weight)
    newcomers, newcomer_notes = add_newcomers(pairs, users, known)
    everybody = pl.concat([users, newcomers]).to_frame("user").with_row_index("u")
    friends, notes = index_friends(pairs, everybody, known)
    notes = weight_notes + reverse_notes + newcomer_notes + notes
    return everybody, friends, notes


def row_offsets(sorted_rows: np.ndarray, num_rows: int) -> np.ndarray:
    """Where each row starts in a list sorted by row: [L] -> [num_rows + 1] int64."""
    counts = np.bincount(sorted_rows, minlength=num_rows)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def merge_duplicates(
    interactions: pl.DataFrame, merge: str
) -> tuple[pl.DataFrame, Notes]:
    """One row per (user, item); weights of repeated rows: their sum or maximum."""
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
    core: bool,
) -> tuple[pl.DataFrame, Notes]:
    """Likes that pass the three filters, in this order; `core` repeats the last two."""
    num_read = likes.height
    if min_rating is not None:
        likes = keep_positive(likes, name, min_rating)
    num_positive = likes.height
    while True:
        num_before = likes.height
        likes = keep_frequent(likes, name, "user", min_items_per_user)
        likes = keep_frequent(likes, name, "item", min_users_per_item)
        if not core or likes.height == num_before:
            break
    notes = (
        f"kept {likes.height} of {num_positive} likes, {likes['user'].n_unique()} users"
        f" and {likes['item'].n_unique()} items: users with {min_items_per_user} items "
        f"or more, then items with {min_users_per_item} of these users or more"
        f"{', until both hold' if core else ''}",
        *_below_minimum(likes, min_items_per_user),
    )
    if min_rating is not None:
        below = f"{num_read - num_positive} of {num_read} interactions"
        notes = (f"no like: {below} of weight below {min_rating:g}", *notes)
    return likes, notes


def _below_minimum(likes: pl.DataFrame, minimum: int) -> Notes:
    """Users whom the filter of items left with fewer likes than the filter of users."""
    counts = likes.group_by("user").len()["len"]
    num_below = int((counts < minimum).sum())
    note = (
        f"{num_below} of {len(counts)} users end with fewer than {minimum} items, as "
        "items were filtered after users; data.core=True repeats both filters"
    )
    return (note,) if num_below else ()


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


def _as_weights(weights: pl.Series, name: str) -> np.ndarray:
    numbers = weights.cast(pl.Float32).to_numpy()
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name}: weights of a repeated row sum to more than 3e38")
    return numbers


def _as_ids(ids: pl.Series) -> np.ndarray:
    if ids.dtype == pl.String:
        return np.array(ids.to_list(), dtype=np.str_)
    return ids.to_numpy().astype(np.int64)
