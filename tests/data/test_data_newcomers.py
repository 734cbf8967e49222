"""People in the friends file alone: users to recommend to, and nothing else changes."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from test_data_readers import NO_FILTER, friends_by_id, likes_by_id

import dlerse_jax as dj
from dlerse_jax.data import dataset_statistics, load_dataset, synthetic_dataset
from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.evaluation.protocols import make_task

WORLD = synthetic_dataset(num_users=150, num_items=60, mean_likes=10)
NEW = 1000  # an id that no interaction has


def frames(extra_pairs=()):
    """The synthetic world as tables, with more pairs of (who names, who is named)."""
    users = np.repeat(WORLD.user_ids, WORLD.num_likes)
    pairs = [*zip(WORLD.friend_targets, WORLD.friend_sources, strict=True)]
    pairs += list(extra_pairs)
    return {
        "interactions": pl.DataFrame({"user": users, "item": WORLD.liked_items}),
        "friends": pl.DataFrame(
            {"user": [int(a) for a, _ in pairs], "friend": [int(b) for _, b in pairs]}
        ),
    }


def load(*extra_pairs, **options):
    return load_dataset(**frames(extra_pairs), **(NO_FILTER | options))


def test_users_with_likes_keep_index_split_and_likes():
    before, after = load(), load((NEW, 3), (-5, 3), (3, NEW))
    assert after.user_ids.tolist() == [*before.user_ids, -5, NEW]
    assert after.num_newcomers == 2
    assert likes_by_id(after) == likes_by_id(before) | {-5: {}, NEW: {}}
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(
            getattr(before.split, part), getattr(after.split, part)
        )


def test_statistics_are_of_users_with_likes_and_newcomers_are_told_beside_them():
    before, after = dataset_statistics(load()), dataset_statistics(load((NEW, 3)))
    assert after == before | {"newcomers": 1, "newcomer_pairs": 1}


def test_who_is_merely_named_is_a_stranger_until_friendship_is_mutual():
    dataset = load((3, NEW))
    assert dataset.num_newcomers == 0
    assert "dropped 1 friend pairs with a user outside the data" in dataset.notes
    mutual = load((3, NEW), symmetric_friends=True)
    assert mutual.num_newcomers == 1
    assert (NEW, 3) in friends_by_id(mutual)


def test_people_with_nobody_to_go_on_are_dropped():
    # 2000 and 2001 name each other; 1004 stands four steps from anybody with likes.
    chain = [(1001, 3), (1002, 1001), (1003, 1002), (1004, 1003)]
    dataset = load(*chain, (2000, 2001), (2001, 2000))
    assert dataset.user_ids[-dataset.num_newcomers :].tolist() == [1001, 1002, 1003]


def test_who_fell_to_a_filter_is_no_newcomer():
    tables = frames([(NEW, 3)])
    one_like = pl.DataFrame({"user": [NEW], "item": WORLD.liked_items[:1]})
    tables["interactions"] = pl.concat([tables["interactions"], one_like])
    dataset = load_dataset(**tables, min_items_per_user=2, min_users_per_item=1)
    assert dataset.num_newcomers == 0
    assert NEW not in dataset.user_ids


def test_nobody_learns_from_newcomers_or_is_judged_by_them():
    dataset = load((NEW, 3))
    newcomer = dataset.num_users - 1
    assert visible_likes(dataset)[newcomer].nnz == 0
    for protocol in ("cold", "warm"):
        task = make_task(
            protocol,
            dataset,
            split=0,
            others_per_like=3,
            ranking_of="cold",
            most_users=0,
        )
        split = task.known.split
        asked = [task.users, task.validation, *dataclasses.astuple(split)]
        assert newcomer not in np.concatenate(asked)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["friends", "ease_friends", "dlerse_con"])
def test_newcomers_are_recommended_what_their_friends_like(name):
    friends = [3, 4, 5, 6]
    dataset = load(*((NEW, friend) for friend in friends))
    small, updates = {}, 0
    if name == "dlerse_con":
        small = {"network.width": 8, "network.hidden": 8, "horizon": 5, "hops": 1}
        updates = 1
    agent = dj.make_agent(name, dataset, **small)
    world = dj.make_simulator(dataset, alpha=0.0, horizon=5)
    trained = dj.train(  # Q-learning masks other users, and learns from the same ones
        agent,
        world,
        seeds=jnp.arange(1),
        pretrain_updates=updates,
        q_learning_updates=0,
    )
    newcomer = np.array([dataset.num_users - 1])
    shown = dj.evaluate(trained, world, newcomer)
    assert shown.items.shape == (1, 1, 5)
    assert (shown.items < dataset.num_items).all()
    if name == "friends":
        train_friends = np.intersect1d(friends, dataset.split.train)
        liked = visible_likes(dataset)[train_friends].sum(axis=0)
        counts = np.asarray(liked).ravel()
        assert counts[shown.items[0, 0, 0]] == counts.max()
