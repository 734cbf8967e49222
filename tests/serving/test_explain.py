"""Explanations: leave-one-out is exact, counterfactuals hold, nobody is given away."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config
from worlds import make_world

from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.data.storage import known_part
from dlerse_jax.experiment.build import build_agent, build_dataset
from dlerse_jax.experiment.restore import Restored
from dlerse_jax.graph.friends import friend_table
from dlerse_jax.learning.train_loop import init_states, seed_keys
from dlerse_jax.serving.attention_paths import attention_paths, even_paths, rolled_out
from dlerse_jax.serving.explain import (
    Reason,
    _largest_first,
    attention_weights,
    shortlist_weights,
)
from dlerse_jax.serving.leave_one_out import (
    Groups,
    _margins,
    groups_of,
    margins_of,
    without_friend,
    without_groups,
)
from dlerse_jax.serving.people import Person
from dlerse_jax.serving.recommender import Recommender
from dlerse_jax.serving.sentences import sentence_of
from dlerse_jax.types import Agent

NUM_USERS, NUM_ITEMS = 20, 12
LIKES = np.random.default_rng(0).random((NUM_USERS, NUM_ITEMS)) < 0.4
LIKES[3] = False  # likes nothing
LIKES[:6, 7] = [True, True, False, False, False, True]
PAIRS = [(0, 4), (4, 5), (1, 5), (19, 0), (19, 1), (19, 2), (5, 19)]


def recommender_of(agent, dataset):
    roots = seed_keys(jnp.arange(1))
    states = init_states(agent, roots)
    return Recommender(
        Restored(
            agent=agent,
            states=states,
            roots=roots,
            dataset=known_part(dataset),
            selected=None,
        )
    )


@functools.cache
def additive():
    """Score of an item: friends who like it, and answers that are its neighbours."""
    dataset = make_world(LIKES, PAIRS, num_validation=2, num_test=2)
    likes = jnp.asarray(visible_likes(dataset).toarray())
    near = jnp.eye(NUM_ITEMS, k=1) + jnp.eye(NUM_ITEMS, k=-1)

    def begin(state, context, person, key):
        padded = jnp.concatenate([likes, jnp.zeros((1, NUM_ITEMS))])
        return padded[person.friends].sum(axis=0) + 0.1 * likes.sum(axis=0)

    agent = Agent(
        name="additive",
        init=lambda key: jnp.zeros(()),
        context=lambda state, masked: (),
        begin=begin,
        observe=lambda state, context, memory, seen: (
            memory + (2 * seen.liked - 1) * near[seen.item]
        ),
        scores=lambda state, context, memory, items: (
            memory if items is None else memory[items]
        ),
    )
    return recommender_of(agent, dataset)


@functools.cache
def linear_plus():
    config = tiny_config()
    dataset = build_dataset(config)
    return recommender_of(build_agent(config, dataset, "linear_plus"), dataset)


@functools.cache
def deep():
    config = tiny_config()
    dataset = build_dataset(config)
    return recommender_of(build_agent(config, dataset, "dlerse_con"), dataset)


def test_in_a_sum_each_part_contributes_what_it_adds():
    found = additive().explain(
        7, friends=[0, 1, 2, 3], liked=[8], disliked=[2], name_friends=True
    )
    candidates = np.setdiff1d(np.arange(NUM_ITEMS), [8, 2])
    likes = LIKES.astype(float)
    by_friend = {reason.id: reason.contribution for reason in found.friends}
    for friend in (0, 1, 2, 3):
        expected = likes[friend, 7] - likes[friend, candidates].mean()
        assert by_friend[friend] == pytest.approx(expected, abs=1e-6)
    popular = 0.1 * likes[:16].sum(axis=0)
    told = np.zeros(NUM_ITEMS)
    told[[7, 9]], told[[1, 3]] = 1, -1  # next to 8, and next to 2
    for reason in found.friends:
        left = likes[[f for f in range(4) if f != reason.id]].sum(axis=0)
        first = candidates[(popular + told + left)[candidates].argmax()]
        assert reason.instead == str(first)
    assert by_friend[3] == 0  # whoever likes nothing contributes nothing
    by_answer = {reason.id: reason.contribution for reason in found.answers}
    assert by_answer[8] == pytest.approx(1 - 2 / 10) and not by_answer[2] > 0.2 + 1e-6
    expected = popular[7] - popular[candidates].mean()
    assert found.groups.popularity == pytest.approx(expected, abs=1e-6)
    assert found.groups.friends == pytest.approx(sum(by_friend.values()), abs=1e-5)
    assert found.groups.answers == pytest.approx(sum(by_answer.values()), abs=1e-5)
    parts = dataclasses.astuple(found.groups)
    assert found.margin == pytest.approx(sum(parts), abs=1e-5)
    assert sum(found.groups.shares.values()) == pytest.approx(1)


def test_a_known_user_is_explained_by_the_friends_in_the_data():
    found = additive().explain(7, user=19, name_friends=True)
    assert {reason.id for reason in found.friends} == {0, 1, 2}
    again = additive().explain(7, friends=[0, 1, 2], name_friends=True)
    assert found.friends == again.friends


@pytest.mark.parametrize("make", [additive, linear_plus])
def test_the_counterfactual_is_what_is_recommended_without_that_friend(make):
    recommender = make()
    friends = recommender.dataset.user_ids[recommender.dataset.split.train[:4]].tolist()
    item = recommender.recommend(friends=friends, k=2)[1].item
    found = recommender.explain(item, friends=friends, name_friends=True)
    assert found.rank == 2
    for reason in found.friends:
        others = [friend for friend in friends if friend != reason.id]
        assert reason.instead == recommender.recommend(friends=others, k=1)[0].title
    text = found.without(found.friends[0])
    first = found.friends[0]
    assert text == f"Without {first.name} you would have seen {first.instead}."


def test_a_linear_agent_s_contributions_are_differences_of_its_closed_form():
    recommender = linear_plus()
    dataset, agent = recommender.dataset, recommender.agent
    state = agent.init(jax.random.key(0))
    weighed = visible_likes(dataset).toarray()  # no counts there: all weigh 1
    popular = weighed[dataset.split.train].mean(axis=0)
    table = friend_table(dataset)
    names = friend_table(dataset).matrix.toarray() > 0

    def scores(friends):
        visible = np.isin(np.arange(dataset.num_users), dataset.split.train)
        near = np.isin(np.arange(dataset.num_users), friends)
        far = names[list(friends)].any(axis=0) & ~near & visible
        weight = float(state.ease.prior_weight)
        prior = weighed[near & visible].sum(axis=0) + weight * popular
        prior /= (near & visible).sum() + weight
        mean_far = weighed[far].sum(axis=0) / max(far.sum(), 1)
        prior = prior + float(state.ease.two_hop_weight) * mean_far
        theta = prior @ np.asarray(state.ridge_projection)
        ridge = np.asarray(state.ridge_items) @ theta
        return prior + float(state.ridge_weight) * ridge

    def margin(friends, item):
        return scores(friends)[item] - scores(friends).mean()

    friends = dataset.split.train[:3].tolist()
    assert all(table.num_friends[friends])
    found = recommender.explain(5, friends=friends, name_friends=True)
    assert found.margin == pytest.approx(margin(friends, 5), abs=1e-4)
    for reason in found.friends:
        others = [friend for friend in friends if friend != reason.id]
        expected = margin(friends, 5) - margin(others, 5)
        assert reason.contribution == pytest.approx(expected, abs=1e-4)


def test_of_many_friends_those_who_like_the_item_are_left_out_in_turn():
    recommender = additive()
    person = Person(user=None, friends=(2, 3, 0, 1))
    weights = shortlist_weights(recommender, person, 7)
    assert weights.tolist() == [0, 0, 1, 1.5]  # 1 names 5, who likes it too
    found = recommender.explain(7, friends=[2, 3, 0, 1], most_friends=2)
    assert found.num_shortlisted == 2 and found.num_friends == 4
    assert all(reason.likes for reason in found.friends)


def test_together_is_as_one_by_one():
    recommender = additive()
    person = Person(user=None, friends=(0, 1, 2), items=(8,), liked=(True,))
    people = [*without_groups(person), *(without_friend(person, f) for f in (0, 1, 2))]
    people += [without_friend(person, 0)] * 60  # more than one call, the last not full
    allowed = np.arange(NUM_ITEMS) != 8
    together = margins_of(recommender, people, 7, allowed)
    for row in (0, 1, 3, 5, 66):
        alone = margins_of(recommender, [people[row]], 7, allowed)
        assert together.margins[row] == pytest.approx(alone.margins[0], abs=1e-6)
        assert together.first[row] == alone.first[0]
        assert together.ranks[row] == alone.ranks[0]


def test_three_parts_add_up_also_where_they_interact():
    groups = groups_of([5.0, 3.0, 2.0, 1.0])
    assert dataclasses.astuple(groups) == (1.0, 1.5, 2.5)


def test_shares_of_the_parts_are_of_their_sizes():
    shares = Groups(popularity=-1.0, friends=2.0, answers=1.0).shares
    assert shares == {"popularity": 0.25, "friends": 0.5, "answers": 0.25}
    assert set(groups_of([0.0] * 4).shares.values()) == {0.0}


def test_a_margin_and_a_rank_are_among_candidates_alone():
    scores = np.array([[1.0, 2.0, 2.0, 9.0], [3.0, 0.0, 5.0, 9.0]])
    allowed = np.array([True, True, True, False])
    margins, ranks, first = _margins(scores, 1, allowed)
    np.testing.assert_allclose(margins, [2 - 5 / 3, 0 - 8 / 3])
    assert (ranks.tolist(), first.tolist()) == ([1, 3], [1, 2])  # of equals the first


def test_reasons_come_by_what_they_add_and_those_against_last():
    given = [reason("little", 0.1), reason("against", -2.0), reason("much", 1.0)]
    names = [each.name for each in _largest_first(given)]
    assert names == ["much", "little", "against"]


def reason(name, contribution=1.0, likes=True, kind="friend"):
    return Reason(
        kind=kind,
        id=name or None,
        name=name,
        likes=likes,
        contribution=contribution,
        instead="X",
    )


@pytest.mark.parametrize(
    ("friends", "num_friends", "words"),
    [
        (["F", "G"], 2, "F and G, whom you follow, like it"),
        (["F"], 9, "F, whom you follow, likes it"),
        (["F", "", ""], 9, "F and 2 more people you follow like it"),
        (["F", ""], 2, "F, whom you follow, likes it"),
        (["", ""], 9, "2 people you follow like it"),
        ([""], 9, "1 person you follow likes it"),
        (["", ""], 4, "people around you like it"),  # too few to hide among
        ([""] * 6, 6, "people around you like it"),  # all of them: the count says who
    ],
)
def test_a_sentence_names_and_counts_only_whom_it_may(friends, num_friends, words):
    groups = groups_of([2.0, 1.0, 2.0, 1.0 - 1.0])
    reasons = [reason(name) for name in friends]
    said = sentence_of(reasons, [], groups, num_friends)
    assert said == f"Because {words} and it is popular." or said == f"Because {words}."


def test_a_sentence_says_answers_and_popularity_where_they_matter():
    groups = groups_of([6.0, 5.0, 3.0, 2.0])
    answers = [
        reason("Y", kind="answer"),
        reason("Z", likes=False, kind="answer"),
        reason("W", -1.0, kind="answer"),
    ]
    said = sentence_of([reason("F", likes=False)], answers, groups, 1)
    assert said == (
        "Because people you follow like things like it, you liked Y and you did not "
        "like Z and it is popular."
    )
    nothing = groups_of([0.0] * 4)
    assert sentence_of([], [], nothing, 0) == "No single reason stands out."


def test_friends_who_say_the_same_are_a_reason_though_each_can_be_spared():
    same = [reason("", contribution=0.0), reason("", contribution=0.0)]
    groups = groups_of([1.0, 0.0, 1.0, 0.0])
    assert sentence_of(same, [], groups, 2) == "Because people around you like it."
    answers = [reason("A", contribution=-0.1, kind="answer")] * 2
    groups = groups_of([1.0, 1.0, 0.0, 0.0])
    assert sentence_of([], answers, groups, 0) == "Because you liked A and A."


def test_nobody_is_named_unless_the_caller_says_so():
    hidden = additive().explain(7, friends=[0, 1, 2, 3])
    assert all(reason.id is None and not reason.name for reason in hidden.friends)
    assert all(not any(path.names) for path in hidden.paths) and hidden.paths
    assert "people around you" in hidden.sentence
    some = additive().explain(7, friends=[0, 1, 2, 3], name_friends=[0])
    assert {reason.id for reason in some.friends} == {0, None}
    assert "0, whom you follow, likes it" in some.sentence


def test_paths_share_out_all_that_arrives():
    dataset = additive().dataset
    table = friend_table(dataset)
    person = Person(user=None, friends=(0, 1, 2), itself=19)
    draws = np.random.default_rng(1)
    own = draws.dirichlet(np.ones(4), size=3)
    edges = np.zeros((3, len(table.friends) + NUM_USERS))
    for user in range(NUM_USERS):
        start, end = table.offsets[user : user + 2] + user
        edges[:, start : end + 1] = draws.dirichlet(np.ones(end - start + 1), size=3)
    everybody = lambda users: np.ones(len(users), bool)  # noqa: E731
    paths = attention_paths(person, everybody, table, own, edges)
    through = rolled_out(own)
    for place, friend in enumerate(person.friends):
        of_friend = [path.weight for path in paths if path.people[0] == friend]
        assert sum(of_friend) == pytest.approx(through[place])
    weights = [path.weight for path in paths]
    assert weights == sorted(weights, reverse=True)
    assert through.sum() + np.prod((1 + own[:, 0]) / 2) == pytest.approx(1)
    likers = lambda users: users == 4  # noqa: E731
    assert [p.people for p in even_paths(person, likers, table)] == [(0, 4)]


def test_attention_of_somebody_new_is_that_of_a_user_with_the_same_friends():
    recommender = deep()
    dataset, table = recommender.dataset, recommender.friend_table
    user = next(u for u in dataset.split.test if table.num_friends[u] > 2)
    start, end = table.offsets[user : user + 2]
    friends = tuple(table.friends[start:end].tolist())
    person = Person(user=None, friends=friends, itself=int(user))
    weights = attention_weights(recommender, person)
    edges = np.asarray(recommender.player.attention(None))
    row = edges[:, start + user : end + user + 1]
    own = np.concatenate([row[:, -1:], row[:, :-1]], axis=1)
    np.testing.assert_allclose(own.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(weights, rolled_out(own), atol=1e-5)


@pytest.mark.parametrize(
    ("question", "error"),
    [
        ({"item": 7, "liked": [7]}, "'7' was answered"),
        ({"item": 99}, "no item '99'"),
        ({"item": 7, "most_friends": 0}, "most_friends must be 1 or more, got 0"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_one_line(question, error):
    with pytest.raises(ValueError, match=error):
        additive().explain(**question)
