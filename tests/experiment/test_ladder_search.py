"""A climb finds what is best, asks nothing twice, and is not moved by chance."""

import zlib

import numpy as np
import pytest

from dlerse_jax.experiment.ladder_search import climb

LADDERS = {"a": (0.0, 1.0, 2.0, 3.0, 4.0, 5.0), "b": (0.0, 0.5, 1.0, 1.5, 2.0)}
START = {"a": 1.0, "b": 0.5, "c": 7.0}


class Users:
    """Answer for a point by how far it is from (4, 1.5), each with a level of their
    own, and with as much noise as a test asks for."""

    def __init__(self, *, noise=0.0, slope=0.05):
        self.asked, self.noise, self.slope = [], noise, slope

    def __call__(self, points, everybody):
        count = 200 if everybody else 100
        rows = []
        for point in points:
            self.asked.append((everybody, tuple(sorted(point.items()))))
            draws = np.random.default_rng(zlib.crc32(repr(self.asked[-1]).encode()))
            far = abs(point["a"] - 4.0) + abs(point["b"] - 1.5)
            level = np.linspace(0.4, 0.8, count)
            chance = self.noise * draws.standard_normal(count)
            rows.append(level - self.slope * far + chance)
        return np.array(rows)


def test_it_climbs_to_the_best_point_and_leaves_other_words_alone():
    users = Users()
    found = climb(START, [], LADDERS, users)
    assert found.settings == {"a": 4.0, "b": 1.5, "c": 7.0}
    assert found.mean - found.mean_of_start == pytest.approx(0.05 * 4)
    assert found.num_users == 200
    assert len(users.asked) == len(set(users.asked)) == len(found.tried) < 40


def test_another_start_is_taken_where_it_is_better():
    ladders = {"a": (0.0, 1.0, 2.0)}  # whose end is far from the best
    found = climb(START, [START | {"a": 4.0, "b": 1.5}], ladders, Users())
    assert found.settings["a"] == 4.0


def test_a_start_beside_the_ladder_is_a_rung_of_it():
    users = Users()
    climb(START | {"a": 3.7}, [], LADDERS, users)
    values = {dict(point)["a"] for _, point in users.asked}
    assert {3.7, 3.0, 4.0, 5.0} <= values


def test_where_nothing_matters_the_start_stays():
    same = climb(START, [START | {"a": 3.0}], LADDERS, Users(slope=0.0))
    assert same.settings == START
    by_chance = [
        climb(START | {"c": c}, [], LADDERS, Users(slope=0.0, noise=0.1)).settings
        for c in np.arange(8.0)
    ]
    stayed = sum(found == START | {"c": found["c"]} for found in by_chance)
    assert stayed >= 4  # four finalists, so not always; without the rule, hardly ever
