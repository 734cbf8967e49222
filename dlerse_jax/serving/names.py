"""The data's own ids and the indices that agents work with."""

import warnings
from collections.abc import Iterable, Sequence

import numpy as np

from dlerse_jax.types import Dataset

MOST_NAMED = 5  # unknown ids that a warning names


class Names:
    """Ids of users and items, and titles of items, of one data set."""

    def __init__(self, dataset: Dataset) -> None:
        self.user_ids, self.item_ids = dataset.user_ids, dataset.item_ids
        self._titles = dataset.item_titles
        self._users = {name: index for index, name in enumerate(_plain(self.user_ids))}
        self._items = {name: index for index, name in enumerate(_plain(self.item_ids))}

    def title(self, item: int) -> str:
        """What a person calls the item: its title, or its id where it has none."""
        return self._titles[item] if self._titles else str(self.item_ids[item])

    def user(self, name: object) -> int | None:
        """The index of a user id; None for somebody who is not in the data."""
        return _look_up(self._users, self.user_ids, name)

    def items(self, names: Iterable[object], what: str) -> list[int]:
        """Indices of item ids, each once; unknown ones are named in a warning."""
        return _known(names, self._items, self.item_ids, f"{what}: items")

    def users(self, names: Iterable[object], what: str) -> list[int]:
        """Indices of user ids, each once; unknown ones are named in a warning."""
        return _known(names, self._users, self.user_ids, f"{what}: users")


def _plain(ids: np.ndarray) -> Sequence:
    return ids.tolist()


def _look_up(table: dict, ids: np.ndarray, name: object) -> int | None:
    """The index of an id that may come as text, as a number or from NumPy."""
    if hasattr(name, "item"):
        name = name.item()
    if isinstance(name, str) and np.issubdtype(ids.dtype, np.integer):
        text = name.strip()
        is_whole = text.lstrip("-").isascii() and text.lstrip("-").isdigit()
        return table.get(int(text)) if is_whole else None
    if not isinstance(name, str) and not np.issubdtype(ids.dtype, np.integer):
        name = str(name)
    return table.get(name.strip() if isinstance(name, str) else name)


def _known(
    names: Iterable[object], table: dict, ids: np.ndarray, what: str
) -> list[int]:
    if isinstance(names, str | bytes):
        raise ValueError(
            f"{what[: what.index(':')]} must be a list of ids, got {names!r}"
        )
    found: dict[int, None] = {}
    unknown = []
    for name in names:
        index = _look_up(table, ids, name)
        if index is None:
            unknown.append(name)
        else:
            found[index] = None
    if unknown:
        shown = ", ".join(str(name)[:40] for name in unknown[:MOST_NAMED])
        more = len(unknown) - MOST_NAMED
        rest = f" and {more} more" if more > 0 else ""
        warnings.warn(
            f"{what} that the data set does not have are left out: {shown}{rest}",
            stacklevel=4,
        )
    return list(found)
