"""Filter, index maps and split: against plain Python on whatever hypothesis draws."""

import dataclasses
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data_readers import friends_by_id, likes_by_id

from dlerse_jax.data.prepare import prepare_dataset
from dlerse_jax.data.raw import RawTables
from dlerse_jax.data.split import check_folds, split_users
from dlerse_jax.data.synthetic import synthetic_dataset

IDS = st.integers(-3, 12)
PAIRS = st.lists(st.tuples(IDS, IDS), max_size=60)
LIKES = st.lists(st.tuples(IDS, IDS, st.integers(1, 5)), min_size=1, max_size=120)


def raw_tables(likes, friends=(), merge="sum"):
    likes_schema = {"user": pl.Int64, "item": pl.Int64, "weight": pl.Float32}
    friends_schema = {"target": pl.Int64, "source": pl.Int64}
    return RawTables(
        interactions=pl.DataFrame(list(likes), schema=likes_schema, orient="row"),
        friends=pl.DataFrame(list(friends), schema=friends_schema, orient="row"),
        merge=merge,
    )


def prepare(raw, *, users=1, items=1, min_rating=None, symmetric=False, split=0):
    return prepare_dataset(
        raw,
        name="tiny",
        split=split,
        min_rating=min_rating,
        min_items_per_user=items,
        min_users_per_item=users,
        reverse_weight=float(symmetric),
    )


def filtered_in_python(likes, min_items, min_users):
    """The filters said with dictionaries: two passes, not a core."""
    weights = Counter()
    for user, item, weight in likes:
        weights[user, item] += weight
    num_items = Counter(user for user, _ in weights)
    weights = {key: w for key, w in weights.items() if num_items[key[0]] >= min_items}
    num_users = Counter(item for _, item in weights)
    return {key: w for key, w in weights.items() if num_users[key[1]] >= min_users}


def newcomers_in_python(pairs, users, known):
    """Who has no interaction and names somebody within three hops of likes."""
    reached, found = set(users), set()
    for _ in range(3):
        reached = {a for a, b in pairs if b in reached} - known - found
        found |= reached
    return sorted(found)


@settings(max_examples=60, deadline=None)
@given(LIKES, PAIRS, st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_filter_and_index_maps_lead_back_to_the_kept_rows(
    likes, friends, min_items, min_users, symmetric
):
    kept = filtered_in_python(likes, min_items, min_users)
    raw = raw_tables(likes, friends)
    if not kept:
        with pytest.raises(ValueError, match="leaves nothing"):
            prepare(raw, items=min_items, users=min_users)
        return
    dataset = prepare(raw, items=min_items, users=min_users, symmetric=symmetric)
    found = likes_by_id(dataset)
    assert {(u, i): w for u, row in found.items() for i, w in row.items()} == kept
    users = sorted({user for user, _ in kept})
    pairs = set(friends) | {(b, a) for a, b in friends if symmetric}
    newcomers = newcomers_in_python(pairs, users, {user for user, _, _ in likes})
    assert dataset.user_ids.tolist() == users + newcomers
    assert dataset.num_newcomers == len(newcomers)
    assert sum(map(len, dataclasses.astuple(dataset.split))) == len(users)
    assert dataset.item_ids.tolist() == sorted({item for _, item in kept})
    assert friends_by_id(dataset) == sorted(
        (a, b) for a, b in pairs if a != b and a in found and b in found
    )


def test_liked_items_ascend_within_a_user():
    dataset = prepare(raw_tables([(1, 9, 1), (1, 3, 1), (0, 9, 1), (0, 1, 1)]))
    assert dataset.like_offsets.tolist() == [0, 2, 4]
    assert dataset.liked_items.tolist() == [0, 2, 1, 2]


def test_item_filter_does_not_send_users_back_to_theirs():
    # User 1 has two items; item 11 falls to the item filter, user 1 stays with one.
    likes = [(1, 10, 1), (1, 11, 1), (2, 10, 1), (2, 12, 1), (3, 10, 1), (3, 12, 1)]
    dataset = prepare(raw_tables(likes), items=2, users=2)
    assert likes_by_id(dataset)[1] == {10: 1}


@pytest.mark.parametrize(("merge", "weight"), [("sum", 7.0), ("max", 4.0)])
def test_repeated_rows_merge_before_min_rating_looks_at_them(merge, weight):
    raw = raw_tables([(1, 1, 3), (1, 1, 4), (2, 1, 1)], merge=merge)
    dataset = prepare(raw, min_rating=2)
    assert likes_by_id(dataset) == {1: {1: weight}}


def test_whoever_is_at_a_limit_stays():
    likes = [(1, 1, 3), (1, 2, 4), (2, 1, 5), (2, 2, 3), (3, 1, 2)]
    dataset = prepare(raw_tables(likes), min_rating=3, items=2, users=2)
    assert likes_by_id(dataset) == {1: {1: 3, 2: 4}, 2: {1: 5, 2: 3}}
    assert dataset.notes[0] == "no like: 1 of 5 interactions of weight below 3"
    assert not any("end with fewer" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"items": 4}, "min_items_per_user 4 .* any user has is 2; lower min_items"),
        ({"users": 9}, "min_users_per_item 9 .* any item has is 1; lower min_users"),
        ({"min_rating": 3.5}, "reaches min_rating 3.5, found at most 3; lower min_r"),
    ],
)
def test_empty_filter_result_says_which_filter_and_by_how_much(limits, message):
    with pytest.raises(ValueError, match=message):
        prepare(raw_tables([(1, 1, 3), (1, 2, 3)]), **limits)


def test_no_friend_pair_at_all_is_a_world_of_strangers():
    dataset = prepare(raw_tables([(1, 1, 1), (2, 1, 1)]))
    assert dataset.num_friends.tolist() == [0, 0]


@given(st.integers(0, 300), st.integers(0, 9))
def test_split_is_a_fold_the_fold_five_on_and_the_rest(num_users, split):
    parts = split_users(num_users, split)
    folds = np.array_split(np.random.default_rng(0).permutation(num_users), 10)
    assert parts.test.tolist() == sorted(folds[split])
    assert parts.validation.tolist() == sorted(folds[(split + 5) % 10])
    rest = set(range(num_users)) - {*parts.test, *parts.validation}
    assert parts.train.tolist() == sorted(rest)
    assert parts.train.dtype == parts.test.dtype == np.int32


def test_nobody_is_asked_twice_and_settings_are_tuned_on_other_people():
    parts = [split_users(1874, split) for split in range(10)]
    asked = np.concatenate([part.test for part in parts])
    assert sorted(asked) == list(range(1874))
    tuned_on = np.concatenate([part.validation for part in parts[:5]])
    tested = np.concatenate([part.test for part in parts[:5]])
    assert not set(tuned_on) & set(tested)


@pytest.mark.parametrize("split", [-1, 10, 1.0, "0", True, None])
def test_bad_split_is_refused(split):
    with pytest.raises(ValueError, match=f"split is {split!r}, expected an integer"):
        split_users(100, split)


def test_fold_of_fewer_than_ten_users_is_refused_with_the_number_that_is_needed():
    check_folds(synthetic_dataset(num_users=100), least=10)
    with pytest.raises(ValueError, match="synthetic: 99 users .* 9 .* so 100 users"):
        check_folds(synthetic_dataset(num_users=99, split=4), least=10)
    check_folds(synthetic_dataset(num_users=20), least=2)
