"""Files and frames that were found to be read wrongly, or refused with a wrong word."""

import decimal
import gzip

import polars as pl
import pytest
from test_data_readers import NO_FILTER, friends_by_id, likes_by_id

from dlerse_jax.data import TableLayout, load_dataset

LIKES = "user,item\n" + "".join(f"{u},{i}\n" for u in range(1, 7) for i in (1, 2))
FRIENDS = "user,friend\n1,2\n2,3\n"
LARGE = pl.DataFrame(
    {"user": [2**24], "item": [1]}, schema_overrides={"user": pl.Float32}
)
INTER = "user_id:token\titem_id:token\n1\t10\n2\t10\n"
NET = "source_id:token\ttarget_id:token\tweight:float\n1\t2\t0\n"


def write(folder, **files):
    for name, text in files.items():
        raw = text if isinstance(text, bytes) else text.encode()
        (folder / name.replace("_dot_", ".")).write_bytes(raw)
    return folder


def table(folder, likes=LIKES, friends=FRIENDS, **layout):
    write(folder, interactions_dot_csv=likes, friends_dot_csv=friends)
    table = TableLayout(**layout)
    return load_dataset("mine", folder, format="table", table=table, **NO_FILTER)


@pytest.mark.parametrize("header", ["user,item\n", "\ufeffuser,item\n"])
def test_files_that_were_joined_do_not_make_a_user_of_their_header(tmp_path, header):
    dataset = table(tmp_path, LIKES + LIKES.replace("user,item\n", header))
    assert dataset.user_ids.tolist() == list(range(1, 7))
    assert (
        "dropped 1 rows of interactions.csv that are its header again (first: line 14)"
        in dataset.notes
    )


def test_several_byte_order_marks_are_none_of_the_header(tmp_path):
    assert table(tmp_path, "\ufeff\ufeff" + LIKES).num_users == 6


@pytest.mark.parametrize("mark", ["\u202a", "\u202c", "\u2068"])
def test_marks_of_direction_tell_no_ids_apart(tmp_path, mark):
    dataset = table(tmp_path, LIKES + f"{mark}1,3\n")
    assert dataset.user_ids.tolist() == list(range(1, 7))


@pytest.mark.parametrize(
    ("encoding", "ids"),
    [
        ("cp1251", ["Иван", "Пётр"]),
        ("gbk", ["张三丰", "李四光"]),
        ("euc-kr", ["홍길동", "김철수"]),
        ("iso8859-7", ["Γιώργος", "Μαρία"]),
    ],
)
def test_other_scripts_are_not_taken_for_latin_1(tmp_path, encoding, ids):
    likes = "user,item\n" + "".join(f"{name},1\n" for name in ids)
    with pytest.raises(ValueError, match="csv:2: neither UTF-8 nor, by its letters, L"):
        table(tmp_path, likes.encode(encoding))


def test_latin_1_with_letters_side_by_side_is_read(tmp_path):
    ids = ["Jääskeläinen", "Müßig", "Zoë", "Åse", "Ñandú", "Höögh"]
    likes = "user,item\n" + "".join(f"{name},1\n" for name in ids)
    dataset = table(tmp_path, likes.encode("latin-1"))
    assert sorted(dataset.user_ids) == sorted(ids)


def test_a_table_without_a_row_is_called_that(tmp_path):
    message = "a header and not one row; is the file whole"
    with pytest.raises(ValueError, match=message):
        table(tmp_path, "user,item\n")
    with pytest.raises(ValueError, match=message):
        load_dataset(interactions={"user": [], "item": []}, **NO_FILTER)


def test_friends_of_weight_0_or_less_are_told(tmp_path):
    friends = "user,friend,trust\n1,2,1\n2,3,-1\n"
    notes = table(tmp_path, friends=friends).notes
    assert any('0 or less in "trust", as distrust' in note for note in notes)
    friends = friends.replace("-1", "0.5")
    assert not any("distrust" in n for n in table(tmp_path, friends=friends).notes)


def test_an_id_beyond_64_bits_among_the_lost_is_called_so(tmp_path):
    notes = table(tmp_path, friends=f"user,friend\n{'9' * 20},1\n").notes
    assert any("(first: one beyond 64 bits, 1)" in note for note in notes)


@pytest.mark.parametrize(
    ("users", "ids"),
    [
        ([decimal.Decimal("1.00"), decimal.Decimal("2.00")], [1, 2]),
        ([True, False], [0, 1]),
        (pl.Series([1, 2], dtype=pl.Float32), [1, 2]),
    ],
)
def test_whole_numbers_of_any_type_are_whole_numbers(users, ids):
    dataset = load_dataset(interactions={"user": users, "item": [1, 1]}, **NO_FILTER)
    assert dataset.user_ids.tolist() == ids


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (pl.DataFrame, "is a type, expected a data frame"),
        (
            pl.LazyFrame({"user": [1]}).select("nosuch"),
            'unable to find column "nosuch"',
        ),
        (LARGE, 'user is "16777216.0", expected a whole number'),
    ],
)
def test_frames_that_cannot_be_read_are_one_line(frame, told):
    with pytest.raises(ValueError, match=told) as error:
        load_dataset(interactions=frame, **NO_FILTER)
    assert "\n" not in str(error.value)


def test_a_liked_column_of_truth_values_is_a_rating():
    likes = {"user": [1, 2], "item": [1, 1], "liked": [True, False]}
    dataset = load_dataset(interactions=likes, min_rating=1, **NO_FILTER)
    assert dataset.user_ids.tolist() == [1]
    assert "of the data frame of interactions, as min_rating" in dataset.notes[0]


def test_public_sets_may_be_packed_and_in_upper_case(tmp_path):
    artists = "userID\tartistID\tweight\n1\t5\t10\n2\t5\t3\n"
    write(
        tmp_path,
        USER_ARTISTS_dot_DAT=artists,
        user_friends_dot_dat_dot_gz=gzip.compress(b"userID\tfriendID\n1\t2\n"),
        Artists_dot_dat="id\tname\turl\n5\tBand\tx\n",
    )
    dataset = load_dataset("lastfm", tmp_path, **NO_FILTER)
    assert friends_by_id(dataset) == [(1, 2)] and dataset.item_titles == ("Band",)
    write(tmp_path, user_friends_dot_dat_dot_gz="userID\tfriendID\n")
    notes = load_dataset("lastfm", tmp_path, **NO_FILTER).notes
    assert "user_friends.dat has no friend pair: nobody has a friend" in notes


def test_rating_texts_may_be_packed(tmp_path):
    write(
        tmp_path,
        ratings_dot_txt_dot_gz=gzip.compress(b"1 10 4\n2 10 5\n"),
        TRUST_dot_txt="1 2 1\n",
    )
    assert friends_by_id(load_dataset("filmtrust", tmp_path, **NO_FILTER)) == [(1, 2)]


def test_a_comma_at_the_end_of_ciaos_lines_moves_no_column(tmp_path):
    lines = "1,10,3,99,5,2013-01-01,\n2,10,3,98,4,2013-01-02,\n"
    write(tmp_path, movie_dot_x=b"", trusts_dot_txt="1,2,1\n")
    (tmp_path / "movie-ratings.txt").write_text(lines)
    dataset = load_dataset("ciao", tmp_path, **NO_FILTER)
    assert likes_by_id(dataset) == {1: {10: 5}, 2: {10: 4}}


def test_atomic_files_of_commas_are_read_where_that_is_said(tmp_path):
    write(tmp_path, x_dot_inter=INTER.replace("\t", ","))
    with pytest.raises(ValueError, match="give data.table.separator=comma"):
        load_dataset("x", tmp_path, format="recbole", **NO_FILTER)
    write(tmp_path, x_dot_net=NET.replace("\t", ","))
    layout = TableLayout(separator="comma")
    dataset = load_dataset("x", tmp_path, format="recbole", table=layout, **NO_FILTER)
    assert friends_by_id(dataset) == [(1, 2)]
    assert any('0 or less in "weight:float"' in note for note in dataset.notes)
