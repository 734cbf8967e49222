"""Ids of one kind from several tables in one form, so that equal ids match.

Ids are compared without blanks around them. They are whole numbers where every one of
them is written as such ("7", never "+7", "7.0", "1e+05" or "100,000"), of 64 bits at
most; otherwise all of them are text. A few odd cells never turn numbers to text in
silence: what could be a number written another way is refused by file and line.
"""

import dataclasses

import polars as pl

from dlerse_jax.data.cells import refuse_cell
from dlerse_jax.data.raw import quoted, shortened

_WHOLE = r"^(0|-?[1-9][0-9]*)$"
_ZERO_LED = r"^0[0-9]+$"
# A number, but not as a whole number is written: signs, decimals, powers, groups.
_ODD_NUMBER = (
    r"^([+\-−–']*[0-9]+[-']?|[+\-−]?[0-9]*[.,][0-9]+|[+\-−]?[0-9]+[.,]"
    r"|[+\-−]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)[eE][+\-]?[0-9]+"
    r"|[+\-−]?[0-9]+([\s,_'\u{2019}][0-9]+)+(\.[0-9]*)?|\([0-9]+\)|\p{Nd}+|0[xX][0-9a-fA-F]+)$"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class IdColumn:
    """One column of ids: trimmed text without missing cells, and where it is from."""

    table: pl.DataFrame  # line, and the column
    column: str
    where: str

    @property
    def ids(self) -> pl.Series:
        return self.table[self.column]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Kinds:
    """Which cells of a column are what: [rows] bool each; none is two of them."""

    whole: pl.Series
    zero_led: pl.Series
    odd: pl.Series
    text: pl.Series


def match_ids(
    columns: list[IdColumn], what: str
) -> tuple[list[pl.Series], tuple[str, ...]]:
    """The columns as Int64 or as String, all alike, and notes of what is odd in them.

    The first column is that of the interactions and leads: where it is numbers, so are
    the others, and an id there beyond 64 bits, which can match nobody, is null.
    `what` ("user", "item") is what a note calls them. ValueError by file and line.
    """
    kinds = [_kinds(column.ids) for column in columns]
    if kinds[0].whole.all():
        return _as_numbers(columns, kinds, what)
    _refuse_odd(columns, kinds)
    return [column.ids for column in columns], _text_notes(columns, kinds, what)


def _kinds(ids: pl.Series) -> _Kinds:
    whole = ids.str.contains(_WHOLE)
    if whole.all():  # most often: spares the other patterns
        nothing = pl.repeat(False, len(ids), eager=True)
        return _Kinds(whole=whole, zero_led=nothing, odd=nothing, text=nothing)
    zero_led = ids.str.contains(_ZERO_LED)
    odd = ids.str.contains(_ODD_NUMBER) & ~whole & ~zero_led
    text = ~(whole | zero_led | odd)
    return _Kinds(whole=whole, zero_led=zero_led, odd=odd, text=text)


def _as_numbers(
    columns: list[IdColumn], kinds: list[_Kinds], what: str
) -> tuple[list[pl.Series], tuple[str, ...]]:
    for column, kind in zip(columns[1:], kinds[1:], strict=True):
        refuse_cell(
            column.table,
            ~kind.whole,
            column.column,
            column.where,
            "a whole number as in the interactions file",
        )
    numbers = [column.ids.cast(pl.Int64, strict=False) for column in columns]
    if not numbers[0].has_nulls():
        return numbers, ()
    _, found = _first(columns[0], numbers[0].is_null())
    note = (
        f"{what} ids such as {quoted(found)} have more than 64 bits: all are compared "
        "and sorted as text"
    )
    return [column.ids for column in columns], (note,)


def _refuse_odd(columns: list[IdColumn], kinds: list[_Kinds]) -> None:
    """An odd number is text only among texts; among numbers it may be one of them."""
    num_text = sum(kind.text.sum() for kind in kinds)
    num_numbers = sum(kind.whole.sum() + kind.odd.sum() for kind in kinds)
    if num_text >= num_numbers:
        return
    for column, kind in zip(columns, kinds, strict=True):
        expected = "a whole number or text"
        refuse_cell(column.table, kind.odd, column.column, column.where, expected)


def _text_notes(
    columns: list[IdColumn], kinds: list[_Kinds], what: str
) -> tuple[str, ...]:
    """What keeps ids from being numbers, where most of them are."""
    totals = {
        name: sum(getattr(kind, name).sum() for kind in kinds)
        for name in ("whole", "zero_led", "odd", "text")
    }
    notes = []
    for name, words in (
        ("text", "no number"),
        ("zero_led", "written with zeros before it"),
        ("odd", "a number among texts"),
    ):
        is_strange = name != "text" or totals["whole"] > totals["text"]
        if totals[name] and is_strange:
            place, found = _first_of(columns, kinds, name)
            notes.append(
                f"{totals[name]} of {sum(totals.values())} {what} ids are {words} "
                f"(first: {found}, {place}): all are compared and sorted as text"
            )
    return tuple(notes)


def _first_of(
    columns: list[IdColumn], kinds: list[_Kinds], name: str
) -> tuple[str, str]:
    for column, kind in zip(columns, kinds, strict=True):
        misfit = getattr(kind, name)
        if misfit.any():
            line, found = _first(column, misfit)
            file = column.where.rpartition("/")[2]
            return f"{file}:{line}", quoted(found)
    raise AssertionError(f"no id is {name}")


def _first(column: IdColumn, misfit: pl.Series) -> tuple[int, str]:
    row = column.table.filter(misfit).head(1)
    return row["line"][0], shortened(row[column.column][0])
