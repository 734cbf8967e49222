"""Rows of delimited text as columns: by polars where they are plain, else one by one.

polars is fast, and knows neither the line of an error nor that a quote which nobody
closed has swallowed thirty rows. So whatever it may read in two ways goes through
Python's csv module, which is strict here and counts lines.
"""

import csv
import io
from collections.abc import Iterator

import numpy as np
import polars as pl

from dlerse_jax.data.separators import QUOTELESS

_QUOTE, _NEWLINE = ord('"'), ord("\n")


def parse_rows(
    raw: bytes, separator: str, num_columns: int, first_line: int, where: str
) -> pl.DataFrame:
    """`line`, then columns "0", "1", ... as String, of text without a header.

    separator: one letter. A short row is filled up with nulls, a blank one is left
    out. ValueError with file and line for a row with too many fields or an open quote.
    """
    if separator in QUOTELESS or _is_plain(raw, separator):
        names = separator.join(f"{place}" for place in range(num_columns))
        try:
            table = pl.read_csv(
                names.encode() + b"\n" + raw,
                separator=separator,
                quote_char=None if separator in QUOTELESS else '"',
                infer_schema=False,
            )
            return _numbered(table, first_line)
        except pl.exceptions.PolarsError:
            pass  # named, or read after all, below
    return _one_by_one(raw, separator, num_columns, first_line, where)


def _numbered(table: pl.DataFrame, first_line: int) -> pl.DataFrame:
    blank = pl.all_horizontal(pl.exclude("line").is_null())
    return table.with_row_index("line", offset=first_line).filter(~blank)


def _is_plain(raw: bytes, separator: str) -> bool:
    """Whether each quote opens or closes a field, or is one of two, on its own line."""
    if b'"' not in raw:
        return True
    letters = np.frombuffer(raw, np.uint8)
    quotes = np.flatnonzero(letters == _QUOTE)
    before = np.searchsorted(quotes, np.flatnonzero(letters == _NEWLINE))
    if (before % 2).any() or len(quotes) % 2:
        return False
    edges = np.array([ord(separator), _NEWLINE, _QUOTE], np.uint8)
    padded = np.concatenate([edges[1:2], letters, edges[1:2]])
    opens = np.isin(padded[quotes[::2]], edges)
    closes = np.isin(padded[quotes[1::2] + 2], edges)
    return bool(opens.all() and closes.all())


def _one_by_one(
    raw: bytes, separator: str, num_columns: int, first_line: int, where: str
) -> pl.DataFrame:
    lines, rows = [], []
    for line, row in _strict_rows(raw, separator, first_line, where):
        if len(row) > num_columns:
            raise ValueError(
                f"{where}:{line}: {len(row)} fields found, expected {num_columns}; "
                "quote a field that holds a separator"
            )
        if any(field.count(separator) >= num_columns - 1 for field in _swallowed(row)):
            raise ValueError(
                f"{where}:{line}: a quote opens here and closes some lines below, "
                "with what look like rows in between; double it or remove it"
            )
        if any(row):
            lines.append(line)
            rows.append(row + [None] * (num_columns - len(row)))
    schema = {f"{place}": pl.String for place in range(num_columns)}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    return table.insert_column(0, pl.Series("line", lines, pl.UInt32))


def _strict_rows(
    raw: bytes, separator: str, first_line: int, where: str
) -> Iterator[tuple[int, list[str]]]:
    """(line on which it starts, fields) of each row."""
    reader = csv.reader(
        io.StringIO(raw.decode(), newline="\n"),
        delimiter=separator,
        skipinitialspace=separator not in QUOTELESS,
        quoting=csv.QUOTE_NONE if separator in QUOTELESS else csv.QUOTE_MINIMAL,
        strict=True,
    )
    while True:
        line = first_line + reader.line_num
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(
                f"{where}:{line}: {error}; a quote in a field is doubled, and the "
                "field put in quotes"
            ) from None


def _swallowed(row: list[str]) -> Iterator[str]:
    """Whole lines inside a field, and the parts of lines before its end."""
    for field in row:
        if "\n" in field:
            yield from field.split("\n")
