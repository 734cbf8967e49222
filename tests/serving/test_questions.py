"""Ids in one text: commas and semicolons part them, quotes hold one together."""

from types import SimpleNamespace

import numpy as np
import pytest

from dlerse_jax.serving.names import Names
from dlerse_jax.serving.questions import known_ids, read_questions, split_ids

ITEMS = ("Crosby, Stills & Nash", "Earth", "Earth, Wind", "Wind", "tea", 'the 12" mix')
NAMES = Names(
    SimpleNamespace(
        user_ids=np.array(["ann, b.", "bob"]),
        item_ids=np.array(ITEMS),
        item_titles=None,
    )
)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("ann, bob", ["ann", "bob"]),
        ("ann;bob , ;", ["ann", "bob"]),
        ('"Earth, Wind",tea', ["Earth, Wind", "tea"]),
        ('tea; "Earth; Wind" ', ["tea", "Earth; Wind"]),
        ('"a ""b"", c"', ['a "b", c']),
        ('"Weird" Al, 12" mix', ['"Weird" Al', '12" mix']),
        ('"no end, tea', ['"no end', "tea"]),
        (' ,"", ', []),
    ],
)
def test_quotes_hold_an_id_together(text, ids):
    assert split_ids(text) == ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (" Crosby, Stills & Nash ", ["Crosby, Stills & Nash"]),
        ('"Earth, Wind"', ["Earth, Wind"]),
        ('"Earth","Wind"', ["Earth", "Wind"]),
        ("Earth, tea", ["Earth", "tea"]),
        ('the 12" mix', ['the 12" mix']),
        ("ann, b.", ["ann", "b."]),  # an id of a user is none of an item
    ],
)
def test_an_id_with_a_comma_is_taken_whole_where_its_parts_are_none(text, ids):
    assert known_ids(text, "only", NAMES) == ids


def test_a_number_may_be_written_in_many_ways_and_nothing_else_is_one():
    data = SimpleNamespace(
        user_ids=np.array([7, 1]), item_ids=np.array([3]), item_titles=None
    )
    names = Names(data)
    for seven in (7, "7", " 7 ", 7.0, np.int8(7), np.float32(7)):
        assert names.user(seven) == 0
    for nobody in (True, np.True_, 7.5, "7.5", float("nan"), float("inf"), None, b"7"):
        assert names.user(nobody) is None


def test_friends_are_ids_of_users():
    assert known_ids("ann, b.", "friends", NAMES) == ["ann, b."]
    assert known_ids("bob;ann, b.", "friends", NAMES) == ["bob", "ann", "b."]


def test_what_can_be_read_both_ways_is_refused_with_the_mend():
    with pytest.raises(ValueError, match="--only: 'Earth, Wind' is an id") as refused:
        known_ids("Earth, Wind", "only", NAMES)
    assert """quote the id, as --only='"Earth, Wind"', or""" in str(refused.value)


def test_a_row_names_itself_and_a_user_is_never_split():
    rows = [{"user": "ann, b.", "liked": ITEMS[0]}, {"exclude": "Earth, Wind"}]
    with pytest.raises(ValueError, match="question 1, exclude: 'Earth, Wind' is an id"):
        read_questions(rows, NAMES)
    assert read_questions(rows[:1], NAMES) == [{"user": "ann, b.", "liked": [ITEMS[0]]}]
