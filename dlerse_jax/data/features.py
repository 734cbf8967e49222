"""Features of items, and the items that are known for nothing else: cold items.

A features table names an item per row. It is wide, every other column a feature, or
long where one of its columns is called `feature`: one feature per row, with a number
in the column `value`, or 1. Both become rows of (item, feature, value). Cold items come
last in a data set, as newcomers do among users; agents are trained and evaluated on
what `without_cold_items` leaves.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import polars as pl

from dlerse_jax.data.cells import Cells, clean_rows, is_missing, refuse_cell, trimmed
from dlerse_jax.data.raw import shortened
from dlerse_jax.data.text import parse_integers, parse_numbers
from dlerse_jax.types import Dataset, ItemFeatures, Taggings

FEATURE, VALUE = "feature", "value"  # columns of a long table
_MOSTLY = 0.5  # share of numbers above which a column is numeric

Notes = tuple[str, ...]
Table = TypeVar("Table", Taggings, ItemFeatures)


def read_features(
    open_columns: Callable[[Sequence[str]], Cells], item: str, ids: pl.DataType
) -> tuple[pl.DataFrame, Notes]:
    """`item`, `feature`, `value` rows of a features table, and notes.

    item: the column of ids, which are read as the interactions' were (ids: Int64 or
    String). A wide column most of whose cells are numbers is numeric: it may have no
    empty cell, no NaN and nothing infinite, and is standardised. Any other holds words,
    each a feature of its own (an empty cell has none). ValueError with file and line.
    """
    first = open_columns([item])
    others = [column for column in first.header if column != item]
    if not others:
        raise ValueError(
            f"{first.where}: no column beside {shortened(item)}: no feature"
        )
    is_long = FEATURE in others
    wanted = [c for c in (FEATURE, VALUE) if c in others] if is_long else others
    cells = open_columns([item, *wanted])
    table, notes = clean_rows(cells, [item, FEATURE] if is_long else [item])
    own = parse_integers(table, item, cells.where) if ids == pl.Int64 else table[item]
    _refuse_repeated(table, [item, FEATURE] if is_long else [item], cells.where)
    numbered = table.with_columns(own.alias("item"))
    encode = _long if is_long else _wide
    return encode(numbered, wanted, cells.where), cells.notes + notes


def _refuse_repeated(table: pl.DataFrame, columns: list[str], where: str) -> None:
    repeated = ~table.select(pl.struct(columns).is_first_distinct()).to_series()
    expected = "each item once" if len(columns) == 1 else "each feature of an item once"
    refuse_cell(table, repeated, columns[-1], where, expected)


def _long(table: pl.DataFrame, columns: list[str], where: str) -> pl.DataFrame:
    ones = pl.repeat(1, table.height, eager=True, dtype=pl.Float32)
    values = parse_numbers(table, VALUE, where) if VALUE in columns else ones
    return table.select("item", FEATURE, values.alias(VALUE))


def _wide(table: pl.DataFrame, columns: list[str], where: str) -> pl.DataFrame:
    return pl.concat(
        _numeric(table, column, where)
        if _is_numeric(table[column])
        else _categorical(table, column)
        for column in columns
    )


def _is_numeric(cells: pl.Series) -> bool:
    """Whether most cells that hold something hold a number."""
    there = trimmed(cells).filter(~is_missing(cells))
    numbers = there.cast(pl.Float64, strict=False)
    return numbers.is_not_null().sum() > _MOSTLY * len(there)


def _numeric(table: pl.DataFrame, column: str, where: str) -> pl.DataFrame:
    """Standardised over the table: mean 0 and variance 1, or 0 where all are equal."""
    numbers = parse_numbers(table, column, where).cast(pl.Float64)
    values = (numbers - numbers.mean()) / (numbers.std(ddof=0) or 1.0)
    return table.select(
        "item",
        pl.lit(shortened(column)).alias(FEATURE),
        values.cast(pl.Float32).alias(VALUE),
    )


def _categorical(table: pl.DataFrame, column: str) -> pl.DataFrame:
    words = trimmed(table[column])
    there = table.with_columns(words.alias(FEATURE)).filter(~is_missing(words))
    return there.select(
        "item",
        pl.concat_str(pl.lit(f"{column}="), FEATURE).alias(FEATURE),
        pl.lit(1, pl.Float32).alias(VALUE),
    )


def cold_items(
    known: pl.Series, features: pl.DataFrame | None, tagged: pl.DataFrame | None
) -> tuple[pl.Series, Notes]:
    """Ids of cold items, ascending, and notes.

    known: ids of items with likes. features: of a file, all of whose items are in the
    data set. tagged: taggings that count, where tags alone make a cold item.
    """
    described = [table["item"] for table in (features, tagged) if table is not None]
    if not described:
        return known.head(0), ()
    everything = pl.concat(described).unique()
    found = everything.filter(~everything.is_in(known.implode())).sort()
    num_described = len(everything) - len(found)
    if not num_described:
        raise ValueError(
            f"none of the {len(known)} items with likes is among the {len(everything)} "
            "that have features or tags, so nothing says what these mean; are their "
            "ids the same?"
        )
    note = (
        f"{len(found)} items are known for features or tags alone: cold items, behind "
        f"{len(known)} items with likes, {num_described} of which have features or tags"
    )
    return found.alias(known.name), (note,)


def refuse_cold_items(are_asked: bool) -> None:
    """ValueError where the synthetic world is asked for cold items."""
    if are_asked:
        raise ValueError(
            "every item of the synthetic world has likes: leave out features and "
            "cold_items (data.table.features, data.cold_items)"
        )


def index_features(features: pl.DataFrame, items: pl.DataFrame) -> ItemFeatures:
    """Rows of `read_features` as indices; items: `item` and index `v`."""
    found = features.join(items, on="item").filter(pl.col(VALUE) != 0)
    columns = found[FEATURE].rank("dense").to_numpy() - 1
    return ItemFeatures(
        items=found["v"].to_numpy().astype(np.int32),
        columns=columns.astype(np.int32),
        values=found[VALUE].to_numpy().astype(np.float32),
        num_columns=found[FEATURE].n_unique(),
    )


def without_cold_items(dataset: Dataset) -> Dataset:
    """The data set as it is without its cold items; itself where it has none."""
    if not dataset.num_cold_items:
        return dataset
    num_items = dataset.num_known_items
    titles, features = dataset.item_titles, dataset.item_features
    return dataclasses.replace(
        dataset,
        item_ids=dataset.item_ids[:num_items],
        item_titles=titles and titles[:num_items],
        taggings=dataset.taggings and _of_items(dataset.taggings, num_items),
        item_features=features and _of_items(features, num_items),
        num_cold_items=0,
    )


def restore_cold_items(known: Dataset, dataset: Dataset) -> Dataset:
    """`known`, which was made of the data set without its cold items, with them."""
    if not dataset.num_cold_items:
        return known
    taggings = known.taggings
    if taggings is not None and dataset.taggings is not None:
        taggings = _joined(taggings, dataset.taggings, known.num_items)
    return dataclasses.replace(
        known,
        item_ids=dataset.item_ids,
        item_titles=dataset.item_titles,
        item_features=dataset.item_features,
        taggings=taggings,
        num_cold_items=dataset.num_cold_items,
    )


def _joined(taggings: Taggings, every: Taggings, num_known: int) -> Taggings:
    """These taggings, and those of every other item."""
    is_cold = every.items >= num_known
    return dataclasses.replace(
        taggings,
        users=np.append(taggings.users, every.users[is_cold]),
        items=np.append(taggings.items, every.items[is_cold]),
        tags=np.append(taggings.tags, every.tags[is_cold]),
    )


def _of_items(table: Table, num_items: int) -> Table:
    """The entries of items below num_items."""
    kept = table.items < num_items
    arrays = {
        field.name: getattr(table, field.name)[kept]
        for field in dataclasses.fields(table)
        if isinstance(getattr(table, field.name), np.ndarray)
    }
    return dataclasses.replace(table, **arrays)


def make_cold(dataset: Dataset, items: np.ndarray) -> Dataset:
    """The data set in which nobody is known to like these items: they come last.

    items [C]: indices, of none that is cold already. For evaluation: what was dropped
    is in the data set given.
    """
    is_cold = np.isin(np.arange(dataset.num_items), items)
    order = np.argsort(is_cold, kind="stable")
    place = np.argsort(order).astype(np.int32)  # of each item, afterwards
    users = np.repeat(np.arange(dataset.num_users), dataset.num_likes)
    kept = np.flatnonzero(~is_cold[dataset.liked_items])
    kept = kept[np.lexsort((place[dataset.liked_items[kept]], users[kept]))]
    titles, taggings = dataset.item_titles, dataset.taggings
    features = dataset.item_features
    counts = np.bincount(users[kept], minlength=dataset.num_users)
    return dataclasses.replace(
        dataset,
        item_ids=dataset.item_ids[order],
        item_titles=titles and tuple(titles[item] for item in order),
        like_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        liked_items=place[dataset.liked_items[kept]],
        like_weights=dataset.like_weights[kept],
        taggings=taggings
        and dataclasses.replace(taggings, items=place[taggings.items]),
        item_features=features
        and dataclasses.replace(features, items=place[features.items]),
        num_cold_items=dataset.num_cold_items + len(items),
    )
