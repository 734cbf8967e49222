"""Data frames in place of files, RecBole's atomic files, published rating texts."""

import polars as pl
import pytest
from test_data_readers import NO_FILTER, friends_by_id, likes_by_id

import dlerse_jax as dj

LIKES = {"user": [3, 1, 1], "item": [20, 10, 20], "stars": [2.0, 4.5, 5.0]}
FRIENDS = {"user": [1, 3], "friend": [3, 1]}
RATED = dj.TableLayout(rating="stars")


class Column:
    """What is used of a pandas column: 1.0, nan, 3.0 where an integer is missing."""

    def __init__(self, values):
        self.values = values

    def notna(self):
        return [value == value for value in self.values]

    def astype(self, _):
        return self

    def where(self, keep, other):
        kept = [v if k else other for v, k in zip(self.values, keep, strict=True)]
        return Column(kept)

    def tolist(self):
        return self.values


class Frame(dict):
    """What is used of a pandas frame without pyarrow, and of nothing else."""

    @property
    def columns(self):
        return list(self)


def pandas_like(columns):
    return Frame({name: Column(values) for name, values in columns.items()})


def real_pandas(columns):
    return pytest.importorskip("pandas").DataFrame(columns)


def pandas_with_odd_index(columns):
    frame = real_pandas(columns)
    return frame.set_index(frame.columns[0], drop=False).assign(
        lists=[[1]] * len(frame)
    )


def real_pyarrow(columns):
    return pytest.importorskip("pyarrow").table(columns)


@pytest.mark.parametrize(
    "make",
    [dict, pl.DataFrame, pl.LazyFrame, pandas_like, real_pandas, real_pyarrow]
    + [pandas_with_odd_index],
)
def test_every_kind_of_frame_reads_the_same(make):
    dataset = dj.load_dataset(
        interactions=make(LIKES), friends=make(FRIENDS), table=RATED, **NO_FILTER
    )
    assert likes_by_id(dataset) == {1: {10: 4.5, 20: 5}, 3: {20: 2}}
    assert friends_by_id(dataset) == [(1, 3), (3, 1)]


@pytest.mark.parametrize("make", [pandas_like, real_pandas])
def test_missing_cells_of_a_frame_are_dropped_and_counted(make):
    nan = float("nan")
    dataset = dj.load_dataset(
        interactions=make({"user": [1.0, nan, 3.0], "item": ["a", "b", None]}),
        **NO_FILTER,
    )
    assert likes_by_id(dataset) == {1: {"a": 1}}
    assert any("dropped 2 rows of the data frame of inter" in n for n in dataset.notes)


def test_frames_without_friends_are_strangers_and_may_have_titles(tmp_path):
    titles = tmp_path / "names.csv"
    titles.write_text("item,name\n20,Twenty\n")
    dataset = dj.load_dataset(
        interactions=pl.DataFrame(LIKES),
        titles=titles,
        table=dj.TableLayout(title="name"),
        **NO_FILTER,
    )
    assert dataset.item_titles == ("10", "Twenty")
    assert len(dataset.friend_targets) == 0
    assert "there is no friends file: nobody has a friend" in dataset.notes


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"friends": FRIENDS}, "without interactions"),
        ({"interactions": 7}, "is a int, expected a data frame of pandas, polars or"),
        ({"interactions": {"user": [1]}}, 'column "item" is missing, found user'),
        (
            {"interactions": {"user": [1], "item": [[2]]}},
            r'column "item" holds List\(Int64\), expected text or numbers',
        ),
        ({"interactions": {"user": [1, 2], "item": [1]}}, "data frame of interactions"),
        (
            {"interactions": {"user": [1, 2], "item": [1, 2.5]}},
            'row:2: item is "2.5", expected a whole number',
        ),
        ({"interactions": LIKES, "path": "x"}, "two ways to say where data are"),
        ({"interactions": "nowhere.csv"}, "nowhere.csv: no such file"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tables, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        dj.load_dataset(**tables)
    assert "\n" not in str(error.value)


def write_atomic(folder, **files):
    for suffix, text in files.items():
        (folder / f"ml.{suffix}").write_text(text)
    return folder


def recbole(folder, **options):
    return dj.load_dataset("ml", folder, format="recbole", **(NO_FILTER | options))


INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def test_atomic_files_are_read_by_the_types_in_their_headers(tmp_path):
    write_atomic(
        tmp_path,
        inter=INTER + "3\t20\t2\t881\n1\t10\t4\t881\n1\t20\t5\t881\n",
        net="source_id:token\ttarget_id:token\n1\t3\n",
        item='item_id:token\tmovie_title:token_seq\tyear:token\n20\tThe "Q\t1995\n',
    )
    dataset = recbole(tmp_path)
    assert likes_by_id(dataset) == {1: {10: 4, 20: 5}, 3: {20: 2}}
    assert friends_by_id(dataset) == [(1, 3)]
    assert dataset.item_titles == ("10", 'The "Q')
    assert likes_by_id(recbole(tmp_path, min_rating=5)) == {1: {20: 5}}


def test_atomic_files_of_other_names_and_without_friends(tmp_path):
    write_atomic(tmp_path, inter="listener:token\tartist:token\n1\t10\n")
    assert likes_by_id(recbole(tmp_path)) == {1: {10: 1}}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"csv": "user,item\n1,2\n"}, "an .inter file is missing"),
        ({"inter": "user_id\titem_id\n1\t2\n"}, "its first line has no types"),
        ({"inter": "user_id:token\tx:float\n1\t2\n"}, "1 columns of type token"),
    ],
)
def test_folder_without_atomic_files_is_refused(tmp_path, files, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        recbole(write_atomic(tmp_path, **files))


@pytest.mark.parametrize(
    ("name", "ratings", "trust"),
    [
        ("ciao", ("movie-ratings.txt", "1,7,2,9,4,2013-02-19"), "trusts.txt"),
        ("ciao", ("rating_with_timestamp.txt", "1 7 9 4 5 881"), "trustnetwork.txt"),
        ("epinions", ("rating.txt", "1,7,9,4,5"), "trust.txt"),
        ("epinions", ("ratings_data.txt", "1 7 4"), "trust_data.txt"),
        (
            "epinions",
            ("rating.txt", "7\t1\t4\t0\t2001/01/10\t\t1\t12"),
            "user_rating.txt",
        ),
        ("filmtrust", ("RATINGS.TXT", "1::7::4::881"), "Trust.txt"),
        ("filmtrust", ("ratings.txt", "1\t7\t4\t2001-01-10 10:00"), "trust.txt"),
    ],
)
def test_published_rating_texts_are_read_by_name_and_width(
    tmp_path, name, ratings, trust
):
    file, line = ratings
    (tmp_path / file).write_text(f"{line}\n")
    (tmp_path / trust).write_text("1 2 1 2001/01/10\n2 1 -1 2001/01/10\n")
    dataset = dj.load_dataset(name, tmp_path, **NO_FILTER)
    assert likes_by_id(dataset) == {1: {7: 4}, 2: {}} or likes_by_id(dataset) == {
        1: {7: 4}
    }
    assert "dropped 1 trust pairs of weight <= 0" in dataset.notes


def test_files_of_rating_texts_may_be_named_and_trust_may_be_left_out(tmp_path):
    (tmp_path / "stars.dat").write_text("1;7;4\nNA;7;4\n1;8;NA\n")
    (tmp_path / "ties.dat").write_text("user friend\n")
    layout = {"interactions": "stars.dat", "friends": "ties.dat"}
    for friends in ("ties.dat", ""):
        table = dj.TableLayout(**layout | {"friends": friends})
        dataset = dj.load_dataset("filmtrust", tmp_path, table=table, **NO_FILTER)
        assert likes_by_id(dataset) == {1: {7: 4}}
        notes = "\n".join(dataset.notes)
        assert "dropped 1 rows of stars.dat without a rating" in notes
        assert "nobody has a friend" in notes


def test_negative_counts_are_refused_by_their_line(tmp_path):
    (tmp_path / "user_artists.dat").write_text(
        "userID\tartistID\tweight\n2\t51\t13\n2\t52\t-1\n"
    )
    (tmp_path / "user_friends.dat").write_text("userID\tfriendID\n2\t9\n")
    with pytest.raises(
        ValueError, match=r'dat:3: weight is "-1", expected a number th'
    ):
        dj.load_dataset("lastfm", tmp_path, **NO_FILTER)
