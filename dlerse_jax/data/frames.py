"""Data frames where a path could be: pandas, polars, pyarrow, or a dict of columns.

None of these libraries is required. What speaks Arrow (`__arrow_c_stream__`) is taken
over as it is; another frame is read column by column, as pandas without pyarrow.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from dlerse_jax.data.cells import ROW, ROWS_LOOKED_AT, Cells
from dlerse_jax.data.layout import TableLayout
from dlerse_jax.data.parquet import text_cells
from dlerse_jax.data.raw import require_columns, shortened
from dlerse_jax.data.tables import OpenTable, open_file


def open_frames(
    frames: Mapping[str, object], layout: TableLayout
) -> tuple[OpenTable, TableLayout]:
    """The frames as tables, and the layout that says which of them there are.

    frames: interactions, friends, titles, each a frame, the path of a file, or None.
    ValueError for what is no table, or where friends or titles come alone.
    """
    if frames["interactions"] is None:
        raise ValueError("friends or titles come without interactions: give these too")
    layout = dataclasses.replace(
        layout,
        friends="friends" if frames["friends"] is not None else "",
        titles="titles" if frames["titles"] is not None else "",
    )

    def open_table(kind: str, columns: Sequence[str]) -> Cells:
        return open_frame(frames[kind], kind, columns, layout=layout)

    return open_table, layout


def open_frame(
    frame: object, kind: str, columns: Sequence[str], *, layout: TableLayout
) -> Cells:
    """Columns of a frame, or of the file whose path it is; kind: what it holds."""
    if isinstance(frame, str | Path):
        return open_file(Path(frame).expanduser(), columns, layout)
    return frame_cells(frame, f"the data frame of {kind}{ROW}", columns)


def frame_cells(frame: object, where: str, columns: Sequence[str]) -> Cells:
    """Columns of a frame as text; `line` counts rows from 1, whatever its index."""
    names = _column_names(frame, where)
    header = [str(name) for name in names]
    require_columns(where, header, columns)
    for column in columns:
        if header.count(column) > 1:
            raise ValueError(f"{where}: there are two columns {shortened(column)}")
    wanted = [names[header.index(column)] for column in columns]
    table = _as_polars(frame, wanted, where)
    cells = text_cells(table.rename(lambda name: str(name)), where, header)
    others = [name for name in names if str(name) not in columns]
    return dataclasses.replace(cells, sample=_sample(frame, others, where))


def _sample(frame: Any, names: list, where: str) -> pl.DataFrame:
    """The first rows of columns of numbers that nobody asked for."""
    if hasattr(frame, "head"):
        frame = frame.head(ROWS_LOOKED_AT)
    found = []
    for name in names:
        try:
            column = _as_polars(frame, [name], where).to_series()
        except ValueError:  # no column that could be ratings
            continue
        if column.dtype.is_numeric():
            found.append(column.head(ROWS_LOOKED_AT).alias(str(name)))
    return pl.DataFrame(found)


def _column_names(frame: object, where: str) -> list:
    if isinstance(frame, Mapping):
        return list(frame)
    if isinstance(frame, pl.LazyFrame):
        try:
            return frame.collect_schema().names()
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{_name(where)}: {shortened(str(error))}") from None
    names = getattr(frame, "column_names", getattr(frame, "columns", None))
    if names is None or callable(names) or isinstance(frame, type):
        raise ValueError(
            f"{_name(where)} is a {type(frame).__name__}, expected a data "
            "frame of pandas, polars or pyarrow, a dict of columns, or a path"
        )
    return list(names)


def _as_polars(frame: Any, wanted: list, where: str) -> pl.DataFrame:
    """These columns; nothing else of the frame is read."""
    try:
        if isinstance(frame, pl.LazyFrame):
            return frame.select(wanted).collect()
        chosen = frame.select(wanted) if hasattr(frame, "select") else None
        if chosen is not None and hasattr(chosen, "__arrow_c_stream__"):
            return pl.DataFrame(chosen)
        return pl.DataFrame([_series(frame[name], str(name)) for name in wanted])
    except (pl.exceptions.PolarsError, TypeError, OverflowError) as error:
        reason = shortened(str(error))
        raise ValueError(f"{_name(where)}: {reason}") from None


def _name(where: str) -> str:
    return where.removesuffix(ROW)


def _series(column: Any, name: str) -> pl.Series:
    """A column of pandas, or any sequence; what is no value there is null here."""
    if hasattr(column, "notna"):
        column = column.astype(object).where(column.notna(), None)
    values = column.tolist() if hasattr(column, "tolist") else list(column)
    try:
        return pl.Series(name, values)
    except (TypeError, OverflowError):  # numbers among texts
        texts = [None if value is None else str(value) for value in values]
        return pl.Series(name, texts)
