"""A user's own CSV, TSV and Parquet files with named columns."""

import polars as pl
import pytest
from test_data_readers import NO_FILTER, friends_by_id, likes_by_id

from dlerse_jax.data import TableLayout, load_dataset

LIKES = {"who": [3, 1, 1], "what": [20, 10, 20], "stars": [2.0, 4.5, 5.0]}
FRIENDS = {"who": [1, 3], "knows": [3, 99]}
LAYOUT = {"user": "who", "item": "what", "friend_user": "who", "friend": "knows"}


def write(folder, suffix, likes=LIKES, friends=FRIENDS):
    for name, columns in (("interactions", likes), ("friends", friends)):
        path = folder / f"{name}{suffix}"
        table = pl.DataFrame(columns)
        if suffix == ".parquet":
            table.write_parquet(path)
        else:
            table.write_csv(path, separator="," if suffix == ".csv" else "\t")
    return folder


def load(folder, **layout):
    table = TableLayout(**(LAYOUT | layout))
    return load_dataset("mine", folder, format="table", table=table, **NO_FILTER)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_every_table_format_reads_the_same(tmp_path, suffix):
    dataset = load(write(tmp_path, suffix))
    assert likes_by_id(dataset) == {1: {10: 1, 20: 1}, 3: {20: 1}}
    assert friends_by_id(dataset) == [(1, 3)]
    assert "dropped 1 friend pairs with a user outside the data" in dataset.notes


def test_a_table_may_lie_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (write(tmp_path, ".csv") / "friends.csv").rename(tmp_path / "known.csv")
    (tmp_path / "folder").mkdir()
    (tmp_path / "interactions.csv").rename(tmp_path / "folder" / "interactions.csv")
    dataset = load(tmp_path / "folder", friends="~/known.csv")
    assert friends_by_id(dataset) == [(1, 3)]


def test_rating_column_weighs_and_min_rating_filters(tmp_path):
    write(tmp_path, ".csv")
    dataset = load_dataset(
        "mine",
        tmp_path,
        format="table",
        table=TableLayout(**LAYOUT, rating="stars"),
        min_rating=4.5,
        **NO_FILTER,
    )
    assert likes_by_id(dataset) == {1: {10: 4.5, 20: 5}}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_text_ids_sort_as_text_and_007_is_not_7(tmp_path, suffix):
    likes = {"who": ["ann", "7", "007"], "what": ["a,b", "x", "x"]}
    write(tmp_path, suffix, likes, {"who": ["ann", "7"], "knows": ["007", "ann"]})
    dataset = load(tmp_path)
    assert dataset.user_ids.tolist() == ["007", "7", "ann"]
    assert dataset.item_ids.tolist() == ["a,b", "x"]
    assert friends_by_id(dataset) == [("7", "ann"), ("ann", "007")]


def test_text_users_accept_whole_numbers_among_friends(tmp_path):
    likes = {"who": ["ann", "7"], "what": [1, 1]}
    write(tmp_path, ".csv", likes, {"who": [7], "knows": [7]})
    assert load(tmp_path).num_users == 2


def test_titles_come_from_the_interactions_or_a_titles_file(tmp_path):
    likes = LIKES | {"name": ["Twenty", "Ten", "Twenty again"]}
    write(tmp_path, ".csv", likes)
    assert load(tmp_path, title="name").item_titles == ("Ten", "Twenty")
    (tmp_path / "names.csv").write_text('what,title\n20,"XX, the ""best"""\n')
    dataset = load(tmp_path, titles="names.csv", title="title")
    assert dataset.item_titles == ("10", 'XX, the "best"')
    assert load(tmp_path).item_titles is None


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "interactions",
            "whom,what\n1,2\n",
            r'interactions.csv: column "who" is missing, found whom, what '
            r'\(did you mean "whom"\?\)',
        ),
        (
            "interactions",
            "who,what\n1,2\n1.5,2\n",
            r'interactions.csv:3: who is "1.5", expected a whole number or text',
        ),
        (
            "interactions",
            "who,what\n1,2\n1,2,3\n",
            r"interactions.csv:3: 3 fields found, expected 2",
        ),
        ("interactions", "", r"interactions.csv: the file is empty"),
        (
            "friends",
            "who,knows\n1,3\n1,ann\n",
            r'friends.csv:3: knows is "ann", expected a whole number as in the inter',
        ),
    ],
)
def test_broken_table_is_named_with_its_line(tmp_path, file, text, message):
    write(tmp_path, ".csv")
    (tmp_path / f"{file}.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_floats_in_parquet_are_ids_where_they_are_whole(tmp_path):
    # pandas makes floats of whole numbers as soon as one of them is missing.
    write(tmp_path, ".parquet", {"who": [1.0, None, 3.0], "what": [10, 20, 20]})
    assert likes_by_id(load(tmp_path)) == {1: {10: 1}, 3: {20: 1}}
    write(tmp_path, ".parquet", {"who": [1.0, 2.5], "what": [1, 2]})
    with pytest.raises(ValueError, match=r'parquet:1: who is "1.0", expected a whole'):
        load(tmp_path)


def test_rating_that_is_no_number_is_named_with_its_line(tmp_path):
    write(tmp_path, ".csv", LIKES | {"stars": ["3", "good", "4"]})
    with pytest.raises(ValueError, match=r'csv:3: stars is "good", expected a number'):
        load(tmp_path, rating="stars")


def test_missing_table_lists_what_is_there(tmp_path):
    write(tmp_path, ".csv")
    (tmp_path / "friends.csv").unlink()
    with pytest.raises(FileNotFoundError, match="friends is missing.*interactions.csv"):
        load(tmp_path)


def test_a_missing_friends_table_says_how_to_go_without_and_that_works(tmp_path):
    write(tmp_path, ".csv")
    (tmp_path / "friends.csv").unlink()
    with pytest.raises(FileNotFoundError, match="data.table.friends; the latter empty"):
        load(tmp_path)
    assert not len(load(tmp_path, friends="").friend_sources)
