"""First stage of dlerse_rank: one user's session, and the candidates it suggests."""

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.two_stage.belonging import belonging_before, evidence
from dlerse_jax.agents.two_stage.fold_tables import (
    MERGED,
    CrossFittedTables,
    Surroundings,
)
from dlerse_jax.agents.two_stage.pieces import sums_by_column
from dlerse_jax.agents.two_stage.rows import (
    counts,
    first_entries,
    first_pieces,
    whole_rows,
)
from dlerse_jax.linear_models.ridge import (
    RidgePosterior,
    posterior_start,
    posterior_update_if,
)
from dlerse_jax.networks.copy_head import PeopleLists, people_of, weights_of
from dlerse_jax.networks.q_network import session_weights
from dlerse_jax.retrieval.argmax import first_maximum
from dlerse_jax.runtime.ranks import PERSON, check_ranks
from dlerse_jax.types import Newcomer

LIKED, DISLIKED, OWN = 1, 2, 4  # bits of `Session.answers`


@struct.dataclass(kw_only=True)
class Friends:
    """What one user's friends like: computed once, before the first answer."""

    copied: jax.Array  # [P] in the order of `FoldTables`, -inf where that is padding
    # [N, 4]: weight summed over friends; friends who like it; the same by user weight;
    # share of people two hops away
    likers: jax.Array
    count: jax.Array  # [] friends whose likes are read


@struct.dataclass(kw_only=True)
class Session:
    """One user's session up to now."""

    user: jax.Array  # [], U for a newcomer
    friends: Friends
    items: jax.Array  # [T] int32, padded with N
    is_liked: jax.Array  # [T] float32
    likes: jax.Array  # [D] sum of e over items liked
    dislikes: jax.Array  # [D]
    # [N + 1] int8: LIKED or DISLIKED where it was shown, and OWN where the tables know
    # of this very user who liked it, shown or not
    answers: jax.Array
    # [U + 1] how far users like what this one liked; of friends with a minus, -0 too
    like_minded: jax.Array
    squares: jax.Array  # [] sum of its squares
    posterior: RidgePosterior
    belonging: jax.Array  # [K] to communities: see `belonging`


@check_ranks(person=PERSON)
def start_session(
    cross_fitted: CrossFittedTables,
    around: Surroundings,
    person: jax.Array | Newcomer,
    horizon: int,
    is_friendless: jax.Array | bool = False,
) -> Session:
    """Before the first answer of a user, [], or a newcomer.

    Answers beyond T are not remembered. is_friendless [] bool: as if
    they named nobody.
    """
    num_items, fold_tables = len(around.popularity), around.fold_tables
    people, two_hop = (
        jnp.where(is_friendless, len(around.visible), others)
        for others in _people(cross_fitted, person)
    )
    weights = weights_of(cross_fitted.friends, person)
    friends, near = _likes_around(cross_fitted, around, people, two_hop, weights)
    newcomer = jnp.int32(len(around.visible))
    user = newcomer if isinstance(person, Newcomer) else person
    is_item = fold_tables.order < num_items
    copied = jnp.where(is_item, friends.copied, 0.0)
    around_user = (copied @ fold_tables.item_out)[fold_tables.width :]
    return Session(
        user=user,
        friends=friends,
        items=jnp.full(horizon, num_items, jnp.int32),
        is_liked=jnp.zeros(horizon),
        likes=jnp.zeros(fold_tables.width),
        dislikes=jnp.zeros(fold_tables.width),
        answers=_own_likes(cross_fitted, around, user),
        like_minded=jnp.zeros(len(around.visible) + 1).at[near].set(-0.0),
        squares=jnp.float32(0),
        posterior=posterior_start(around_user * fold_tables.posterior.scale, horizon),
        belonging=belonging_before(fold_tables.communities, near, weights),
    )


def _people(cross_fitted: CrossFittedTables, person: jax.Array | Newcomer):
    """Friends [F] and people two hops away [G], padded with U; no list is empty."""
    num_users = len(cross_fitted.is_training)
    if isinstance(person, Newcomer):
        lists = person.friends, person.two_hops
        return [jnp.pad(people, (0, 1), constant_values=num_users) for people in lists]

    def padded(lists: PeopleLists) -> jax.Array:
        people, _, is_real = people_of(lists, person)
        return jnp.where(is_real, people, num_users)

    return padded(cross_fitted.friends), padded(cross_fitted.two_hop)


def _likes_around(
    cross_fitted: CrossFittedTables,
    around: Surroundings,
    friends: jax.Array,
    two_hop: jax.Array,
    friend_weights: jax.Array | None,
) -> tuple[Friends, jax.Array]:
    """From people [F] and [G], padded with U: what they like.

    Beside it the friends whose likes are read [F], padded with U.

    friend_weights [F]: how much each friend counts in the mean; None: the same.
    """
    num_users, read = len(around.visible), cross_fitted.read

    def likes_of(people: jax.Array, budget: int, counts: jax.Array | None = None):
        is_visible = around.visible.at[people].get(mode="fill", fill_value=0) > 0
        people = jnp.where(is_visible, people, num_users)
        is_in = whole_rows(cross_fitted.feedback, people, budget)
        people = jnp.where(is_in, people, num_users)
        of_user = around.user_weight.at[people].get(mode="fill", fill_value=0)
        each = (people < num_users).astype(jnp.float32)
        if counts is not None:
            each, of_user = each * counts, of_user * counts
        factors = jnp.stack([each, jnp.ones_like(each), of_user], axis=-1)
        table = sums_by_column(cross_fitted.feedback, people, factors)
        return table, people, jnp.sum(each)

    near, people, count = likes_of(friends, read.friends, friend_weights)
    far, _, count_far = likes_of(two_hop, read.two_hop)
    weight = cross_fitted.prior_weight
    copied = (near[:, 0] + weight * around.popularity) / (count + weight)
    each = 1 / jnp.maximum(count_far, 1)
    copied += cross_fitted.two_hop_weight * each * far[:, 0]
    found = Friends(
        copied=copied.at[around.fold_tables.order].get(
            mode="fill", fill_value=-jnp.inf
        ),
        likers=jnp.concatenate([near, each * far[:, 1:2]], axis=1),
        count=count.astype(jnp.float32),
    )
    return found, people


@check_ranks(item=0, liked=0)
def observe_answer(
    cross_fitted: CrossFittedTables, around: Surroundings, session: Session, item, liked
) -> Session:
    """After one answer: item [] int32 (N: nothing was shown), liked [] 1 or 0."""
    fold_tables, num_items = around.fold_tables, len(around.popularity)
    is_real = (item < num_items).astype(jnp.float32)
    row = jnp.minimum(item, num_items - 1)
    place = jnp.where(
        item < num_items, session.posterior.num_answers, len(session.items)
    )
    weight = is_real * session_weights(liked, cross_fitted.dislike_weight)
    item_in = is_real * fold_tables.item_in(row)
    like_minded, squares = _like_minded(cross_fitted, around, session, row, weight)
    return session.replace(
        items=session.items.at[place].set(item, mode="drop"),
        is_liked=session.is_liked.at[place].set(liked, mode="drop"),
        likes=session.likes + liked * item_in,
        dislikes=session.dislikes + (1 - liked) * item_in,
        answers=session.answers.at[item].add(
            jnp.where(liked > 0, LIKED, DISLIKED).astype(jnp.int8), mode="drop"
        ),
        like_minded=like_minded,
        squares=squares,
        posterior=posterior_update_if(
            item < num_items,
            session.posterior,
            fold_tables.item_out[fold_tables.place[row], fold_tables.width :],
            liked,
            fold_tables.posterior.regularisation,
        ),
        belonging=session.belonging + is_real * evidence(fold_tables, row, liked),
    )


def _own_likes(
    cross_fitted: CrossFittedTables, around: Surroundings, user: jax.Array
) -> jax.Array:
    """`Session.answers` before the first one: [N + 1] int8."""
    rows = cross_fitted.feedback
    items, _, is_real = first_entries(rows, user[None], rows.longest)
    is_real &= around.known.at[user].get(mode="fill", fill_value=False)
    items = jnp.where(is_real, items, rows.num_columns + 1)[0]
    answers = jnp.zeros(rows.num_columns + 1, jnp.int8)
    return answers.at[items].set(OWN, mode="drop")


def is_liked(answers: jax.Array) -> jax.Array:
    """Of `Session.answers` [...]: which were shown and liked, [...] bool."""
    return answers & LIKED > 0


def is_disliked(answers: jax.Array) -> jax.Array:
    """Of `Session.answers` [...]: which were shown and disliked, [...] bool."""
    return answers & DISLIKED > 0


def is_own(answers: jax.Array) -> jax.Array:
    """Of `Session.answers` [...]: which this user is known to have liked before."""
    return answers & OWN > 0


def _like_minded(cross_fitted, around: Surroundings, session: Session, item, weight):
    """`Session.like_minded` and `squares` after an answer about an item, []."""
    likers, _, is_real = first_entries(
        cross_fitted.likers, item[None], cross_fitted.read.likers
    )
    users = jnp.where(is_real, likers, len(around.visible))[0]
    signed = session.like_minded[users]
    old = jnp.abs(signed)
    is_other = users != session.user  # who has a past is there as well
    user_weight = around.user_weight.at[users].get(mode="fill", fill_value=0)
    added = weight * around.inverse_popularity[item] * user_weight
    new = jnp.maximum(old + added * is_other, 0.0)
    like_minded = session.like_minded.at[users].set(jnp.copysign(new, signed))
    return like_minded, session.squares + jnp.sum(new**2 - old**2)


def first_scores(
    cross_fitted: CrossFittedTables, around: Surroundings, session: Session
) -> jax.Array:
    """The first stage on all items: what dlerse_plus starts as.

    [P] in the order of `FoldTables`, -inf where that is padding.
    """
    fold_tables = around.fold_tables
    memory = session.likes - cross_fitted.dislike_weight * session.dislikes
    parts = (
        fold_tables.session_gain * memory,
        fold_tables.posterior.weight * session.posterior.theta,
    )
    # The matrix first: with its transpose XLA makes a copy of it, at every step.
    return fold_tables.item_out @ jnp.concatenate(parts) + session.friends.copied


@check_ranks(first=1, of_communities=1, shown=1)
def candidates(
    around: Surroundings, first: jax.Array, of_communities: jax.Array, shown: jax.Array
) -> jax.Array:
    """The best item of each stratum not in shown [Q]: [A] int32, N where none is left.

    By the first stage, first [P] as of `first_scores`, and, of strata that hold MERGED
    of these, by communities, of_communities [P] as of `community_scores`; N where an
    item appears for the second time. shown is padded with N. Communities have none to
    add where each item is a stratum. Strata hold popular and rare items alike, and the
    best of all is one of these. (The best A of all would take a sort of N scores, which
    is slow on a CPU.)
    """
    fold_tables, num_items = around.fold_tables, len(around.popularity)
    rows = fold_tables.place.at[shown].get(mode="fill", fill_value=len(first))

    def best_of_strata(scores: jax.Array, count: int) -> jax.Array:
        of_strata = scores.at[rows].set(-jnp.inf, mode="drop").reshape(-1, count)
        best = first_maximum(of_strata, axis=0)
        items = fold_tables.order[best * count + jnp.arange(count)]
        return jnp.where(of_strata.max(axis=0) > -jnp.inf, items, num_items)

    items = best_of_strata(first, fold_tables.num_strata)
    if fold_tables.num_strata == num_items:
        return items
    others = best_of_strata(of_communities, fold_tables.num_strata // MERGED)
    is_there = (items.reshape(MERGED, -1) == others[None]).any(axis=0)
    return jnp.concatenate([items, jnp.where(is_there, num_items, others)])


@check_ranks(items=1)
def liked_by_those(
    cross_fitted: CrossFittedTables, session: Session, items: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """How far like-minded friends, and like-minded users at large, like items [A].

    Means over friends, and over users by their squared weight: [A] each. A x C numbers
    are read, C of them of each item's likers.
    """
    most = cross_fitted.read.likers
    users, is_real = first_pieces(cross_fitted.likers, items, most)
    found = session.like_minded[users] * is_real
    of_friends, close = (
        part.reshape(len(items), -1).sum(axis=1)
        for part in _sums(jnp.maximum(-found, 0.0), found**2)
    )
    num_likers = counts(cross_fitted.likers, items)
    share = num_likers / jnp.clip(num_likers, 1, most)  # of all to those that are read
    smoothed = smoothed_count(cross_fitted, session.friends)
    return share * of_friends / smoothed, share * close / (session.squares + 1e-9)


def _sums(*numbers: jax.Array) -> tuple[jax.Array, ...]:
    """Of each [A, C] over C: [A]. One reduction, which XLA makes one loop of together
    with the look-up of what is summed."""
    nothing = (jnp.float32(0),) * len(numbers)
    return jax.lax.reduce(
        numbers, nothing, lambda one, other: jax.tree.map(jnp.add, one, other), (1,)
    )


def smoothed_count(cross_fitted: CrossFittedTables, friends: Friends) -> jax.Array:
    return friends.count + cross_fitted.prior_weight
