"""Text files as columns, with line numbers, for files too odd for a CSV reader.

The public archives mix encodings, hold unbalanced quotes and leave lines empty. A
line is read as UTF-8, or as Latin-1 where it is not UTF-8; a quote is a letter like
any other. Whatever is wrong is reported with its file and line.
"""

from pathlib import Path

import polars as pl

# Never part of a text, so polars takes each line as one field.
_NO_SEPARATOR = "\x01"


def read_lines(path: Path) -> pl.DataFrame:
    """Lines of the file that are not blank: `line` (from 1) and `text`.

    FileNotFoundError if there is no such file, ValueError if it holds no line.
    """
    raw = _as_utf8(path.read_bytes())
    if not raw.strip():
        raise ValueError(f"{path}: the file is empty")
    lines = pl.read_csv(
        raw,
        has_header=False,
        new_columns=["text"],
        separator=_NO_SEPARATOR,
        quote_char=None,
        infer_schema=False,
        truncate_ragged_lines=True,
        row_index_name="line",
        row_index_offset=1,
    )
    return lines.filter(pl.col("text").str.strip_chars() != "")


def split_fields(
    lines: pl.DataFrame, names: list[str], path: Path, *, at_least: int | None = None
) -> pl.DataFrame:
    """`line` and one text column a name, from tab-separated `text`.

    Each line must have as many fields as there are names, or from `at_least` up to
    that many (the rest is null); otherwise ValueError with the line.
    """
    at_least = len(names) if at_least is None else at_least
    num_fields = pl.col("text").str.count_matches("\t", literal=True) + 1
    wrong = lines.filter(~num_fields.is_between(at_least, len(names))).head(1)
    if wrong.height:
        line, text = wrong.row(0)
        expected = " ".join(names[:at_least]) + "".join(
            f" [{name}]" for name in names[at_least:]
        )
        raise ValueError(
            f"{path}:{line}: {len(text.split(chr(9)))} fields found, "
            f"expected {expected}; correct or remove this line"
        )
    fields = pl.col("text").str.split_exact("\t", len(names) - 1)
    return lines.select(
        "line", fields.struct.rename_fields(names).alias("fields")
    ).unnest("fields")


def parse_integers(fields: pl.DataFrame, column: str, path: Path) -> pl.Series:
    """The text column as Int64; ValueError with file and line of the first misfit."""
    numbers = fields[column].str.strip_chars().cast(pl.Int64, strict=False)
    _refuse(numbers.is_null(), fields, column, path, "an integer id")
    return numbers


def parse_numbers(fields: pl.DataFrame, column: str, path: Path) -> pl.Series:
    """The text column as Float64; empty, NaN and infinite are errors like text."""
    numbers = fields[column].str.strip_chars().cast(pl.Float64, strict=False)
    _refuse(~numbers.is_finite().fill_null(False), fields, column, path, "a number")
    return numbers


def _refuse(
    misfit: pl.Series, fields: pl.DataFrame, column: str, path: Path, expected: str
) -> None:
    wrong = fields.filter(misfit).head(1)
    if wrong.height:
        found = wrong[column][0]
        raise ValueError(
            f'{path}:{wrong["line"][0]}: {column} is "{found or ""}", '
            f"expected {expected}; correct or remove this line"
        )


def _as_utf8(raw: bytes) -> bytes:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return b"\n".join(map(_line_as_utf8, raw.split(b"\n")))
    return raw


def _line_as_utf8(line: bytes) -> bytes:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1").encode("utf-8")
    return line
