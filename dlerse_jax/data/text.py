"""Text files as columns, with line numbers, for files too odd for a CSV reader.

The public archives mix encodings, hold unbalanced quotes and leave lines empty. A
quote is a letter like any other. Whatever is wrong is reported with file and line.
"""

from pathlib import Path

import numpy as np
import polars as pl

from dlerse_jax.data.cells import BLANK_LETTERS, refuse_cell
from dlerse_jax.data.decoding import decode, read_bytes
from dlerse_jax.data.raw import shortened

_HIGHEST = float(np.finfo(np.float32).max)  # weights are float32
_LOWEST = float(np.finfo(np.float32).tiny)


def read_lines(
    path: Path, *, any_line: bool = False
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Lines of the file that are not blank, `line` (from 1) and `text`, and notes.

    `any_line`: each line in an encoding of its own, for titles that people typed.
    ValueError if the file holds no line or no text.
    """
    raw, notes = decode(read_bytes(path), path, any_line=any_line)
    texts = pl.Series("text", raw.decode().split("\n"), dtype=pl.String)
    lines = pl.DataFrame([texts]).with_row_index("line", offset=1)
    lines = lines.filter(pl.col("text").str.strip_chars(BLANK_LETTERS) != "")
    if lines.is_empty():
        raise ValueError(f"{path}: the file is empty")
    return lines, notes


def split_fields(
    lines: pl.DataFrame, names: list[str], path: Path, *, at_least: int | None = None
) -> pl.DataFrame:
    """`line` and one text column per name, from tab-separated `text`.

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
            f"{path}:{line}: {text.count(chr(9)) + 1} fields found, "
            f"expected {shortened(expected)}; correct or remove this line"
        )
    fields = pl.col("text").str.split_exact("\t", len(names) - 1)
    return lines.select(
        "line", fields.struct.rename_fields(names).alias("fields")
    ).unnest("fields")


def parse_integers(fields: pl.DataFrame, column: str, path: Path | str) -> pl.Series:
    """The text column as Int64; ValueError with file and line of the first misfit."""
    numbers = fields[column].str.strip_chars(BLANK_LETTERS).cast(pl.Int64, strict=False)
    refuse_cell(fields, numbers.is_null(), column, f"{path}", "an integer id")
    return numbers


def parse_numbers(
    fields: pl.DataFrame, column: str, path: Path | str, *, lowest: float = -_HIGHEST
) -> pl.Series:
    """The text column as Float32; ValueError with file and line of the first misfit.

    Empty, NaN and infinite cells are misfits, and what is below `lowest` or too large.
    """
    return _floats(fields, column, path, lowest).cast(pl.Float32)


def parse_weights(
    fields: pl.DataFrame, column: str, path: Path | str, *, lowest: float = -_HIGHEST
) -> pl.Series:
    """As `parse_numbers`, for weights of which only their ratios matter: where some are
    too small for Float32, all are divided by the largest."""
    numbers = _floats(fields, column, path, lowest)
    if numbers.is_between(0, _LOWEST, closed="none").any():
        numbers /= numbers.max()
    return numbers.cast(pl.Float32)


def _floats(
    fields: pl.DataFrame, column: str, path: Path | str, lowest: float
) -> pl.Series:
    cells = fields[column].str.strip_chars(BLANK_LETTERS)
    numbers = cells.cast(pl.Float64, strict=False)
    is_number = numbers.is_finite().fill_null(False)
    refuse_cell(fields, ~is_number, column, f"{path}", "a number")
    expected = "a number that is not negative" if lowest == 0 else "a number below 1e38"
    in_range = numbers.is_between(lowest, _HIGHEST)
    refuse_cell(fields, ~in_range, column, f"{path}", expected)
    return numbers
