"""Where folders are found, what unknown names say, and the real sets' exact numbers."""

import json

import numpy as np
import pytest
from test_data_readers import NO_FILTER, write_ratings

from dlerse_jax.commands import data as data_command
from dlerse_jax.data import dataset_statistics, load_dataset, synthetic_dataset


@pytest.fixture
def clean_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("DLERSE_DATA", raising=False)
    monkeypatch.setenv("DLERSE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_lastfm_gives_the_numbers_of_the_protocol(shared_data):
    dataset = load_dataset("lastfm", shared_data / "lastfm")
    found = dataset_statistics(dataset)
    whole = {key: found[key] for key in list(found)[:4]}
    assert whole == {
        "users": 1874,
        "items": 2828,
        "interactions": 71411,
        "friend_pairs": 25174,
    }
    assert round(found["items_per_user"], 3) == 38.106
    assert round(found["friends_per_user"], 3) == 13.433
    parts = [found[f"{part}_users"] for part in ("train", "validation", "test")]
    assert parts == [1499, 187, 188]
    index = np.searchsorted(dataset.item_ids, 51)
    assert dataset.item_titles[index] == "Duran Duran"


def test_lastfm_friendships_are_mutual_already(shared_data):
    dataset = load_dataset("lastfm", shared_data / "lastfm", symmetric_friends=True)
    assert len(dataset.friend_targets) == 25174


def test_filmtrust_likes_are_ratings_of_3_5_and_more(shared_data):
    dataset = load_dataset("filmtrust", shared_data / "filmtrust")
    assert dataset.like_weights.min() == 3.5
    assert dataset.num_likes.sum() == len(dataset.liked_items) == 13401


def test_real_delicious_contacts_join_bookmarks_in_the_documented_format(
    tmp_path, shared_data
):
    contacts = shared_data / "delicious" / "user_contacts.dat"
    (tmp_path / contacts.name).write_bytes(contacts.read_bytes())
    users = {line.split("\t")[0] for line in contacts.read_text().splitlines()[1:]}
    rows = [f"{user}\t1\t1\t8\t11\t2010\t23\t29\t22" for user in users]
    header = "userID\tbookmarkID\ttagID\tday\tmonth\tyear\thour\tminute\tsecond"
    bookmarks = tmp_path / "user_taggedbookmarks.dat"
    bookmarks.write_text("\n".join([header, *rows]))
    dataset = load_dataset("delicious", tmp_path, **NO_FILTER)
    assert len(dataset.friend_targets) == 15328  # the archive's readme.txt


def test_path_goes_before_environment_before_cache(clean_environment, monkeypatch):
    folders = {}
    for num_users, place in enumerate(["cache", "shared", "mine"], start=1):
        folder = folders[place] = clean_environment / place / "filmtrust"
        folder.mkdir(parents=True)
        ratings = "\n".join(f"{user} 7 4" for user in range(num_users))
        write_ratings(folder, ratings, "1 2")
    assert load_dataset("filmtrust", **NO_FILTER).num_users == 1
    monkeypatch.setenv("DLERSE_DATA", str(clean_environment / "shared"))
    assert load_dataset("filmtrust", **NO_FILTER).num_users == 2
    assert load_dataset("filmtrust", folders["mine"], **NO_FILTER).num_users == 3


def test_missing_folder_tells_all_three_ways_to_get_it(clean_environment):
    with pytest.raises(FileNotFoundError) as error:
        load_dataset("lastfm")
    for way in ("data.path", "DLERSE_DATA", "dlerse data fetch lastfm"):
        assert way in str(error.value)


def test_set_without_a_download_does_not_promise_one(clean_environment):
    with pytest.raises(FileNotFoundError) as error:
        load_dataset("epinions")
    assert "dlerse data fetch" not in str(error.value)


def test_wrong_path_and_wrong_folder_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder; give its"):
        load_dataset("lastfm", tmp_path / "nowhere")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match="user_artists.dat or .* found notes.t"):
        load_dataset("lastfm", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "lastfn"}, 'unknown data set "lastfn".*did you mean "lastfm"'),
        ({"name": "mine"}, "for your own files give a format"),
        ({"name": "x", "format": "tables"}, '"tables".*did you mean "table"'),
        ({"name": "synthetic", "split": -2}, "split is -2"),
    ],
)
def test_unknown_words_name_the_nearest(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_dataset(**arguments)


def test_stats_of_a_known_world_by_hand(tmp_path):
    write_ratings(tmp_path, "1 7 4\n1 8 4\n2 8 5\n5 7 4", "1 2\n1 5\n")
    found = dataset_statistics(load_dataset("ciao", tmp_path, **NO_FILTER))
    assert found == {
        "users": 3,
        "items": 2,
        "interactions": 4,
        "friend_pairs": 2,
        "items_per_user": 4 / 3,
        "friends_per_user": 2 / 3,
        "density": 4 / 6,
        "friendless_share": 2 / 3,
        "train_users": 2,
        "validation_users": 0,
        "test_users": 1,
        "newcomers": 0,
        "newcomer_pairs": 0,
    }


def test_stats_command_writes_the_same_numbers_as_json_and_as_table(capsys):
    dataset = synthetic_dataset(num_users=1200)
    data_command.stats(dataset, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed.items() >= dataset_statistics(dataset).items()
    data_command.stats(dataset, as_json=False)
    table = capsys.readouterr().out
    assert "1,200" in table
    assert f"{printed['interactions']:,}" in table
    assert dataset.notes[0] in table
