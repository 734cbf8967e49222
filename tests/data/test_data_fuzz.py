"""Data files as hypothesis draws them: never a traceback, never a silent loss.

`DLERSE_FUZZ=5000` draws so many inputs a test in place of a few hundred in all.
"""

import csv
import dataclasses
import gzip
import io
import os
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_data_frames import INTER, write_atomic
from test_data_readers import NO_FILTER, friends_by_id, likes_by_id, write_delicious

from dlerse_jax.data import TableLayout, load_dataset

NUM_INPUTS = int(os.environ.get("DLERSE_FUZZ", "120"))
FUZZ = settings(
    max_examples=NUM_INPUTS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
USER_ERRORS = (ValueError, FileNotFoundError)

# Texts that some dialect could tear apart, and none may: no tab or newline inside.
_LETTERS = "abzZ019 _.:-+eE,;|\"'#/éüßñ€日ı\u00a0\u0301"
TEXTS = st.text(_LETTERS, min_size=1, max_size=8).map(lambda t: f"x{t}x")
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 30)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "utf-32")


@dataclasses.dataclass(frozen=True)
class Dialect:
    """One way to write a table."""

    encoding: str
    separator: str
    line_end: str
    quoting: int
    blanks: bool
    packed: bool
    suffix: str
    extra: bool  # a column that nobody asked for, in front


DIALECTS = st.builds(
    Dialect,
    encoding=st.sampled_from(ENCODINGS),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    blanks=st.booleans(),
    packed=st.booleans(),
    suffix=st.sampled_from([".csv", ".CSV", ".tsv", ".txt"]),
    extra=st.booleans(),
)


def is_utf8(raw):
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def write_table(folder, name, header, rows, dialect):
    """The table in a dialect; False where its encoding has no such letters, or where
    nobody could tell it from UTF-8 (as cp1252 of a sharp s before a hard blank)."""
    table = [header, *[[str(cell) for cell in row] for row in rows]]
    if dialect.extra:
        table = [["note", *header], *[["a", *row] for row in table[1:]]]
    if dialect.blanks:
        table = [table[0], *[[f"{cell}  " for cell in row] for row in table[1:]]]
    buffer = io.StringIO()
    options = {"delimiter": dialect.separator, "lineterminator": dialect.line_end}
    if dialect.separator == "\t":  # where a quote is a letter
        lines = ["\t".join(row) for row in table]
        buffer.write(dialect.line_end.join(lines))
    else:
        csv.writer(buffer, quoting=dialect.quoting, **options).writerows(table)
    try:
        raw = buffer.getvalue().encode(dialect.encoding)
    except UnicodeEncodeError:
        return False
    if dialect.encoding == "cp1252" and not raw.isascii() and is_utf8(raw):
        return False
    path = folder / f"{name}{dialect.suffix}{'.gz' if dialect.packed else ''}"
    path.write_bytes(gzip.compress(raw) if dialect.packed else raw)
    return True


def loaded(folder, name="mine", **options):
    """The data set, or None where it was refused in one line."""
    try:
        return load_dataset(name, folder, **(NO_FILTER | options))
    except USER_ERRORS as error:
        message = str(error)
        assert message
        assert "\n" not in message
        assert len(message) < 1000, message
        return None


def composed(cell):
    import unicodedata

    return unicodedata.normalize("NFC", cell) if isinstance(cell, str) else cell


def content(dataset):
    likes = likes_by_id(dataset)
    pairs = {(user, item) for user, row in likes.items() for item in row}
    return pairs, set(friends_by_id(dataset))


@FUZZ
@given(st.data(), st.sampled_from([TEXTS, NUMBERS]), DIALECTS, DIALECTS)
def test_a_table_in_any_dialect_comes_back_equal_or_is_refused(
    data, ids, dialect, friends_dialect
):
    users = data.draw(st.lists(ids, min_size=2, max_size=6, unique_by=composed))
    items = data.draw(st.lists(ids, min_size=1, max_size=4, unique_by=composed))
    likes = {(composed(user), composed(items[0])) for user in users}
    likes |= data.draw(
        st.sets(st.tuples(st.sampled_from(users), st.sampled_from(items)), max_size=9)
    )
    pairs = data.draw(
        st.sets(st.tuples(st.sampled_from(users), st.sampled_from(users)), max_size=9)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        header = ["user", "item"]
        fits = write_table(folder, "interactions", header, likes, dialect)
        header = ["user", "friend"]
        fits &= write_table(folder, "friends", header, pairs, friends_dialect)
        dataset = loaded(folder, format="table") if fits else None
    if dataset is None:
        return
    found_likes, found_pairs = content(dataset)
    assert found_likes == {(composed(u), composed(i)) for u, i in likes}
    assert found_pairs == {(composed(a), composed(b)) for a, b in pairs if a != b}


SPELLINGS = {
    "blank before": " {}",
    "blank behind": "{}\u00a0",
    "plus": "+{}",
    "decimal": "{}.0",
    "zeros": "00{}",
    "power": "{}e+00",
    "grouped": "1,{}",
    "minus minus": "--{}",
}


@FUZZ
@given(st.data(), st.sampled_from(list(SPELLINGS)), st.booleans(), st.booleans())
def test_a_number_written_oddly_is_that_number_or_refused_or_told(
    data, spelling, in_friends, by_name
):
    users = data.draw(
        st.lists(st.integers(1, 999), min_size=3, max_size=9, unique=True)
    )
    likes = [[str(user), "1"] for user in users]
    pairs = [[str(a), str(b)] for a, b in zip(users, users[1:], strict=False)]
    table = pairs if in_friends else likes
    row = table[data.draw(st.integers(0, len(table) - 1))]
    column = int(by_name) if in_friends else 0
    row[column] = SPELLINGS[spelling].format(row[column])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dialect = Dialect(
            "utf-8", ";", "\n", csv.QUOTE_MINIMAL, *[False] * 2, ".csv", False
        )
        write_table(folder, "interactions", ["user", "item"], likes, dialect)
        write_table(folder, "friends", ["user", "friend"], pairs, dialect)
        dataset = loaded(folder, format="table")
    if dataset is None:
        return
    if dataset.user_ids.dtype != np.int64:
        assert any("compared and sorted as text" in note for note in dataset.notes)
        return
    assert dataset.user_ids.tolist() == sorted(users)
    assert len(dataset.friend_targets) == len(users) - 1


def write_lastfm(folder):
    (folder / "user_artists.dat").write_text(
        "userID\tartistID\tweight\n2\t51\t13\n2\t52\t7\n9\t51\t1\n"
    )
    (folder / "user_friends.dat").write_text("userID\tfriendID\n2\t9\n9\t2\n")
    (folder / "artists.dat").write_bytes(
        b"id\tname\turl\n51\tR\xf3s\tx\n52\t\xc3\xb6\tx\n"
    )
    (folder / "user_taggedartists.dat").write_text(
        "userID\tartistID\ttagID\n2\t51\t3\n"
    )


def write_ciao(folder):
    (folder / "movie-ratings.txt").write_text("1,7,2,9,4,2013-02-19\n2,7,2,8,5,x\n")
    (folder / "trusts.txt").write_text("1,2,1\n2,1,1\n")


def write_filmtrust(folder):
    (folder / "ratings.txt").write_text("1 7 4\n2 7 3.5\n")
    (folder / "trust.txt").write_text("1 2 1\n")


def write_csv(folder):
    (folder / "interactions.csv").write_text(
        'user,item,stars,title\n1,7,4,"A, ""B"""\n2,7,3,C\nann,8,5,\n'
    )
    (folder / "friends.csv").write_text("user,friend\n1,2\nann,1\n")


def write_tsv(folder):
    (folder / "interactions.tsv.gz").write_bytes(
        gzip.compress("user\titem\nmü\t1\nmö\t2\n".encode("utf-16"))
    )
    (folder / "friends.TSV").write_text('user\tfriend\nmü\tmö\nx"\tmü\n')


def write_parquet(folder):
    likes = pl.DataFrame({"user": [1, 2, 3], "item": ["a", "b", None], "l": [[1]] * 3})
    likes.write_parquet(folder / "interactions.parquet")
    pl.DataFrame({"user": [1], "friend": [2]}).write_parquet(folder / "friends.parquet")


def write_recbole(folder):
    net = "source_id:token\ttarget_id:token\n1\t3\n"
    titles = "item_id:token\ttitle:token_seq\n20\tX\n"
    write_atomic(
        folder, inter=f"{INTER}3\t20\t2\t8\n1\t10\t4\t8\n", net=net, item=titles
    )


TABLE = {"format": "table", "name": "mine"}
WORLDS = {
    write_lastfm: {"name": "lastfm"},
    lambda folder: write_delicious(folder, timestamps=True): {
        "name": "delicious",
        "item_kind": "principal_url",
    },
    write_ciao: {"name": "ciao"},
    write_filmtrust: {"name": "filmtrust"},
    write_csv: {**TABLE, "table": TableLayout(rating="stars", title="title")},
    write_tsv: TABLE,
    write_parquet: TABLE,
    write_recbole: {"format": "recbole", "name": "ml"},
}
PIECES = [b"\0", b"\xff", b'"', b"\n", b"\r", b"\t", b",", b";", b" ", b"\xe3\x80\x80"]
PIECES += [b"\x01", b"\x1a", b"NA", b"1e400", b"-5", b"nan", b"9" * 30, b"x" * 140_000]
PIECES += [b"\xef\xbb\xbf", b"<html>", b'{"a":1}', b"\n\n\n", b"=1+1", "é".encode()]


def damaged(raw, draw):
    """The bytes with one thing done to them: cut, flipped, doubled, or put in."""
    kind = draw(st.sampled_from(["cut", "flip", "put", "drop", "double", "replace"]))
    start = draw(st.integers(0, max(len(raw) - 1, 0)))
    stop = draw(st.integers(start, min(start + 40, len(raw))))
    if kind == "cut":
        return raw[:start]
    if kind == "flip" and raw:
        flipped = raw[start] ^ (1 << draw(st.integers(0, 7)))
        return raw[:start] + bytes([flipped]) + raw[start + 1 :]
    if kind == "drop":
        return raw[:start] + raw[stop:]
    if kind == "double":
        return raw[:stop] + raw[start:stop] + raw[stop:]
    piece = draw(st.sampled_from(PIECES) | st.binary(max_size=6))
    return raw[:start] + piece + raw[stop if kind == "replace" else start :]


@FUZZ
@given(st.data(), st.sampled_from(list(WORLDS)), st.integers(1, 3))
def test_damaged_files_are_read_or_refused_in_one_line(data, write, times):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        for _ in range(times):
            path = data.draw(st.sampled_from(sorted(folder.iterdir())))
            path.write_bytes(damaged(path.read_bytes(), data.draw))
        loaded(folder, **WORLDS[write])


def test_worlds_of_the_fuzzer_are_sound():
    for write, options in WORLDS.items():
        with tempfile.TemporaryDirectory() as name:
            write(Path(name))
            dataset = load_dataset(path=name, **(NO_FILTER | options))
            assert len(dataset.friend_targets)
