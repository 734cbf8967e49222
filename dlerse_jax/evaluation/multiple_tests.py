"""What many comparisons in one table do to its p-values: Holm's step-down adjustment.

Of twenty agents that equal the bar one differs from it at the 5% level by luck. Holm's
p-values (A Simple Sequentially Rejective Multiple Test Procedure, 1979) hold the chance
of a single false difference in the whole table at the level, whatever depends on what.
"""

from collections.abc import Sequence

import numpy as np

MOST_ROWS = 10  # tables with more rows than that say adjusted p-values
LEVEL = 0.05


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjusted p-values in the order given, at most 1; nan stays nan and counts not.

    The i-th smallest of m is multiplied by m - i + 1, and none is below a smaller one.
    """
    p_values = np.asarray(p_values, float)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known])]
    factors = len(order) - np.arange(len(order))
    adjusted = np.full(len(p_values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return adjusted
