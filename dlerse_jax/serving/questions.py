"""Questions of many people: dicts, or a data frame of polars or pandas, and back.

Neither library is imported: a frame is read row by row and made by its own class.
"""

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from dlerse_jax.serving.names import Names

ONE_ID, MANY_IDS = ("user",), ("friends", "liked", "disliked", "exclude", "only")
COLUMNS = (*ONE_ID, *MANY_IDS)
_PART = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*|([^,;]*))(?:[,;]|\Z)')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recommendation:
    """One item for one person."""

    item: Any  # the data's own id
    title: str
    score: float  # of the agent; the higher, the sooner it is shown
    chance: float | None = None  # of a like, where the agent has one
    reasons: tuple[str, ...] = ()  # sentences a person reads


def split_ids(text: str) -> list[str]:
    """Ids in a cell or an option: "ann, bob" or "ann;bob" -> both.

    What stands in double quotes is one id, with its commas; "" in it is one quote.
    """
    parts = [
        plain if quoted is None else quoted.replace('""', '"')
        for quoted, plain in (part.groups() for part in _PART.finditer(text))
    ]
    return [word for part in parts if (word := part.strip())]


def known_ids(text: str, name: str, names: Names, where: str = "") -> list[str]:
    """`split_ids` of the column or option `name`; where the whole text is an id of the
    data and its parts are not, that id alone.

    ValueError where it can be read both ways; it begins with `where`, or the option.
    """
    parts, whole = split_ids(text), text.strip()
    is_known = names.has_user if name == "friends" else names.has_item
    if whole in parts or not is_known(whole):
        return parts
    if not parts or not all(map(is_known, parts)):
        return [whole]
    quoted = shlex.quote('"' + whole.replace('"', '""') + '"')
    option = f"--{name}"
    raise ValueError(
        f"{where or option}: {whole!r} is an id of the data, and so is each of its "
        f"parts: quote the id, as {'' if where else f'{option}='}{quoted}, or each part"
    )


def is_frame(questions: Any) -> bool:
    """Whether it is a data frame: a table that knows its columns."""
    return hasattr(questions, "columns") and not isinstance(questions, Mapping)


def read_questions(questions: Any, names: Names | None = None) -> list[dict[str, Any]]:
    """Keywords of `Recommender.recommend` for each row.

    names: of the data, to know an id with a comma in it. ValueError for a column that
    is no question, what is no list of dicts, and as `known_ids` says.
    """
    if is_frame(questions):
        rows = _records(questions)
    elif isinstance(questions, Mapping | str) or not isinstance(questions, Sequence):
        raise ValueError(
            f"questions are a {type(questions).__name__}, expected a list of dicts or "
            "a data frame"
        )
    else:
        rows = list(questions)
    return [_question(row, number, names) for number, row in enumerate(rows)]


def _records(frame: Any) -> list[dict[str, Any]]:
    if hasattr(frame, "to_dicts"):  # polars
        return frame.to_dicts()
    return frame.to_dict("records")  # pandas


def _question(row: Any, number: int, names: Names | None) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise ValueError(
            f"question {number} is a {type(row).__name__}, expected a dict, as "
            "{'friends': ['ann', 'bob']}"
        )
    for name in row:
        if name not in COLUMNS:
            raise ValueError(
                f"question {number} has {str(name)[:80]!r}, expected some of "
                f"{', '.join(COLUMNS)}"
            )
    given = {name: value for name, value in row.items() if not _is_empty(value)}
    return {
        name: known_ids(value, name, names, f"question {number}, {name}")
        if names and name in MANY_IDS and isinstance(value, str)
        else _value(name, value)
        for name, value in given.items()
    }


def _is_empty(value: Any) -> bool:
    """Whether a cell says nothing: null, nan, or text of spaces."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and value != value)


def _value(name: str, value: Any) -> Any:
    if name in ONE_ID:
        return value
    if isinstance(value, str):
        return split_ids(value)
    # One id in a column of ids: a frame where nobody has two holds plain numbers.
    return list(value) if hasattr(value, "__iter__") else [value]


def answer_frame(questions: Any, found: Sequence[Sequence[Recommendation]]) -> Any:
    """A frame of the questions' own class, one row per item recommended."""
    users = _records(questions) if "user" in list(questions.columns) else None
    rows = [
        (number, rank, item)
        for number, items in enumerate(found)
        for rank, item in enumerate(items, 1)
    ]
    columns: dict[str, list] = {"question": [number for number, _, _ in rows]}
    if users is not None:
        columns["user"] = [users[number]["user"] for number, _, _ in rows]
    columns["rank"] = [rank for _, rank, _ in rows]
    for name in ("item", "title", "score", "chance"):
        columns[name] = [getattr(item, name) for _, _, item in rows]
    return type(questions)(columns)
