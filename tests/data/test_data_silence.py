"""What a reader leaves out, takes instead or cannot tell apart is said or refused."""

import pytest
from test_data_frames import INTER, write_atomic
from test_data_readers import NO_FILTER, friends_by_id, write_delicious

from dlerse_jax.data import TableLayout, dataset_digest, load_dataset
from dlerse_jax.defaults import base_config
from dlerse_jax.experiment.agent_keys import check_changed, check_command

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


def table_of(folder, **layout):
    table = TableLayout(**layout)
    return load_dataset("mine", folder, format="table", table=table, **NO_FILTER)


def test_data_of_an_inner_folder_are_read_with_a_word_or_not_at_all(tmp_path):
    inner = tmp_path / "2023"
    inner.mkdir()
    write_table(inner)
    (tmp_path / "README.txt").write_text("about these data")
    assert table_of(tmp_path).notes[0] == f"read from {inner}"
    assert not any("read from" in note for note in table_of(inner).notes)
    (tmp_path / "2024").mkdir()
    assert table_of(tmp_path).num_users == 2  # an empty folder is none of them
    write_table(tmp_path / "2024")
    with pytest.raises(ValueError, match=r"in 2 folders of it \(2023, 2024\); give on"):
        table_of(tmp_path)
    for path in (tmp_path / "2024").iterdir():
        path.unlink()
    (tmp_path / "likes.csv").write_text("user,item\n1,10\n")
    with pytest.raises(FileNotFoundError, match="interactions is missing, found likes"):
        table_of(tmp_path)


@pytest.mark.parametrize("other", ["interactions.tsv", "INTERACTIONS.csv"])
def test_two_files_that_a_name_could_mean_are_refused(tmp_path, other):
    write_table(tmp_path)
    (tmp_path / other).write_text("user\titem\n3\t10\n")
    with pytest.raises(
        ValueError, match="and .* could .* name one with data.table.int"
    ):
        table_of(tmp_path)
    assert table_of(tmp_path, interactions="interactions.csv").num_users == 2


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        ({"friend": "user"}, "friend and data.table.friend_user are both .user.; name"),
        ({"friend_weight": "friend"}, "friend and data.table.friend_weight are both"),
        (
            {"item": "user"},
            "user and data.table.item are both .user.; name two columns",
        ),
        ({"rating": "item"}, "item and data.table.rating are both"),
        ({"header": False, "item": "1"}, "user and data.table.item are both .1."),
        ({"header": False, "user": "2"}, "user and data.table.item are both .2."),
    ],
)
def test_a_column_that_is_to_be_two_things_is_refused(layout, told):
    with pytest.raises(ValueError, match=told):
        TableLayout(**layout)
    TableLayout(title="item", friend_user="item")  # these may well be one column


@pytest.mark.parametrize("ids", ["u1,u2\n", "1,2\n"])
def test_interactions_without_a_row_are_named(tmp_path, ids):
    write_table(tmp_path, "user,friend\n" + ids)
    path = tmp_path / "interactions.csv"
    path.write_text("user,item,stars\n")
    with pytest.raises(
        ValueError, match="interactions.csv: a header and not one row; "
    ):
        table_of(tmp_path)
    path.write_text("user,item,stars\nu1,10,\nu2,10,NA\n")
    with pytest.raises(
        ValueError, match="csv: no row has a value in stars; name anoth"
    ):
        table_of(tmp_path, rating="stars")


@pytest.mark.parametrize("separator", ["\t", " ", ";"])
def test_a_file_without_a_header_is_told_so_whatever_parts_it(tmp_path, separator):
    lines = (f"{user}{separator}2\n" for user in (0, 5, 7))
    (tmp_path / "interactions.txt").write_text("".join(lines))
    message = '"user" is missing, found 0, 2; is its first line no header.*header=False'
    with pytest.raises(ValueError, match=message):
        table_of(tmp_path, friends="")
    assert table_of(tmp_path, friends="", header=False).num_users == 3


TITLES = ["10,Tea", "10,  Tea ", "10,Cha", "20,Juice", "20,Aqua", "30,NA", '40,""']


def write_titled(folder, rows):
    (folder / "interactions.csv").write_text(
        "user,item\n1,10\n2,10\n1,20\n1,30\n1,40\n2,50\n"
    )
    (folder / "titles.csv").write_text("\n".join(["item,title", *rows]))


def titled(folder):
    return table_of(folder, friends="", titles="titles", title="title")


def test_of_several_titles_the_most_frequent_is_kept_whatever_their_order(tmp_path):
    write_titled(tmp_path, TITLES)
    dataset = titled(tmp_path)
    assert dataset.item_titles == ("Tea", "Aqua", "30", "40", "50")
    several = "2 items have several titles in titles.csv: the most frequent is kept"
    nameless = "3 of 5 items have no title in titles.csv: each is called by its id"
    assert {several, nameless} < set(dataset.notes)
    write_titled(tmp_path, TITLES[::-1])
    assert dataset_digest(titled(tmp_path)) == dataset_digest(dataset)


def test_titles_that_are_as_they_should_be_need_no_word(tmp_path):
    write_titled(tmp_path, [f"{item},no. {item}" for item in range(10, 70, 10)])
    assert not any("title" in note for note in titled(tmp_path).notes)
    write_titled(tmp_path, ["100,Tea", "200,Juice"])
    assert any("5 of 5 items have no title" in n for n in titled(tmp_path).notes)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["name=lastfm", "table.user=xx"],
            "table.user does nothing .*hetrec_lastfm; l",
        ),
        (
            ["name=lastfm", "table.friends=f"],
            "table.friends names no file for .*_lastfm",
        ),
        (["name=filmtrust", "table.rating=r"], "data.table.rating does nothing"),
        (["name=mine", "format=recbole", "table.user=u"], "table.user does nothing"),
        (["name=mine", "format=table", "item_kind=tag"], "data.item_kind does nothing"),
        (["name=lastfm", "synthetic.seed=1"], "data.synthetic.seed does nothing"),
        (["min_rating=3"], "data.min_rating does nothing for data of format synthetic"),
        (["name=lastfm", "table.friends="], ""),
        (["name=lastfm", "table.user=user", "synthetic.seed=0"], ""),  # the defaults
        (["name=lastfm", "table.features=f", "table.item=id"], ""),
        (["name=filmtrust", "table.friends=f", "min_rating=1"], ""),
        (["name=mine", "format=recbole", "table.rating=r"], ""),
        (["name=mine", "format=table", "table.user=u"], ""),
        (["name=delicious", "item_kind=tag"], ""),
        (["name=nobody", "table.user=u"], ""),  # what `load_dataset` says of it
        (["synthetic.seed=1", "split=2"], ""),
    ],
)
def test_a_key_that_the_format_does_not_read_is_refused(words, told):
    config = base_config()
    given = {
        f"data.{key}": value for key, _, value in (w.partition("=") for w in words)
    }
    for key, value in given.items():
        value = int(value) if value.isdecimal() else value
        config.update_from_flattened_dict({key: value})
    if not told:
        check_command(config, given)
        check_changed(config)
        return
    with pytest.raises(ValueError, match=told):
        check_command(config, given)
    if "synthetic.seed=1" not in words:
        with pytest.raises(ValueError, match=told):
            check_changed(config)


def test_a_file_with_a_world_of_its_own_may_be_given_other_data():
    config = base_config()
    config.agent.name, config.pretrain.num_updates = "dlerse_rank", 40
    config.data.name, config.data.synthetic.num_users = "lastfm", 100
    check_command(config, {"data.name"})
    check_changed(config)
