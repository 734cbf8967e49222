"""Copy head: attention over friends in item space, one score per item.

Graph attention summarises friends in D numbers; this reads what they like item by item.
Each friend's likes count with a weight that `CopyHead` learns. With logits of zero, a
new head's, the copied score c is the smoothed mean of the friends' feedback, which the
tuned linear policy starts from.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.runtime.ranks import check_ranks

NUM_PAIR_FEATURES = 3  # common friends, likes of the friend, friends of the friend


@struct.dataclass(kw_only=True)
class PeopleLists:
    """Some people of every user, as sparse rows."""

    offsets: jax.Array  # [U + 1] int32
    people: jax.Array  # [P + 1] int32; the last is padding
    longest: int = struct.field(pytree_node=False)  # F


@struct.dataclass(kw_only=True)
class Neighbourhoods:
    """Who a user may copy from, and what those like."""

    friends: PeopleLists
    two_hop: PeopleLists  # people exactly two hops away
    pair_features: jax.Array  # [P of friends + 1, 3]
    feedback: jax.Array  # [U, N] float32: visible likes, weighted; other rows are 0
    prior_weight: jax.Array  # [] friends that popularity counts for
    two_hop_weight: jax.Array  # [] weight of the mean feedback two hops away


class CopyHead(nn.Module):
    """How much each friend of a user counts: one logit per friend pair.

    Linear in features of the pair (common friends, the friend's likes and friends)
    and in k of the friend. Starts at zero: every friend counts the same.
    """

    @nn.compact
    def __call__(
        self, pair_features: jax.Array, friends: jax.Array, k: jax.Array
    ) -> jax.Array:
        """pair_features [P, 3], friends [P] int32, k [U, D] -> logits [P]."""
        zeros = nn.initializers.zeros
        of_pair = nn.Dense(1, use_bias=False, kernel_init=zeros, name="pair")
        of_friend = nn.Dense(1, use_bias=False, kernel_init=zeros, name="friend")
        return of_friend(k)[friends, 0] + of_pair(pair_features)[:, 0]


@check_ranks(logits=1, visible=1, user=0)
@jax.named_scope("copy")
def copied_scores(
    neighbourhoods: Neighbourhoods,
    logits: jax.Array,
    visible: jax.Array,
    user: jax.Array,
) -> jax.Array:
    """Weighted mean of what people around a user like: visible [U], user [] -> [N].

    Softmax over visible friends and popularity, whose logit is log(prior_weight), plus
    two_hop_weight times the mean of visible people two hops away. A user without either
    gets popularity alone.
    """
    friends, places, is_friend = people_of(neighbourhoods.friends, user)
    is_friend = is_friend & visible[friends]
    own_logit = jnp.log(neighbourhoods.prior_weight)[None]
    counts = jnp.concatenate([is_friend, jnp.ones(1, bool)])
    attention = jnp.concatenate([logits[places], own_logit])
    attention = jax.nn.softmax(attention, where=counts)
    weights = visible * attention[-1] / jnp.maximum(visible.sum(), 1)
    weights = weights.at[friends].add(attention[:-1])
    two_hop, _, is_two_hop = people_of(neighbourhoods.two_hop, user)
    is_two_hop = is_two_hop & visible[two_hop]
    each = neighbourhoods.two_hop_weight / jnp.maximum(is_two_hop.sum(), 1)
    weights = weights.at[two_hop].add(each * is_two_hop)
    return weights @ neighbourhoods.feedback


@check_ranks(user=0)
def people_of(lists: PeopleLists, user: jax.Array):
    """A user's people [F], their places in the lists [F], and which are real [F]."""
    first, end = lists.offsets[user], lists.offsets[user + 1]
    places = first + jnp.arange(lists.longest)
    is_real = places < end
    places = jnp.where(is_real, places, lists.people.shape[0] - 1)
    return lists.people[places], places, is_real
