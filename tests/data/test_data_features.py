"""Features of items: two forms of table, bad cells, and who becomes a cold item."""

import dataclasses

import numpy as np
import polars as pl
import pytest

import dlerse_jax as dj
from dlerse_jax.data.features import make_cold, without_cold_items
from dlerse_jax.data.prepare import prepare_dataset
from dlerse_jax.data.raw import RawTables
from dlerse_jax.data.summary import dataset_digest
from dlerse_jax.types import Taggings

LIKES = {"user": [1, 1, 2, 2, 3, 3], "item": [10, 20, 10, 20, 10, 30]}
WIDE = {
    "item": [10, 20, 30, 40],
    "year": [1, 3, 5, 7],
    "kind": ["a", "b", None, "a"],
}


def load(features, **options):
    options = {"min_items_per_user": 1, "min_users_per_item": 1} | options
    return dj.load_dataset(interactions=LIKES, features=features, **options)


def feature_rows(dataset):
    """{item id: its numbers that are not 0, ascending}."""
    found = dataset.item_features
    ids = dataset.item_ids[found.items].tolist()
    values = [round(float(value), 3) for value in found.values]
    rows = zip(ids, values, strict=True)
    return {
        item: sorted(v for i, v in zip(ids, values, strict=True) if i == item)
        for item, _ in rows
    }


def test_a_wide_table_is_standardised_numbers_and_ones_for_words():
    dataset = load(WIDE)
    assert dataset.item_features.num_columns == 3  # year, kind=a, kind=b
    assert feature_rows(dataset) == {
        10: [-1.342, 1.0],
        20: [-0.447, 1.0],
        30: [0.447],
        40: [1.0, 1.342],
    }


def test_a_long_table_has_one_feature_per_row():
    long = {"item": [10, 10, 40], "feature": ["x", "y", "y"], "value": [2.0, 0.5, 3.0]}
    dataset = load(long)
    assert feature_rows(dataset) == {10: [0.5, 2.0], 40: [3.0]}
    del long["value"]
    assert feature_rows(load(long)) == {10: [1.0, 1.0], 40: [1.0]}


def test_items_without_enough_likes_stay_as_cold_items_behind_the_others():
    dataset = load(WIDE, min_users_per_item=2)
    assert dataset.item_ids.tolist() == [10, 20, 30, 40]  # 30 has a single like
    assert dataset.num_cold_items == 2
    assert dataset.liked_items.max() < dataset.num_known_items
    assert dataset.notes[-1].startswith("2 items are known for features or tags alone")
    plain = load(None, min_users_per_item=2)
    counts = dj.dataset_statistics(dataset)
    assert counts == dj.dataset_statistics(plain) | {"cold_items": 2}
    cut = dataclasses.replace(without_cold_items(dataset), item_features=None)
    assert dataset_digest(cut) == dataset_digest(plain)
    assert dataset_digest(dataset) != dataset_digest(plain)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("item,year\n10,1\n20,nan\n30,2", '3: year is "nan", expected a number'),
        ("item,year\n10,1\n20,2\n30,inf", '4: year is "inf", expected a number'),
        ("item,year\n10,1\n20,2\n30,", '4: year is "", expected a number'),
        ("item,feature,value\n10,x,1\n10,x,2", '3: feature is "x", expected each feat'),
        ("item,year\n10,1\n10,2", '3: item is "10", expected each item once'),
        ("item,year\nten,1\n20,2", '2: item is "ten", expected an integer id'),
        ("item\n10", "no column beside item"),
        ("item,year\n50,1\n60,2", "none of the 3 items with likes is among the 2"),
    ],
)
def test_a_bad_table_is_refused_by_file_and_line(tmp_path, text, line):
    path = tmp_path / "features.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match="features.csv|none of") as error:
        load(path)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_a_features_file_is_named_by_the_layout(tmp_path):
    pl.DataFrame(LIKES).write_csv(tmp_path / "interactions.csv")
    pl.DataFrame(WIDE).write_csv(tmp_path / "shop.csv")
    dataset = dj.load_dataset(
        "mine",
        tmp_path,
        format="table",
        min_items_per_user=1,
        min_users_per_item=1,
        table=dj.TableLayout(friends="", features="shop"),
    )
    assert feature_rows(dataset) == feature_rows(load(WIDE))


def tagged_tables(taggers):
    """Twenty users who like items 0 and 1; taggers tag item 7, whom nobody likes."""
    users, items = np.repeat(np.arange(20), 2), np.tile([0, 1], 20)
    ids = {"user": pl.Int64, "item": pl.Int64, "tag": pl.Int64}
    tagged = [(1, 0, 5), *((int(user), 7, 5) for user in taggers)]
    return RawTables(
        interactions=pl.DataFrame({"user": users, "item": items}).with_columns(
            weight=pl.lit(1, pl.Float32)
        ),
        friends=pl.DataFrame(schema={"target": pl.Int64, "source": pl.Int64}),
        merge="sum",
        taggings=pl.DataFrame(tagged, schema=ids, orient="row"),
    )


def prepare(raw, cold_items):
    return prepare_dataset(
        raw,
        name="tagged",
        split=0,
        min_rating=None,
        min_items_per_user=1,
        min_users_per_item=1,
        cold_items=cold_items,
    )


def test_tags_of_training_users_alone_make_a_cold_item():
    split = prepare(tagged_tables([]), False).split
    assert 1 in split.train
    by_train = prepare(tagged_tables(split.train[:1]), True)
    assert by_train.item_ids.tolist() == [0, 1, 7] and by_train.num_cold_items == 1
    by_others = prepare(tagged_tables([*split.test, *split.validation]), True)
    assert by_others.num_cold_items == 0
    assert prepare(tagged_tables(split.train), False).num_cold_items == 0
    untagged = dataclasses.replace(tagged_tables([]), taggings=None)
    with pytest.raises(ValueError, match="data.cold_items is True, and no item has"):
        prepare(untagged, True)


@pytest.mark.parametrize("asked", [{"cold_items": True}, {"features": WIDE}])
def test_the_synthetic_world_has_no_cold_items(asked):
    with pytest.raises(ValueError, match="synthetic world.*data.cold_items"):
        dj.load_dataset("synthetic", **asked)


def test_items_made_cold_come_last_and_lose_their_likes():
    words = Taggings(
        users=np.zeros(2, np.int32),
        items=np.array([0, 2], np.int32),
        tags=np.array([0, 1], np.int32),
        num_tags=2,
    )
    dataset = dataclasses.replace(load(WIDE), taggings=words)
    cold = make_cold(dataset, np.array([0]))
    assert cold.item_ids[cold.taggings.items].tolist() == [10, 30]
    assert cold.item_ids.tolist() == [20, 30, 40, 10] and cold.num_cold_items == 2
    pairs = zip(
        np.repeat(cold.user_ids, cold.num_likes),
        cold.item_ids[cold.liked_items],
        strict=True,
    )
    assert sorted(pairs) == [(1, 20), (2, 20), (3, 30)]
    assert feature_rows(cold) == feature_rows(dataset)
