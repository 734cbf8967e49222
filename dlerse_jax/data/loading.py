"""`load_dataset`: from a name and a folder to a filtered, indexed, split `Dataset`."""

import dataclasses
import functools
import logging
from pathlib import Path

from dlerse_jax.data import hetrec, ratings_text, recbole
from dlerse_jax.data.features import read_features, refuse_cold_items
from dlerse_jax.data.frames import open_frame, open_frames
from dlerse_jax.data.layout import TableLayout
from dlerse_jax.data.locate import default_folders, find_folder
from dlerse_jax.data.prepare import prepare_dataset
from dlerse_jax.data.raw import RawTables, did_you_mean, quoted
from dlerse_jax.data.synthetic import synthetic_dataset
from dlerse_jax.data.tables import (
    ALSO,
    SUFFIXES,
    find_table,
    open_folder,
    read_tables,
)
from dlerse_jax.types import Dataset

_logger = logging.getLogger(__name__)
_said: set[tuple[str, str]] = set()

FORMATS_BY_NAME = {
    "lastfm": "hetrec_lastfm",
    "delicious": "hetrec_delicious",
    "filmtrust": "ratings_text",
    "epinions": "epinions",
    "ciao": "ciao",
    "synthetic": "synthetic",
}
RATING_TEXTS = ("ratings_text", "epinions", "ciao")
FORMATS = (*dict.fromkeys(FORMATS_BY_NAME.values()), "table", "recbole")
# The lowest rating that is a like, on scales that end at 4 or 5.
_MIN_RATINGS = dict.fromkeys(RATING_TEXTS, 3.5)


def lowest_liked(
    name: str, format: str | None, min_rating: float | None
) -> float | None:
    """The lowest weight of a like in a named data set or format; None for any."""
    format = format or FORMATS_BY_NAME.get(name, "")
    if format == "synthetic":
        return None
    return _MIN_RATINGS.get(format) if min_rating is None else min_rating


def load_dataset(
    name: str = "mine",
    path: str | Path | None = None,
    *,
    interactions: object = None,
    friends: object = None,
    titles: object = None,
    features: object = None,
    format: str | None = None,
    split: int = 0,
    min_items_per_user: int = 5,
    min_users_per_item: int = 5,
    min_rating: float | None = None,
    core: bool = False,
    item_kind: str = "url",
    symmetric_friends: bool = False,
    reverse_weight: float = 1.0,
    friend_weights: bool = True,
    cold_items: bool = False,
    table: TableLayout | None = None,
) -> Dataset:
    """One data set, ready for use; `Dataset.notes` says what was kept and dropped.

    `name` is lastfm, delicious, filmtrust, epinions, ciao or synthetic; any other name
    needs a `format`: of these sets, "table" or "recbole". The folder is `path`, else
    `$DLERSE_DATA/<name>`, else the fetch cache. Or give tables as `interactions`,
    `friends` and `titles`: data frames of pandas, polars or pyarrow, dicts of columns,
    or paths; without `friends` nobody has any. `min_rating` is the lowest weight of a
    like (None: 3.5 for rating texts, any elsewhere), `core` repeats the two filters,
    `item_kind` is what a Delicious item is, `table` names files and columns. With
    `symmetric_friends` reverse pairs count, `reverse_weight` times as much; without
    `friend_weights` friends count alike. Items that fall to a filter stay where
    `features` names them or, with `cold_items`, a training user tagged them.

    ValueError or FileNotFoundError in one line; "warning: " notes are logged too.
    """
    table = _layout(table, friend_weights)
    frames = {"interactions": interactions, "friends": friends, "titles": titles}
    if any(frame is not None for frame in frames.values()):
        _refuse_folder(path, format)
        raw, folder = _read_frames(frames, table, min_rating), Path()
    else:
        format = _known_format(name, format)
        if format == "synthetic":
            return _synthetic(split, cold_items or features is not None)
        raw, folder = _read(name, path, format, item_kind, table, min_rating)
        min_rating = lowest_liked(name, format, min_rating)
    dataset = prepare_dataset(
        _complete(raw, features, folder, table, friend_weights),
        name=name,
        split=split,
        min_rating=min_rating,
        min_items_per_user=min_items_per_user,
        min_users_per_item=min_users_per_item,
        core=core,
        reverse_weight=_reverse_weight(symmetric_friends, reverse_weight),
        cold_items=cold_items,
    )
    _log_warnings(name, dataset.notes)
    return dataset


def _read_frames(
    frames: dict[str, object], table: TableLayout, min_rating: float | None
) -> RawTables:
    return read_tables(*open_frames(frames, table), min_rating=min_rating)


def _layout(table: TableLayout | None, friend_weights: bool) -> TableLayout:
    table = table or TableLayout()
    return table if friend_weights else dataclasses.replace(table, friend_weight="")


def _reverse_weight(is_added: bool, weight: float) -> float:
    if not 0 < weight <= 1:
        raise ValueError(
            f"data.reverse_weight must be above 0 and at most 1, got {weight}; without "
            "data.symmetric_friends no reverse pair is added"
        )
    if weight != 1 and not is_added:
        raise ValueError(
            f"data.reverse_weight is {weight}, and no reverse pair is added; set "
            "data.symmetric_friends to True"
        )
    return weight if is_added else 0.0


def _complete(
    raw: RawTables,
    features: object,
    folder: Path,
    layout: TableLayout,
    friend_weights: bool,
) -> RawTables:
    """With the features that are given, or that the layout names, and without weights
    of friends where nobody wants them."""
    if not friend_weights:
        raw = dataclasses.replace(raw, friends=raw.friends.select("target", "source"))
    if features is None and not layout.features:
        return raw
    if features is None:
        features = find_table(folder, layout.features, "features")
    rows, notes = read_features(
        functools.partial(open_frame, features, "features", layout=layout),
        layout.column("item"),
        raw.interactions["item"].dtype,
    )
    return dataclasses.replace(raw, features=rows, notes=raw.notes + notes)


def _synthetic(split: int, has_cold_items: bool) -> Dataset:
    refuse_cold_items(has_cold_items)
    return synthetic_dataset(split=split)


def _refuse_folder(path: str | Path | None, format: str | None) -> None:
    if path is not None or format not in (None, "table"):
        raise ValueError(
            "tables (interactions, friends, titles) and a folder or its format are two "
            "ways to say where data are: give one of them"
        )


def _log_warnings(name: str, notes: tuple[str, ...]) -> None:
    """One line each, once per process: the runs of a sweep load the same data."""
    for note in notes:
        if note.startswith("warning: ") and (name, note) not in _said:
            _said.add((name, note))
            _logger.warning("%s: %s", name, note)


def _known_format(name: str, format: str | None) -> str:
    if format is None and name not in FORMATS_BY_NAME:
        raise ValueError(
            f"unknown data set {quoted(name)}, expected one of "
            f"{', '.join(FORMATS_BY_NAME)}{did_you_mean(name, FORMATS_BY_NAME)}; "
            "for your own files give a format"
        )
    format = format or FORMATS_BY_NAME[name]
    if format not in FORMATS:
        raise ValueError(
            f"unknown format {quoted(format)}, expected one of {', '.join(FORMATS)}"
            f"{did_you_mean(format, FORMATS)}"
        )
    return format


def _read(
    name: str,
    path: str | Path | None,
    format: str,
    item_kind: str,
    table: TableLayout,
    min_rating: float | None,
) -> tuple[RawTables, Path]:
    """What a folder holds, and the folder."""
    folder = _found_folder(name, path, format, table)
    raw = _read_folder(folder, format, item_kind, table, min_rating)
    outer = path and Path(path).expanduser()
    if folder not in (outer, *default_folders(name)):
        raw = dataclasses.replace(raw, notes=(f"read from {folder}", *raw.notes))
    return raw, folder


def _found_folder(
    name: str, path: str | Path | None, format: str, table: TableLayout
) -> Path:
    if format == "hetrec_lastfm":
        return find_folder(name, path, hetrec.LASTFM_FILES)
    if format == "hetrec_delicious":
        return find_folder(name, path, hetrec.DELICIOUS_BOOKMARKS)
    if format in RATING_TEXTS:
        named = _named(table, "interactions")
        return find_folder(name, path, (named,) if named else ratings_text.RATING_FILES)
    if format == "recbole":
        atomic = (".inter", ".inter.gz")
        return find_folder(name, path, (), suffixes=atomic, shown="an .inter file")
    return find_folder(name, path, _table_files(table), shown=table.interactions)


def _read_folder(
    folder: Path,
    format: str,
    item_kind: str,
    table: TableLayout,
    min_rating: float | None,
) -> RawTables:
    has_friends = table.friends != ""
    if format == "hetrec_lastfm":
        return hetrec.read_lastfm(folder, friends=has_friends)
    if format == "hetrec_delicious":
        return hetrec.read_delicious(folder, item_kind, friends=has_friends)
    if format in RATING_TEXTS:
        ratings = _named(table, "interactions")
        trust = _named(table, "friends") if has_friends else None
        return ratings_text.read_ratings_text(
            folder, format=format, ratings=ratings, trust=trust
        )
    if format == "recbole":
        table = recbole.atomic_layout(folder, table)
    return read_tables(open_folder(folder, table), table, min_rating=min_rating)


def _table_files(table: TableLayout) -> tuple[str, ...]:
    names = (table.interactions, *ALSO.get(table.interactions, ()))
    return tuple(f"{stem}{suffix}" for stem in names for suffix in ("", *SUFFIXES))


def _named(table: TableLayout, kind: str) -> str:
    """The file a layout names; "" where it is left at the default."""
    file = getattr(table, kind)
    return "" if file == getattr(TableLayout(), kind) else file
