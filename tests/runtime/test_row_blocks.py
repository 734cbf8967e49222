"""Sparse rows are gone through in blocks that cost no more than they may."""

import numpy as np
import pytest

from dlerse_jax.runtime.sparse_rows import places_in_rows, row_blocks


@pytest.mark.parametrize(
    ("costs", "blocks"),
    [
        ([3, 3, 4, 1], [(0, 3), (3, 4)]),
        ([11, 2, 20, 0, 10], [(0, 1), (1, 2), (2, 3), (3, 5)]),  # too dear: alone
        ([0, 0], [(0, 2)]),
        ([], []),
    ],
)
def test_blocks_cost_ten_at_most_or_are_one_row(costs, blocks):
    assert list(row_blocks(np.array(costs, int), 10)) == blocks


def test_places_begin_anew_in_each_row():
    places = places_in_rows(np.array([2, 2, 2, 5, 7, 7]))
    np.testing.assert_array_equal(places, [0, 1, 2, 0, 0, 1])
