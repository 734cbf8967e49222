"""The same table in the dialects people write: read as it is meant, or refused by line.

TRUE is a small world; each test writes it in another way, or breaks it.
"""

import gzip
import logging

import polars as pl
import pytest
from test_data_readers import NO_FILTER, friends_by_id, likes_by_id

from dlerse_jax.data import TableLayout, dataset_digest, load_dataset
from dlerse_jax.data.raw import LONGEST_SHOWN

LIKES = [("müller", "tea"), ("möller", "tea"), ("ann", "milk"), ("bob", "tea")]
FRIENDS = [("müller", "möller"), ("ann", "bob"), ("bob", "ann")]
NUMBERS = [(7, 1), (8, 1), (100000, 2), (9, 2)]


def text_of(header, rows, separator=","):
    lines = [header, *rows]
    return "\n".join(separator.join(map(str, line)) for line in lines) + "\n"


def write(folder, likes=LIKES, friends=FRIENDS, suffix=".csv", separator=",", **codec):
    encode = codec.get("encode", str.encode)
    for name, header, rows in (
        ("interactions", ("user", "item"), likes),
        ("friends", ("user", "friend"), friends),
    ):
        raw = encode(text_of(header, rows, separator))
        (folder / f"{name}{suffix}").write_bytes(raw)
    return folder


def load(folder, min_rating=None, **layout):
    return load_dataset(
        "mine",
        folder,
        format="table",
        table=TableLayout(**layout),
        min_rating=min_rating,
        **NO_FILTER,
    )


def content(dataset):
    likes = [(u, i) for u, row in likes_by_id(dataset).items() for i in row]
    return sorted(likes), friends_by_id(dataset)


TRUE = (sorted(LIKES), sorted(FRIENDS))


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"],
)
def test_encodings_are_found(tmp_path, encoding):
    write(tmp_path, encode=lambda text: text.encode(encoding))
    dataset = load(tmp_path)
    assert content(dataset) == TRUE
    assert bool(dataset.notes[1:]) == (encoding not in ("utf-8", "utf-8-sig"))


def test_other_encoding_of_the_friends_file_matches_all_the_same(tmp_path):
    write(tmp_path)
    (tmp_path / "friends.csv").write_bytes(
        text_of(("user", "friend"), FRIENDS).encode("cp1252")
    )
    assert content(load(tmp_path)) == TRUE


def test_digest_is_of_the_content_alone(tmp_path):
    digest = dataset_digest(load(write(tmp_path)))
    for path in tmp_path.iterdir():
        path.with_suffix(".csv.gz").write_bytes(
            gzip.compress(path.read_text().replace(",", ";").encode("utf-16"))
        )
        path.unlink()
    assert dataset_digest(load(tmp_path)) == digest
    for path in tmp_path.iterdir():
        path.unlink()
    assert dataset_digest(load(write(tmp_path, friends=FRIENDS[1:]))) != digest


def test_decomposed_letters_are_the_same_letters(tmp_path):
    write(tmp_path)
    decomposed = [(a.replace("ü", "u\u0308"), b) for a, b in FRIENDS]
    (tmp_path / "friends.csv").write_text(text_of(("user", "friend"), decomposed))
    assert content(load(tmp_path)) == TRUE


@pytest.mark.parametrize(
    ("suffix", "separator"),
    [
        (".csv", ";"),
        (".csv", "\t"),
        (".csv", "|"),
        (".CSV", ","),
        (".Tsv", "\t"),
        (".tsv", ","),
        (".txt", ","),
        (".txt", " "),
        (".txt", "   "),
        (".dat", "::"),
        (".csv.gz", ","),
        (".TSV.GZ", "\t"),
        (".csv", ", "),
    ],
)
def test_suffixes_and_separators(tmp_path, suffix, separator):
    pack = gzip.compress if suffix.lower().endswith("gz") else bytes
    write(
        tmp_path,
        suffix=suffix,
        separator=separator,
        encode=lambda text: pack(text.encode()),
    )
    assert content(load(tmp_path)) == TRUE


@pytest.mark.parametrize(("word", "separator"), [("~", "~"), ("tab", "\t"), (";", ";")])
def test_separator_may_be_given(tmp_path, word, separator):
    write(tmp_path, suffix=".txt", separator=separator)
    assert content(load(tmp_path, separator=word)) == TRUE


@pytest.mark.parametrize("word", ["ab", "x", '"', "5"])
def test_separator_that_is_none_is_refused(word):
    with pytest.raises(ValueError, match="data.table.separator is .*expected one lett"):
        TableLayout(separator=word)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("edge", ["", "\n\n", "sep=,\n"])
def test_line_ends_blank_lines_and_the_line_of_spreadsheets(tmp_path, ends, edge):
    if edge and ends == "\r":
        edge = edge.replace("\n", "\r")
    write(tmp_path, encode=lambda text: (edge + text.replace("\n", ends)).encode())
    assert content(load(tmp_path)) == TRUE
    with (tmp_path / "friends.csv").open("a", newline="") as file:
        file.write(f"ann,bob,x{ends}")
    line = 5 + edge.count("\n") + edge.count("\r")
    with pytest.raises(ValueError, match=f"friends.csv:{line}: 3 fields found"):
        load(tmp_path)


def test_table_without_a_header_has_numbers_for_columns(tmp_path):
    likes, friends = text_of((5, 7, 1), [(3, 8, 2)]), text_of((7, 8), [])
    (tmp_path / "interactions.csv").write_text(likes)
    (tmp_path / "friends.csv").write_text(friends)
    with pytest.raises(ValueError, match=r'"user" is missing.*data\.table\.header=Fal'):
        load(tmp_path)
    dataset = load(tmp_path, header=False, user="2", item="3", rating="1")
    assert likes_by_id(dataset) == {7: {1: 5}, 8: {2: 3}}
    assert friends_by_id(dataset) == [(7, 8)]
    assert likes_by_id(load(tmp_path, header=False)) == {3: {8: 1}, 5: {7: 1}}
    with pytest.raises(ValueError, match='item is "0", .* the first is 1'):
        load(tmp_path, header=False, item="0")


def test_quote_in_a_tsv_is_a_letter(tmp_path):
    rows = [(7, 1, '"Best'), (8, 1, 'of"'), (9, 2, '"all"')]
    path = tmp_path / "interactions.tsv"
    path.write_text(text_of(("user", "item", "title"), rows, "\t"))
    dataset = load(tmp_path, title="title", friends="")
    assert content(dataset) == ([(7, 1), (8, 1), (9, 2)], [])
    assert dataset.item_titles == ('"Best', '"all"')


def test_quotes_in_a_csv_hold_separators_newlines_and_quotes(tmp_path):
    text = (
        'user,item,title\n7,1,"A, B"\n8,1,"two\nlines"\n9,2,5" vinyl\n'
        '10,3,"say ""no"""\n'
    )
    (tmp_path / "interactions.csv").write_text(text)
    dataset = load(tmp_path, title="title", friends="")
    assert content(dataset)[0] == [(7, 1), (8, 1), (9, 2), (10, 3)]
    assert dataset.item_titles == ("A, B", '5" vinyl', 'say "no"')
    (tmp_path / "interactions.csv").write_text(text + "x,4,y\n11,1.5,z\n")
    with pytest.raises(ValueError, match=r'csv:8: item is "1.5"'):  # the true line
        load(tmp_path, friends="")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('7,1,"open\n8,1,x\n9,2,y\n', "csv:2: unexpected end of data"),
        ('7,1,"open\n8,1,x\n9,2,close"\n', "csv:2: a quote opens here and closes some"),
        ('7,1,"a" b\n', "csv:2: ',' expected after"),
        (f'7,1,"{"x" * 200_000}\n"', "csv:2: field larger than field limit"),
    ],
)
def test_quote_that_swallows_rows_is_named_by_its_line(tmp_path, rows, message):
    (tmp_path / "interactions.csv").write_text("user,item,title\n" + rows)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, friends="")


@pytest.mark.parametrize(
    "odd",
    ["1e+05", "+8", "100,000", "100 000", "100000.0", "--8", "-0", "1_000", "１２"],
)
@pytest.mark.parametrize("table", ["interactions", "friends"])
def test_number_written_another_way_is_refused_by_its_line(tmp_path, odd, table):
    likes = [*NUMBERS, *[(f'"{odd}"', 1)] * (table == "interactions")]
    friends = [(7, 8), *[(7, f'"{odd}"')] * (table == "friends")]
    write(tmp_path, likes, friends)
    line = 6 if table == "interactions" else 3
    with pytest.raises(ValueError, match=rf"{table}.csv:{line}: \w+ is .*, expected a"):
        load(tmp_path)


def test_odd_number_among_texts_is_text_and_said(tmp_path):
    write(tmp_path, [*LIKES, ("1e5", "tea")], [*FRIENDS, ("1e5", "ann")])
    dataset = load(tmp_path)
    assert ("1e5", "ann") in friends_by_id(dataset)
    assert any('(first: "1e5", interactions.csv:6)' in note for note in dataset.notes)


def test_few_texts_among_numbers_make_all_text_and_are_said(tmp_path):
    write(tmp_path, [*NUMBERS, ("ann", 1)], [(7, "ann"), ("ann", 8)])
    dataset = load(tmp_path)
    assert friends_by_id(dataset) == [("7", "ann"), ("ann", "8")]
    assert any('(first: "ann", interactions.csv:6)' in note for note in dataset.notes)


@pytest.mark.parametrize("blank", [" ", "\t", "\u00a0", "\u3000", "\ufeff", "\u200b"])
def test_blanks_around_ids_and_names_of_columns_are_taken_off(tmp_path, blank):
    likes = [(f"{blank}{user}", f"{item}{blank}") for user, item in NUMBERS]
    write(tmp_path, likes, [(7, f"{blank}8"), (f"8{blank}", 9)])
    dataset = load(tmp_path)
    assert content(dataset) == (sorted(NUMBERS), [(7, 8), (8, 9)])
    assert any("took blanks off 4 cells of user in" in note for note in dataset.notes)


@pytest.mark.parametrize(
    "word", ["", "NA", "nan", "null", "None", "N/A", "#N/A", "\\N"]
)
def test_rows_without_a_value_are_dropped_and_counted(tmp_path, word):
    write(tmp_path, [*NUMBERS, (word, 1), (7, word)], [(7, 8), (word, 8), (8, word)])
    dataset = load(tmp_path)
    assert content(dataset) == (sorted(NUMBERS), [(7, 8)])
    assert (
        "dropped 2 rows of interactions.csv without a value in user or item "
        "(first: line 6)" in dataset.notes
    )
    assert any("dropped 2 rows of friends.csv" in note for note in dataset.notes)


def test_ids_of_19_digits_are_numbers_and_longer_ones_are_text(tmp_path):
    snowflake = 1234567890123456789
    write(tmp_path, [(snowflake, 1), (snowflake + 1, 1)], [(snowflake, snowflake + 1)])
    dataset = load(tmp_path)
    assert dataset.user_ids.tolist() == [snowflake, snowflake + 1]
    assert friends_by_id(dataset) == [(snowflake, snowflake + 1)]
    write(tmp_path, [(snowflake, 1), (7, 1)], [(7, snowflake * 100)])
    assert any("outside the data" in note for note in load(tmp_path).notes)
    write(tmp_path, [(snowflake * 100, 1), (7, 1)], [(7, snowflake * 100)])
    dataset = load(tmp_path)
    assert friends_by_id(dataset) == [("7", str(snowflake * 100))]
    assert any("more than 64 bits" in note for note in dataset.notes)


def test_join_that_loses_a_tenth_of_the_pairs_warns_in_one_line(tmp_path, caplog):
    write(tmp_path, friends=[(a.upper(), b) for a, b in FRIENDS])
    with caplog.at_level(logging.WARNING):
        dataset = load(tmp_path)
        load(tmp_path)
    (warning,) = (note for note in dataset.notes if note.startswith("warning: "))
    assert "3 of 3 friend pairs have an id that no interaction has" in warning
    assert [record.message for record in caplog.records] == [f"mine: {warning}"]


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "a web page"),
        (b"\xef\xbb\xbf  <HTML>", "a web page"),
        (b'{"users": [1, 2]}', "JSON"),
        (b'[{"user": 1, "item": 2}]', "JSON"),
        (b"\0" * 100, "the byte 0x00"),
        (b"user,item\n1,\x012\n", "csv:2: holds the byte 0x01"),
        (b"PK\x03\x04abc", "a zip archive"),
        (b"PAR1abc", "a Parquet file"),
        (b"\x1f\x8babc", "broken gzip"),
        (gzip.compress(b"user,item\n1,2\n", mtime=0)[:-5], "broken gzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("user,item\nmü,1\n".encode() + "mö,1\n".encode("latin-1"), "csv:3: neither"),
        ("\ufeffuser,item\n1,2\n".encode("utf-16-le")[:-1], "broken UTF-16"),
        (b"  \n\t\n\xe3\x80\x80\n", "the file is empty"),
        (b"user,user\n1,2\n", 'there are 2 columns "user"'),
        (b"user,item\nNA,1\n,2\n", "csv:2: no row has a value in user or item"),
    ],
)
def test_what_is_no_table_is_refused_by_what_it_is(tmp_path, raw, what):
    is_table = raw.startswith(b"user")
    for name in ("interactions",) if is_table else ("interactions", "friends"):
        write(tmp_path, NUMBERS, [])
        (tmp_path / f"{name}.csv").write_bytes(raw)
        with pytest.raises(ValueError, match=what) as error:
            load(tmp_path)
        assert "\n" not in str(error.value)


def test_letters_that_were_lost_before_are_told(tmp_path):
    write(tmp_path, [("m\ufffdller", "tea")])
    assert any("U+FFFD" in note for note in load(tmp_path).notes)


@pytest.mark.parametrize("number", ["inf", "-inf", "nan", "1e300", "good", "4 stars"])
def test_weight_that_is_no_number_is_refused_by_its_line(tmp_path, number):
    path = tmp_path / "interactions.csv"
    path.write_text(f"user,item,stars\n1,2,3\n1,3,{number}\n")
    with pytest.raises(ValueError, match=rf'csv:3: stars is "{number}", expected a nu'):
        load(tmp_path, rating="stars", friends="")


def test_row_without_a_rating_is_dropped_and_counted(tmp_path):
    path = tmp_path / "interactions.csv"
    path.write_text("user,item,stars\n1,2,3\n1,3,\n2,3,NA\n2,2,-1\n")
    dataset = load(tmp_path, rating="stars", friends="")
    assert likes_by_id(dataset) == {1: {2: 3}, 2: {2: -1}}
    assert "dropped 2 rows of interactions.csv without a value in stars" in (
        dataset.notes
    )


def test_rating_column_that_nobody_named(tmp_path):
    path = tmp_path / "interactions.csv"
    path.write_text("user,item,stars\n1,2,1\n1,3,5\n2,2,0\n")
    assert any(
        'column "stars" that nobody named' in n
        for n in load(tmp_path, friends="").notes
    )
    dataset = load(tmp_path, 0.0, friends="")
    assert dataset.num_likes.sum() == 3
    dataset = load(tmp_path, 4, friends="")
    assert likes_by_id(dataset) == {1: {3: 5}}
    assert any("say so with data.table.rating=stars" in n for n in dataset.notes)
    path.write_text("user,item\n1,2\n")
    with pytest.raises(ValueError, match="name one with data.table.rating, found user"):
        load(tmp_path, 4, friends="")


RATED = "1,2,5\n1,3,1\n2,3,4\n"  # without a header


@pytest.mark.parametrize(
    ("text", "column"),
    [
        (RATED, "3"),
        ("1,2,1111111111,5\n1,3,1111111112,1\n", "4"),
        ("user,item,value\n" + RATED, "value"),
        ("user,item,userRating\n" + RATED, "userRating"),
        ("user;item;note\n1;2;-9.5\n1;3;NA\n2;3;0\n", "note"),
        ("1,2,1111111111\n1,3,1111111112\n", ""),  # times
        ("1,2,1\n1,3,1\n", ""),  # nothing to tell rows apart by
        ("user,item,age\n" + RATED, ""),
        ("user,item,value\n1,2,5\n1,3,good\n", ""),
    ],
)
def test_numbers_that_could_be_ratings_are_told(tmp_path, text, column):
    (tmp_path / "interactions.csv").write_text(text)
    headed = text.startswith("user")
    notes = load(tmp_path, friends="", header=headed).notes
    told = [note for note in notes if "that nobody named" in note]
    assert len(told) == bool(column)
    assert not told or f"name it with data.table.rating={column}, and" in told[0]
    if column and column != "userRating":
        with pytest.raises(ValueError, match=f"or {column}, which holds numbers"):
            load(tmp_path, 4, friends="", header=headed)


def test_unnamed_numbers_of_frames_and_parquet_are_told_and_no_other_is_read(tmp_path):
    likes = pl.DataFrame({"user": [1, 2], "item": [1, 1], "v": [3.0, 5.0]})
    likes = likes.with_columns(raw=pl.lit(b"\xff"), box=pl.struct("user", "item"))
    likes.write_parquet(tmp_path / "interactions.parquet")
    columns = {name: likes[name].to_list() for name in ("user", "item", "v")}
    for found in (
        load(tmp_path, friends=""),
        load_dataset(interactions=likes, **NO_FILTER),
        load_dataset(interactions=likes.lazy(), **NO_FILTER),
        load_dataset(interactions=columns | {"o": [object()] * 2}, **NO_FILTER),
    ):
        assert "name it with data.table.rating=v" in found.notes[0]


def test_messages_show_at_most_200_letters_of_a_value(tmp_path):
    path = tmp_path / "interactions.csv"
    for text in (f"user,{'x' * 10**6}\n1,2\n", f"user,item,stars\n1,2,{'x' * 10**5}\n"):
        path.write_text(text)
        with pytest.raises(ValueError) as error:
            load(tmp_path, rating="stars", friends="")
        assert len(str(error.value)) < LONGEST_SHOWN + 300


def test_parquet_reads_only_named_columns_and_refuses_what_is_broken(tmp_path):
    likes = pl.DataFrame({"user": [1, 2], "item": [1, 1], "tags": [["a"], ["b"]]})
    likes = likes.with_columns(raw=pl.lit(b"\xff"), box=pl.struct("user", "item"))
    path = tmp_path / "interactions.PARQUET"
    likes.write_parquet(path)
    assert load(tmp_path, friends="").num_users == 2
    with pytest.raises(ValueError, match=r'column "tags" holds List\(String\)'):
        load(tmp_path, friends="", item="tags")
    for broken in (b"x\n", b"", path.read_bytes()[:-20], b"PAR1" * 10):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="PARQUET: broken Parquet file") as error:
            load(tmp_path, friends="")
        assert "\n" not in str(error.value)


def test_core_repeats_the_filters_and_one_pass_says_who_is_below(tmp_path):
    # Item 3 has one user: it goes, and user 3 stays with one item of two.
    likes = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 3)]
    write(tmp_path, likes, [(1, 2), (2, 3)])
    limits = {"min_items_per_user": 2, "min_users_per_item": 2}
    once = load_dataset("mine", tmp_path, format="table", **limits)
    assert once.user_ids.tolist() == [1, 2, 3]
    assert any("1 of 3 users end with fewer than 2 items" in n for n in once.notes)
    core = load_dataset("mine", tmp_path, format="table", core=True, **limits)
    assert core.user_ids.tolist() == [1, 2]
    assert friends_by_id(core) == [(1, 2)]
