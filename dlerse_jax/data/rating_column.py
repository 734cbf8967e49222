"""Ratings that nobody named: found by the column's name or its numbers, and said.

A table whose ratings are not named counts one-star rows as likes. So a column that is
called like a rating, or holds small numbers that differ, is never passed over in
silence.
"""

import re
from collections.abc import Collection

import polars as pl

from dlerse_jax.data.cells import Cells, is_missing, trimmed
from dlerse_jax.data.raw import shortened

_NAME = re.compile(
    r"(^|[_ .:-])(ratings?|rated?|stars?|scores?|grades?|marks?|points?|overall|votes?"
    r"|preferences?|liked)($|[_ .:0-9-])",
    re.I,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_HIGHEST = 100  # scales end there at most; numbers of years and times do not
# Numbers of something else, by the words in their names.
_OTHER = re.compile(
    r"(^|[_ .:-])(ids?|index|idx|time|timestamp|date|year|month|week|day|hour|minute"
    r"|age|price|cost|amount|quantity|qty|size|sex|gender|lat|lon|latitude|longitude"
    r"|position|session|split|fold|row|no|nr|num|number)($|[_ .:0-9-])",
    re.I,
)

_WEIGHT = re.compile(
    r"(^|[_ .:-])(weights?|trust|value|score|sign|strength|rating|label)($|[_ .:0-9-])",
    re.I,
)


def unnamed_ratings(cells: Cells, used: Collection[str]) -> tuple[str | None, bool]:
    """The column of ratings among those not `used`, None without one, and whether its
    name says so; otherwise its numbers do."""
    others = [column for column in cells.header if column not in used]
    for column in others:
        if _NAME.search(_CAMEL.sub("_", column)):
            return column, True
    for column in others:
        is_other = _OTHER.search(_CAMEL.sub("_", column))
        if not is_other and column in cells.sample and _are_ratings(cells, column):
            return column, False
    return None, False


def rating_note(
    cells: Cells, found: str | None, is_named: bool, min_rating: float | None
) -> tuple[str, ...]:
    """What to say of it; ValueError where ratings are needed, and none is called so."""
    if min_rating is not None and not (found and is_named):
        hint = f", or {shortened(found)}, which holds numbers" if found else ""
        raise ValueError(
            f"{cells.where}: data.min_rating is {min_rating:g}, and no column is named "
            f"that holds ratings: name one with data.table.rating, found "
            f"{shortened(', '.join(cells.header))}{hint}"
        )
    if found is None:
        return ()
    name = shortened(found)
    if min_rating is not None:
        return (
            f'warning: ratings are read from the column "{name}" of {cells.name}, as '
            f"min_rating is given; say so with data.table.rating={name}",
        )
    what = "" if is_named else " of small numbers"
    return (
        f'warning: {cells.name} has a column "{name}"{what} that nobody named: each '
        f"row counts as a like, however low; if these are ratings, name it with "
        f"data.table.rating={name}, and data.min_rating",
    )


def distrust_note(cells: Cells, used: Collection[str]) -> tuple[str, ...]:
    """A warning where pairs of a friends table have weights of 0 or less."""
    for column in cells.header:
        is_weight = column not in used and _WEIGHT.search(_CAMEL.sub("_", column))
        if not is_weight or column not in cells.sample:
            continue
        numbers = _numbers(cells.sample[column])
        if bool((numbers <= 0).any()) and not numbers.has_nulls():
            return (
                f'warning: {cells.name} has numbers of 0 or less in "'
                f'{shortened(column)}", as distrust has: each row counts as a '
                "friendship all the same; remove those rows",
            )
    return ()


def _numbers(column: pl.Series) -> pl.Series:
    """Its values as Float64 without missing ones; null where one is no number."""
    if not column.dtype.is_numeric():
        texts = trimmed(column)
        column = texts.filter(~is_missing(texts))
    return column.cast(pl.Float64, strict=False)


def _are_ratings(cells: Cells, column: str) -> bool:
    """Whether it holds numbers of a scale alone, and more than one of them."""
    numbers = _numbers(cells.sample[column])
    if numbers.is_empty() or numbers.has_nulls():
        return False
    in_scale = numbers.is_between(-_HIGHEST, _HIGHEST).all()
    return bool(in_scale) and numbers.n_unique() > 1
