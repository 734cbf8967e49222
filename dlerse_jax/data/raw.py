"""What every reader hands on: interactions and friend pairs in the file's own ids.

Also what all readers share: finding a file or column, and saying what is missing.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import polars as pl


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawTables:
    """One data set as read, nothing filtered. Ids are Int64 or String columns."""

    interactions: (
        pl.DataFrame
    )  # user, item, weight (Float32; 1 where the file has none)
    # target (names a friend), source (is named), weight (Float32) where pairs have one
    friends: pl.DataFrame
    merge: Literal[
        "sum", "max"
    ]  # weights of a repeated (user, item): counts or ratings
    # User ids that the file has interactions of, where not all of them are above.
    known_users: pl.Series | None = None
    titles: pl.DataFrame | None = None  # item, title
    taggings: pl.DataFrame | None = None  # user, item, tag
    features: pl.DataFrame | None = None  # item, feature, value
    notes: tuple[str, ...] = ()  # what the reader dropped, one line each


NO_FRIENDS = "there is no friends file: nobody has a friend"
LONGEST_SHOWN = 200  # letters of a value in a message


def no_pairs() -> pl.DataFrame:
    """Friend pairs of people who have none, for readers whose ids are integers."""
    return pl.DataFrame(schema={"target": pl.Int64, "source": pl.Int64})


def shortened(text: str) -> str:
    """At most 200 letters of a text, on one line, for a message."""
    text = " ".join(str(text[: 2 * LONGEST_SHOWN]).split())
    too_long = len(text) > LONGEST_SHOWN
    return f"{text[: LONGEST_SHOWN - 3]}..." if too_long else text


def quoted(value: str | None) -> str:
    """A cell as a message shows it: in quotes, at most 200 letters."""
    return f'"{shortened(value or "")}"'


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' (did you mean "lastfm"?)', or nothing where no known word is near."""
    words = [name for name in known if len(name) <= LONGEST_SHOWN]
    near = difflib.get_close_matches(
        str(word)[:LONGEST_SHOWN], words[:1000], n=1, cutoff=0.5
    )
    return f' (did you mean "{near[0]}"?)' if near else ""


def require_columns(
    path: Path | str, found: Sequence[str], needed: Iterable[str]
) -> None:
    """ValueError naming the first column that the file lacks, and the nearest one."""
    for column in needed:
        if column not in found:
            raise ValueError(
                f"{path}: column {quoted(column)} is missing, found "
                f"{shortened(', '.join(found[:100]))}{did_you_mean(column, found)}"
            )


def find_present(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first of these files in the folder, if there is one.

    Upper and lower case are alike, and a file may be packed (.gz).
    """
    lowered = {path.name.lower(): path for path in sorted(folder.iterdir())}
    for name in names:
        for path in (folder / name, *map(lowered.get, spellings(name))):
            if path and path.is_file():
                return path
    return None


def first_present(folder: Path, names: tuple[str, ...]) -> Path:
    """As `find_present`; FileNotFoundError naming them all where there is none."""
    if found := find_present(folder, names):
        return found
    raise FileNotFoundError(
        f"{folder}: {shortened(' or '.join(names))} is missing; unzip the whole "
        "archive there"
    )


def spellings(name: str) -> tuple[str, str]:
    """How a file may be called, in lower case: as it is, or packed."""
    return name.lower(), f"{name.lower()}.gz"
