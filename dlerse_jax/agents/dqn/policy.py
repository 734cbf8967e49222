"""The greedy policy of a deep agent: what acting and learning both read.

The functions of the agent contract for one user, on `Policy` (static: a network, a
horizon) and `Acting` (arrays and parameters). Social influence is either one pass over
the graph for all users of a batch, or is computed from sampled friends for each user
who plays.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.graph.sampling import sample_tree
from dlerse_jax.linear_models.ridge import (
    RidgePosterior,
    posterior_start,
    posterior_update,
)
from dlerse_jax.networks.copy_head import Neighbourhoods, copied_scores
from dlerse_jax.networks.q_network import (
    QNetwork,
    Tables,
    advantages,
    apply_network,
    clock_features,
    session_weights,
)
from dlerse_jax.retrieval.index import Catalogue, Copied, in_order, sort_catalogue
from dlerse_jax.retrieval.search import best_item
from dlerse_jax.runtime.ranks import check_ranks
from dlerse_jax.types import Agent, FriendGraph, FriendLists

# Where `Tables`, and all that is trained with them, have their items, from the end.
ITEM_AXES = {"item_in": 2, "item_out": 2, "item_bias": 1}


@struct.dataclass(kw_only=True)
class RidgePrior:
    """A ridge regression on the last R columns of `item_out`, starting at friends."""

    projection: jax.Array  # [N, R] theta of a user is what is copied for them @ this
    regularisation: jax.Array  # [] penalty on leaving that theta
    weight: jax.Array  # [] of theta in the session embedding


@struct.dataclass(kw_only=True)
class Shared:
    """Arrays that every seed reads and none changes: one copy, whatever S."""

    tables: Tables | None  # None: embeddings are trained, and live in params
    order: jax.Array | None  # [N] int32 items, longest first; None: sorted every update
    graph: FriendGraph | FriendLists  # all of it at once, or lists to draw from
    visible: jax.Array  # [U] bool: users with feedback that may be seen
    train_users: jax.Array  # [<=U] int32
    exploration_weights: jax.Array  # [N] int32, cumulative: what a random item is
    neighbourhoods: Neighbourhoods | None  # of the copy head; None without one
    session_gain: jax.Array  # [] of what was shown, in the session embedding
    posterior: RidgePrior | None  # of the ridge posterior; None without


@struct.dataclass(kw_only=True)
class Acting:
    """What the policy reads: the state of the greedy agent inside the learner."""

    shared: Shared
    params: dict

    @property
    def tables(self) -> Tables:
        """The embeddings, trained or frozen, with the item biases, always trained.

        Without the spare rows of tables that are sharded over devices.
        """
        tables = self.params.get("tables", self.shared.tables)
        num_items = self.shared.exploration_weights.shape[0]
        return tables.replace(
            item_in=tables.item_in[:num_items],
            item_out=tables.item_out[:num_items],
            item_bias=self.params["item_bias"][:num_items],
        )

    def tables_for(self, social: "Social") -> Tables:
        """The same, as one user sees them: with what people around them like."""
        return self.tables.replace(copied=social.copied)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """What is static, and so may be closed over: a module and counts, no arrays."""

    network: QNetwork
    dislike_weight: float  # c of the session embedding
    block: int  # items scored at a time, at most; 0: what suits the device

    @property
    def horizon(self) -> int:
        return self.network.horizon

    def apply(self, acting: Acting, method: str, *args, **options):
        params = acting.params["network"]
        return apply_network(self.network, method, params, *args, **options)


@struct.dataclass(kw_only=True)
class Social:
    """What is computed from the people around a user."""

    influence: jax.Array  # [..., D] k^K
    copied: jax.Array | None  # [..., N] c; None without a copy head
    # [..., R] the ridge posterior before any answer; None without one
    theta: jax.Array | None


@struct.dataclass(kw_only=True)
class Memory:
    """What the agent carries through one user's episode."""

    carry: jax.Array  # of the interest encoder
    social: Social
    copied: Copied | None  # what `social` says, in the order of the catalogue
    items: jax.Array  # sum of what was shown [D]
    posterior: RidgePosterior | None
    query: struct.PyTreeNode  # for the next choice


@struct.dataclass(kw_only=True)
class WholeGraph:
    """What users share where one pass over the graph is made for all of them."""

    influence: jax.Array  # [U, D]
    cold: jax.Array  # [U] bool: users whose feedback is unknown
    copy_logits: jax.Array | None  # [P + 1]


@struct.dataclass(kw_only=True)
class DrawnFriends:
    """What users share where neighbourhoods are sampled."""

    cold: jax.Array  # [U] bool
    key: jax.Array | None  # None: the same friends every time


@struct.dataclass(kw_only=True)
class Context:
    """What the users of a batch share while they are played."""

    people: WholeGraph | DrawnFriends
    catalogue: Catalogue


def policy_context(
    policy: Policy, acting: Acting, masked, key=None, shards: int = 1
) -> Context:
    """The context of a rollout; arguments of `social_context` and `sort_catalogue`."""
    tables, order = acting.tables, acting.shared.order
    catalogue = sort_catalogue(
        tables.item_out, tables.item_bias, policy.block, shards, order
    )
    people = social_context(policy, acting, masked, key)
    return Context(people=people, catalogue=catalogue)


@check_ranks(masked=1)
def social_context(
    policy: Policy, acting: Acting, masked: jax.Array, key: jax.Array | None = None
) -> WholeGraph | DrawnFriends:
    """The pass over the graph for every user; masked [U] bool count as unknown.

    Where friends are sampled nothing is made yet: `social_of` draws with this key.
    """
    cold = ~acting.shared.visible | masked
    graph, user = acting.shared.graph, acting.tables.user
    if isinstance(graph, FriendLists):
        return DrawnFriends(cold=cold, key=key)
    influence = policy.apply(acting, "social", graph, user, cold)
    logits = None
    if policy.network.copies:
        logits = policy.apply(
            acting, "copy_logits", acting.shared.neighbourhoods, influence
        )
    return WholeGraph(influence=influence, cold=cold, copy_logits=logits)


@check_ranks(user=0)
def social_of(policy: Policy, acting: Acting, context, user: jax.Array) -> Social:
    """The social part of one user, []; the context decides which friends are drawn."""
    if isinstance(context, WholeGraph):
        copied = theta = None
        if policy.network.copies:
            copied = copied_scores(
                acting.shared.neighbourhoods, context.copy_logits, ~context.cold, user
            )
        if acting.shared.posterior is not None:
            # What the regression starts from is data to the network, not a path back.
            theta = jax.lax.stop_gradient(copied) @ acting.shared.posterior.projection
        return Social(influence=context.influence[user], copied=copied, theta=theta)
    key = None if context.key is None else jax.random.fold_in(context.key, user)
    tree = sample_tree(acting.shared.graph, user, policy.network.hops, key)
    features, cold = acting.tables.user[tree.users], context.cold[tree.users]
    influence = policy.apply(acting, "social", tree, features, cold)[0]
    return Social(influence=influence, copied=None, theta=None)


def social_of_all(policy: Policy, acting: Acting, masked, users, key) -> Social:
    """The same for a batch, users [B]; masked [U] bool count as unknown."""
    context = social_context(policy, acting, masked, key)
    of_user = functools.partial(social_of, policy, acting, context)
    return jax.vmap(of_user)(users)  # adds B


def start_posterior(policy: Policy, social: Social) -> RidgePosterior | None:
    """It takes as many answers as an episode has, also where a past is primed."""
    if social.theta is None:
        return None
    return posterior_start(social.theta, policy.horizon)


def update_posterior(acting: Acting, posterior: RidgePosterior | None, item, liked):
    if posterior is None:
        return None
    factor = acting.tables.item_out[item, -posterior.theta.shape[0] :]
    return posterior_update(
        posterior, factor, liked, acting.shared.posterior.regularisation
    )


def session_embedding(acting: Acting, items: jax.Array, theta: jax.Array | None):
    """What was shown, summed [..., D], and theta [..., R] if any, times their gains."""
    items = acting.shared.session_gain * items
    if theta is None:
        return items
    return jnp.concatenate([items, acting.shared.posterior.weight * theta], axis=-1)


def _query(policy: Policy, acting, carry, social, items, step, likes, dislikes):
    clock = clock_features(step.astype(jnp.float32), likes, dislikes, policy.horizon)
    h = policy.apply(acting, "interest", carry)
    return policy.apply(acting, "query", h, social.influence, clock, items, train=False)


def _begin(policy: Policy, acting, context, user, key):
    del key
    carry = policy.apply(acting, "start")
    items = jnp.zeros(policy.network.width)
    zero = jnp.float32(0)
    social = social_of(policy, acting, context.people, user)
    posterior = start_posterior(policy, social)
    memory = session_embedding(acting, items, social.theta)
    query = _query(policy, acting, carry, social, memory, jnp.int32(0), zero, zero)
    return Memory(
        carry=carry,
        social=social,
        copied=in_order(context.catalogue, social.copied),
        items=items,
        posterior=posterior,
        query=query,
    )


def _observe(policy: Policy, acting, context, memory, observation):
    del context
    vector = acting.tables.item_in[observation.item]
    carry = policy.apply(acting, "step", memory.carry, vector, observation.liked)
    weight = session_weights(observation.liked, policy.dislike_weight)
    items = memory.items + weight * vector
    posterior = update_posterior(
        acting, memory.posterior, observation.item, observation.liked
    )
    query = _query(
        policy,
        acting,
        carry,
        memory.social,
        session_embedding(
            acting, items, None if posterior is None else posterior.theta
        ),
        observation.step,
        observation.like_streak,
        observation.dislike_streak,
    )
    return memory.replace(carry=carry, items=items, posterior=posterior, query=query)


def _scores(acting, context, memory, items):
    del context
    return advantages(memory.query, acting.tables_for(memory.social), items)


def _best(acting, context, memory, shown):
    del acting
    query = memory.query.direction, memory.query.copy_gain
    return best_item(context.catalogue, *query, memory.copied, shown)


def greedy_policy(policy: Policy, name: str) -> Agent:
    """The greedy policy, as an agent whose state is `Acting`."""
    return Agent(
        name=name,
        init=lambda key: None,
        context=functools.partial(policy_context, policy),
        begin=functools.partial(_begin, policy),
        observe=functools.partial(_observe, policy),
        scores=_scores,
        best=_best,
    )
