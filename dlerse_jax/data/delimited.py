"""Delimited text as `Cells`: CSV and its relatives, packed or not, in any encoding."""

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from dlerse_jax.data.cells import ROWS_LOOKED_AT, Cells
from dlerse_jax.data.decoding import decode, read_bytes
from dlerse_jax.data.raw import require_columns, shortened
from dlerse_jax.data.rows import parse_rows
from dlerse_jax.data.separators import (
    fields_of,
    find_separator,
    one_letter,
    separator_word,
    usual_separator,
)

_LINES_LOOKED_AT = 20
_NUMBER = re.compile(r"[-+]?[0-9][0-9.,]*$")
_EXCEL = re.compile(rb"sep=(.)\n", re.I)


def plain_suffix(path: Path) -> str:
    """The suffix that tells the format, in lower case: .csv for A.CSV.GZ."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_delimited(
    path: Path,
    columns: Sequence[str],
    *,
    separator: str = "",
    has_header: bool = True,
    optional: bool = False,
) -> Cells:
    """These columns of a file, each once; with `optional` those of them that it has.

    separator "" is found from the first lines. Without a header columns are "1", "2",
    ... from the left. ValueError for an empty file, a column that is not there, a line
    with more fields than the first, a quote that does not close on its row.
    """
    raw, notes = decode(read_bytes(path), path)
    raw, first_line, given = _body(raw, path)
    lines = _first_lines(raw)
    separator = separator or given
    if not separator:
        separator = _found_separator(lines, columns, path, has_header)
        if separator != (usual_separator(plain_suffix(path)) or ","):
            word = separator_word(separator)
            notes += (f"{path.name}: fields are parted by {word}",)
    header = _header(lines[0], separator, has_header)
    if optional:
        columns = [column for column in columns if column in header]
    _require(path, header, columns, has_header)
    if has_header:
        raw = raw.partition(b"\n")[2]
    raw, separator = one_letter(raw, separator)
    table = parse_rows(raw, separator, len(header), first_line + has_header, f"{path}")
    wanted = {f"{header.index(column)}": column for column in columns}
    return Cells(
        table=table.select("line", *wanted).rename(wanted),
        where=f"{path}",
        header=tuple(header),
        notes=notes,
        sample=_sample(table, header),
    )


def _sample(table: pl.DataFrame, header: Sequence[str]) -> pl.DataFrame:
    """The first rows of all columns; of two with one name the first."""
    places = {name: f"{header.index(name)}" for name in header}
    columns = [pl.col(place).alias(name) for name, place in places.items()]
    return table.head(ROWS_LOOKED_AT).select(columns)


def _body(raw: bytes, path: Path) -> tuple[bytes, int, str]:
    """The text from its first line that is not blank, that line's number, and what
    spreadsheets say of the separator in a line before it ("sep=;"), or ""."""
    body = raw.lstrip(b" \t\n\r\f\v") if not raw[:1].strip() else raw
    if not body.decode().strip():
        raise ValueError(f"{path}: the file is empty")
    start = raw.rfind(b"\n", 0, len(raw) - len(body)) + 1
    first_line, given = raw.count(b"\n", 0, start) + 1, ""
    raw = raw[start:]
    if said := _EXCEL.match(raw):
        raw, first_line, given = raw[said.end() :], first_line + 1, said[1].decode()
    return raw, first_line, given


def _first_lines(raw: bytes) -> list[str]:
    start = raw[: 2**16]
    lines = start.split(b"\n")[: _LINES_LOOKED_AT + 1]
    if len(start) < len(raw) and len(lines) > 1 and len(lines) <= _LINES_LOOKED_AT:
        lines.pop()  # it may be cut
    if len(lines) == 1:
        lines = [raw.partition(b"\n")[0]]
    texts = [line.decode() for line in lines[:_LINES_LOOKED_AT]]
    return texts[:1] + [text for text in texts[1:] if text.strip()]


def _found_separator(
    lines: list[str], columns: Sequence[str], path: Path, has_header: bool
) -> str:
    suffix = plain_suffix(path)
    if has_header:
        separator = find_separator(lines, suffix, columns, 0)
        if set(columns) & set(fields_of(lines[0], separator)):
            return separator
        return find_separator(lines, suffix, (), 2)  # to say what is there instead
    needed = max((int(c) for c in columns if c.isdecimal()), default=2)
    return find_separator(lines, suffix, (), needed)


def _header(line: str, separator: str, has_header: bool) -> list[str]:
    fields = fields_of(line, separator)
    if has_header:
        return fields
    return [f"{place}" for place in range(1, len(fields) + 1)]


def _require(
    path: Path, header: list[str], columns: Sequence[str], has_header: bool
) -> None:
    """ValueError for a wanted column that is not there, or is there twice."""
    for column in columns:
        if header.count(column) > 1:
            raise ValueError(
                f'{path}: there are {header.count(column)} columns "'
                f'{shortened(column)}"; rename one'
            )
    try:
        require_columns(path, header, columns)
    except ValueError as error:
        if has_header and any(map(_NUMBER.match, header)):
            raise ValueError(
                f"{error}; is its first line no header? then give "
                "data.table.header=False and columns by number, from 1"
            ) from None
        raise
