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

from dlerse_jax.runtime.ranks import PERSON, check_ranks
from dlerse_jax.types import Newcomer

NUM_PAIR_FEATURES = 3  # common friends, likes of the friend, friends of the friend
STRETCH = 2**12  # static: friends of friends that are gone through at a time


@struct.dataclass(kw_only=True)
class PeopleLists:
    """Some people of every user, as sparse rows."""

    offsets: jax.Array  # [U + 1] int32
    people: jax.Array  # [P + 1] int32; the last is padding
    weights: jax.Array | None = None  # [P + 1] how much each counts; None: 1
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
    # Mean and standard deviation of a pair's 3 numbers before they are standardised.
    feature_scale: tuple[tuple[float, float], ...] = struct.field(pytree_node=False)

    def friends_of(self, person: jax.Array | Newcomer):
        """Friends [F], the places of their logits [F], and which are real [F]."""
        if isinstance(person, Newcomer):
            return _listed(person.friends, len(self.feedback))
        return people_of(self.friends, person)

    def two_hops_of(self, person: jax.Array | Newcomer):
        """The same of people two hops away, who have no logits."""
        if isinstance(person, Newcomer):
            return _listed(person.two_hops, len(self.feedback))
        return people_of(self.two_hop, person)


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


@check_ranks(logits=1, visible=1, person=PERSON)
@jax.named_scope("copy")
def copied_scores(
    neighbourhoods: Neighbourhoods,
    logits: jax.Array,
    visible: jax.Array,
    person: jax.Array | Newcomer,
) -> jax.Array:
    """Weighted mean of what people around somebody like: visible [U] -> [N].

    logits [P + 1] of all friend pairs for a user, [], and [F] of their own for a
    newcomer. Softmax over visible friends and popularity, whose logit is
    log(prior_weight), plus two_hop_weight times the mean of visible people two hops
    away. Who has neither gets popularity alone.
    """
    friends, places, is_friend = neighbourhoods.friends_of(person)
    is_friend = is_friend & visible[friends]
    own_logit = jnp.log(neighbourhoods.prior_weight)[None]
    counts = jnp.concatenate([is_friend, jnp.ones(1, bool)])
    logits = logits[places]
    weights = weights_of(neighbourhoods.friends, person)
    if weights is not None:  # so that a new head has the mean by these weights
        logits += jnp.log(weights)
    attention = jnp.concatenate([logits, own_logit])
    attention = jax.nn.softmax(attention, where=counts)
    weights = visible * attention[-1] / jnp.maximum(visible.sum(), 1)
    weights = weights.at[friends].add(attention[:-1], mode="drop")
    two_hop, _, is_two_hop = neighbourhoods.two_hops_of(person)
    is_two_hop = is_two_hop & visible[two_hop]
    each = neighbourhoods.two_hop_weight / jnp.maximum(is_two_hop.sum(), 1)
    weights = weights.at[two_hop].add(each * is_two_hop, mode="drop")
    return weights @ neighbourhoods.feedback


@check_ranks(user=0)
def people_of(lists: PeopleLists, user: jax.Array):
    """A user's people [F], their places in the lists [F], and which are real [F]."""
    first, end = lists.offsets[user], lists.offsets[user + 1]
    places = first + jnp.arange(lists.longest)
    is_real = places < end
    places = jnp.where(is_real, places, lists.people.shape[0] - 1)
    return lists.people[places], places, is_real


def weights_of(lists: PeopleLists, person: jax.Array | Newcomer) -> jax.Array | None:
    """How much each of a user's people counts, [F] as in `people_of`; None where all
    count the same, as a newcomer's do."""
    if lists.weights is None or isinstance(person, Newcomer):
        return None
    return lists.weights[people_of(lists, person)[1]]


def _listed(people: jax.Array, num_users: int):
    """What `people_of` gives, of a list padded with U [F]."""
    return people, jnp.arange(len(people)), people < num_users


@check_ranks(num_likes=1, friends=1)
def newcomer_pairs(
    neighbourhoods: Neighbourhoods, num_likes: jax.Array, friends: jax.Array
) -> jax.Array:
    """`pair_features` of a newcomer's pairs: num_likes [U], friends [F] -> [F, 3].

    friends are padded with U, and at least one, if only padding.
    """
    offsets = neighbourhoods.friends.offsets
    known = jnp.minimum(friends, len(num_likes) - 1)
    counts = (
        common_friends_of(neighbourhoods.friends, friends),
        num_likes[known],
        offsets[known + 1] - offsets[known],
    )
    mean, deviation = jnp.array(neighbourhoods.feature_scale).T
    features = jnp.log1p(jnp.stack(counts, axis=1).astype(jnp.float32))
    return (features - mean[None]) / deviation[None]


@check_ranks(friends=1)
def common_friends_of(lists: PeopleLists, friends: jax.Array) -> jax.Array:
    """How many of a newcomer's friends each of these names: [F] int32, padded with U.

    Goes through the friends of friends and nobody else, a stretch at a time; memory is
    O(U + F).
    """
    num_users = len(lists.offsets) - 1
    is_friend = jnp.zeros(num_users, bool).at[friends].set(True, mode="drop")
    known = jnp.minimum(friends, num_users - 1)
    firsts, lasts = lists.offsets[known], lists.offsets[known + 1]
    lengths = jnp.where(friends < num_users, lasts - firsts, 0)
    ends = jnp.cumsum(lengths)

    def add_stretch(carry):
        start, counts = carry
        slots = start + jnp.arange(STRETCH)
        namer = jnp.searchsorted(ends, slots, side="right")  # F behind the last slot
        row = jnp.minimum(namer, len(friends) - 1)
        place = firsts[row] + slots - (ends[row] - lengths[row])
        is_common = is_friend[lists.people[place]].astype(jnp.int32)
        return start + STRETCH, counts.at[namer].add(is_common, mode="drop")

    nothing = jnp.int32(0), jnp.zeros(len(friends), jnp.int32)
    return jax.lax.while_loop(lambda carry: carry[0] < ends[-1], add_stretch, nothing)[
        1
    ]
