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

        def attention_query(nodes):
            values = nn.DenseGeneral((self.heads, head_width), use_bias=False)(nodes)
            # a . [Wk_u ; Wk_w] is a sum of two numbers a node, so it is taken here,
            # U times, and not on the far more numerous edges.
            logits = self.param(
                "attention",
                nn.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=0),
                (self.heads, head_width, 2),
            )
            per_head = jnp.einsum("umd,mdc->umc", values, logits)
            return jnp.concatenate([values, per_head], axis=-1)

        def attention_logit(sent, received, edges):
            del edges
            return nn.leaky_relu(sent[..., -1:] + received[..., -2:-1], 0.2)

        def merge_heads(summed):
            values = summed[..., :head_width]
            if self.average:
                return values.mean(axis=1)
            return values.reshape(values.shape[0], -1)

        attended = jraph.GAT(attention_query, attention_logit, merge_heads)(graph)
        return attended._replace(nodes=graph.nodes + nn.elu(attended.nodes))


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
