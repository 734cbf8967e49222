"""Somebody who is not in the data: known for friends, for answers, both, or neither."""

import dataclasses

import numpy as np
import pytest
from served import finished_run, served
from worlds import make_world

from dlerse_jax.data.synthetic import synthetic_dataset
from dlerse_jax.experiment.build import build_agent
from dlerse_jax.experiment.restore import Restored, restore_trained
from dlerse_jax.learning.train_loop import init_states, seed_keys
from dlerse_jax.serving.names import UnknownId
from dlerse_jax.serving.people import two_hops
from dlerse_jax.serving.recommender import Recommender

READ_FRIENDS = ("friends", "linear_plus", "dlerse_con", "dlerse_rank order")


def somebody_hidden(recommender):
    """A test user with friends, and the ids of these."""
    data = recommender.dataset
    user = max(data.split.test, key=lambda user: data.num_friends[user])
    return int(user), data.friend_sources[data.friend_targets == user].tolist()


def scores(recommendations):
    return {found.item: found.score for found in recommendations}


@pytest.mark.parametrize("agent", READ_FRIENDS)
def test_friends_answers_and_neither_are_told_apart(agent):
    recommender = served(agent)
    _, friends = somebody_hidden(recommender)
    nobody = scores(recommender.recommend(k=60))
    known_for_friends = scores(recommender.recommend(friends=friends, k=60))
    assert known_for_friends != nobody
    session = recommender.session(friends=friends)
    for liked in (True, False):
        session.answer(session.next().item, liked)
    assert session.next() is not None
    if agent != "friends":  # which reads no answers
        assert scores(recommender.recommend(liked=[3], k=60)) != {
            item: score for item, score in nobody.items() if item != 3
        }


def test_a_new_id_is_somebody_without_friends_and_says_so():
    recommender = served("linear_plus")
    with pytest.warns(UnknownId, match="nobody in the data set has this id.*: 'ann'"):
        found = recommender.recommend(user="ann")
    assert found == recommender.recommend()
    with pytest.warns(UnknownId, match="friends: users .* left out: 'bob'"):
        assert recommender.recommend(friends=["bob"]) == recommender.recommend()


def test_new_and_known_people_are_asked_together():
    recommender = served("linear_plus")
    questions = [{"user": 3}, {"friends": [1, 2]}, {}, {"user": 4, "friends": [5]}]
    found = recommender.recommend_many(questions, k=3)
    for items, question in zip(found, questions, strict=True):
        alone = recommender.recommend(**question, k=3)
        assert [x.item for x in items] == [x.item for x in alone]


@pytest.mark.parametrize("agent", ["linear_plus", "dlerse_con"])
def test_other_numbers_of_friends_compile_nothing(agent):
    recommender = served(agent)
    recommender.recommend(friends=range(3))
    before = recommender.player.num_programs
    for count in (0, 1, 2, 3):
        recommender.recommend(friends=range(count))
    assert recommender.player.num_programs == before


def test_a_user_of_the_friends_file_alone_is_asked_as_any_user():
    """The last two users like nothing: they name user 0, who likes item 0."""
    likes = np.zeros((12, 6))
    likes[np.arange(10), np.arange(10) % 6] = likes[:10, 5] = 1
    world = make_world(likes, [(10, 0), (11, 0)], num_validation=0)
    world = dataclasses.replace(
        world,
        num_newcomers=2,
        split=dataclasses.replace(world.split, train=np.arange(10, dtype=np.int32)),
    )
    recommender = recommender_of(world, "friends")
    assert {x.item for x in recommender.recommend(user=11, k=2)} == {0, 5}
    assert recommender.recommend(user=11) == recommender.recommend(friends=[0])


def test_a_newcomers_people_are_as_far_away_as_a_users():
    """11 names 0, who names 1, who names 2: the only one who likes item 4."""
    likes = np.zeros((12, 6))
    likes[np.arange(10), np.arange(10) % 4] = likes[2, 4] = 1
    world = make_world(likes, [(11, 0), (0, 1), (1, 2)], num_validation=1, num_test=1)
    found = {}
    for far_hops in (2, 3):
        recommender = recommender_of(world, "linear", far_hops=far_hops)
        hidden = scores(recommender.recommend(user=11, k=6))
        assert scores(recommender.recommend(friends=[0], k=6)) == hidden
        found[far_hops] = hidden[4]
    assert found[3] > found[2]


def test_nobody_is_their_own_friends_friend():
    recommender = served("linear_plus")
    user, friends = somebody_hidden(recommender)
    table = recommender.friend_table
    stranger = recommender.person(friends=friends)
    themself = recommender.person(user=user, friends=friends)
    assert user in two_hops(stranger, table)
    assert set(two_hops(themself, table)) == {*two_hops(stranger, table)} - {user}
    assert not set(friends) & set(two_hops(stranger, table))


@pytest.mark.slow
def test_a_hundred_thousand_friends_are_listened_to():
    world = synthetic_dataset(
        num_users=100_200, num_items=60, mean_likes=5, mean_friends=2
    )
    recommender = recommender_of(world, "friends")
    found = recommender.recommend(friends=range(100_000), k=5)
    counts = np.bincount(
        recommender.dataset.liked_items[: recommender.dataset.like_offsets[100_000]],
        minlength=60,
    )
    assert counts[found[0].item] == counts.max()


def recommender_of(world, name, **settings) -> Recommender:
    from tiny import tiny_config

    config = tiny_config()
    config.baseline[name].update(settings)
    agent, roots = build_agent(config, world, name), seed_keys(np.arange(1))
    return Recommender(
        Restored(
            agent=agent,
            states=init_states(agent, roots),
            roots=roots,
            dataset=world,
            selected=None,
        )
    )


def test_an_agent_of_other_data_is_refused():
    restored = restore_trained(finished_run("linear"))
    others = synthetic_dataset(num_users=50, num_items=60)
    with pytest.raises(ValueError, match="linear was made of another data set"):
        Recommender(dataclasses.replace(restored, dataset=others))
