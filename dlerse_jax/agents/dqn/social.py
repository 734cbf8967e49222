"""What a deep agent makes of the people around somebody: k^K, and what they like.

Social influence is either one pass over the graph for all users of a batch, or is
computed from sampled friends for each user who plays. A newcomer's is computed from
their own friends alone: of F friends it takes O(F D) memory, the largest numbers being
their rows in each layer of attention, and with a copy head a walk through the friends
of those friends.
"""

import functools

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.dqn.acting import Acting, Policy, Shared
from dlerse_jax.graph.sampling import sample_tree, tree_of_friends
from dlerse_jax.networks.copy_head import (
    Neighbourhoods,
    copied_scores,
    newcomer_pairs,
)
from dlerse_jax.networks.gat import ATTENTION
from dlerse_jax.runtime.ranks import PERSON, check_ranks
from dlerse_jax.types import FriendLists, Newcomer


@struct.dataclass(kw_only=True)
class Social:
    """What is computed from the people around a user."""

    influence: jax.Array  # [..., D] k^K
    copied: jax.Array | None  # [..., N] c; None without a copy head
    # [..., R] the ridge posterior before any answer; None without one
    theta: jax.Array | None


@struct.dataclass(kw_only=True)
class ForNewcomers:
    """What a newcomer reads of users: kept for serving, and never in training."""

    layers: tuple[jax.Array, ...]  # K - 1 of [U, D]: k^1 to k^(K - 1) of users
    num_likes: jax.Array | None  # [U] visible likes; None without a copy head


@struct.dataclass(kw_only=True)
class WholeGraph:
    """What users share where one pass over the graph is made for all of them."""

    influence: jax.Array  # [U, D]
    cold: jax.Array  # [U] bool: users whose feedback is unknown
    copy_logits: jax.Array | None  # [P + 1]
    for_newcomers: ForNewcomers | None


@struct.dataclass(kw_only=True)
class DrawnFriends:
    """What users share where neighbourhoods are sampled."""

    cold: jax.Array  # [U] bool
    key: jax.Array | None  # None: the same friends every time


@check_ranks(masked=1)
def social_context(
    policy: Policy,
    acting: Acting,
    masked: jax.Array,
    key: jax.Array | None = None,
    *,
    newcomers: bool = False,
) -> WholeGraph | DrawnFriends:
    """The pass over the graph for every user; masked [U] bool count as unknown.

    newcomers: whether `social_of` is asked about those, too. Where friends are sampled
    nothing is made yet: `social_of` draws with this key.
    """
    cold = ~acting.shared.visible | masked
    graph, user = acting.shared.graph, acting.tables.user
    if isinstance(graph, FriendLists):
        return DrawnFriends(cold=cold, key=key)
    neighbourhoods, logits, for_newcomers = acting.shared.neighbourhoods, None, None
    if newcomers:
        layers = policy.apply(acting, "social_layers", graph, user, cold)
        for_newcomers = _for_newcomers(neighbourhoods, layers)
        influence = layers[-1]
    else:
        influence = policy.apply(acting, "social", graph, user, cold)
    if policy.network.copies:
        logits = policy.apply(acting, "copy_logits", neighbourhoods, influence)
    return WholeGraph(
        influence=influence, cold=cold, copy_logits=logits, for_newcomers=for_newcomers
    )


def _for_newcomers(neighbourhoods: Neighbourhoods | None, layers) -> ForNewcomers:
    num_likes = None
    if neighbourhoods is not None:
        num_likes = jnp.count_nonzero(neighbourhoods.feedback, axis=1)
    return ForNewcomers(layers=layers[1:-1], num_likes=num_likes)


@check_ranks(person=PERSON)
def social_of(
    policy: Policy, acting: Acting, context, person: jax.Array | Newcomer
) -> Social:
    """The social part of one person; the context decides which friends are drawn.

    A newcomer needs a context that was made for newcomers.
    """
    if isinstance(context, DrawnFriends):
        influence = _drawn_influence(policy, acting, context, person)
        return Social(influence=influence, copied=None, theta=None)
    if isinstance(person, Newcomer):
        # No list is empty.
        friends = jnp.pad(person.friends, (0, 1), constant_values=len(context.cold))
        person = person.replace(friends=friends)
        influence, logits = _newcomer_influence(policy, acting, context, person)
    else:
        influence, logits = context.influence[person], context.copy_logits
    copied = theta = None
    if policy.network.copies:
        neighbourhoods, visible = acting.shared.neighbourhoods, ~context.cold
        copied = copied_scores(neighbourhoods, logits, visible, person)
    if acting.shared.posterior is not None:
        # What the regression starts from is data to the network, not a path back.
        theta = jax.lax.stop_gradient(copied) @ acting.shared.posterior.projection
    return Social(influence=influence, copied=copied, theta=theta)


def attends(policy: Policy, shared: Shared) -> bool:
    """Whether there is attention over whole neighbourhoods to ask about."""
    network = policy.network
    is_whole = not isinstance(shared.graph, FriendLists)
    return is_whole and network.uses_graph and network.hops > 0


def attention_of(
    policy: Policy, acting: Acting, context, newcomer: Newcomer | None
) -> jax.Array:
    """What friends weigh in layers 1 to K, the mean over heads.

    Of a newcomer: themself and each friend, [K, 1 + F]. None: every edge of the graph,
    [K, E]. context: of a rollout.
    """
    people = context.people
    if newcomer is None:
        graph, layers = acting.shared.graph, ()
        features, cold = acting.tables.user, people.cold
    else:
        graph, features, cold, layers = _around(acting, people, newcomer)
    _, found = policy.network.apply(
        {"params": acting.params["network"]},
        *(graph, features, cold, layers),
        method="social",
        mutable=[ATTENTION],
    )
    weights = [layer.mean(axis=-1) for layer in jax.tree.leaves(found[ATTENTION])]
    return jnp.stack(weights).reshape(len(weights), -1)


def _around(acting: Acting, people: WholeGraph, newcomer: Newcomer):
    """A newcomer's friends as attention reads them: tree, features, which are unknown,
    and what the pass over the graph made of the friends."""
    tree = tree_of_friends(newcomer, len(people.cold))
    features = acting.tables.user[tree.users]
    cold = people.cold[tree.users].at[0].set(True)
    layers = tuple(layer[tree.users[1:]] for layer in people.for_newcomers.layers)
    return tree, features, cold, layers


def _drawn_influence(policy: Policy, acting, context: DrawnFriends, person):
    """k^K [D] from sampled friends; newcomers all draw with one key, if with any."""
    user = len(context.cold) if isinstance(person, Newcomer) else person
    key = None if context.key is None else jax.random.fold_in(context.key, user)
    tree = sample_tree(acting.shared.graph, person, policy.network.hops, key)
    features, cold = acting.tables.user[tree.users], context.cold[tree.users]
    if isinstance(person, Newcomer):
        cold = cold.at[0].set(True)
    return policy.apply(acting, "social", tree, features, cold)[0]


def _newcomer_influence(policy: Policy, acting, context: WholeGraph, newcomer):
    """k^K [D] from all friends, and the copy head's logits of them [F], if it is there.

    The friends are as the pass over the graph left them.
    """
    around = _around(acting, context, newcomer)
    influence = policy.apply(acting, "social", *around)[0]
    if not policy.network.copies:
        return influence, None
    pairs = newcomer_pairs(
        acting.shared.neighbourhoods, context.for_newcomers.num_likes, newcomer.friends
    )
    k = context.influence[newcomer.friends]
    return influence, policy.apply(acting, "newcomer_logits", pairs, k)


def social_of_all(policy: Policy, acting: Acting, masked, users, key) -> Social:
    """The same for a batch, users [B]; masked [U] bool count as unknown."""
    context = social_context(policy, acting, masked, key)
    return social_of_users(policy, acting, context, users)


def social_of_users(policy: Policy, acting: Acting, context, users) -> Social:
    """The same where the context is known."""
    of_user = functools.partial(social_of, policy, acting, context)
    return jax.vmap(of_user)(users)  # adds B
