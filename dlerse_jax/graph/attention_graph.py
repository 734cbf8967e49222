"""The static graph of all users that attention runs on, as a `jraph.GraphsTuple`."""

import jax.numpy as jnp
import jraph
import numpy as np

from dlerse_jax.graph.friends import FriendTable


def friend_graph(table: FriendTable) -> jraph.GraphsTuple:
    """The whole social graph, sorted by receiver, without node features.

    Edges run from the friend to the user who names them. Every user has an edge to
    themself, behind those of the friends: attention is over N(u) + {u}, so that a
    friendless user attends to their own feature alone.
    """
    everybody = np.arange(table.num_users, dtype=np.int32)
    ends = table.offsets[1:]
    senders = np.insert(table.friends, ends, everybody)
    receivers = np.insert(table.users, ends, everybody)
    return jraph.GraphsTuple(
        nodes=None,
        edges=None,
        senders=jnp.asarray(senders),
        receivers=jnp.asarray(receivers),
        n_node=jnp.array([table.num_users], jnp.int32),
        n_edge=jnp.array([len(senders)], jnp.int32),
        globals=None,
    )
