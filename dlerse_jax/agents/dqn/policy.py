"""The greedy policy of a deep agent: what acting and learning both read.

In go static parts (a network, a horizon) and `Acting` (shared arrays and parameters);
out come the functions of the agent contract for one user, and `episode_states` with
`state_queries`, the same for a whole recorded episode at once. Social influence is
either one pass over the graph for all users of a batch, or drawn and made for each
user who plays.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.environment.reward import streaks_before
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
    weight: jax.Array  # [] of theta in the item memory


@struct.dataclass(kw_only=True)
class Shared:
    """Arrays that every seed reads and none changes: one copy, whatever S."""

    tables: Tables | None  # None: embeddings are trained, and live in params
    order: jax.Array | None  # [N] int32 items, longest first; None: sorted every update
    graph: FriendGraph | FriendLists  # all of it at once, or lists to draw from
    visible: jax.Array  # [U] bool: users with feedback that may be seen
    train_users: jax.Array  # [<=U] int32
    exploration_weights: jax.Array  # [N] int32, cumulative: what a random item is
    neighbourhoods: (
        Neighbourhoods | None
    )  # whose likes the copy head copies; None without one
    session_gain: jax.Array  # [] of what was shown, in the item memory
    posterior: RidgePrior | None  # of the regression in the item memory; None without


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

    def tables_for(self, social: "Social") -> Tables:
        """The same, as one user sees them: with what people around them like."""
        return self.tables.replace(copied=social.copied)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """What is static, and so may be closed over: a module and counts, no arrays."""

    network: QNetwork
    dislike_weight: float  # c of the item memory
    block: int  # items scored at a time, at most; 0: what suits the device

    @property
    def horizon(self) -> int:
        return self.network.horizon

    def apply(self, acting: Acting, method: str, *args, **options):
        params = acting.params["network"]
        return apply_network(self.network, method, params, *args, **options)


@struct.dataclass(kw_only=True)
class Social:
    """What the people around a user tell about them."""

    influence: jax.Array  # [..., D] k^K
    copied: jax.Array | None  # [..., N] c; None without a copy head
    theta: (
        jax.Array | None
    )  # [..., R] the ridge posterior before any answer; None without


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
    """What users share where one pass over the graph has served all of them."""

    influence: jax.Array  # [U, D]
    cold: jax.Array  # [U] bool
    copy_logits: jax.Array | None  # [P + 1]


@struct.dataclass(kw_only=True)
class DrawnFriends:
    """What users share where neighbourhoods are sampled: who draws, and who is cold."""

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
    """The pass over the graph for every user, hidden ones [U] bool seen as cold.

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
    """What is told about one user, [], by friends that the context alone decides."""
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
    """The same for a batch, hidden users [U] seen as cold: users [B]."""
    context = social_context(policy, acting, masked, key)
    of_user = functools.partial(social_of, policy, acting, context)
    return jax.vmap(of_user)(users)  # adds B


def _start_posterior(policy: Policy, social: Social) -> RidgePosterior | None:
    """It listens to as many answers as an episode has, also where a past is primed."""
    if social.theta is None:
        return None
    return posterior_start(social.theta, policy.horizon)


def _update_posterior(acting: Acting, posterior: RidgePosterior | None, item, liked):
    if posterior is None:
        return None
    factor = acting.tables.item_out[item, -posterior.theta.shape[0] :]
    return posterior_update(
        posterior, factor, liked, acting.shared.posterior.regularisation
    )


def _session_embedding(acting: Acting, items: jax.Array, theta: jax.Array | None):
    """The item memory: what was shown, summed [..., D], and theta [..., R] if any."""
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
    posterior = _start_posterior(policy, social)
    memory = _session_embedding(acting, items, social.theta)
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
    posterior = _update_posterior(
        acting, memory.posterior, observation.item, observation.liked
    )
    query = _query(
        policy,
        acting,
        carry,
        memory.social,
        _session_embedding(
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


@struct.dataclass(kw_only=True)
class EpisodeStates:
    """What the head reads before each step of an episode."""

    interests: jax.Array  # [T, H]
    influence: jax.Array  # [D]
    clock: jax.Array  # [T, 3]
    items: jax.Array  # item memory [T, D + R]


@check_ranks(items=1, liked=1)
def episode_states(policy: Policy, acting, social, items, liked) -> EpisodeStates:
    """States of one recorded episode, items and liked [T]: one scan of the encoder."""
    vectors = acting.tables.item_in[items]
    weights = session_weights(liked, policy.dislike_weight)[:, None] * vectors
    items_before = jnp.cumsum(weights, axis=0) - weights
    thetas = _thetas_before(policy, acting, social, items, liked)
    steps = jnp.arange(policy.horizon, dtype=jnp.float32)
    return EpisodeStates(
        interests=policy.apply(acting, "unroll", vectors, liked)[:-1],
        influence=social.influence,
        clock=clock_features(steps, *streaks_before(liked), policy.horizon),
        items=_session_embedding(acting, items_before, thetas),
    )


def state_queries(policy: Policy, acting, states: EpisodeStates, dropout_key):
    """Queries of an episode's states [T]; dropout_key None switches dropout off."""
    return policy.apply(
        acting,
        "query",
        states.interests,
        states.influence,
        states.clock,
        states.items,
        train=dropout_key is not None,
        rngs=None if dropout_key is None else {"dropout": dropout_key},
    )


def _thetas_before(policy: Policy, acting, social, items, liked) -> jax.Array | None:
    """The ridge posterior before each step of an episode: [T, R], or None without
    one."""

    def update(posterior, answer):
        return _update_posterior(acting, posterior, *answer), posterior.theta

    if social.theta is None:
        return None
    start = _start_posterior(policy, social)
    return jax.lax.scan(update, start, (items, liked))[1]
