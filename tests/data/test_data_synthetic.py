"""The synthetic world keeps its promises: homophily, skew, loners, sparse memory."""

import hashlib
import time
import tracemalloc

import numpy as np
import pytest

from dlerse_jax.data import synthetic, synthetic_dataset


def like_matrix(dataset):
    likes = np.zeros((dataset.num_users, len(dataset.item_ids)))
    users = np.repeat(np.arange(dataset.num_users), dataset.num_likes)
    likes[users, dataset.liked_items] = 1
    return likes


def cold_precision(dataset, scores, k):
    """Mean precision at k of one ranking for each test user. scores [U, N]."""
    test = dataset.split.test
    top = np.argsort(-scores[test], axis=1, kind="stable")[:, :k]
    return np.take_along_axis(like_matrix(dataset)[test], top, axis=1).mean()


def visible_scores(dataset):
    """Popularity and friends' mean, from training users' likes alone: [U, N] each."""
    is_train = np.isin(np.arange(dataset.num_users), dataset.split.train)
    likes = like_matrix(dataset) * is_train[:, None]
    popularity = np.tile(likes.sum(0) / is_train.sum(), (dataset.num_users, 1))
    friends = np.zeros((dataset.num_users, dataset.num_users))
    friends[dataset.friend_targets, dataset.friend_sources] = is_train[
        dataset.friend_sources
    ]
    num_visible = friends.sum(1, keepdims=True)
    return popularity, (friends @ likes + 4 * popularity) / (num_visible + 4)


def shared_likes(dataset, users, others):
    likes = like_matrix(dataset)
    return (likes[users] * likes[others]).sum(1).mean()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_friends_items_beat_popularity_for_a_new_user(seed):
    dataset = synthetic_dataset(seed=seed)
    popularity, friends = visible_scores(dataset)
    assert 0.15 < cold_precision(dataset, popularity, 20) < 0.25
    assert cold_precision(dataset, friends, 20) > 0.28
    lead = cold_precision(dataset, friends, 1) - cold_precision(dataset, popularity, 1)
    assert lead > 0.2


def test_friends_share_more_likes_than_strangers_and_homophily_is_why():
    strangers = np.random.default_rng(0).integers(600, size=(2, 4000))
    lead = {}
    for homophily in (0.0, 0.8):
        world = synthetic_dataset(homophily=homophily)
        among_friends = shared_likes(world, world.friend_targets, world.friend_sources)
        lead[homophily] = among_friends / shared_likes(world, *strangers)
    assert lead[0.8] > 1.5
    assert lead[0.0] == pytest.approx(1, abs=0.15)


def test_popularity_is_skewed():
    world = synthetic_dataset()
    counts = np.sort(np.bincount(world.liked_items, minlength=400))[::-1]
    assert counts[:40].sum() > 0.2 * counts.sum()  # a tenth of the items
    assert counts[0] > 8 * np.median(counts[200:])


def test_means_and_friendless_share_are_those_asked_for():
    world = synthetic_dataset(
        num_users=5000,
        num_items=3000,
        mean_likes=20,
        mean_friends=12,
        friendless_share=0.3,
    )
    num_friends = world.num_friends
    assert np.mean(num_friends == 0) == pytest.approx(0.3, abs=0.001)
    assert num_friends[num_friends > 0].mean() == pytest.approx(12, rel=0.1)
    assert world.num_likes.mean() == pytest.approx(20, rel=0.05)
    assert world.num_likes.min() >= 5


def test_friendships_are_mutual_without_loops_or_repeats():
    world = synthetic_dataset()
    pairs = set(zip(world.friend_targets, world.friend_sources, strict=True))
    assert len(pairs) == len(world.friend_targets)
    assert all((b, a) in pairs and a != b for a, b in pairs)


def test_likes_ascend_without_repeats_within_a_user():
    world = synthetic_dataset()
    steps = np.diff(world.liked_items)
    within_user = np.ones(len(steps), bool)
    within_user[world.like_offsets[1:-1] - 1] = False
    assert steps[within_user].min() > 0


def test_same_seed_same_world_other_seed_other_world():
    first, again, other = (synthetic_dataset(seed=seed) for seed in (5, 5, 6))
    for field in ("liked_items", "like_offsets", "friend_sources", "friend_targets"):
        assert np.array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(first.like_offsets, other.like_offsets)


def test_likes_of_a_user_are_complete_across_stretches(monkeypatch):
    monkeypatch.setattr(synthetic, "_USERS_AT_ONCE", 64)
    world = synthetic_dataset(num_users=200)
    steps = np.diff(world.liked_items)
    within_user = np.ones(len(steps), bool)
    within_user[world.like_offsets[1:-1] - 1] = False
    assert steps[within_user].min() > 0
    assert world.num_likes.min() >= 5
    assert world.num_likes.mean() == pytest.approx(25, rel=0.1)


def test_split_changes_the_parts_and_not_the_world():
    first, other = synthetic_dataset(split=0), synthetic_dataset(split=1)
    assert np.array_equal(first.liked_items, other.liked_items)
    assert not np.array_equal(first.split.test, other.split.test)


def test_extreme_worlds_are_still_worlds():
    alone = synthetic_dataset(friendless_share=1.0)
    assert len(alone.friend_targets) == 0
    crowded = synthetic_dataset(num_users=40, num_items=6, num_communities=3)
    assert crowded.num_likes.max() <= 6


def test_items_belong_to_one_community_or_several_and_are_liked_in_each():
    world = synthetic_dataset(most_topics=4)
    told = np.zeros((400, 12), int)
    np.add.at(told, (world.taggings.items, world.taggings.tags), 1)
    counts = np.bincount(world.liked_items, minlength=400)
    breadth = (told > 0).sum(axis=1)
    # Whoever likes an item says all its communities.
    np.testing.assert_array_equal(told, counts[:, None] * (told > 0))
    tagged = zip(world.taggings.users, world.taggings.items, strict=True)
    users = np.repeat(np.arange(600), world.num_likes)
    assert set(tagged) == set(zip(users, world.liked_items, strict=True))
    shares = np.bincount(breadth[counts > 0], minlength=5)[1:] / np.sum(counts > 0)
    np.testing.assert_allclose(shares, 0.25, atol=0.12)
    assert counts[breadth == 4].mean() > 1.5 * counts[breadth == 1].mean()


def test_one_topic_adds_tags_and_changes_nothing_else():
    plain, tagged = synthetic_dataset(), synthetic_dataset(most_topics=1)
    for field in ("liked_items", "like_offsets", "friend_sources", "friend_targets"):
        assert np.array_equal(getattr(plain, field), getattr(tagged, field))
    assert plain.taggings is None
    assert len(tagged.taggings.tags) == len(tagged.liked_items)


def test_worlds_without_topics_are_those_of_before_there_were_any():
    world = synthetic_dataset()
    parts = (world.like_offsets, world.liked_items, world.friend_sources)
    digest = hashlib.md5(b"".join(part.tobytes() for part in parts)).hexdigest()
    assert digest == "428c071fcc7f98ccb19c1a45d86a5ddb"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": None}, "seed is None, expected a whole number"),  # by the clock
        ({"seed": -1}, "seed is -1, expected a whole number from 0 on"),
        ({"num_users": 99.5}, "num_users is 99.5, expected a whole number"),
        ({"num_users": 1}, "num_users is 1, expected at least 2"),
        ({"num_communities": 2}, "num_communities is 2, expected at least 3"),
        ({"num_items": 5}, "num_items is 5, expected at least 12"),
        ({"mean_likes": float("nan")}, "mean_likes is nan, expected at least 5"),
        ({"mean_friends": 0}, "mean_friends is 0, expected at least 2"),
        ({"most_topics": 13}, "most_topics is 13, expected 0 to 12"),
        ({"homophily": 1.1}, "homophily is 1.1, expected a share between 0 and 1"),
        ({"friendless_share": -0.1}, "friendless_share is -0.1, expected a share"),
    ],
)
def test_numbers_that_describe_no_world_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        synthetic_dataset(**arguments)


def test_memory_grows_with_likes_not_with_users_times_items():
    # As a bit matrix these users x items would be 5 GB.
    tracemalloc.start()
    begin = time.perf_counter()
    world = synthetic_dataset(
        num_users=200_000,
        num_items=200_000,
        num_communities=200,
        mean_likes=6,
        mean_friends=4,
    )
    seconds = time.perf_counter() - begin
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(world.liked_items) > 1_000_000
    assert peak < 150e6
    assert seconds < 30
