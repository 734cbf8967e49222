"""Parquet as `Cells`: the named columns alone, so that no other can do harm."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from dlerse_jax.data.cells import ROWS_LOOKED_AT, Cells
from dlerse_jax.data.decoding import read_bytes
from dlerse_jax.data.raw import quoted, require_columns, shortened

# Whole numbers that a float can tell apart end here.
_EXACT = {pl.Float32: 2**24, pl.Float64: 2**53}


def read_parquet(path: Path, columns: Sequence[str]) -> Cells:
    """These columns of a file, as text; `line` counts rows from 1.

    ValueError for a file that is broken or lacks one of them, or a column of lists,
    structs or bytes among them.
    """
    packed = path.suffix.lower() == ".gz"
    try:
        source = io.BytesIO(read_bytes(path)) if packed else path
        schema = pl.read_parquet_schema(source)
        header = list(schema)
        require_columns(path, header, columns)
        table = pl.read_parquet(source, columns=list(dict.fromkeys(columns)))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = shortened(str(error)) or type(error).__name__
        raise ValueError(f"{path}: broken Parquet file ({reason})") from None
    cells = text_cells(table, f"{path}", header)
    return dataclasses.replace(cells, sample=_sample(source, schema, columns))


def _sample(
    source: Path | io.BytesIO, schema: Mapping[str, pl.DataType], columns: Sequence[str]
) -> pl.DataFrame:
    """The first rows of the numbers that nobody asked for; nothing where broken."""
    numbers = [name for name, kind in schema.items() if kind.is_numeric()]
    others = [name for name in numbers if name not in columns]
    try:
        return pl.read_parquet(source, columns=others, n_rows=ROWS_LOOKED_AT)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return pl.DataFrame()


def text_cells(table: pl.DataFrame, where: str, header: Sequence[str]) -> Cells:
    """A table of any types as text with row numbers.

    Floats that are whole are written as whole numbers: other libraries make floats of
    integers where a cell is missing. So are decimals; True is 1. ValueError for a
    column without plain values.
    """
    for column in table:
        opaque = column.dtype in (pl.Binary, pl.Object)
        if opaque or column.dtype.is_nested():
            raise ValueError(
                f"{where}: column {quoted(column.name)} holds {column.dtype}, expected "
                "text or numbers"
            )
    cells = pl.DataFrame([_as_text(column) for column in table])
    numbered = cells.with_row_index("line", offset=1)
    return Cells(table=numbered, where=where, header=tuple(header))


def _as_text(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Boolean:
        column = column.cast(pl.Int8)
    if column.dtype.is_decimal():
        column = column.cast(pl.Float64)
    if not column.dtype.is_float():
        return column.cast(pl.String)
    exact = _EXACT.get(column.dtype.base_type(), 0)
    there = column.fill_nan(None)
    is_whole = (there == there.floor()) & (there.abs() < exact)
    if not is_whole.all():  # nulls aside
        return column.cast(pl.String)
    whole = there.cast(pl.Int64).cast(pl.String)
    return whole.to_frame().select(
        pl.when(column.is_nan()).then(pl.lit("NaN")).otherwise(whole).alias(column.name)
    )[column.name]
