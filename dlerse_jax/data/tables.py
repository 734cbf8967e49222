"""Reader of a user's own data: two tables with named columns, CSV, TSV or Parquet.

In: a folder and a `TableLayout` that says which file and column is what. Out:
`RawTables`. Ids are whole numbers, or text where any of them is not; the other files
follow the interactions file. Anything like 1.5 is an error, as a rounded id would
quietly join two users.
"""

import csv
import dataclasses
from pathlib import Path

import polars as pl

from dlerse_jax.data.raw import RawTables, require_columns
from dlerse_jax.data.text import parse_numbers

SUFFIXES = (".csv", ".tsv", ".parquet")
_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"  # 007 and what overflows Int64 are text
_DECIMAL = r"^[-+]?[0-9]*\.[0-9]+([eE][-+]?[0-9]+)?$"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableLayout:
    """File names (suffix optional: .csv, .tsv or .parquet) and column names.

    A pair of the friends file says that `friend_user` names `friend` as a friend.
    Titles come from the column `title`, in the titles file where one is named, else in
    the interactions file. An empty string means that there is none; ValueError where a
    titles file has no column to read.
    """

    interactions: str = "interactions"
    friends: str = "friends"
    titles: str = ""
    user: str = "user"
    item: str = "item"
    rating: str = ""
    title: str = ""
    friend_user: str = "user"
    friend: str = "friend"

    def __post_init__(self) -> None:
        if self.titles and not self.title:
            raise ValueError(
                f"data.table.titles is {self.titles!r}, and data.table.title does not "
                "say which column of it to read"
            )


def read_tables(folder: Path, layout: TableLayout) -> RawTables:
    """Interactions, friends and titles as the layout names them.

    A rating is the weight of its row; without a rating column each weighs 1. The
    highest rating of a repeated (user, item) counts.
    """
    path = find_table(folder, layout.interactions)
    columns = [layout.user, layout.item, layout.rating]
    if not layout.titles:
        columns.append(layout.title)
    table = _read_columns(path, [column for column in columns if column])
    users = _parse_ids(table, layout.user, path)
    items = _parse_ids(table, layout.item, path)
    weights = (
        parse_numbers(table, layout.rating, path)
        if layout.rating
        else pl.repeat(1, table.height, eager=True)
    )
    interactions = pl.DataFrame({"user": users, "item": items, "weight": weights})
    return RawTables(
        interactions=interactions.with_columns(pl.col("weight").cast(pl.Float32)),
        friends=_read_friends(folder, layout, users.dtype),
        merge="max",
        titles=_read_titles(folder, layout, table, items),
    )


def find_table(folder: Path, name: str) -> Path:
    """The file of this name in the folder, or of this name with a known suffix."""
    for path in (folder / name, *(folder / f"{name}{suffix}" for suffix in SUFFIXES)):
        if path.is_file():
            return path
    present = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    raise FileNotFoundError(
        f"{folder}: {name} is missing (as such or with {', '.join(SUFFIXES)}), "
        f"found {present}; name the file in the table layout"
    )


def _read_friends(
    folder: Path, layout: TableLayout, id_type: pl.DataType
) -> pl.DataFrame:
    path = find_table(folder, layout.friends)
    table = _read_columns(path, [layout.friend_user, layout.friend])
    return pl.DataFrame(
        {
            "target": _parse_ids(table, layout.friend_user, path, id_type),
            "source": _parse_ids(table, layout.friend, path, id_type),
        }
    )


def _read_titles(
    folder: Path, layout: TableLayout, table: pl.DataFrame, items: pl.Series
) -> pl.DataFrame | None:
    if not layout.title:
        return None
    if layout.titles:
        path = find_table(folder, layout.titles)
        table = _read_columns(path, [layout.item, layout.title])
        items = _parse_ids(table, layout.item, path, items.dtype)
    titles = pl.DataFrame({"item": items, "title": table[layout.title]})
    return titles.drop_nulls().unique("item", keep="first", maintain_order=True)


def _read_columns(path: Path, columns: list[str]) -> pl.DataFrame:
    """`line` and the named columns as text, in the order of the file.

    Parquet has no lines: there `line` counts rows from 1.
    """
    table = _read_parquet(path) if path.suffix == ".parquet" else _read_delimited(path)
    require_columns(path, table.columns, columns)
    first_line = 1 if path.suffix == ".parquet" else 2
    numbered = table.select(columns).with_row_index("line", offset=first_line)
    return numbered.filter(~pl.all_horizontal(pl.col(columns).is_null()))


def _read_parquet(path: Path) -> pl.DataFrame:
    # As text, so that ids of all formats pass the same check: 1.0 prints as 1.0.
    return pl.read_parquet(path).select(pl.all().cast(pl.String))


def _read_delimited(path: Path) -> pl.DataFrame:
    separator = "," if path.suffix == ".csv" else "\t"
    try:
        return pl.read_csv(
            path, separator=separator, infer_schema=False, encoding="utf8-lossy"
        )
    except pl.exceptions.NoDataError:
        raise ValueError(f"{path}: the file is empty") from None
    except pl.exceptions.ComputeError as error:
        reason = str(error).splitlines()[0]
        message = _first_long_row(path, separator) or f"{path}: {reason}"
        raise ValueError(message) from None


def _first_long_row(path: Path, separator: str) -> str | None:
    """What polars does not tell: the line that has more fields than the header."""
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        rows = csv.reader(lines, delimiter=separator)
        header = next(rows)
        for row in rows:
            if len(row) > len(header):
                return (
                    f"{path}:{rows.line_num}: {len(row)} fields found, "
                    f"expected {len(header)}; quote a field that holds a separator"
                )
    return None


def _parse_ids(
    table: pl.DataFrame, column: str, path: Path, id_type: pl.DataType | None = None
) -> pl.Series:
    """Ids as Int64 if all are whole numbers, else as text; `id_type` overrules."""
    ids = table[column]
    _refuse_id(table, ids.is_null(), column, path, "an id in every row")
    if id_type != pl.String:
        decimal = ids.str.contains(_DECIMAL)
        _refuse_id(table, decimal, column, path, "a whole number or text")
    whole = ids.str.contains(_INTEGER)
    if id_type == pl.Int64:
        expected = "a whole number as in the interactions file"
        _refuse_id(table, ~whole, column, path, expected)
    if id_type == pl.String or not whole.all():
        return ids
    return ids.cast(pl.Int64)


def _refuse_id(
    table: pl.DataFrame, misfit: pl.Series, column: str, path: Path, expected: str
) -> None:
    wrong = table.filter(misfit).head(1)
    if wrong.height:
        line, found = wrong["line"][0], wrong[column][0]
        raise ValueError(
            f'{path}:{line}: {column} is "{found or ""}", expected {expected}; '
            "correct or remove this line"
        )
