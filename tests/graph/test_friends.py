"""The table of friend pairs, and every layout made of it, against loops over pairs."""

import numpy as np
import pytest
from worlds import make_world, random_world

from dlerse_jax.graph.attention_graph import friend_graph
from dlerse_jax.graph.friends import (
    common_friends,
    friend_lists,
    friend_pairs,
    friend_table,
    no_friends,
    people_lists,
    two_hop_table,
    two_hops_from,
)
from dlerse_jax.graph.neighbour_means import social_feedback

# User 3 names himself, and 1 twice; 4 and 5 name nobody. Unsorted on purpose.
PAIRS = [(3, 1), (0, 2), (0, 1), (1, 3), (2, 3), (1, 2), (3, 3), (1, 0), (3, 1)]
TABLE = friend_table(make_world(np.ones((6, 1)), PAIRS))
FRIENDS = [[1, 2], [0, 2, 3], [3], [1], [], []]


def rows_of(offsets, people):
    return [row.tolist() for row in np.split(np.asarray(people), offsets[1:])][:-1]


def test_friends_are_sorted_each_once_and_nobody_is_their_own():
    assert rows_of(TABLE.offsets, TABLE.friends) == FRIENDS
    assert TABLE.users.tolist() == [0, 0, 1, 1, 1, 2, 3]
    assert TABLE.num_friends.tolist() == [2, 3, 1, 1, 0, 0]
    named = np.zeros((6, 6))
    named[TABLE.users, TABLE.friends] = 1
    np.testing.assert_array_equal(TABLE.matrix.toarray(), named)


def test_two_hops_are_friends_of_friends_who_are_neither_friends_nor_the_user():
    table = two_hop_table(TABLE)
    assert rows_of(table.offsets, table.friends) == [[3], [], [1], [0, 2], [], []]


def test_of_many_people_two_hops_away_some_are_kept_whatever_is_made_at_a_time(
    monkeypatch,
):
    world = random_world(num_users=60)
    table, few = friend_table(world), friend_table(world, most_far=6)
    whole = rows_of(*_rows(two_hop_table(table)))
    monkeypatch.setattr("dlerse_jax.graph.friends.PATHS_AT_ONCE", 40)
    assert rows_of(*_rows(two_hop_table(table))) == whole
    kept = rows_of(*_rows(two_hop_table(few)))
    assert max(map(len, whole)) > 6
    for people, some in zip(whole, kept, strict=True):
        assert some == sorted(set(some)) and set(some) <= set(people)
        assert len(some) == min(6, len(people))


def test_people_further_away_are_those_that_a_walk_of_few_steps_reaches():
    draws = np.random.default_rng(0).integers(60, size=(120, 2))
    world = make_world(np.ones((60, 1)), draws)
    table = friend_table(world, far_hops=3)
    found = rows_of(*_rows(two_hop_table(table)))
    for user, people in enumerate(found):
        friends = set(table.friends_of(user))
        reached = set(friends)
        for _ in range(2):
            reached |= {far for near in reached for far in table.friends_of(near)}
        assert people == sorted(reached - friends - {user})
    nearer = rows_of(*_rows(two_hop_table(friend_table(world))))
    assert sum(map(len, found)) > 1.5 * sum(map(len, nearer))


@pytest.mark.parametrize("most_masked", [0, 1000])
@pytest.mark.parametrize("far_hops", [2, 3])
@pytest.mark.parametrize("most_far", [None, 5])
def test_who_names_a_users_friends_has_the_same_people_further_away(
    monkeypatch, most_masked, far_hops, most_far
):
    monkeypatch.setattr("dlerse_jax.graph.friends.MOST_MASKED", most_masked)
    world = random_world(num_users=60)
    table = friend_table(world, far_hops, most_far)
    for user, people in enumerate(rows_of(*_rows(two_hop_table(table)))):
        found = two_hops_from(table, table.friends_of(user), user)
        assert found.tolist() == people


def test_fewer_than_two_hops_are_refused():
    with pytest.raises(ValueError, match="far_hops must be 2 or more, got 1"):
        friend_table(random_world(), far_hops=1)


def _rows(table):
    return table.offsets, table.friends


def test_friends_in_common_are_counted_for_each_pair():
    expected = [
        len(set(FRIENDS[user]) & set(FRIENDS[friend]))
        for user, friend in zip(TABLE.users, TABLE.friends, strict=True)
    ]
    assert expected == [1, 0, 1, 1, 0, 0, 0]
    np.testing.assert_array_equal(common_friends(TABLE), expected)


def test_every_layout_holds_the_same_pairs():
    table = friend_table(random_world())
    expected = set(zip(table.users.tolist(), table.friends.tolist(), strict=True))
    assert len(expected) == len(table.friends) > 10
    pairs, graph = friend_pairs(table), friend_graph(table)
    is_other = np.asarray(graph.senders != graph.receivers)
    sparse = social_feedback(random_world()).friends
    is_real = np.asarray(sparse.columns < sparse.num_columns)
    lists, people = friend_lists(table, 2), people_lists(table)
    users = np.repeat(np.arange(table.num_users), np.diff(lists.offsets))
    layouts = {
        "pairs": (pairs.targets, pairs.sources),
        "graph": (graph.receivers[is_other], graph.senders[is_other]),
        "means": (sparse.rows[is_real], sparse.columns[is_real]),
        "lists": (users, lists.friends[:-1]),
        "people": (users, people.people[:-1]),
    }
    for name, (users, friends) in layouts.items():
        found = list(zip(users.tolist(), friends.tolist(), strict=True))
        assert set(found) == expected and len(found) == len(expected), name
    assert people.longest == table.num_friends.max()


def test_without_friends_the_lists_still_have_an_entry_to_look_up():
    table = no_friends(3)
    assert table.offsets.tolist() == [0, 0, 0, 0] and len(table.friends) == 0
    people = people_lists(table)
    assert people.longest == 1 and people.people.tolist() == [0]
    assert len(friend_pairs(table).sources) == 0
    assert friend_graph(table).senders.tolist() == [0, 1, 2]
