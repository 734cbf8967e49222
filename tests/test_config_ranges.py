"""Every number of the config has a range, and what is outside is refused at once."""

import math

import pytest

from dlerse_jax.config_ranges import RANGES, Range, check_ranges, range_of
from dlerse_jax.defaults import base_config
from dlerse_jax.experiment.config_files import known_keys
from dlerse_jax.experiment.sweep import changed_config
from dlerse_jax.runs.directory import flat_items

NUMBERS = {
    key: value
    for key, value in flat_items(base_config().to_dict())
    if isinstance(value, int | float) and not isinstance(value, bool)
}


def test_every_number_of_the_config_has_a_range_and_is_in_it():
    assert not [key for key in NUMBERS if range_of(key) is None]
    check_ranges(NUMBERS.items())


def test_no_range_is_of_a_key_that_does_not_exist():
    used = {id(range_of(key)) for key in known_keys()}
    assert not [line for line, allowed in RANGES.items() if id(allowed) not in used]


@pytest.mark.parametrize("key", NUMBERS)
def test_what_is_outside_is_refused_by_key_value_and_range(key):
    outside = [math.nan, math.inf, -math.inf] if isinstance(NUMBERS[key], float) else []
    outside += [-2, 10**12]
    for value in outside:
        if value in range_of(key):  # a rating, or any large float
            continue
        config = base_config()
        like = type(NUMBERS[key])
        with pytest.raises(ValueError, match=f"{key} must be ") as refusal:
            changed_config(config, {key: like(value)})
        assert str(value)[:3] in str(refusal.value) or key in str(refusal.value)


@pytest.mark.parametrize(
    ("allowed", "words", "inside", "outside"),
    [
        (Range(0), "0 or more", (0, 5), (-1, math.nan, math.inf)),
        (Range(0, above=True), "above 0", (1e-9,), (0, -1)),
        (Range(0, 1), "between 0 and 1", (0, 1), (-0.1, 1.1)),
        (Range(0, 1, below=True), "0 or more and below 1", (0, 0.9), (1,)),
        (Range(0, 1, above=True), "above 0 and at most 1", (1,), (0,)),
        (Range(among=(-1, 0)), "-1 or 0", (-1, 0), (0.5, -2)),
        (Range(1, 10_000_000), "1 or more and at most 10,000,000", (1,), (10**8,)),
    ],
)
def test_a_range_says_what_it_allows(allowed, words, inside, outside):
    assert str(allowed) == words
    assert all(number in allowed for number in inside)
    assert not any(number in allowed for number in outside)


@pytest.mark.parametrize(
    ("allowed", "number", "expected"),
    [
        (Range(1, 100), 0, "1 or more"),
        (Range(1, 100), 101, "at most 100"),
        (Range(1, 100), math.nan, "1 or more and at most 100"),
        (Range(0, 1), 2, "between 0 and 1"),
        (Range(among=(-1, 0)), 3, "-1 or 0"),
    ],
)
def test_a_refusal_says_what_the_number_should_have_been(allowed, number, expected):
    assert allowed.expected(number) == expected


def test_what_int32_or_float32_cannot_hold_is_refused():
    for value, most in ((2**31, "2,147,483,647"), (1e39, "3e\\+38")):
        with pytest.raises(ValueError, match=f"must be at most {most}"):
            check_ranges([("network.fan_out", value)])


def test_the_bar_has_a_regression():
    """A rank of 0 was found out by the agent itself, once all training was done."""
    with pytest.raises(ValueError, match="linear_plus.ridge_rank must be 1 or more"):
        changed_config(base_config(), {"baseline.linear_plus.ridge_rank": 0})


def test_a_number_without_a_default_is_a_number_all_the_same():
    """4 and 4.0 are one config: a run goes on from the other's checkpoint."""
    for value in (4, 4.0):
        config = changed_config(base_config(), {"data.min_rating": value})
        assert type(config.data.min_rating) is float
    assert changed_config(config, {"data.min_rating": None}).data.min_rating is None
    for value in ("4", True):
        with pytest.raises(ValueError, match="min_rating cannot be .*a number"):
            changed_config(base_config(), {"data.min_rating": value})
