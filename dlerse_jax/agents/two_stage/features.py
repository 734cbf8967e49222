"""Features of the re-ranker: what is known of an item at a moment of a session.

No feature identifies an item or a user, so what is learned from some holds for others.
"""

import jax
import jax.numpy as jnp

from dlerse_jax.agents.two_stage.alike import RARE
from dlerse_jax.agents.two_stage.belonging import community_scores
from dlerse_jax.agents.two_stage.fold_tables import (
    CrossFittedTables,
    FoldTables,
    Surroundings,
)
from dlerse_jax.agents.two_stage.rows import first_entries
from dlerse_jax.agents.two_stage.session import (
    Session,
    is_disliked,
    is_liked,
    is_own,
    liked_by_those,
    smoothed_count,
)
from dlerse_jax.runtime.ranks import check_ranks

FEATURES = (
    "first",  # the score of the first stage: what dlerse_plus starts as
    "copied",  # what friends, their friends and everybody like
    "liked",  # what EASE makes of the likes of this session
    "disliked",  # and of the dislikes
    "ridge_posterior",  # a ridge regression on both, from what friends like
    "posterior_std",  # standard deviation of that
    "popularity",  # log of the share of users who like it
    "rank",  # by popularity, from 0 to 1
    "strength",  # of these users' likes: mean weight by rank
    "friends",  # weight of it, smoothed mean over friends
    "friend_likers",  # log of how many friends like it
    "weighted_friends",  # the same, less for a friend who likes much
    "two_hop_likers",  # share of people two hops away who like it
    "like_minded_friends",  # the same, as far as they like what this user liked
    "like_minded_users",  # and over everybody
    "most_alike",  # to an item liked in this session: cosine over users
    "three_alike",  # the sum of the three largest of them
    "most_alike_disliked",  # to an item disliked
    "community",  # log of the chance of a like, by the communities of the user
    "num_friends",  # log
    "step",  # of T
    "num_liked",  # of T
    "num_disliked",  # of T
)
TOP = 3


@check_ranks(items=1)
def features(
    cross_fitted: CrossFittedTables,
    around: Surroundings,
    session: Session,
    items: jax.Array,
) -> jax.Array:
    """Features of items [A], padded with N: [A, F] in the order of `FEATURES`."""
    num_items, horizon = len(around.popularity), len(session.items)
    items = jnp.minimum(items, num_items - 1)
    num_liked = session.is_liked.sum()
    num_shown = jnp.sum(session.items < num_items)
    of_session = (
        jnp.log1p(session.friends.count),
        num_shown / horizon,
        num_liked / horizon,
        (num_shown - num_liked) / horizon,
    )
    of_items = (
        *_of_factors(cross_fitted, around, session, items),
        jnp.log(around.popularity[items] + 1e-3),
        around.fold_tables.place[items] / num_items,
        around.strength[items],
        *_of_people(cross_fitted, session, items),
        *_of_likeness(around, session, items),
        _of_communities(around.fold_tables, session, items),
        *(jnp.full(items.shape, number) for number in of_session),
    )
    return jnp.stack(of_items, axis=-1)


def _of_factors(
    cross_fitted: CrossFittedTables, around: Surroundings, session: Session, items
):
    fold_tables, posterior = around.fold_tables, session.posterior
    place, width = fold_tables.place[items], fold_tables.width
    of_ease = fold_tables.item_out[place, :width]
    of_ridge = fold_tables.item_out[place, width:]
    liked = fold_tables.session_gain * (of_ease @ session.likes)
    disliked = fold_tables.session_gain * (of_ease @ session.dislikes)
    expected = fold_tables.posterior.weight * (of_ridge @ posterior.theta)
    copied = session.friends.copied[place]
    first = liked - cross_fitted.dislike_weight * disliked + expected + copied
    variance = fold_tables.ridge_square[place] / fold_tables.posterior.regularisation
    variance -= jnp.sum((of_ridge @ posterior.directions.T) ** 2, axis=1)
    posterior_std = jnp.sqrt(jnp.maximum(variance, 0.0))
    return first, copied, liked, disliked, expected, posterior_std


def _of_people(cross_fitted: CrossFittedTables, session: Session, items):
    friends, smoothed = session.friends, smoothed_count(cross_fitted, session.friends)
    weight, one_hop, weighted, two_hop = friends.likers[items].T
    return (
        weight / smoothed,
        jnp.log1p(one_hop),
        weighted / smoothed,
        two_hop,
        *liked_by_those(cross_fitted, session, items),
    )


def _of_communities(fold_tables: FoldTables, session: Session, items):
    scores = community_scores(fold_tables, session.belonging)  # those of the candidates
    return jnp.log(scores[fold_tables.place[items]])


def _of_likeness(around: Surroundings, session: Session, items):
    """Cosine of items to those shown, over the users of whom the tables are made,
    without the one who plays.

    Items that are none of the most alike to an item (`nearest`) count 0.
    """
    num_likers = around.fold_tables.num_likers
    nearest = around.fold_tables.nearest
    others, both, is_real = first_entries(nearest, items, nearest.longest)
    of_others = num_likers[others]
    answers = jnp.where(is_real, session.answers[others], 0)
    own = is_own(session.answers[items]).astype(jnp.float32)[:, None]
    own_other = is_own(answers).astype(jnp.float32)
    both = both - own * own_other
    of_items = num_likers[items][:, None] - own
    of_others = of_others - own_other
    fewer = jnp.minimum(of_items, of_others)
    lengths = jnp.sqrt(jnp.maximum(of_items * of_others, 1))
    alike = both * fewer / (lengths * (fewer + RARE))  # one division: they are slow
    to_liked = alike * is_liked(answers)
    to_disliked = alike * is_disliked(answers)
    return to_liked.max(axis=1), _largest(to_liked), to_disliked.max(axis=1)


def _largest(numbers: jax.Array) -> jax.Array:
    """Sum of the TOP largest in a row, none below 0: [A, M] -> [A].

    Reductions, where a sort of each row would take longer than all else.
    """
    total, left = jnp.zeros(numbers.shape[0]), jnp.float32(TOP)
    for _ in range(TOP - 1):
        largest = numbers.max(axis=1)
        is_largest = numbers == largest[:, None]
        count = jnp.sum(is_largest, axis=1, dtype=jnp.float32)
        total += largest * jnp.minimum(count, left)  # equal numbers count one by one
        left = jnp.maximum(left - count, 0)
        numbers = jnp.where(is_largest, 0.0, numbers)
    return total + numbers.max(axis=1) * left  # 1 or 0: each round above took one
