"""Social influence: graph attention (Velickovic et al., ICLR 2018) over K hops.

Friends come as the whole graph (jraph: one pass serves every user of a batch) or as the
sampled tree of one user; the parameters are the same, and so are the numbers where the
sample holds every friend.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph

from dlerse_jax.runtime.sharding import by_backend
from dlerse_jax.types import FriendGraph, FriendTree

# Collection of attention weights, one entry a layer, where a caller asks for it.
ATTENTION = "attention"
# Static: edges that are summed together. In a core's cache on a CPU; elsewhere as
# many as bound the memory.
EDGES_AT_ONCE = 1024, 2**20


class GraphAttention(nn.Module):
    """One hop: k_u' = k_u + ELU(sum over w in N(u) + {u} of alpha_uw W_m k_w).

    Heads are concatenated, or averaged in the last layer. alpha is a softmax of
    LeakyReLU_0.2(a_m . [W_m k_u ; W_m k_w]) over the friends of u and u.
    """

    width: int
    heads: int
    average: bool

    @nn.compact
    def __call__(self, graph: FriendGraph | FriendTree, nodes: jax.Array) -> jax.Array:
        """nodes [U, D] -> [U, D]; a tree loses its lowest level: [(n - 1) / F, D]."""
        head_width = self.width if self.average else self.width // self.heads

        values = nn.DenseGeneral((self.heads, head_width), use_bias=False)(nodes)
        attention = self.param(
            "attention",
            nn.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=0),
            (self.heads, head_width, 2),
        )
        # a . [W k_u ; W k_w] is a sum of two numbers per node: taken here, U times, and
        # not on the edges, where whole vectors of both ends would have to be gathered.
        of_receiver, of_sender = jnp.moveaxis(
            jnp.einsum("umd,mdc->umc", values, attention), -1, 0
        )
        is_tree = isinstance(graph, FriendTree)
        if self.is_mutable_collection(ATTENTION) and not self.is_initializing():
            weights = _tree_weights if is_tree else _graph_weights
            self.sow(ATTENTION, "weights", weights(graph, of_receiver, of_sender))
        attend = _attend_tree if is_tree else _attend_graph
        merged = self._merge_heads(attend(graph, values, of_receiver, of_sender))
        return nodes[: merged.shape[0]] + nn.elu(merged)

    def _merge_heads(self, summed: jax.Array) -> jax.Array:
        """[U, M, D'] -> [U, D]."""
        if self.average:
            return summed.mean(axis=1)
        return summed.reshape(summed.shape[0], -1)


def _attend_graph(graph: FriendGraph, values, of_receiver, of_sender) -> jax.Array:
    """Weighted sums over the edges into each node: values [U, M, D'] -> the same."""
    weights = _graph_weights(graph, of_receiver, of_sender)
    return _weighed_sums(values, weights, graph.senders, graph.receivers)


def _graph_weights(graph: FriendGraph, of_receiver, of_sender) -> jax.Array:
    """What each edge weighs in the sum of its receiver: [E, M]."""
    logits = of_receiver[graph.receivers] + of_sender[graph.senders]
    return jraph.segment_softmax(
        nn.leaky_relu(logits, 0.2), graph.receivers, len(of_receiver)
    )


@jax.custom_vjp
def _weighed_sums(values, weights, senders, receivers) -> jax.Array:
    """Weight times the sender's value, summed into each receiver.

    values [U, M, D'], weights [E, M], senders and receivers [E] -> [U, M, D'].
    A stretch of edges at a time: what they carry, [E, M D'], is never there as a whole,
    nor kept for the gradient, which gathers it again.
    """
    rows = values.reshape(len(values), -1)

    def add(sums, edges):
        weights, senders, receivers = edges
        messages = rows[senders] * _spread(weights, values)
        return sums.at[receivers].add(messages), None

    stretches = _stretches(weights, senders, receivers)
    sums, _ = jax.lax.scan(add, jnp.zeros_like(rows), stretches)
    return sums.reshape(values.shape)


def _weighed_sums_kept(*arguments):
    return _weighed_sums(*arguments), arguments


def _weighed_sums_gradient(arguments, gradient):
    """Of values and weights: the edges are gone through the other way round."""
    values, weights, senders, receivers = arguments
    rows, gradient_rows = (x.reshape(len(x), -1) for x in (values, gradient))

    def add(sums, edges):
        weights, senders, receivers = edges
        arriving = gradient_rows[receivers]
        by_head = (arriving * rows[senders]).reshape(-1, *values.shape[1:])
        messages = arriving * _spread(weights, values)
        return sums.at[senders].add(messages), _sum_by_halves(by_head)

    stretches = _stretches(weights, senders, receivers)
    sums, of_weights = jax.lax.scan(add, jnp.zeros_like(rows), stretches)
    of_weights = of_weights.reshape(-1, weights.shape[1])[: len(weights)]
    return sums.reshape(values.shape), of_weights, None, None


_weighed_sums.defvjp(_weighed_sums_kept, _weighed_sums_gradient)


def _spread(weights: jax.Array, values: jax.Array) -> jax.Array:
    """A weight a head for each number of a row: [E, M] -> [E, M D'], or [E, 1]."""
    _, heads, head_width = values.shape
    return weights if heads == 1 else jnp.repeat(weights, head_width, axis=1)


def _stretches(weights, senders, receivers):
    """Edges [E, ...] in equal stretches [S, E / S, ...]; those at the end weigh 0."""
    most = by_backend(EDGES_AT_ONCE)
    count = -(-len(weights) // most)

    def cut(edges):
        length = -(-len(edges) // count)
        spare = [(0, count * length - len(edges))] + [(0, 0)] * (edges.ndim - 1)
        return jnp.pad(edges, spare).reshape(count, length, *edges.shape[1:])

    return cut(weights), cut(senders), cut(receivers)


def _sum_by_halves(x: jax.Array) -> jax.Array:
    """Over the last axis. XLA's own sum on a CPU adds one number after the other."""
    while x.shape[-1] % 2 == 0:
        half = x.shape[-1] // 2
        x = x[..., :half] + x[..., half:]
    return x.sum(axis=-1)


def _attend_tree(tree: FriendTree, values, of_receiver, of_sender) -> jax.Array:
    """The same for all nodes above the lowest level: values [n, M, D'] -> [R, M, D'].

    The friends of node i follow each other, so nothing is gathered: a reshape.
    """
    weights = _tree_weights(tree, of_receiver, of_sender)
    return jnp.einsum("rfm,rfmd->rmd", weights, _with_own(tree, values, len(values)))


def _tree_weights(tree: FriendTree, of_receiver, of_sender) -> jax.Array:
    """What a node and each of its friends weigh in its sum: [R, 1 + F, M]."""
    num_nodes = len(of_sender)
    senders = _with_own(tree, of_sender, num_nodes)
    logits = of_receiver[: len(senders), None] + senders
    counts = _with_own(tree, tree.is_real, num_nodes).at[:, 0].set(True)[..., None]
    return nn.softmax(nn.leaky_relu(logits, 0.2), axis=1, where=counts)


def _with_own(tree: FriendTree, each: jax.Array, num_nodes: int) -> jax.Array:
    """Own entry, then those of the friends: [n, ...] -> [R, 1 + F, ...]."""
    num_above = (num_nodes - 1) // tree.fan_out
    of_friends = each[1:num_nodes].reshape(num_above, tree.fan_out, *each.shape[1:])
    return jnp.concatenate([each[:num_above, None], of_friends], axis=1)


class SocialEncoder(nn.Module):
    """K layers of attention: K hops. K = 0 ignores the graph.

    Somebody outside of the whole graph needs one level of friends, whatever K: what a
    pass over the graph made of each friend in layers 1 to K - 1 stands for all that is
    below them. Nodes of F friends take O(F D) numbers a layer.
    """

    width: int
    hops: int
    heads: int

    @nn.compact
    def __call__(
        self,
        graph: FriendGraph | FriendTree,
        features: jax.Array,
        cold: jax.Array,
        friend_layers: tuple[jax.Array, ...] = (),
    ) -> tuple[jax.Array, ...]:
        """features [U, F], cold [U] bool -> K + 1 layers of nodes, layer 0 first.

        Each is [U, D], finite for friendless users. The own feature of an unknown
        (cold) user is not read: all of them share one learned embedding. A tree has one
        row per node and loses a level per layer; one of `hops` levels ends as the root
        alone: [1, D]. So does one of a single level with friend_layers: layers 1 to
        K - 1 of the friends in it, [F, D] each.
        """
        unknown_user = self.param(
            "cold_user", nn.initializers.normal(0.1), (1, self.width)
        )
        own = nn.Dense(self.width)(features)
        layers = [jnp.where(cold[:, None], unknown_user, own)]
        for hop in range(self.hops):
            is_last = hop == self.hops - 1
            attention = GraphAttention(self.width, self.heads, average=is_last)
            nodes = layers[-1]
            if hop and friend_layers:
                nodes = jnp.concatenate([nodes, friend_layers[hop - 1]])
            layers.append(attention(graph, nodes))
        return tuple(layers)
