"""The data's own ids and the indices that agents work with."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from dlerse_jax.types import Dataset

MOST_NAMED = 5  # unknown ids that a warning names
MOST_LETTERS = 40  # of one of them


class Names:
    """Ids of users and items, and titles of items, of one data set.

    An id may come as the data has it, as text that says the same, or from NumPy or a
    data frame: 7, "7" and numpy.int64(7) are one user where ids are numbers.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.user_ids, self.item_ids = dataset.user_ids, dataset.item_ids
        self._titles = dataset.item_titles
        self._users = _Table(self.user_ids)
        self._items = _Table(self.item_ids)

    def title(self, item: int) -> str:
        """What a person calls the item: its title, or its id where it has none."""
        return self._titles[item] if self._titles else str(self.item_ids[item])

    def user(self, name: object) -> int | None:
        """The index of a user id; None for somebody who is not in the data."""
        return self._users.index(name)

    def item(self, name: object) -> int:
        """The index of an item id; ValueError where the data set does not have it."""
        index = self._items.index(name)
        if index is None:
            raise ValueError(f"the data set has no item {str(name)[:200]!r}")
        return index

    def has_user(self, name: object) -> bool:
        """Whether the data set has the user."""
        return self._users.index(name) is not None

    def has_item(self, name: object) -> bool:
        """Whether the data set has the item."""
        return self._items.index(name) is not None

    def item_id(self, item: int) -> Any:
        """The data's own id of an item."""
        return self._items.ids[item]

    def items(self, names: Iterable[object], what: str) -> list[int]:
        """Indices of item ids, each once; unknown ones are named in a warning."""
        return _known(names, self._items, what, "items")

    def users(self, names: Iterable[object], what: str) -> list[int]:
        """Indices of user ids, each once; unknown ones are named in a warning."""
        return _known(names, self._users, what, "users")


class _Table:
    """Indices by id, ids by index."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = ids.tolist()
        self._is_number = np.issubdtype(ids.dtype, np.integer)
        self._indices = {name: index for index, name in enumerate(self.ids)}

    def index(self, name: object) -> int | None:
        if type(name) is int and self._is_number:
            return self._indices.get(name)
        if isinstance(name, np.generic | np.ndarray | jax.Array) and name.ndim == 0:
            name = name.item()
        known = _whole_number(name) if self._is_number else str(name).strip()
        return self._indices.get(known)


def _whole_number(name: object) -> int | None:
    """The number that is meant; None where it is none: nan, True, "7.5"."""
    if isinstance(name, bool):
        return None
    if isinstance(name, str):
        try:
            return int(name)
        except ValueError:
            return None
    if isinstance(name, float):
        return int(name) if name.is_integer() else None
    return name if isinstance(name, int) else None


def _known(names: Iterable[object], table: _Table, what: str, kind: str) -> list[int]:
    is_one = isinstance(names, str | bytes) or getattr(names, "ndim", None) == 0
    if is_one or not isinstance(names, Iterable):
        raise ValueError(f"{what} must be a list of ids, got {str(names)[:200]!r}")
    found: dict[int, None] = {}
    unknown = []
    for name in names:
        index = table.index(name)
        if index is None:
            unknown.append(name)
        else:
            found[index] = None
    if unknown:
        warn(
            f"{what}: {kind} that the data set does not have are left out: ",
            shown_ids(unknown),
        )
    return list(found)


def shown_ids(names: Sequence[object]) -> str:
    """The first ids as a message has them, text in quotes, and how many there are."""
    shown = ", ".join(map(_shown, names[:MOST_NAMED]))
    more = len(names) - MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _shown(name: object) -> str:
    text = str(name)
    cut = text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}..."
    return repr(cut) if isinstance(name, str) else cut


def warn(problem: str, shown: str) -> None:
    """One line for whoever asks; the command line shows it without a file name."""
    warnings.warn(problem + shown, category=UnknownId, stacklevel=6)


class UnknownId(UserWarning):
    """An id that the data set does not have; the rest of the question is answered."""
