"""The friend graph: an edge from friend to listener, one to oneself, and padding."""

import numpy as np
import pytest
from worlds import make_world, random_world

from dlerse_jax.graph.attention_graph import friend_graph

# User 0 names 1 and 2, user 2 names 1; user 3 has no friend.
WORLD = make_world(np.ones((4, 2)), [(0, 1), (2, 1), (0, 2)])
EDGES = {(1, 0), (2, 0), (1, 2), (0, 0), (1, 1), (2, 2), (3, 3)}  # sender, receiver


def _edges(graph):
    senders, receivers = graph.senders.tolist(), graph.receivers.tolist()
    return list(zip(senders, receivers, strict=True))


def test_taste_flows_from_friend_to_user_and_from_users_to_themselves():
    edges = _edges(friend_graph(WORLD))
    assert set(edges) == EDGES and len(edges) == len(EDGES)


@pytest.mark.parametrize("sizes", [{}, {"num_nodes": 30}])
def test_edges_are_sorted_by_receiver(sizes):
    receivers = np.asarray(friend_graph(random_world(), **sizes).receivers)
    assert (np.diff(receivers) >= 0).all()


def test_padding_has_edges_to_padding_alone():
    graph = friend_graph(WORLD, num_nodes=6, num_edges=12)
    edges = _edges(graph)
    assert len(edges) == 12
    assert set(edges[:7]) == EDGES
    assert edges[7:] == [(4, 4), (5, 5), (5, 5), (5, 5), (5, 5)]
    assert graph.n_node.tolist() == [4, 2]
    assert graph.n_edge.tolist() == [7, 5]


@pytest.mark.parametrize(
    "num_nodes, num_edges",
    [
        (3, None),  # fewer nodes than users
        (5, 7),  # no room for the edge of the padding node
        (4, 9),  # padding edges without a node to hold them
        (4, 6),  # fewer edges than there are
    ],
)
def test_sizes_that_do_not_fit_are_refused(num_nodes, num_edges):
    with pytest.raises(ValueError, match="4 users and 7 edges .* does not fit"):
        friend_graph(WORLD, num_nodes=num_nodes, num_edges=num_edges)
