"""What every reader hands on: interactions and friend pairs in the file's own ids.

Also what all readers share: finding a file or column, and saying what is missing.
"""

import dataclasses
import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import polars as pl


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawTables:
    """One data set as read, nothing filtered. Ids are Int64 or String columns."""

    interactions: (
        pl.DataFrame
    )  # user, item, weight (Float32; 1 where the file has none)
    friends: pl.DataFrame  # target (names a friend), source (is named)
    merge: Literal[
        "sum", "max"
    ]  # weights of a repeated (user, item): counts or ratings
    titles: pl.DataFrame | None = None  # item, title
    taggings: pl.DataFrame | None = None  # user, item, tag
    notes: tuple[str, ...] = ()  # what the reader dropped, one line each


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' (did you mean "lastfm"?)', or nothing where no known word is near."""
    near = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.5)
    return f' (did you mean "{near[0]}"?)' if near else ""


def require_columns(path: Path, found: list[str], needed: Iterable[str]) -> None:
    """ValueError naming the first column that the file lacks, and the nearest one."""
    for column in needed:
        if column not in found:
            raise ValueError(
                f'{path}: column "{column}" is missing, found {", ".join(found)}'
                f"{did_you_mean(column, found)}"
            )


def first_present(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of these files in the folder; FileNotFoundError naming them all."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"{folder}: {' or '.join(names)} is missing; unzip the whole archive there"
    )
