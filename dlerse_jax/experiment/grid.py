"""The points of a sweep that is a grid: some keys, and each of their values."""

import itertools
from collections.abc import Callable, Mapping, Sequence


def add_grid(
    add: Callable[[dict[str, object]], None],
    grid: Mapping[str, Sequence[object]],
    always: Mapping[str, object] | None = None,
) -> None:
    """Calls add once for each combination of values, the last key's moving fastest.

    grid: flat key -> its values; always: keys that every point has alike. A grid of no
    keys is one point; ValueError for a key without values, and for one in both.
    """
    always = always or {}
    for key, values in grid.items():
        if not values:
            raise ValueError(f"{key} has no values: leave it out, or name some")
        if key in always:
            raise ValueError(f"{key} is in the grid, so it cannot be the same always")
    for values in itertools.product(*grid.values()):
        add({**dict(zip(grid, values, strict=True)), **always})
