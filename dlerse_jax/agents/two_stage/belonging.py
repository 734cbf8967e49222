"""To which communities the user of a session belongs, and what these like.

Friends say it before the first answer, and each answer says more (Bayes' rule in each
run of `graph.communities`). `belonging` [K] is the log of the chance of belonging to
each community, up to a number for each run.
"""

import jax
import jax.numpy as jnp

from dlerse_jax.agents.two_stage.fold_tables import FoldCommunities, FoldTables
from dlerse_jax.runtime.ranks import check_ranks


@check_ranks(friends=1)
def belonging_before(
    communities: FoldCommunities, friends: jax.Array, weights: jax.Array | None
) -> jax.Array:
    """Before the first answer, from friends [F], padded with U: [K].

    weights [F]: how much each friend counts; None: all the same.
    """
    members = communities.members[friends]
    if weights is not None:
        members *= weights[:, None]
    return jnp.log(communities.prior + members.sum(axis=0))


@check_ranks(item=0, liked=0)
def evidence(fold_tables: FoldTables, item: jax.Array, liked) -> jax.Array:
    """What an answer, 1 or 0, adds to `belonging`: [K]."""
    chances = fold_tables.communities.chances[fold_tables.place[item]]
    return jnp.where(liked > 0, jnp.log(chances), jnp.log1p(-chances))


@check_ranks(belonging=1)
def community_scores(fold_tables: FoldTables, belonging: jax.Array) -> jax.Array:
    """Chance of a like of every item, the mean of all runs.

    [P] in the order of `FoldTables`, 0 where that is padding.
    """
    communities = fold_tables.communities
    return communities.chances @ _weights(communities, belonging)


def _weights(communities: FoldCommunities, belonging: jax.Array) -> jax.Array:
    """Chance of belonging to each community, [K], a part for each run: sums to 1."""
    of_runs = belonging.reshape(communities.num_runs, -1)
    return jax.nn.softmax(of_runs, axis=1).reshape(-1) / communities.num_runs
