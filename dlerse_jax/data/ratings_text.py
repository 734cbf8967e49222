"""Reader of the plain-text rating sets with trust: FilmTrust, Epinions, Ciao.

In: a folder with `ratings.txt` (user item rating) and `trust.txt` (trustor trustee
[weight]), or the `_data.txt` names of Epinions. Fields are parted by spaces, tabs or
commas; a first line without any number is a header. Ids are integers. Out: `RawTables`.
"""

from pathlib import Path

import polars as pl

from dlerse_jax.data.raw import RawTables, first_present
from dlerse_jax.data.text import (
    parse_integers,
    parse_numbers,
    read_lines,
    split_fields,
)

RATING_FILES = ("ratings.txt", "ratings_data.txt")
TRUST_FILES = ("trust.txt", "trust_data.txt")


def read_ratings_text(folder: Path) -> RawTables:
    """All ratings, whatever their height, and the trust pairs of positive weight.

    A trustor "names" a trustee as friend. Pairs of weight <= 0 state distrust: they
    are dropped and the note says how many. A missing weight counts as 1.
    """
    interactions = _read_ratings(first_present(folder, RATING_FILES))
    friends, notes = _read_trust(first_present(folder, TRUST_FILES))
    return RawTables(
        interactions=interactions, friends=friends, merge="max", notes=notes
    )


def _read_ratings(path: Path) -> pl.DataFrame:
    fields = _read_rows(path, ["user", "item", "rating"], at_least=3)
    return pl.DataFrame(
        {
            "user": parse_integers(fields, "user", path),
            "item": parse_integers(fields, "item", path),
            "weight": parse_numbers(fields, "rating", path).cast(pl.Float32),
        }
    )


def _read_trust(path: Path) -> tuple[pl.DataFrame, tuple[str, ...]]:
    fields = _read_rows(path, ["trustor", "trustee", "weight"], at_least=2)
    weighted = fields.with_columns(pl.col("weight").fill_null("1"))
    pairs = pl.DataFrame(
        {
            "target": parse_integers(fields, "trustor", path),
            "source": parse_integers(fields, "trustee", path),
        }
    )
    trusted = pairs.filter(parse_numbers(weighted, "weight", path) > 0)
    num_dropped = pairs.height - trusted.height
    note = f"dropped {num_dropped} trust pairs of weight <= 0"
    return trusted, (note,) if num_dropped else ()


def _read_rows(path: Path, names: list[str], *, at_least: int) -> pl.DataFrame:
    spaced = pl.col("text").str.strip_chars().str.replace_all(r"\s*[\s,]\s*", "\t")
    lines = read_lines(path).with_columns(spaced)
    if _is_header(lines["text"][0]):
        lines = lines.tail(-1)
    return split_fields(lines, names, path, at_least=at_least)


def _is_header(text: str) -> bool:
    numbers = pl.Series(text.split("\t")).cast(pl.Float64, strict=False)
    return numbers.is_null().all()
