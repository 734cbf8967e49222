"""What counts as a whole number, of Python's and NumPy's."""

from typing import Any

import numpy as np


def is_whole(number: Any) -> bool:
    """Whether it is a whole number; True and 2.0 are none."""
    return isinstance(number, int | np.integer) and not isinstance(number, bool)
