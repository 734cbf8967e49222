"""What a reader leaves out, takes instead or cannot tell apart is said or refused."""

import pytest
from test_data_frames import INTER, write_atomic
from test_data_readers import NO_FILTER, friends_by_id, write_delicious

from dlerse_jax.data import TableLayout, load_dataset

WITHOUT = TableLayout(friends="")
STRANGERS = "there is no friends file: nobody has a friend"


def write_lastfm(folder):
    counts = "userID\tartistID\tweight\n2\t51\t13\n9\t51\t1\n"
    (folder / "user_artists.dat").write_text(counts)
    (folder / "user_friends.dat").write_text("userID\tfriendID\n2\t9\n")


def write_recbole(folder):
    net = "source_id:token\ttarget_id:token\n1\t3\n"
    write_atomic(folder, inter=f"{INTER}3\t20\t2\t8\n1\t20\t4\t8\n", net=net)


def write_ratings(folder):
    (folder / "ratings.txt").write_text("1 7 4\n2 7 4\n")
    (folder / "trust.txt").write_text("1 2 1\n")


def write_table(folder, friends="user,friend\n1,2\n"):
    (folder / "interactions.csv").write_text("user,item\n1,10\n2,10\n")
    (folder / "friends.csv").write_text(friends)


@pytest.mark.parametrize(
    ("write", "options"),
    [
        (write_lastfm, {"format": "hetrec_lastfm"}),
        (
            lambda folder: write_delicious(folder, timestamps=True),
            {"format": "hetrec_delicious"},
        ),
        (write_recbole, {"format": "recbole"}),
        (write_ratings, {"format": "ratings_text"}),
        (write_table, {"format": "table"}),
    ],
)
def test_who_goes_without_friends_has_none_in_every_format(tmp_path, write, options):
    write(tmp_path)
    assert friends_by_id(load_dataset("mine", tmp_path, **options, **NO_FILTER))
    alone = load_dataset("mine", tmp_path, table=WITHOUT, **options, **NO_FILTER)
    assert friends_by_id(alone) == [] and STRANGERS in alone.notes
