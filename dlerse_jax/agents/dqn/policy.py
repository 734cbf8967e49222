"""The greedy policy of a deep agent: what acting and learning both read.

The functions of the agent contract for one user, on `Policy` (static: a network, a
horizon) and `Acting` (arrays and parameters). What it knows of friends is in
`social.py`.
"""

import functools

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.dqn.acting import Acting, Policy
from dlerse_jax.agents.dqn.social import (
    DrawnFriends,
    Social,
    WholeGraph,
    social_context,
    social_of,
)
from dlerse_jax.linear_models.ridge import (
    RidgePosterior,
    posterior_start,
    posterior_update,
)
from dlerse_jax.networks.q_network import (
    Tables,
    advantages,
    clock_features,
    session_weights,
)
from dlerse_jax.retrieval.index import Catalogue, Copied, in_order, sort_catalogue
from dlerse_jax.retrieval.lists import best_list
from dlerse_jax.retrieval.search import best_item
from dlerse_jax.types import Agent


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
class ItemSums:
    """Over the catalogue: what the mean of all advantages is made of."""

    vectors: jax.Array  # [D + R]
    biases: jax.Array  # []


@struct.dataclass(kw_only=True)
class Context:
    """What the users of a batch share while they are played."""

    people: WholeGraph | DrawnFriends
    catalogue: Catalogue
    sums: ItemSums


def policy_context(
    policy: Policy,
    acting: Acting,
    masked,
    key=None,
    shards: int = 1,
    *,
    newcomers: bool = False,
) -> Context:
    """The context of a rollout; arguments of `social_context` and `sort_catalogue`.

    newcomers: and lists, which training never asks for.
    """
    tables, order = acting.tables, acting.shared.order
    catalogue = sort_catalogue(
        *(tables.item_out, tables.item_bias, policy.block, shards, order),
        by_index=newcomers,
    )
    people = social_context(policy, acting, masked, key, newcomers=newcomers)
    return Context(people=people, catalogue=catalogue, sums=_sums(tables))


def _sums(tables: Tables) -> ItemSums:
    return ItemSums(vectors=tables.item_out.sum(axis=0), biases=tables.item_bias.sum())


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


def acted_interest(policy: Policy, acting: Acting, carry) -> jax.Array:
    """h [H] of an encoder's carry."""
    return policy.apply(acting, "interest", carry)


def _query(policy: Policy, acting, carry, social, items, step, likes, dislikes):
    clock = clock_features(step.astype(jnp.float32), likes, dislikes, policy.horizon)
    # No gradient goes through a choice: `acted_interest` is what it goes through.
    h = jax.lax.stop_gradient(acted_interest(policy, acting, carry))
    return policy.apply(acting, "query", h, social.influence, clock, items, train=False)


def _begin(policy: Policy, acting, context, person, key):
    del key
    carry = policy.apply(acting, "start")
    items = jnp.zeros(policy.network.width)
    zero = jnp.float32(0)
    social = social_of(policy, acting, context.people, person)
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


def _best_list(acting, context, memory, left_out, count):
    del acting
    query = memory.query.direction, memory.query.copy_gain
    return best_list(context.catalogue, *query, memory.copied, left_out, count)


def greedy_policy(policy: Policy, name: str) -> Agent:
    """The greedy policy, as an agent whose state is `Acting`."""
    return Agent(
        name=name,
        init=lambda key: None,
        context=functools.partial(policy_context, policy, newcomers=True),
        begin=functools.partial(_begin, policy),
        observe=functools.partial(_observe, policy),
        scores=_scores,
        best=_best,
        best_list=_best_list,
    )
