"""The graph of attention: an edge from friend to user, and one to oneself."""

import numpy as np
from worlds import make_world, random_world

from dlerse_jax.graph.attention_graph import friend_graph
from dlerse_jax.graph.friends import friend_table

# User 0 names 1 and 2, user 2 names 1; user 3 has no friend.
WORLD = make_world(np.ones((4, 2)), [(0, 1), (2, 1), (0, 2)])
EDGES = {(1, 0), (2, 0), (1, 2), (0, 0), (1, 1), (2, 2), (3, 3)}  # sender, receiver


def test_taste_flows_from_friend_to_user_and_from_users_to_themselves():
    graph = friend_graph(friend_table(WORLD))
    senders, receivers = graph.senders.tolist(), graph.receivers.tolist()
    edges = list(zip(senders, receivers, strict=True))
    assert set(edges) == EDGES and len(edges) == len(EDGES)
    assert graph.n_node.tolist() == [4] and graph.n_edge.tolist() == [7]


def test_edges_are_sorted_by_receiver():
    receivers = np.asarray(friend_graph(friend_table(random_world())).receivers)
    assert (np.diff(receivers) >= 0).all()
