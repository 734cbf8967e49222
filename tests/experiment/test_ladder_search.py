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

    def __call__(self, points, part):
        count = (40, 60, 100)[part]
        rows = []
        for point in points:
            self.asked.append((part, tuple(sorted(point.items()))))
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
    assert found.standard_error == pytest.approx(0)  # everybody gains as much
    assert found.num_users == 200
    assert len(users.asked) == len(set(users.asked)) < 40
    assert len(found.tried) == sum(part == 0 for part, _ in users.asked)


def test_another_start_is_taken_where_it_is_better():
    ladders = {"a": (0.0, 1.0, 2.0)}  # whose end is far from the best
    found = climb(START, [START | {"a": 4.0, "b": 1.5}], ladders, Users())
    assert found.settings["a"] == 4.0


def test_a_start_beside_the_ladder_is_a_rung_of_it():
    users = Users()
    climb(START | {"a": 3.7}, [], LADDERS, users)
    values = {dict(point)["a"] for _, point in users.asked}
    assert {3.7, 2.0, 4.0, 5.0} <= values


def test_a_value_at_the_end_of_its_ladder_is_not_taken_beyond_it():
    users = Users()
    climb({"a": 5.0, "b": 1.5, "c": 7.0}, [], LADDERS, users)
    assert {dict(point)["a"] for _, point in users.asked} == {3.0, 4.0, 5.0}


def test_a_point_that_is_behind_is_left_after_the_first_part():
    users = Users()
    found = climb(START, [], LADDERS, users)
    [behind] = [tried for tried in found.tried if tried.settings["a"] == 0.0]
    assert behind.num_users == 40
    assert (1, tuple(sorted(behind.settings.items()))) not in users.asked
    counts = {tried.num_users for tried in found.tried}
    assert counts == {40, 200}


def test_a_value_that_stays_is_asked_once_more_on_its_better_side_alone():
    users = Users()
    climb({"a": 4.0, "b": 1.0, "c": 7.0}, [], LADDERS, users)
    values = [dict(point) for part, point in users.asked if part == 0]
    beside = {point["b"] for point in values if point["a"] == 4.0}
    assert {0.0, 2.0, 1.5} <= beside and 0.5 not in beside


def test_where_those_asked_last_say_otherwise_the_start_stays():
    class Two(Users):
        def __call__(self, points, part):
            rows = super().__call__(points, part)
            return rows if part < 2 else 0.6 - 0.1 * (rows - rows[0]) / 0.05

    found = climb(START, [], LADDERS, Two(slope=0.05))
    assert found.settings == START
    agreed = climb(START, [], LADDERS, Users(slope=0.05))
    assert agreed.settings != START


def test_a_gain_that_is_clear_on_everybody_needs_not_show_on_a_few():
    class NobodyElse(Users):
        def __call__(self, points, part):
            rows = super().__call__(points, part)
            return rows if part < 2 else np.zeros_like(rows)[:, :5]

    clear = climb(START, [], LADDERS, NobodyElse(slope=0.05, noise=0.05))
    assert clear.settings["a"] > START["a"]
    unclear = climb(START, [], LADDERS, NobodyElse(slope=0.05, noise=1.0))
    assert unclear.settings == START


def test_where_nothing_matters_the_start_stays():
    same = climb(START, [START | {"a": 3.0}], LADDERS, Users(slope=0.0))
    assert same.settings == START
    by_chance = [
        climb(START | {"c": c}, [], LADDERS, Users(slope=0.0, noise=0.1)).settings
        for c in np.arange(8.0)
    ]
    stayed = sum(found == START | {"c": found["c"]} for found in by_chance)
    assert stayed >= 7  # without the rule, hardly ever


def test_where_nobody_is_left_to_be_asked_a_gain_must_be_twice_as_clear():
    class Few(Users):
        def __call__(self, points, part):
            rows = super().__call__(points, part)
            return rows[:, :0] if part == 2 else rows

    assert climb(START, [], LADDERS, Few()).num_users == 100
    assert climb(START, [], LADDERS, Few()).settings["a"] == 4.0
    by_chance = [
        climb(START | {"c": c}, [], LADDERS, Few(slope=0.0, noise=0.1)).settings
        for c in np.arange(8.0)
    ]
    assert sum(found == START | {"c": found["c"]} for found in by_chance) >= 4
