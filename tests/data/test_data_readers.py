"""HetRec and rating-text readers, on small files in the archives' exact formats."""

import pytest

from dlerse_jax.data import load_dataset

NO_FILTER = {"min_items_per_user": 1, "min_users_per_item": 1}


def likes_by_id(dataset):
    """{user id: {item id: weight}}: the whole content in the file's own ids."""
    starts, stops = dataset.like_offsets[:-1], dataset.like_offsets[1:]
    return {
        user.item(): {
            dataset.item_ids[dataset.liked_items[i]].item(): float(
                dataset.like_weights[i]
            )
            for i in range(start, stop)
        }
        for user, start, stop in zip(dataset.user_ids, starts, stops, strict=True)
    }


def friends_by_id(dataset):
    """Pairs (who names, who is named) in the file's own ids."""
    names = dataset.user_ids[dataset.friend_targets].tolist()
    return sorted(
        zip(names, dataset.user_ids[dataset.friend_sources].tolist(), strict=True)
    )


@pytest.fixture
def lastfm(tmp_path):
    artists = (
        b"id\tname\turl\tpictureURL\n"
        b'51\tThe "Quote\thttp://a\thttp://b\n'
        b"52\tSigur R\xf3s\thttp://a\t\n"  # Latin-1
        + "53\tBjörk\thttp://a\thttp://b\n".encode()
    )
    (tmp_path / "artists.dat").write_bytes(artists)
    (tmp_path / "user_artists.dat").write_text(
        "userID\tartistID\tweight\n2\t51\t13\n2\t52\t7\n9\t51\t1\n9\t54\t2\n2\t51\t4\n"
    )
    (tmp_path / "user_friends.dat").write_text(
        "userID\tfriendID\n2\t9\n9\t2\n2\t77\n2\t2\n2\t9\n"
    )
    return tmp_path


def test_lastfm_counts_friends_and_titles_lead_back_to_the_files(lastfm):
    dataset = load_dataset("lastfm", lastfm, **NO_FILTER)
    assert likes_by_id(dataset) == {2: {51: 17, 52: 7}, 9: {51: 1, 54: 2}}
    assert friends_by_id(dataset) == [(2, 9), (9, 2)]
    # Quotes are letters, odd bytes are Latin-1, an unnamed artist is called by its id.
    assert dataset.item_titles == ('The "Quote', "Sigur Rós", "54")


def test_what_a_reader_drops_or_merges_is_counted_in_the_notes(lastfm):
    notes = load_dataset("lastfm", lastfm, **NO_FILTER).notes
    assert "merged 1 repeated (user, item) rows: sum of their weights" in notes
    assert "dropped 1 friend pairs with a user outside the data" in notes
    assert "dropped 1 friend pairs of a user with themselves" in notes
    assert "dropped 1 repeated friend pairs" in notes


def test_lastfm_rows_without_an_id_are_dropped_and_counted(lastfm):
    with (lastfm / "user_friends.dat").open("a") as file:
        file.write("NA\t9\n9\t\n")
    dataset = load_dataset("lastfm", lastfm, **NO_FILTER)
    assert friends_by_id(dataset) == [(2, 9), (9, 2)]
    assert any("dropped 2 rows of user_friends.dat" in note for note in dataset.notes)


def test_no_message_repeats_a_long_header(lastfm):
    path = lastfm / "user_friends.dat"
    path.write_text(f"userID\tfriendID\t{'x' * 10**5}\n2\t9\n")
    with pytest.raises(ValueError, match="dat:2: 2 fields found") as told:
        load_dataset("lastfm", lastfm, **NO_FILTER)
    assert len(str(told.value)) < 500


def test_lastfm_tags_are_those_of_users_and_items_that_are_left(lastfm):
    assert load_dataset("lastfm", lastfm, **NO_FILTER).taggings is None
    (lastfm / "user_taggedartists.dat").write_text(
        "userID\tartistID\ttagID\tday\tmonth\tyear\n"
        "2\t52\t30\t1\t1\t2009\n9\t51\t13\t1\t1\t2009\n9\t99\t13\t1\t1\t2009\n"
    )
    taggings = load_dataset("lastfm", lastfm, **NO_FILTER).taggings
    rows = zip(taggings.users, taggings.items, taggings.tags, strict=True)
    assert sorted(rows) == [(0, 1, 1), (1, 0, 0)]
    assert taggings.num_tags == 2


def test_lastfm_without_artists_has_no_titles(lastfm):
    (lastfm / "artists.dat").unlink()
    dataset = load_dataset("lastfm", lastfm, **NO_FILTER)
    assert dataset.item_titles is None
    assert "artists.dat is not there: items have no titles" in dataset.notes


def test_folder_inside_the_unzipped_folder_is_found(lastfm):
    inner = lastfm / "hetrec2011-lastfm-2k"
    inner.mkdir()
    for path in list(lastfm.glob("*.dat")):
        path.rename(inner / path.name)
    assert load_dataset("lastfm", lastfm, **NO_FILTER).num_users == 2


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "user_artists.dat",
            "userID\tartistID\tweight\n2\t51\t3\n\nx\t52\t3\n",
            r'user_artists.dat:4: userID is "x", expected an integer id',
        ),
        (
            "user_artists.dat",
            "userID\tartistID\tweight\n2\t5.5\t3\n",
            r'user_artists.dat:2: artistID is "5.5", expected an integer id',
        ),
        (
            "user_artists.dat",
            "userID\tartistID\tweight\n2\t51\n",
            r"user_artists.dat:2: 2 fields found, expected userID artistID weight",
        ),
        (
            "user_artists.dat",
            "userID\tartist\tweight\n2\t51\t3\n",
            r'column "artistID" is missing, found userID, artist, weight '
            r'\(did you mean "artist"\?\)',
        ),
        ("user_friends.dat", "", r"user_friends.dat: the file is empty"),
    ],
)
def test_broken_hetrec_file_is_named_with_its_line(lastfm, file, text, message):
    (lastfm / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_dataset("lastfm", lastfm, **NO_FILTER)


def test_missing_hetrec_file_is_named(lastfm):
    (lastfm / "user_friends.dat").unlink()
    with pytest.raises(FileNotFoundError, match="user_friends.dat is missing; unzip"):
        load_dataset("lastfm", lastfm)


# user, bookmark, tag: user 8 gave bookmark 1 two tags, and bookmarks 1 and 2 one tag.
TAGGED = [(8, 1, 1), (8, 1, 2), (8, 2, 1), (8, 3, 5), (10, 3, 5)]


def write_delicious(folder, *, timestamps):
    suffix = "-timestamps" if timestamps else ""
    date = "timestamp" if timestamps else "day\tmonth\tyear\thour\tminute\tsecond"
    when = "1289255362000" if timestamps else "8\t11\t2010\t23\t29\t22"
    rows = [f"{user}\t{mark}\t{tag}\t{when}" for user, mark, tag in TAGGED]
    (folder / f"user_taggedbookmarks{suffix}.dat").write_text(
        "\n".join([f"userID\tbookmarkID\ttagID\t{date}", *rows])
    )
    date = "timestamp" if timestamps else "date_day\tdate_month\tdate_year"
    when = "1286151259000" if timestamps else "4\t10\t2010"
    (folder / f"user_contacts{suffix}.dat").write_text(
        f"userID\tcontactID\t{date}\n8\t10\t{when}\n10\t8\t{when}\n"
    )
    (folder / "bookmarks.dat").write_bytes(
        b"id\tmd5\ttitle\turl\tmd5Principal\turlPrincipal\n"
        b"1\tab49\tIFLA - The official website\thttp://www.ifla.org/\t7f\twww.ifla.org\n"
        b'2\tab50\t"Caf\xe9\thttp://www.ifla.org/x\t7f\twww.ifla.org\n'
        b"3\tab51\tA tab\tin the title\thttp://b.com/\t7e\tb.com\n"
    )
    (folder / "tags.dat").write_text("id\tvalue\n1\tlibrary\n2\tbooks\n5\tweb\n")


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize(
    ("item_kind", "likes", "titles"),
    [
        (
            "url",
            {8: {1: 1, 2: 1, 3: 1}, 10: {3: 1}},
            ("IFLA - The official website", '"Café', "A tab"),
        ),
        ("principal_url", {8: {"www.ifla.org": 2, "b.com": 1}, 10: {"b.com": 1}}, None),
        ("tag", {8: {1: 2, 2: 1, 5: 1}, 10: {5: 1}}, ("library", "books", "web")),
    ],
)
def test_delicious_items_are_urls_sites_or_tags_weighted_by_bookmarks(
    tmp_path, timestamps, item_kind, likes, titles
):
    write_delicious(tmp_path, timestamps=timestamps)
    dataset = load_dataset("delicious", tmp_path, item_kind=item_kind, **NO_FILTER)
    assert likes_by_id(dataset) == likes
    assert friends_by_id(dataset) == [(8, 10), (10, 8)]
    assert dataset.item_titles == titles


def test_bookmark_without_a_site_is_dropped_and_counted(tmp_path):
    write_delicious(tmp_path, timestamps=False)
    lines = (tmp_path / "bookmarks.dat").read_bytes().splitlines(keepends=True)
    (tmp_path / "bookmarks.dat").write_bytes(b"".join([*lines[:3], b"broken line\n"]))
    dataset = load_dataset(
        "delicious", tmp_path, item_kind="principal_url", **NO_FILTER
    )
    assert likes_by_id(dataset) == {8: {"www.ifla.org": 2}}
    assert "skipped 1 broken or repeated lines of bookmarks.dat" in dataset.notes
    assert "dropped 2 bookmarks whose site bookmarks.dat does not name" in dataset.notes


def test_unknown_item_kind_names_the_nearest(tmp_path):
    write_delicious(tmp_path, timestamps=False)
    with pytest.raises(ValueError, match=r'"tags".*did you mean "tag"'):
        load_dataset("delicious", tmp_path, item_kind="tags")


def write_ratings(folder, ratings, trust):
    (folder / "ratings.txt").write_text(ratings)
    (folder / "trust.txt").write_text(trust)
    return folder


@pytest.mark.parametrize(
    ("ratings", "trust"),
    [
        ("1 7 4\n1 8 3.5\n3 7 3\n3 9 5", "1 3 1\n3 1 -1"),
        ("1\t7\t4\r\n1\t8\t3.5\r\n\r\n3\t7\t3\r\n3\t9\t5\r\n", "1\t3\r\n"),
        ("1,7,4\n1,8,3.5\n3,7,3\n3,9,5\n", "1,3,1\n3,1,0\n"),
        ("1, 7, 4\n1, 8, 3.5\n3, 7, 3\n3, 9, 5\n", "1, 3\n3, 1, 0.0\n"),
        (
            "user item rating\n 1  7  4.0 \n1 8 3.5\n3 7 3\n3 9 5",
            "trustor,trustee,weight\n1,3,1",
        ),
        ("\ufeff1 7 4\n1 8 3.5\n3 7 3\n3 9 5", " 1 3 1"),
    ],
    ids=["spaces", "tabs", "commas", "commas and spaces", "header", "byte-order mark"],
)
def test_rating_texts_of_any_separator_read_the_same(tmp_path, ratings, trust):
    write_ratings(tmp_path, ratings, trust)
    for name in ("filmtrust", "epinions", "ciao"):
        dataset = load_dataset(name, tmp_path, **NO_FILTER)
        assert likes_by_id(dataset) == {1: {7: 4, 8: 3.5}, 3: {9: 5}}
        assert friends_by_id(dataset) == [(1, 3)]


def test_trustor_names_trustee_and_distrust_is_dropped_and_counted(tmp_path):
    write_ratings(tmp_path, "1 7 4\n2 7 4\n3 7 4", "1 2 1\n3 1 -1\n3 2 0\n")
    dataset = load_dataset("filmtrust", tmp_path, **NO_FILTER)
    assert dataset.num_friends.tolist() == [1, 0, 0]  # only user 1 names a friend
    assert "dropped 2 trust pairs of weight <= 0" in dataset.notes


def test_best_of_repeated_ratings_counts(tmp_path):
    write_ratings(tmp_path, "1 7 2\n1 7 4\n1 7 3", "1 2")
    assert likes_by_id(load_dataset("ciao", tmp_path, **NO_FILTER)) == {1: {7: 4}}


@pytest.mark.parametrize(
    ("ratings", "trust", "message"),
    [
        ("1 7 4\n1 8", "1 2", "ratings.txt:2: 2 fields found, expected user item rat"),
        ("1 7 4\n1 8 4 9", "1 2", "ratings.txt:2: 4 fields found"),
        ("1 7 4\nbob 8 4", "1 2", 'ratings.txt:2: user is "bob", expected an integer'),
        ("1 7 4\n1 8 good", "1 2", 'ratings.txt:2: rating is "good", expected a numb'),
        ("1 7 nan", "1 2", 'ratings.txt:1: rating is "nan", expected a number'),
        ("1 7 4", "1 2\n1", r"trust.txt:2: 1 fields found, .* trustee \[weight\]"),
        ("1 7 4", "1 2\n1 2.5 1", 'trust.txt:2: trustee is "2.5", expected an integ'),
        ("1 7 4", "1 2 high", 'trust.txt:1: weight is "high", expected a number'),
        (
            "user item rating",
            "1 2",
            "filmtrust: the interactions have columns and not one",
        ),
    ],
)
def test_broken_rating_text_is_named_with_its_line(tmp_path, ratings, trust, message):
    write_ratings(tmp_path, ratings, trust)
    with pytest.raises(ValueError, match=message):
        load_dataset("filmtrust", tmp_path)
