"""RecBole's atomic files: `.inter`, `.net` and `.item`, with types in their headers.

In: a folder with one `.inter` file (user_id:token, item_id:token, perhaps
rating:float), perhaps one `.net` (source_id:token trusts target_id:token) and one
`.item` with titles. Out: a `TableLayout` for `tables.read_tables`. Source: recbole.io
and RecBole-GNN.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

from dlerse_jax.data.cells import BLANK_LETTERS
from dlerse_jax.data.decoding import decode, read_bytes
from dlerse_jax.data.layout import TableLayout
from dlerse_jax.data.separators import named_separator

SUFFIXES = (".inter", ".net", ".item")
_TITLES = re.compile(r"title|name", re.I)
_RATINGS = re.compile(r"rating|star|score|weight|count", re.I)


def atomic_layout(folder: Path, layout: TableLayout) -> TableLayout:
    """Files and columns of a folder of atomic files.

    Ids are the first two columns of type token, unless user_id, item_id, source_id or
    target_id are there; a rating is a float called so, a title a text called so. Where
    the layout has friends "", a `.net` is not read.
    FileNotFoundError without an `.inter`, ValueError where there are two of a kind, or
    a header without types.
    """
    inter = _only(folder, ".inter")
    if inter is None:
        raise FileNotFoundError(
            f"{folder}: no .inter file; give the folder of RecBole's atomic files"
        )
    separator = named_separator(layout.separator) or "\t"
    tokens, others = _typed_header(inter, separator)
    user, item = _pair(inter, tokens, "user_id", "item_id")
    named = {
        "interactions": inter.name,
        "user": user,
        "item": item,
        "rating": layout.rating or _called(others, _RATINGS, "float"),
        "separator": separator,
        "friends": "",
    }
    if layout.friends and (net := _only(folder, ".net")):
        pair = _pair(net, _typed_header(net, separator)[0], "source_id", "target_id")
        named |= {"friends": net.name, "friend_user": pair[0], "friend": pair[1]}
    if titles := _only(folder, ".item"):
        title = layout.title or _called(
            sum(_typed_header(titles, separator), []), _TITLES, "tok"
        )
        same_item = item in _typed_header(titles, separator)[0]
        named |= {"titles": titles.name, "title": title} if title and same_item else {}
    changes: dict[str, Any] = dict(named)
    return dataclasses.replace(layout, **changes)


def _only(folder: Path, suffix: str) -> Path | None:
    files = sorted(path for path in folder.iterdir() if _is(path, suffix))
    if len(files) > 1:
        raise ValueError(
            f"{folder}: {len(files)} {suffix} files ({files[0].name}, "
            f"{files[1].name}, ...), expected one; give each data set its own folder"
        )
    return files[0] if files else None


def _is(path: Path, suffix: str) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(suffix) and path.is_file()


def _typed_header(path: Path, separator: str) -> tuple[list[str], list[str]]:
    """Columns of type token, and all others, as they are written."""
    raw, _ = decode(read_bytes(path), path)
    line = raw.decode().lstrip().partition("\n")[0]
    columns = [column.strip(BLANK_LETTERS) for column in line.split(separator)]
    if not any(":" in column for column in columns):
        raise ValueError(
            f"{path}: its first line has no types (user_id:token, item_id:token), so "
            "it is no atomic file; name its columns with data.format=table"
        )
    if len(columns) == 1 and "," in columns[0] and separator != ",":
        raise ValueError(
            f"{path}: its first line is parted by commas, expected tabs; give "
            "data.table.separator=comma"
        )
    tokens = [column for column in columns if column.endswith(":token")]
    return tokens, [column for column in columns if column not in tokens]


def _pair(path: Path, tokens: list[str], first: str, second: str) -> tuple[str, str]:
    if len(tokens) < 2:
        raise ValueError(
            f"{path}: {len(tokens)} columns of type token, expected two: {first}:token "
            f"and {second}:token"
        )
    wanted = (f"{first}:token", f"{second}:token")
    if set(wanted) <= set(tokens):
        return wanted
    return tokens[0], tokens[1]


def _called(columns: list[str], pattern: re.Pattern, type_start: str) -> str:
    for column in columns:
        name, _, type_name = column.rpartition(":")
        if pattern.search(name) and type_name.startswith(type_start):
            return column
    return ""
