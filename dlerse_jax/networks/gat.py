"""Social influence: graph attention over K hops, on jraph. METHOD section 5.

In go the friend graph and one feature a user; out comes one vector a user that has
seen K hops of friends. One pass serves every user of a batch.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph


class GraphAttention(nn.Module):
    """One hop: k_u' = k_u + ELU(sum over w in N(u) + {u} of alpha_uw W_m k_w).

    Heads are concatenated, or averaged in the last layer. alpha is a softmax of
    LeakyReLU_0.2(a_m . [W_m k_u ; W_m k_w]) over the incoming edges of u.
    """

    width: int
    heads: int
    average: bool

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
        """graph.nodes [U, D] -> the same graph with nodes [U, D]."""
        head_width = self.width if self.average else self.width // self.heads

        values = nn.DenseGeneral((self.heads, head_width), use_bias=False)(graph.nodes)
        attention = self.param(
            "attention",
            nn.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=0),
            (self.heads, head_width, 2),
        )
        # a . [W k_u ; W k_w] is a sum of two numbers a node: taken here, U times, and
        # not on the edges, where whole vectors of both ends would have to be gathered.
        of_receiver, of_sender = jnp.moveaxis(
            jnp.einsum("umd,mdc->umc", values, attention), -1, 0
        )
        logits = of_receiver[graph.receivers] + of_sender[graph.senders]
        num_nodes = graph.nodes.shape[0]
        weights = jraph.segment_softmax(
            nn.leaky_relu(logits, 0.2), graph.receivers, num_nodes
        )
        # Flat rows and a product with a constant: with a head axis, XLA's CPU code for
        # the gradient of this line takes four times as long.
        spread = jnp.repeat(jnp.eye(self.heads), head_width, axis=1)
        flat_values = values.reshape(num_nodes, -1)
        messages = flat_values[graph.senders] * (weights @ spread)
        summed = jraph.segment_sum(messages, graph.receivers, num_nodes)
        merged = self._merge_heads(summed.reshape(values.shape))
        return graph._replace(nodes=graph.nodes + nn.elu(merged))

    def _merge_heads(self, summed: jax.Array) -> jax.Array:
        """[U, M, D'] -> [U, D]."""
        if self.average:
            return summed.mean(axis=1)
        return summed.reshape(summed.shape[0], -1)


class SocialEncoder(nn.Module):
    """K layers of attention: K hops. K = 0 never looks at the graph."""

    width: int
    hops: int
    heads: int

    @nn.compact
    def __call__(
        self, graph: jraph.GraphsTuple, features: jax.Array, cold: jax.Array
    ) -> jax.Array:
        """features [U, F], cold [U] bool -> [U, D], finite for friendless users.

        A cold user's own feature is not read: all of them share one learned vector.
        Where the graph has padding nodes, U counts them too.
        """
        cold_vector = self.param(
            "cold_user", nn.initializers.normal(0.1), (1, self.width)
        )
        own = nn.Dense(self.width)(features)
        nodes = jnp.where(cold[:, None], cold_vector, own)
        if self.hops == 0:
            return nodes
        graph = graph._replace(nodes=nodes)
        for hop in range(self.hops):
            is_last = hop == self.hops - 1
            graph = GraphAttention(self.width, self.heads, average=is_last)(graph)
        return graph.nodes
