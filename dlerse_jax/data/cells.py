"""Named columns of a table as text with line numbers, before they are parsed.

`Cells` is what every source of a table gives: delimited text (`delimited`), Parquet
(`parquet`), a data frame (`frames`). What is done alike for all of them is here.
"""

import dataclasses

import polars as pl

from dlerse_jax.data.raw import quoted, shortened

# What spreadsheets, databases and other libraries write where there is no value.
MISSING = (
    *("", "NA", "N/A", "n/a", "na", "#N/A", "#NA", "<NA>", "<na>", "#N/A N/A"),
    *("nan", "NaN", "NAN", "-nan", "-NaN", "1.#QNAN", "-1.#IND", "1.#IND", "-1.#QNAN"),
    *("null", "Null", "NULL", "<null>", "(null)", "None", "none", "NONE", "NIL"),
    *("\\N", "NaT", "#NULL!", "#VALUE!", "#REF!", "#NAME?", "#DIV/0!", "#NUM!"),
)
ROW = ", row"  # behind a data frame's name, before the number of a row
ROWS_LOOKED_AT = 1000  # of a column that nobody named
# Blanks of Unicode, and what has no width at all: none of them tells two ids apart.
BLANK_LETTERS = (
    " \t\n\r\f\v\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005"
    "\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
    "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cells:
    """Some columns of one table, as String, and `line`, the line number of each row."""

    table: pl.DataFrame
    where: str  # the file's path, or what a data frame is called
    header: tuple[str, ...]  # all columns there are, not only those read
    notes: tuple[str, ...] = ()
    # The first rows of plain columns, those that nobody asked for too; for guesses.
    sample: pl.DataFrame = dataclasses.field(default_factory=pl.DataFrame)

    @property
    def name(self) -> str:
        """The file's name, or the data frame's, for notes."""
        return self.where.rpartition("/")[2].removesuffix(ROW)


def trimmed(cells: pl.Series) -> pl.Series:
    """Texts without blanks around them and in Unicode's composed form."""
    texts = cells.str.strip_chars(BLANK_LETTERS)
    is_ascii = (texts.str.len_bytes() == texts.str.len_chars()).all()
    return texts if is_ascii else texts.str.normalize("NFC")


def is_missing(cells: pl.Series) -> pl.Series:
    """Whether a cell holds nothing, or a word for nothing."""
    return cells.is_null() | cells.is_in(MISSING).fill_null(True)


def clean_rows(
    cells: Cells, columns: list[str]
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Rows that have a value in each of these columns, trimmed, and notes of both.

    A row that is the header again, as where files were joined, goes too. ValueError
    where no row is left though there were some.
    """
    raw = cells.table
    table = raw.with_columns(trimmed(raw[column]) for column in columns)
    raw, table, notes = _without_headers(raw, table, columns, cells.name)
    is_lost = pl.repeat(False, table.height, eager=True)
    for column in columns:
        is_lost |= is_missing(table[column])
    lost = table.filter(is_lost)
    names = " or ".join(map(shortened, columns))
    if lost.height and lost.height == table.height:
        raise ValueError(
            f"{cells.where}:{lost['line'][0]}: no row has a value in {names}; name "
            "other columns"
        )
    if lost.height:
        notes += (
            f"dropped {lost.height} rows of {cells.name} without a value in {names} "
            f"(first: line {lost['line'][0]})",
        )
        table, raw = table.filter(~is_lost), raw.filter(~is_lost)
    return table, notes + _trim_notes(raw, table, columns, cells.name)


def _without_headers(
    raw: pl.DataFrame, table: pl.DataFrame, columns: list[str], name: str
) -> tuple[pl.DataFrame, pl.DataFrame, tuple[str, ...]]:
    """Both without rows whose cells are the columns' names, two or more of them."""
    again = pl.all_horizontal(pl.col(column) == column for column in columns)
    is_header = table.select(again.fill_null(False)).to_series()
    if len(columns) < 2 or not is_header.any():
        return raw, table, ()
    first = table.filter(is_header)["line"][0]
    note = f"dropped {is_header.sum()} rows of {name} that are its header again "
    left = raw.filter(~is_header), table.filter(~is_header)
    return *left, (f"{note}(first: line {first})",)


def _trim_notes(
    raw: pl.DataFrame, table: pl.DataFrame, columns: list[str], name: str
) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    for column in columns:
        changed = table.filter(raw[column] != table[column])
        if changed.height:
            notes += (
                f"took blanks off {changed.height} cells of {shortened(column)} in "
                f"{name} (first: line {changed['line'][0]})",
            )
    return notes


def refuse_cell(
    table: pl.DataFrame, misfit: pl.Series, column: str, where: str, expected: str
) -> None:
    """ValueError with place and value of the first cell that does not fit."""
    wrong = table.filter(misfit.fill_null(True)).head(1)
    if wrong.height:
        line, found = wrong["line"][0], wrong[column][0]
        raise ValueError(
            f"{where}:{line}: {shortened(column)} is {quoted(found)}, expected "
            f"{expected}; correct or remove this line"
        )
