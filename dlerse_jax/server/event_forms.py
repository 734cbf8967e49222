"""What a line of the log must have before anything is learned from it or judged by it.

A log is read months after it was written: by then a hand, another program or another
version may have been in it.
"""

import math
from collections.abc import Mapping
from typing import Any

from dlerse_jax.server.exploration import parse_exploration

TEXTS = ("time_utc", "model", "exploration")  # of a list
NUMBERS = ("time", "step", "num_friends")


def problem_of(event: Mapping[str, Any]) -> str:
    """Why an event cannot be used, "" where it can. Kinds nobody knows pass."""
    if event["event"] == "shown":
        return _problem_of_list(event)
    if event["event"] in ("answered", "undone"):
        if not _is_id(event.get("item")):
            return "its answer is to no item"
        if not isinstance(event.get("liked"), bool):
            return "its liked is neither true nor false"
    return ""


def _problem_of_list(event: Mapping[str, Any]) -> str:
    for name in TEXTS:
        if not isinstance(event.get(name), str):
            return f"its {name} is no text"
    for name in NUMBERS:
        if not _is_number(event.get(name)):
            return f"its {name} is no number"
    for name in ("items", "candidates"):
        rows = event.get(name)
        if not isinstance(rows, list) or not all(map(_is_scored, rows)):
            return f"its {name} are no list of items with scores"
    names = [str(item["item"]) for item in event["items"]]
    among = {str(candidate["item"]) for candidate in event["candidates"]}
    if len(set(names)) < len(names):
        return "it shows an item twice"
    if among and not among.issuperset(names):
        return "it shows an item that is none of its candidates"
    for item in event["items"]:
        chance, position = item.get("propensity"), item.get("position")
        if not _is_number(chance) or not 0 < chance <= 1:
            return "a propensity in it is no chance above 0 and up to 1"
        if not isinstance(position, int) or isinstance(position, bool):
            return "a position in it is no whole number"
    return _problem_of_exploration(event["exploration"])


def _problem_of_exploration(text: str) -> str:
    try:
        parse_exploration(text)
    except ValueError as error:
        return f"its {error}"
    return ""


def _is_scored(row: Any) -> bool:
    is_row = isinstance(row, dict) and _is_id(row.get("item"))
    return is_row and _is_number(row.get("score"))


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)
