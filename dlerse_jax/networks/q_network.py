"""The Q-network of DLERSE: interests + friends -> fusion -> dueling head.

The network makes a `Query` of one user's clicks and friends; `advantages`,
`allowed_means` and `q_values` need one product of it with the item table. Everything
but `social` is written for one user; the caller vmaps.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.networks.copy_head import NUM_PAIR_FEATURES, CopyHead, Neighbourhoods
from dlerse_jax.networks.encoders import click_features, make_encoder
from dlerse_jax.networks.fusion import TWO_HEADED, Fusion
from dlerse_jax.networks.gat import SocialEncoder
from dlerse_jax.networks.heads import DuelingHead, Query, mix_queries
from dlerse_jax.runtime.ranks import check_ranks
from dlerse_jax.types import FriendGraph, FriendTree


@struct.dataclass(kw_only=True)
class Tables:
    """Item and user embeddings; trained with the network, or kept as they came."""

    item_in: jax.Array  # [N, D] e_v: what a click is read with
    item_out: jax.Array  # [N, D + R] o_v: what an item is scored with
    item_bias: jax.Array  # [N] b_v
    user: jax.Array  # [U, D] user features; rows of unknown users are not read
    # [N] c, the copied scores of the user at hand; None without a copy head
    copied: jax.Array | None = None


class QNetwork(nn.Module):
    """Parameters of everything but the tables; see `apply(..., method=)`."""

    width: int  # D
    hidden: int  # H
    hops: int
    heads: int
    fusion: str
    encoder: str
    horizon: int  # T
    dropout: float
    initial_value: float
    remembers: bool
    copies: bool = False
    ridge_rank: int = 0  # R

    def setup(self):
        self.interests = make_encoder(
            self.encoder, hidden=self.hidden, horizon=self.horizon
        )
        self.influence = SocialEncoder(self.width, self.hops, self.heads)
        if self.copies:
            self.copy_head = CopyHead()
        if self.fusion in TWO_HEADED:
            self.fuse = Fusion("none", self.width)
            self.fuse_social = Fusion("social_only", self.width)
            self.head = self._make_head(self.remembers, self.initial_value)
            self.social_head = self._make_head(False, 0.0)
            self.gate = nn.Dense(1)
        else:
            self.fuse = Fusion(self.fusion, self.width)
            self.head = self._make_head(self.remembers, self.initial_value)

    def _make_head(self, remembers: bool, initial_value: float) -> DuelingHead:
        return DuelingHead(
            self.width,
            self.hidden,
            self.dropout,
            initial_value,
            remembers,
            self.copies,
            self.ridge_rank,
        )

    @property
    def uses_graph(self) -> bool:
        return self.fusion != "none"

    def social(
        self,
        graph: FriendGraph | FriendTree,
        user: jax.Array,
        cold: jax.Array,
        friend_layers: tuple[jax.Array, ...] = (),
    ) -> jax.Array:
        """k^K of every user: user [U, D], cold [U] bool -> [U, D]; a tree's: [1, D]."""
        return self.social_layers(graph, user, cold, friend_layers)[-1]

    @check_ranks(user=2, cold=1)
    def social_layers(
        self,
        graph: FriendGraph | FriendTree,
        user: jax.Array,
        cold: jax.Array,
        friend_layers: tuple[jax.Array, ...] = (),
    ) -> tuple[jax.Array, ...]:
        """The same in every layer from k^0 on; see `SocialEncoder`."""
        if not self.uses_graph:
            return (jnp.zeros((user.shape[0], self.width)),)
        return self.influence(graph, user, cold, friend_layers)

    @check_ranks(k=2)
    def copy_logits(self, neighbourhoods: Neighbourhoods, k: jax.Array) -> jax.Array:
        """Logits of the copy head's attention: k [U, D] of all users -> [P + 1]."""
        return self.copy_head(
            neighbourhoods.pair_features, neighbourhoods.friends.people, k
        )

    @check_ranks(pair_features=2, k=2)
    def newcomer_logits(self, pair_features: jax.Array, k: jax.Array) -> jax.Array:
        """The same for one newcomer's friends: [F, 3] and their k [F, D] -> [F]."""
        return self.copy_head(pair_features, jnp.arange(len(k)), k)

    def start(self):
        return self.interests.start()

    @check_ranks(item_vector=1, liked=0)
    def step(self, carry, item_vector: jax.Array, liked: jax.Array):
        return self.interests.step(carry, click_features(item_vector, liked))

    def interest(self, carry) -> jax.Array:
        return self.interests.interest(carry)

    @check_ranks(item_vectors=2, liked=1)
    def unroll(self, item_vectors: jax.Array, liked: jax.Array) -> jax.Array:
        """item_vectors [T, D], liked [T] -> h before, after each click [T + 1, H]."""
        return self.interests.unroll(click_features(item_vectors, liked))

    @check_ranks(k=1)
    def query(
        self,
        h: jax.Array,
        k: jax.Array,
        clock: jax.Array,
        memory: jax.Array,
        *,
        train: bool,
    ) -> Query:
        """h [..., H], k [D], clock [..., 3], memory [..., D + R] -> Query [...]."""
        query = self.head(self.fuse(h, k, clock), memory, train=train)
        if self.fusion not in TWO_HEADED:
            return query
        social = self.social_head(self.fuse_social(h, k, clock), memory, train=train)
        return mix_queries(query, social, self._personal_share(h, k))

    def _personal_share(self, h: jax.Array, k: jax.Array) -> jax.Array | float:
        """How much the personal head counts: a half, or a gate on h and k [...]."""
        if self.fusion == "sum_heads":
            return 0.5
        k = jnp.broadcast_to(k, (*h.shape[:-1], k.shape[-1]))
        return nn.sigmoid(self.gate(jnp.concatenate([h, k], axis=-1))[..., 0])

    def __call__(self, tables: Tables) -> Query:
        """Touches every parameter once, so that `init` makes them all.

        Friends play no part in that: one user's line of padding stands for the graph.
        """
        line = jnp.zeros(1 + self.hops, jnp.int32)
        tree = FriendTree(users=line, is_real=line > 0, fan_out=1)
        k = self.social(tree, tables.user[line], tree.is_real)
        if self.copies:
            self.copy_head(jnp.zeros((1, NUM_PAIR_FEATURES)), line[:1], k)
        k = k[0]
        h = self.unroll(tables.item_in[:1], jnp.ones(1))
        carry = self.step(self.start(), tables.item_in[0], jnp.ones(()))
        self.interest(carry)
        return self.query(
            h,
            k,
            jnp.zeros((2, 3)),
            jnp.zeros((2, self.width + self.ridge_rank)),
            train=False,
        )


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames="train")
def apply_network(network: QNetwork, method: str, params: dict, *args, **options):
    """A method of the network under these parameters.

    Compiled into what calls it. Acting, losses and targets ask for the same methods
    with the same shapes: jitted, Python goes through Flax once for all of them.
    """
    return network.apply({"params": params}, *args, method=method, **options)


def clock_features(step, like_streak, dislike_streak, horizon: int) -> jax.Array:
    """Time and current streaks, each over T: [...] each -> [..., 3]."""
    return jnp.stack([step, like_streak, dislike_streak], axis=-1) / horizon


def session_weights(liked: jax.Array, dislike_weight: float | jax.Array) -> jax.Array:
    """Weight of an answer in the session embedding: 1 for a like, -c for a dislike."""
    return liked - dislike_weight * (1 - liked)


@check_ranks(query={"direction": 1}, items=1)
def advantages(query: Query, tables: Tables, items: jax.Array | None) -> jax.Array:
    """A(z, v) of one state, before its mean is taken off: items [A] or None -> [A]."""
    rows = slice(None) if items is None else items
    scores = tables.item_out[rows] @ query.direction + tables.item_bias[rows]
    if tables.copied is None:
        return scores
    return scores + query.copy_gain * tables.copied[rows]


@check_ranks(query={"direction": 2}, items=1)
def taken_advantages(query: Query, tables: Tables, items: jax.Array) -> jax.Array:
    """A(z_t, a_t): query [T], items [T] -> [T]. Only those rows get a gradient."""
    rows = tables.item_out[items]
    taken = jnp.sum(query.direction * rows, axis=-1) + tables.item_bias[items]
    if tables.copied is None:
        return taken
    return taken + query.copy_gain * tables.copied[items]


@check_ranks(query={"direction": 2}, items=1)
def pairwise_advantages(query: Query, tables: Tables, items: jax.Array) -> jax.Array:
    """A(z_t, v) for each t and each v in items: [A], padded with N -> [T, A]."""
    clipped = jnp.minimum(items, tables.item_out.shape[0] - 1)
    return jax.vmap(advantages, in_axes=(0, None, None))(query, tables, clipped)


@check_ranks(query={"direction": 2}, items=1)
def allowed_means(query: Query, tables: Tables, items: jax.Array) -> jax.Array:
    """Mean of A over the items not shown before t: query [T], items [T] -> [T].

    Closed form: (q . sum o + sum b - the same over the shown
    items) / (N - t). items[t] is the item shown at t, allowed at t itself.
    """
    num_items, _ = tables.item_out.shape
    total = query.direction @ tables.item_out.sum(axis=0) + tables.item_bias.sum()
    if tables.copied is not None:
        total += query.copy_gain * tables.copied.sum()
    of_shown = pairwise_advantages(query, tables, items) * shown_before(items)
    return (total - of_shown.sum(axis=1)) / (num_items - jnp.arange(items.shape[0]))


def shown_before(items: jax.Array) -> jax.Array:
    """Whether an item was shown before step t: items [T] in order -> [T, T] float32."""
    return jnp.tri(items.shape[0], k=-1)


@check_ranks(query={"direction": 2}, items=1, history=1)
def q_values(
    query: Query, tables: Tables, items: jax.Array, history: jax.Array
) -> jax.Array:
    """Q(z_t, items_t) where history [T] holds the items shown in order: all [T]."""
    advantage = taken_advantages(query, tables, items)
    return query.value + advantage - allowed_means(query, tables, history)
