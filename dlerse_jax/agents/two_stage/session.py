"""The first stage of dlerse_rank: one user's session, and the candidates it suggests.

Tables are made without the likes of some training users (`FoldTables`). They fit the
users they are made of far better than anybody new, so what is learned on top of them
must be learned from users whose tables were made without them (cross-fitting).
"""

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.dqn.acting import RidgePrior
from dlerse_jax.linear_models.ridge import (
    RidgePosterior,
    posterior_start,
    posterior_update,
)
from dlerse_jax.networks.copy_head import Neighbourhoods, copied_scores
from dlerse_jax.networks.q_network import session_weights
from dlerse_jax.retrieval.argmax import first_maximum
from dlerse_jax.runtime.ranks import PERSON, check_ranks
from dlerse_jax.types import Newcomer


@struct.dataclass(kw_only=True)
class FoldTables:
    """Tables of the first stage. Stacked, an axis of folds comes first."""

    item_in: jax.Array  # [N, D] e of EASE
    item_out: jax.Array  # [N, D + R] o of EASE, and item vectors of the ridge posterior
    session_gain: jax.Array  # [] of what was shown, in the score
    posterior: RidgePrior
    strata: jax.Array  # [A, L] int32 items, padded with N
    rank: jax.Array  # [N] by popularity, from 0 to 1


@struct.dataclass(kw_only=True)
class CrossFittedTables:
    """All that is read and never trained: one copy, whatever the seeds."""

    # [1 + K, ...]: of all training users, then without each fold
    tables_by_fold: FoldTables
    folds: jax.Array  # [K, M] int32: users of a fold; the first again as padding
    is_training: jax.Array  # [U] bool
    neighbourhoods: Neighbourhoods
    likers: jax.Array  # [N, U] float32: 1 where a training user likes an item
    liked_both: jax.Array  # [N, N] training users who like one and the other
    dislike_weight: jax.Array  # [] of the first stage: a dislike against a like


@struct.dataclass(kw_only=True)
class Surroundings:
    """What the users of a batch share."""

    fold_tables: FoldTables
    visible: jax.Array  # [U] float32: 1 for users whose likes may be read
    popularity: jax.Array  # [N] their mean weight of an item
    strength: jax.Array  # [N] the same over those who like it
    # [U] weight of a like of theirs: 0 where not visible, less for many likes
    user_weight: jax.Array
    # [N] weight of a like of an item: less for many likers
    inverse_popularity: jax.Array


@struct.dataclass(kw_only=True)
class Friends:
    """What one user's friends like: computed once, before the first answer."""

    copied: jax.Array  # [N]
    weight: jax.Array  # [N] summed over friends
    # [3, N]: friends; the same by user weight; share of people two hops away
    likers: jax.Array
    is_friend: jax.Array  # [U] 1 for friends whose likes may be read
    count: jax.Array  # [] of them


@struct.dataclass(kw_only=True)
class Session:
    """One user's session up to now."""

    user: jax.Array  # [], U for a newcomer
    friends: Friends
    own: jax.Array  # [N] what `liked_both` knows of this user, to be left out: 1 or 0
    items: jax.Array  # [T] int32, padded with N
    is_liked: jax.Array  # [T] float32
    likes: jax.Array  # [D] sum of e over items liked
    dislikes: jax.Array  # [D]
    like_minded: jax.Array  # [U] how far users like what this one liked
    liked_by_those: jax.Array  # [2, N]: by such friends, and by such users at large
    posterior: RidgePosterior


@check_ranks(masked=1)
def surroundings(
    cross_fitted: CrossFittedTables, masked: jax.Array, fold_tables: jax.Array
) -> Surroundings:
    """masked [U] bool: their likes may not be read, on top of users not in training."""
    visible = (cross_fitted.is_training & ~masked).astype(jnp.float32)
    total = visible @ cross_fitted.neighbourhoods.feedback
    likers = cross_fitted.likers @ visible
    num_likes = cross_fitted.likers.sum(axis=0)
    return Surroundings(
        fold_tables=jax.tree.map(
            lambda leaf: leaf[fold_tables], cross_fitted.tables_by_fold
        ),
        visible=visible,
        popularity=total / jnp.maximum(visible.sum(), 1),
        strength=total / jnp.maximum(likers, 1),
        user_weight=visible / jnp.sqrt(jnp.maximum(num_likes, 1)),
        inverse_popularity=1 / jnp.sqrt(jnp.maximum(likers, 1)),
    )


@check_ranks(person=PERSON)
def start_session(
    cross_fitted: CrossFittedTables,
    around: Surroundings,
    person: jax.Array | Newcomer,
    horizon: int,
) -> Session:
    """Before the first answer of a user, [], or of a newcomer.

    Answers beyond T are not remembered.
    """
    num_items, width = around.fold_tables.item_in.shape
    friends = _likes_of_friends(cross_fitted, around, person)
    user, own = person, jnp.zeros(num_items)
    if isinstance(person, Newcomer):
        user = jnp.int32(len(around.visible))
    else:
        own = cross_fitted.likers[:, person]
    return Session(
        user=user,
        friends=friends,
        own=own,
        items=jnp.full(horizon, num_items, jnp.int32),
        is_liked=jnp.zeros(horizon),
        likes=jnp.zeros(width),
        dislikes=jnp.zeros(width),
        like_minded=jnp.zeros_like(around.visible),
        liked_by_those=jnp.zeros((2, num_items)),
        posterior=posterior_start(
            friends.copied @ around.fold_tables.posterior.projection, horizon
        ),
    )


def _likes_of_friends(
    cross_fitted: CrossFittedTables, around: Surroundings, person
) -> Friends:
    neighbourhoods, nobody = cross_fitted.neighbourhoods, jnp.zeros_like(around.visible)
    named, far = neighbourhoods.friends_of(person), neighbourhoods.two_hops_of(person)

    def visible_among(people, _, is_real):
        counts = is_real * around.visible[people]
        return nobody.at[people].add(counts, mode="drop")

    one_hop, two_hop = visible_among(*named), visible_among(*far)
    if isinstance(person, Newcomer):
        alike = jnp.zeros(len(person.friends))
    else:
        alike = jnp.zeros(neighbourhoods.friends.people.shape[0])
    of_people = (
        one_hop,
        one_hop * around.user_weight,
        two_hop / jnp.maximum(two_hop.sum(), 1),
    )
    return Friends(
        copied=copied_scores(neighbourhoods, alike, around.visible > 0, person),
        weight=one_hop @ neighbourhoods.feedback,
        likers=jnp.stack(of_people) @ cross_fitted.likers.T,
        is_friend=one_hop,
        count=one_hop.sum(),
    )


@check_ranks(item=0, liked=0)
def observe_answer(
    cross_fitted: CrossFittedTables, around: Surroundings, session: Session, item, liked
) -> Session:
    """After one answer: item [] int32 (N: nothing was shown), liked [] 1 or 0."""
    fold_tables = around.fold_tables
    num_items, width = fold_tables.item_in.shape
    is_real = (item < num_items).astype(jnp.float32)
    row = jnp.minimum(item, num_items - 1)
    place = jnp.where(
        item < num_items, session.posterior.num_answers, len(session.items)
    )
    weight = session_weights(liked, cross_fitted.dislike_weight) * is_real
    added = (
        weight
        * around.inverse_popularity[row]
        * cross_fitted.likers[row]
        * around.user_weight
    )
    # Who has a past is there as well.
    added = added.at[session.user].set(0.0, mode="drop")
    like_minded = jnp.maximum(session.like_minded + added, 0.0)
    answered = posterior_update(
        session.posterior,
        fold_tables.item_out[row, width:],
        liked,
        fold_tables.posterior.regularisation,
    )
    return session.replace(
        items=session.items.at[place].set(item, mode="drop"),
        is_liked=session.is_liked.at[place].set(liked, mode="drop"),
        likes=session.likes + is_real * liked * fold_tables.item_in[row],
        dislikes=session.dislikes + is_real * (1 - liked) * fold_tables.item_in[row],
        like_minded=like_minded,
        liked_by_those=_liked_by_those(cross_fitted, session.friends, like_minded),
        posterior=jax.tree.map(
            lambda new, old: jnp.where(item < num_items, new, old),
            answered,
            session.posterior,
        ),
    )


def first_scores(
    cross_fitted: CrossFittedTables, around: Surroundings, session: Session
) -> jax.Array:
    """The first stage on all items: [N]. What dlerse_plus starts as."""
    fold_tables = around.fold_tables
    memory = session.likes - cross_fitted.dislike_weight * session.dislikes
    parts = (
        fold_tables.session_gain * memory,
        fold_tables.posterior.weight * session.posterior.theta,
    )
    return fold_tables.item_out @ jnp.concatenate(parts) + session.friends.copied


@check_ranks(scores=1, shown=1)
def candidates(around: Surroundings, scores: jax.Array, shown: jax.Array) -> jax.Array:
    """The best item of each stratum not in shown [S]: [A] int32, N where none is left.

    Strata hold popular and rare items alike, and the best of all is one of these. (The
    best A of all would take a sort of N scores, which is slow on a CPU.)
    """
    num_items, strata = scores.shape[0], around.fold_tables.strata
    allowed = jnp.append(scores, -jnp.inf).at[shown].set(-jnp.inf)
    of_strata = allowed[strata]
    best = first_maximum(of_strata)[:, None]
    items = jnp.take_along_axis(strata, best, axis=1)[:, 0]
    is_left = jnp.take_along_axis(of_strata, best, axis=1)[:, 0] > -jnp.inf
    return jnp.where(is_left, items, num_items)


def _liked_by_those(
    cross_fitted: CrossFittedTables, friends: Friends, like_minded
) -> jax.Array:
    """What like-minded people like, friends and all: [2, N]. The one product with U."""
    close = like_minded**2
    of_friends = like_minded * friends.is_friend / smoothed_count(cross_fitted, friends)
    weights = jnp.stack([of_friends, close / (close.sum() + 1e-9)])
    return weights @ cross_fitted.likers.T


def smoothed_count(cross_fitted: CrossFittedTables, friends: Friends) -> jax.Array:
    return friends.count + cross_fitted.neighbourhoods.prior_weight
