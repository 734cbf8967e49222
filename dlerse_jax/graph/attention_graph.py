"""The static, padded graph of all users that attention runs on.

In goes a `Dataset`, out comes a `jraph.GraphsTuple`. Edges run from the friend to the
user who names them; every user, padding included, has an edge to themself (attention is
over N(u) + {u}), so that a friendless user attends to their own feature alone.
"""

import jax.numpy as jnp
import jraph
import numpy as np

from dlerse_jax.types import Dataset


def friend_graph(
    dataset: Dataset, *, num_nodes: int | None = None, num_edges: int | None = None
) -> jraph.GraphsTuple:
    """The whole social graph, sorted by receiver, without node features.

    num_nodes and num_edges pad it to a fixed size (default: as few as it takes).
    Padding nodes come last, have self edges only, and take every padding edge.
    Raises ValueError when the graph is larger than the size asked for.
    """
    users = np.arange(dataset.num_users, dtype=np.int32)
    senders = np.concatenate([dataset.friend_sources, users])
    receivers = np.concatenate([dataset.friend_targets, users])
    order = np.argsort(receivers, kind="stable")
    senders, receivers = senders[order], receivers[order]
    num_nodes = num_nodes or dataset.num_users
    num_edges = num_edges or len(senders) + num_nodes - dataset.num_users
    spare_nodes = num_nodes - dataset.num_users
    spare_edges = num_edges - len(senders)
    if (
        spare_nodes < 0
        or spare_edges < spare_nodes
        or (spare_edges and not spare_nodes)
    ):
        raise ValueError(
            f"a graph of {dataset.num_users} users and {len(senders)} edges (self edges"
            f" included) does not fit {num_nodes} nodes and {num_edges} edges; padding"
            " edges need a padding node, and each padding node an edge to itself"
        )
    padding = np.arange(dataset.num_users, num_nodes, dtype=np.int32)
    repeats = np.full(spare_edges - spare_nodes, num_nodes - 1, np.int32)
    own_edges = np.concatenate([padding, repeats])
    return jraph.GraphsTuple(
        nodes=None,
        edges=None,
        senders=jnp.asarray(np.concatenate([senders, own_edges])),
        receivers=jnp.asarray(np.concatenate([receivers, own_edges])),
        n_node=jnp.array([dataset.num_users, spare_nodes], jnp.int32),
        n_edge=jnp.array([len(senders), spare_edges], jnp.int32),
        globals=None,
    )
