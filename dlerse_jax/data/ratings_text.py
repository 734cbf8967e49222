"""Reader of the plain-text rating sets with trust: FilmTrust, Epinions, Ciao.

In: a folder with a file of ratings (user item rating) and one of trust (trustor trustee
[weight]), under the names they were published by. Fields are separated by blanks, tabs,
commas, semicolons, bars or "::"; a first line without any number is a header; columns
behind the last that is needed (a time) are ignored. Ids are integers. Out: `RawTables`.
"""

import re
from pathlib import Path

import polars as pl

from dlerse_jax.data.cells import Cells, clean_rows, is_missing, trimmed
from dlerse_jax.data.raw import NO_FRIENDS, RawTables, first_present, no_pairs
from dlerse_jax.data.separators import BLANKS, find_separator
from dlerse_jax.data.text import (
    parse_integers,
    parse_numbers,
    parse_weights,
    read_lines,
    split_fields,
)

RATING_FILES = (
    "ratings.txt",
    "ratings_data.txt",  # Epinions, trustlet.org
    "movie-ratings.txt",  # CiaoDVD, librec.net
    "rating_with_timestamp.txt",  # Ciao and Epinions of J. Tang
    "rating.txt",
)
TRUST_FILES = (
    "trust.txt",
    "trust_data.txt",
    "trusts.txt",
    "trustnetwork.txt",
    "user_rating.txt",  # the extended Epinions set
)
# Places of user, item and rating in files of more columns, counted from 0.
_CIAODVD = (0, 1, 4)  # user, movie, genre, review, rating, date
_TANG = (0, 1, 3)  # user, product, category, rating, helpfulness, time
_ARTICLES = (1, 0, 2)  # article, user, rating, status, ...: the extended Epinions set


def read_ratings_text(
    folder: Path,
    *,
    format: str = "ratings_text",
    ratings: str = "",
    trust: str | None = "",
) -> RawTables:
    """All ratings, whatever their height, and the trust pairs of positive weight.

    A trustor "names" a trustee as friend. Pairs of weight <= 0 state distrust: they
    are dropped and the note says how many; the others keep their weights, and a missing
    one counts as 1. `ratings` and `trust` name the files where they are called
    otherwise; trust None is a world of strangers. `format` ciao or epinions says what a
    file of six columns is.
    """
    rating_path = first_present(folder, (ratings,) if ratings else RATING_FILES)
    interactions, notes = _read_ratings(rating_path, format)
    more: tuple[str, ...] = (NO_FRIENDS,)
    if trust is None:
        friends = no_pairs()
    else:
        names = (trust,) if trust else TRUST_FILES
        friends, more = _read_trust(first_present(folder, names))
    return RawTables(
        interactions=interactions, friends=friends, merge="max", notes=notes + more
    )


def _read_ratings(path: Path, format: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    lines, notes = _tabbed_lines(path, 3)
    num_fields = lines["text"].head(1).str.count_matches("\t", literal=True).sum() + 1
    places = _places(path, num_fields, format)
    names = [f"field {i + 1}" for i in range(max(num_fields, 3))]
    for place, name in zip(places, ("user", "item", "rating"), strict=True):
        names[place] = name
    cells = _cells(lines, names, path, len(names))
    table, row_notes = clean_rows(cells, ["user", "item"])
    rated = table.filter(~is_missing(table["rating"]) | _is_nan(table["rating"]))
    if rated.height < table.height:
        lost = table.height - rated.height
        notes += (f"dropped {lost} rows of {path.name} without a rating",)
    if num_fields > max(places) + 1:
        notes += (f"{path.name}: columns behind no. {max(places) + 1} are not read",)
    ratings = pl.DataFrame(
        {
            "user": parse_integers(rated, "user", path),
            "item": parse_integers(rated, "item", path),
            "weight": parse_numbers(rated, "rating", path),
        }
    )
    return ratings, notes + row_notes


def _places(path: Path, num_fields: int, format: str) -> tuple[int, int, int]:
    """Columns of user, item and rating, by the names that files were published by."""
    stem = path.name.lower().partition(".")[0]
    if stem == "rating" and num_fields > 6:
        return _ARTICLES
    if stem in ("rating", "rating_with_timestamp") and num_fields > 4:
        return _TANG
    if (num_fields > 5 and stem == "movie-ratings") or (
        num_fields == 6 and format == "ciao"
    ):
        return _CIAODVD
    return _TANG if num_fields == 6 and format == "epinions" else (0, 1, 2)


def _read_trust(path: Path) -> tuple[pl.DataFrame, tuple[str, ...]]:
    lines, notes = _tabbed_lines(path, 2)
    if lines.is_empty():
        lost = f"{path.name} has no trust pair: nobody has a friend"
        return no_pairs(), (*notes, lost)
    most = lines["text"].str.count_matches("\t", literal=True).max() + 1
    names = ["trustor", "trustee", "weight"]
    names += [f"field {i + 1}" for i in range(3, most)]
    cells = _cells(lines, names, path, 2)
    table, row_notes = clean_rows(cells, ["trustor", "trustee"])
    weighted = table.with_columns(pl.col("weight").fill_null("1"))
    pairs = pl.DataFrame(
        {
            "target": parse_integers(table, "trustor", path),
            "source": parse_integers(table, "trustee", path),
        }
    )
    weights = parse_weights(weighted, "weight", path)
    trusted = pairs.with_columns(weight=weights).filter(weights > 0)
    num_dropped = pairs.height - trusted.height
    if num_dropped:
        notes += (f"dropped {num_dropped} trust pairs of weight <= 0",)
    return trusted, notes + row_notes


def _tabbed_lines(path: Path, at_least: int) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Lines with tabs between their fields, without a header."""
    lines, notes = read_lines(path)
    text = trimmed(lines["text"])
    start = text.head(20).to_list()
    separator = find_separator(start, "", (), at_least)
    if text[0].count(separator) == 0:  # lines differ: what the first one has
        separator = find_separator(start[:1], "", (), at_least)
    pattern = r"\s+" if separator == BLANKS else rf"\s*{re.escape(separator)}\s*"
    lines = lines.with_columns(text=text.str.replace_all(pattern, "\t"))
    if _is_header(lines["text"][0]):
        lines = lines.tail(-1)
    return lines, notes


def _is_header(text: str) -> bool:
    numbers = pl.Series(text.split("\t")).cast(pl.Float64, strict=False)
    return numbers.is_null().all()


def _cells(lines: pl.DataFrame, names: list[str], path: Path, at_least: int) -> Cells:
    fields = split_fields(lines, names, path, at_least=at_least)
    return Cells(table=fields, where=f"{path}", header=tuple(names))


def _is_nan(cells: pl.Series) -> pl.Series:
    return cells.str.to_lowercase() == "nan"
