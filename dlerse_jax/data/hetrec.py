"""Readers of the two HetRec 2011 sets: LastFM (artists) and Delicious (bookmarks).

In: the folder as unzipped. Out: `RawTables`. Tab-separated files with a header line;
both sets list a friendship in both directions. Source: the archives' readme.txt.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import polars as pl

from dlerse_jax.data.cells import Cells, clean_rows, is_missing
from dlerse_jax.data.raw import (
    NO_FRIENDS,
    RawTables,
    did_you_mean,
    find_present,
    first_present,
    no_pairs,
    quoted,
    require_columns,
)
from dlerse_jax.data.text import parse_integers, parse_numbers, read_lines, split_fields

LASTFM_FILES = ("user_artists.dat", "user_friends.dat")
LASTFM_TAGS = "user_taggedartists.dat"
DELICIOUS_BOOKMARKS = (
    "user_taggedbookmarks.dat",
    "user_taggedbookmarks-timestamps.dat",
)
DELICIOUS_CONTACTS = ("user_contacts.dat", "user_contacts-timestamps.dat")
# Likes (user, item), titles (item, title) where there are any, notes.
ItemRows = tuple[pl.DataFrame, pl.DataFrame | None, tuple[str, ...]]
ITEM_KINDS = ("url", "principal_url", "tag")


def read_lastfm(folder: Path, *, friends: bool = True) -> RawTables:
    """Listening counts and friends, artists' names and tags where their files are.

    Without `friends` nobody has any, whatever the archive holds; so for Delicious.
    """
    interactions, notes = _read_integers(
        first_present(folder, LASTFM_FILES[:1]),
        {"userID": "user", "artistID": "item"},
        counts={"weight": "weight"},
    )
    pairs, more = _read_friends(folder, LASTFM_FILES[1:], "friendID", friends)
    if friends and pairs.is_empty():
        more += (f"{LASTFM_FILES[1]} has no friend pair: nobody has a friend",)
    titles, title_notes = _read_titles(folder, "artists.dat", "name")
    notes += more + title_notes
    taggings = None
    if tags := find_present(folder, (LASTFM_TAGS,)):
        taggings, more = _read_integers(
            tags, {"userID": "user", "artistID": "item", "tagID": "tag"}
        )
        notes += more
    return RawTables(
        interactions=interactions,
        friends=pairs,
        merge="sum",
        titles=titles,
        taggings=taggings,
        notes=notes,
    )


def read_delicious(folder: Path, item_kind: str, *, friends: bool = True) -> RawTables:
    """Bookmarks as likes; an item is a URL, the site it belongs to, or a tag.

    A weight counts the user's bookmarks behind the like: 1 for a URL, bookmarks of
    the site for "principal_url", bookmarks so tagged for "tag". "principal_url" needs
    bookmarks.dat; for the other two a catalogue only adds titles.
    """
    if item_kind not in ITEM_KINDS:
        raise ValueError(
            f'item_kind is "{item_kind}", expected one of {", ".join(ITEM_KINDS)}'
            f"{did_you_mean(item_kind, ITEM_KINDS)}"
        )
    tagged, tag_notes = _read_integers(
        first_present(folder, DELICIOUS_BOOKMARKS),
        {"userID": "user", "bookmarkID": "bookmark", "tagID": "tag"},
    )
    pairs, friend_notes = _read_friends(
        folder, DELICIOUS_CONTACTS, "contactID", friends
    )
    likes, titles, notes = _ITEM_READERS[item_kind](folder, tagged)
    by_url = tagged.rename({"bookmark": "item"}) if item_kind == "url" else None
    return RawTables(
        interactions=likes.with_columns(weight=pl.lit(1, pl.Float32)),
        friends=pairs,
        merge="sum",
        known_users=tagged["user"],
        titles=titles,
        taggings=by_url,
        notes=tag_notes + friend_notes + notes,
    )


def _read_friends(
    folder: Path, names: tuple[str, ...], friend: str, has_friends: bool
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    if not has_friends:
        return no_pairs(), (NO_FRIENDS,)
    columns = {"userID": "target", friend: "source"}
    return _read_integers(first_present(folder, names), columns)


def _urls(folder: Path, tagged: pl.DataFrame) -> ItemRows:
    titles, notes = _read_titles(folder, "bookmarks.dat", "title")
    likes = tagged.select("user", item="bookmark").unique()
    return likes, titles, notes


def _tags(folder: Path, tagged: pl.DataFrame) -> ItemRows:
    titles, notes = _read_titles(folder, "tags.dat", "value")
    return tagged.unique().select("user", item="tag"), titles, notes


def _principal_urls(folder: Path, tagged: pl.DataFrame) -> ItemRows:
    path = first_present(folder, ("bookmarks.dat",))
    sites, notes = _read_catalogue(path, "urlPrincipal")
    bookmarks = tagged.select("user", "bookmark").unique()
    likes = bookmarks.join(sites, left_on="bookmark", right_on="id", how="inner")
    num_lost = bookmarks.height - likes.height
    if num_lost:
        notes += (f"dropped {num_lost} bookmarks whose site {path.name} does not name",)
    return likes.select("user", item="urlPrincipal"), None, notes


_ITEM_READERS = {"url": _urls, "principal_url": _principal_urls, "tag": _tags}


def _read_integers(
    path: Path,
    columns: Mapping[str, str],
    counts: Mapping[str, str] = MappingProxyType({}),
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Integer columns of a headed file, chosen by header name and renamed, and notes.

    counts: columns of numbers that are not negative, likewise. Rows without an id are
    dropped and noted.
    """
    lines, header = _split_header(path)
    require_columns(path, header, [*columns, *counts])
    for repeated in {name for name in header if header.count(name) > 1}:
        raise ValueError(f"{path}: there are two columns {quoted(repeated)}")
    fields = split_fields(lines, header, path)
    notes: tuple[str, ...] = ()
    if any(is_missing(fields[column]).any() for column in columns):
        cells = Cells(table=fields, where=f"{path}", header=tuple(header))
        fields, notes = clean_rows(cells, list(columns))
    ids = {new: parse_integers(fields, old, path) for old, new in columns.items()}
    weights = {
        new: parse_numbers(fields, old, path, lowest=0) for old, new in counts.items()
    }
    return pl.DataFrame(ids | weights), notes


def _split_header(
    path: Path, *, any_line: bool = False
) -> tuple[pl.DataFrame, list[str]]:
    lines, _ = read_lines(path, any_line=any_line)  # ids are digits in any encoding
    header = [name.strip() for name in lines["text"][0].split("\t")]
    return lines.tail(-1), header


def _read_titles(
    folder: Path, name: str, column: str
) -> tuple[pl.DataFrame | None, tuple[str, ...]]:
    """`item` and `title` rows; None where the archive comes without this file."""
    path = find_present(folder, (name,))
    if path is None:
        return None, (f"{name} is not there: items have no titles",)
    catalogue, notes = _read_catalogue(path, column)
    return catalogue.rename({"id": "item", column: "title"}), notes


def _read_catalogue(path: Path, column: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """`id` (the first column) and one text column of artists, bookmarks or tags.

    Titles were typed by people and may hold tabs or line breaks. Columns after the
    title are therefore counted from the end of the line, and a line that does not
    start with an id is skipped and counted in the note.
    """
    lines, header = _split_header(path, any_line=True)
    require_columns(path, header, [column])
    position = header.index(column)
    if position > 2:  # no catalogue has its title further right
        position -= len(header)
    fields = pl.col("text").str.split("\t")
    catalogue = lines.select(
        fields.list.first().str.strip_chars().cast(pl.Int64, strict=False).alias("id"),
        fields.list.get(position, null_on_oob=True).str.strip_chars().alias(column),
    )
    readable = catalogue.drop_nulls().unique("id", keep="first", maintain_order=True)
    num_skipped = catalogue.height - readable.height
    skipped = f"skipped {num_skipped} broken or repeated lines of {path.name}"
    return readable, (skipped,) if num_skipped else ()
