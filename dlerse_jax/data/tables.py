"""Reader of a user's own data: tables with named columns, from files or data frames.

In: something that gives `Cells` of a table (a folder's files, data frames) and a
`TableLayout` that says which column is what. Out: `RawTables`. Ids are whole numbers
or text (`ids`), the same in all tables; rows without a value are dropped and counted.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from dlerse_jax.data.cells import BLANK_LETTERS, ROW, Cells, clean_rows, is_missing
from dlerse_jax.data.delimited import plain_suffix, read_delimited
from dlerse_jax.data.ids import IdColumn, match_ids
from dlerse_jax.data.layout import TableLayout
from dlerse_jax.data.parquet import read_parquet
from dlerse_jax.data.rating_column import distrust_note, rating_note, unnamed_ratings
from dlerse_jax.data.raw import NO_FRIENDS, RawTables, shortened
from dlerse_jax.data.separators import named_separator
from dlerse_jax.data.text import parse_numbers, parse_weights

# (interactions, friends or titles; its columns) -> their cells.
OpenTable = Callable[[str, Sequence[str]], Cells]

PLAIN_SUFFIXES = (".csv", ".tsv", ".parquet", ".txt", ".dat")
SUFFIXES = (*PLAIN_SUFFIXES, *(f"{suffix}.gz" for suffix in PLAIN_SUFFIXES))
# Files that are read where those of the default names are not there.
ALSO = {"interactions": ("ratings",), "friends": ("trust",)}
_NOT_A_NUMBER = ("nan", "NaN", "NAN", "-nan", "-NaN", "1.#QNAN", "-1.#QNAN")


def read_tables(
    open_table: OpenTable, layout: TableLayout, *, min_rating: float | None = None
) -> RawTables:
    """Interactions, friends and titles as the layout names them.

    A rating is the weight of its row; without a rating column each weighs 1. The
    highest rating of a repeated (user, item) counts. Where `min_rating` is given and
    no rating column is named, one that is called so is read, and the note says it.
    """
    user, item = layout.column("user"), layout.column("item")
    rating, title = layout.column("rating"), layout.column("title")
    own_title = "" if layout.titles else title
    cells = open_table("interactions", _named(user, item, rating, own_title))
    notes = cells.notes
    if not rating:
        unnamed, is_named = unnamed_ratings(cells, {user, item, own_title})
        notes += rating_note(cells, unnamed, is_named, min_rating)
        if unnamed and min_rating is not None:
            rating = unnamed
            cells = open_table("interactions", _named(user, item, rating, own_title))
    table, row_notes = clean_rows(cells, [user, item])
    if table.is_empty():
        raise ValueError(
            f"{cells.where.removesuffix(ROW)}: a header and not one row; is the file "
            "whole?"
        )
    table, weights, more = _weights(table, cells, rating)
    friends, friend_weights, friend_notes = _friend_cells(open_table, layout)
    users, user_notes = match_ids(
        [
            IdColumn(table=table, column=user, where=cells.where),
            *(IdColumn(table=t, column=c, where=w) for t, c, w in friends),
        ],
        "user",
    )
    items, titles, item_notes = _items_and_titles(open_table, layout, cells, table)
    pairs = users[1:] or [pl.Series([], dtype=users[0].dtype)] * 2
    named = pl.DataFrame({"target": pairs[0], "source": pairs[1]})
    if friend_weights is not None:
        named = named.with_columns(friend_weights.alias("weight"))
    return RawTables(
        interactions=pl.DataFrame({"user": users[0], "item": items, "weight": weights}),
        friends=named,
        merge="max",
        titles=titles,
        notes=(*notes, *row_notes, *more, *friend_notes, *user_notes, *item_notes),
    )


def open_folder(folder: Path, layout: TableLayout) -> OpenTable:
    """The files of a folder as the layout names them."""

    def open_table(kind: str, columns: Sequence[str]) -> Cells:
        name = getattr(layout, kind)
        path = find_table(folder, name, kind)
        cells = open_file(path, columns, layout)
        if path.name.lower().startswith(ALSO.get(name, ())):
            note = f"{path.name} is read as {name}, which is not there"
            return dataclasses.replace(cells, notes=(note, *cells.notes))
        return cells

    return open_table


def open_file(path: Path, columns: Sequence[str], layout: TableLayout) -> Cells:
    """Columns of one file, by its suffix: Parquet, or delimited text."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if plain_suffix(path) == ".parquet":
        return read_parquet(path, columns)
    return read_delimited(
        path,
        columns,
        separator=named_separator(layout.separator),
        has_header=layout.header,
    )


def find_table(folder: Path, name: str, kind: str) -> Path:
    """The file of this name in the folder, or of this name with a known suffix.

    Upper and lower case are alike; ValueError where several files could be meant.
    Where the default names are not there, ratings and trust are read as interactions
    and friends.
    """
    present = sorted(path.name for path in folder.iterdir() if path.is_file())
    elsewhere = folder / Path(name).expanduser()
    if elsewhere.is_file():  # a path may lead to another folder
        return elsewhere
    for stem in (name, *ALSO.get(name, ())):
        spelled = {f"{stem}{suffix}".lower() for suffix in ("", *SUFFIXES)}
        found = [file for file in present if file.lower() in spelled]
        if len(found) > 1:
            raise ValueError(
                f"{folder}: {shortened(' and '.join(found))} could each be "
                f"{shortened(name)}; name one with data.table.{kind}"
            )
        if found:
            return folder / found[0]
    raise FileNotFoundError(
        f"{folder}: {shortened(name)} is missing (as such or with "
        f"{', '.join(PLAIN_SUFFIXES)}, or .gz after it), found "
        f"{shortened(', '.join(present) or 'nothing')}; name the file in the "
        "table layout (data.table.interactions, data.table.friends; the latter empty "
        "where there are no friends)"
    )


def _named(*columns: str) -> list[str]:
    return list(dict.fromkeys(column for column in columns if column))


def _weights(
    table: pl.DataFrame, cells: Cells, rating: str
) -> tuple[pl.DataFrame, pl.Series, tuple[str, ...]]:
    """Rows that have a rating, the ratings as Float32, and a note on the others."""
    if not rating:
        ones = pl.repeat(1, table.height, eager=True, dtype=pl.Float32)
        return table, ones, ()
    nothing = is_missing(table[rating]) & ~table[rating].is_in(_NOT_A_NUMBER)
    rated = table.filter(~nothing.fill_null(True))
    num_lost = table.height - rated.height
    note = f"dropped {num_lost} rows of {cells.name} without a value in {rating}"
    if rated.is_empty():
        raise ValueError(
            f"{cells.where.removesuffix(ROW)}: no row has a value in "
            f"{shortened(rating)}; name another column with data.table.rating"
        )
    weights = parse_numbers(rated, rating, cells.where)
    return rated, weights, (note,) if num_lost else ()


def _friend_cells(
    open_table: OpenTable, layout: TableLayout
) -> tuple[list[tuple[pl.DataFrame, str, str]], pl.Series | None, tuple[str, ...]]:
    """(rows, column, place) of who names and who is named, and the weights of pairs
    where a column has them; nothing without a file."""
    if not layout.friends:
        return [], None, (NO_FRIENDS,)
    columns = [layout.column("friend_user"), layout.column("friend")]
    weight = layout.column("friend_weight")
    cells = open_table("friends", _named(*columns, weight))
    table, row_notes = clean_rows(cells, columns)
    notes, weights = cells.notes + row_notes, None
    if weight:
        weights = _friend_weights(table, weight, cells.where)
    else:
        notes += distrust_note(cells, columns)
    if table.is_empty():
        notes += (f"{cells.name} has no friend pair: nobody has a friend",)
    return [(table, column, cells.where) for column in columns], weights, notes


def _friend_weights(table: pl.DataFrame, weight: str, where: str) -> pl.Series:
    try:
        return parse_weights(table, weight, where, lowest=0.0)
    except ValueError as error:
        raise ValueError(f"{error}, or set data.friend_weights to False") from None


def _items_and_titles(
    open_table: OpenTable, layout: TableLayout, cells: Cells, table: pl.DataFrame
) -> tuple[pl.Series, pl.DataFrame | None, tuple[str, ...]]:
    item, title = layout.column("item"), layout.column("title")
    notes: tuple[str, ...] = ()
    columns = [IdColumn(table=table, column=item, where=cells.where)]
    named = table
    if layout.titles:
        title_cells = open_table("titles", [item, title])
        named, row_notes = clean_rows(title_cells, [item])
        notes = title_cells.notes + row_notes
        columns.append(IdColumn(table=named, column=item, where=title_cells.where))
    ids, more = match_ids(columns, "item")
    if not title:
        return ids[0], None, notes + more
    file = title_cells.name if layout.titles else cells.name
    rows = pl.DataFrame({"item": ids[-1], "title": named[title]})
    titles, title_notes = _one_title_each(rows, ids[0].unique(), file)
    return ids[0], titles, notes + more + title_notes


def _one_title_each(
    rows: pl.DataFrame, items: pl.Series, file: str
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The most frequent title of each item, of several the first by the alphabet, so
    that the order of rows is nothing; and notes. rows: item, title as written."""
    rows = rows.with_columns(pl.col("title").str.strip_chars(BLANK_LETTERS))
    there = rows.filter(~is_missing(rows["title"])).drop_nulls()
    counted = there.group_by("item", "title").len()
    ordered = counted.sort("item", "len", "title", descending=[False, True, False])
    titles = ordered.unique("item", keep="first", maintain_order=True)
    num_several = (counted["item"].value_counts()["count"] > 1).sum()
    num_nameless = len(items) - items.is_in(titles["item"].implode()).sum()
    notes = {
        f"items have several titles in {file}: the most frequent is kept": num_several,
        f"of {len(items)} items have no title in {file}: each is called by its id": (
            num_nameless
        ),
    }
    return titles.drop("len"), tuple(f"{n} {what}" for what, n in notes.items() if n)
