"""`load_dataset`: from a name and a folder to a filtered, indexed, split `Dataset`."""

from pathlib import Path

from dlerse_jax.data import hetrec, ratings_text
from dlerse_jax.data.locate import find_folder
from dlerse_jax.data.prepare import prepare_dataset
from dlerse_jax.data.raw import RawTables, did_you_mean
from dlerse_jax.data.synthetic import synthetic_dataset
from dlerse_jax.data.tables import SUFFIXES, TableLayout, read_tables
from dlerse_jax.types import Dataset

FORMATS_BY_NAME = {
    "lastfm": "hetrec_lastfm",
    "delicious": "hetrec_delicious",
    "filmtrust": "ratings_text",
    "epinions": "ratings_text",
    "ciao": "ratings_text",
    "synthetic": "synthetic",
}
FORMATS = (*dict.fromkeys(FORMATS_BY_NAME.values()), "table")
# METHOD.md section 1: positive means 3.5 and more, on scales that end at 4 or 5.
_MIN_RATINGS = {"ratings_text": 3.5}


def load_dataset(
    name: str,
    path: str | Path | None = None,
    *,
    format: str | None = None,
    split: int = 0,
    min_items_per_user: int = 5,
    min_users_per_item: int = 5,
    min_rating: float | None = None,
    item_kind: str = "url",
    symmetric_friends: bool = False,
    table: TableLayout | None = None,
) -> Dataset:
    """One data set, ready for use; `Dataset.notes` says what was kept and dropped.

    `name` is lastfm, delicious, filmtrust, epinions, ciao or synthetic; any other
    name needs a `format`: one of these sets' formats or "table". The folder is
    `path`, else `$DLERSE_DATA/<name>`, else the fetch cache. `min_rating` is the
    lowest weight that counts as a like (None: 3.5 for the rating texts, any weight
    elsewhere), `item_kind` what a Delicious item is: url, principal_url or tag;
    `table` names the files and columns of format "table". The synthetic world is not
    filtered: ask `synthetic_dataset` for one of another size.

    ValueError or FileNotFoundError with one line that names file, line or key.
    """
    format = _known_format(name, format)
    if format == "synthetic":
        return synthetic_dataset(split=split)
    return prepare_dataset(
        _read(name, path, format, item_kind, table or TableLayout()),
        name=name,
        split=split,
        min_rating=_MIN_RATINGS.get(format) if min_rating is None else min_rating,
        min_items_per_user=min_items_per_user,
        min_users_per_item=min_users_per_item,
        symmetric_friends=symmetric_friends,
    )


def _known_format(name: str, format: str | None) -> str:
    if format is None and name not in FORMATS_BY_NAME:
        raise ValueError(
            f'unknown data set "{name}", expected one of {", ".join(FORMATS_BY_NAME)}'
            f"{did_you_mean(name, FORMATS_BY_NAME)}; for your own files give a format"
        )
    format = format or FORMATS_BY_NAME[name]
    if format not in FORMATS:
        raise ValueError(
            f'unknown format "{format}", expected one of {", ".join(FORMATS)}'
            f"{did_you_mean(format, FORMATS)}"
        )
    return format


def _read(
    name: str, path: str | Path | None, format: str, item_kind: str, table: TableLayout
) -> RawTables:
    if format == "hetrec_lastfm":
        return hetrec.read_lastfm(find_folder(name, path, hetrec.LASTFM_FILES))
    if format == "hetrec_delicious":
        folder = find_folder(name, path, hetrec.DELICIOUS_BOOKMARKS)
        return hetrec.read_delicious(folder, item_kind)
    if format == "ratings_text":
        folder = find_folder(name, path, ratings_text.RATING_FILES)
        return ratings_text.read_ratings_text(folder)
    files = tuple(f"{table.interactions}{suffix}" for suffix in ("", *SUFFIXES))
    return read_tables(find_folder(name, path, files), table)
