"""The greedy policy of a deep agent: what acting and learning both read.

In go static parts (a network, a horizon) and `Acting` (shared arrays and parameters);
out come the functions of the agent contract for one user, and `episode_queries`, the
same states for a whole recorded episode at once. Social influence is either one pass
over the graph for all users of a batch, or drawn and made for each user who plays.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.graph import sample_tree
from dlerse_jax.networks.q_network import (
    QNetwork,
    Tables,
    advantages,
    clock_features,
    memory_weights,
)
from dlerse_jax.simulator import runs_before
from dlerse_jax.types import Agent, FriendGraph, FriendLists

# Where `Tables`, and all that is trained with them, have their items, from the end.
ITEM_AXES = {"item_in": 2, "item_out": 2, "item_bias": 1}


@struct.dataclass(kw_only=True)
class Shared:
    """Arrays that every seed reads and none changes: one copy, whatever S."""

    tables: Tables | None  # None: embeddings are trained, and live in params
    graph: FriendGraph | FriendLists  # all of it at once, or lists to draw from
    visible: jax.Array  # [U] bool: users with feedback that may be seen
    train_users: jax.Array  # [<=U] int32
    exploration_weights: jax.Array  # [N] int32, cumulative: what a random item is


@struct.dataclass(kw_only=True)
class Acting:
    """What the policy reads: the state of the greedy agent inside the learner."""

    shared: Shared
    params: dict

    @property
    def tables(self) -> Tables:
        """The embeddings, trained or frozen, with the item biases, always trained.

        Without the spare rows of tables that are dealt over devices.
        """
        tables = self.params.get("tables", self.shared.tables)
        num_items = self.shared.exploration_weights.shape[0]
        return tables.replace(
            item_in=tables.item_in[:num_items],
            item_out=tables.item_out[:num_items],
            item_bias=self.params["item_bias"][:num_items],
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """What is static, and so may be closed over: a module and counts, no arrays."""

    network: QNetwork
    dislike_weight: float  # c of the item memory
    horizon: int

    def apply(self, acting: Acting, method: str, *args, **kwargs):
        return self.network.apply(
            {"params": acting.params["network"]}, *args, method=method, **kwargs
        )


@struct.dataclass(kw_only=True)
class Memory:
    """What the agent carries through one user's episode."""

    carry: jax.Array  # of the interest encoder
    influence: jax.Array  # k^K of the user [D]
    items: jax.Array  # item memory [D]
    query: struct.PyTreeNode  # for the next choice


@struct.dataclass(kw_only=True)
class DrawnFriends:
    """What users share where neighbourhoods are sampled: who draws, and who is cold."""

    cold: jax.Array  # [U] bool
    key: jax.Array | None  # None: the same friends every time


def social_context(policy: Policy, acting, hidden, key=None):
    """Social influence of every user [U, D], hidden ones seen as cold.

    Where friends are sampled nothing is made yet: `influence_of` draws with this key.
    """
    cold = ~acting.shared.visible | hidden
    graph, user = acting.shared.graph, acting.tables.user
    if isinstance(graph, FriendLists):
        return DrawnFriends(cold=cold, key=key)
    return policy.apply(acting, "social", graph, user, cold)


def influence_of(policy: Policy, acting, context, user):
    """Social influence k^K of one user: user [] -> [D].

    The same context gives the same friends, whatever the parameters.
    """
    if not isinstance(context, DrawnFriends):
        return context[user]
    key = None if context.key is None else jax.random.fold_in(context.key, user)
    tree = sample_tree(acting.shared.graph, user, policy.network.hops, key)
    features, cold = acting.tables.user[tree.users], context.cold[tree.users]
    return policy.apply(acting, "social", tree, features, cold)[0]


def influences_of(policy: Policy, acting, hidden, users, key):
    """The same for a batch, hidden users [U] seen as cold: users [B] -> [B, D]."""
    context = social_context(policy, acting, hidden, key)
    of_user = functools.partial(influence_of, policy, acting, context)
    return jax.vmap(of_user)(users)  # adds B


def _query(policy: Policy, acting, carry, influence, items, step, likes, dislikes):
    clock = clock_features(step.astype(jnp.float32), likes, dislikes, policy.horizon)
    h = policy.apply(acting, "interest", carry)
    return policy.apply(acting, "query", h, influence, clock, items, train=False)


def _begin(policy: Policy, acting, context, user, key):
    del key
    carry = policy.apply(acting, "start")
    items = jnp.zeros(policy.network.width)
    zero = jnp.float32(0)
    influence = influence_of(policy, acting, context, user)
    query = _query(policy, acting, carry, influence, items, jnp.int32(0), zero, zero)
    return Memory(carry=carry, influence=influence, items=items, query=query)


def _observe(policy: Policy, acting, context, memory, observation):
    del context
    vector = acting.tables.item_in[observation.item]
    carry = policy.apply(acting, "step", memory.carry, vector, observation.liked)
    weight = memory_weights(observation.liked, policy.dislike_weight)
    items = memory.items + weight * vector
    query = _query(
        policy,
        acting,
        carry,
        memory.influence,
        items,
        observation.step,
        observation.like_run,
        observation.dislike_run,
    )
    return memory.replace(carry=carry, items=items, query=query)


def _scores(policy: Policy, acting, context, memory, items):
    del context
    return advantages(memory.query, acting.tables, items)


def greedy_policy(policy: Policy, name: str) -> Agent:
    """The greedy policy, as an agent whose state is `Acting`."""
    return Agent(
        name=name,
        init=lambda key: None,
        context=functools.partial(social_context, policy),
        begin=functools.partial(_begin, policy),
        observe=functools.partial(_observe, policy),
        scores=functools.partial(_scores, policy),
    )


def episode_queries(policy: Policy, acting, influence, items, liked, dropout_key):
    """Queries of the states before each step of one episode: leading axis T.

    dropout_key None switches dropout off. One scan of the encoder serves all T.
    """
    vectors = acting.tables.item_in[items]
    h = policy.apply(acting, "unroll", vectors, liked)[:-1]
    weights = memory_weights(liked, policy.dislike_weight)[:, None] * vectors
    items_before = jnp.cumsum(weights, axis=0) - weights
    like_runs, dislike_runs = runs_before(liked)
    steps = jnp.arange(policy.horizon, dtype=jnp.float32)
    clock = clock_features(steps, like_runs, dislike_runs, policy.horizon)
    train = dropout_key is not None
    rngs = {"dropout": dropout_key} if train else None
    return policy.apply(
        acting, "query", h, influence, clock, items_before, train=train, rngs=rngs
    )
