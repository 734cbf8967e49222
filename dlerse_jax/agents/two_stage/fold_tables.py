"""What dlerse_rank reads and never trains, and what the users of a batch share of it.

Tables are made without the likes of some training users (`FoldTables`). They fit the
users they are made of far better than anybody new, so what is learned on top of them
must be learned from users whose tables were made without them (cross-fitting).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.two_stage.rows import Rows
from dlerse_jax.graph.neighbour_means import SparseRows, sum_of_rows
from dlerse_jax.networks.copy_head import PeopleLists
from dlerse_jax.runtime.ranks import check_ranks

MERGED = 4  # strata of the first stage in each of those of communities
Array = Any  # jax.Array, or np.ndarray before folds are stacked


@struct.dataclass(kw_only=True)
class RidgePrior:
    """A ridge regression on the last R columns of `item_out`, starting at friends."""

    # [R] theta of a user is what is copied for them @ those columns, times this
    scale: Array
    regularisation: Array  # [] penalty on leaving that theta
    weight: Array  # [] of theta in the score


@struct.dataclass(kw_only=True)
class FoldCommunities:
    """Communities of users (`graph.communities`), K in all runs together."""

    chances: Array  # [P, K] that a member likes the item of a row; 0 where padding
    members: Array  # [U + 1, K] chance of belonging; 0 for users not known
    prior: Array  # [K] what counts beside friends
    num_runs: int = struct.field(pytree_node=False)


@struct.dataclass(kw_only=True)
class FoldTables:
    """Tables of the first stage. Stacked, an axis of folds comes first.

    One matrix is of P x (D + R): all else that a start has differs from a part of it by
    a number for each row, or for each column. Rows are items by falling popularity. So
    strata, of which every S-th row is one, need no look-up of scores.
    """

    item_out: Array  # [P, D + R] o of EASE, and item vectors of the ridge posterior
    in_scale: Array  # [P] e of EASE is its o times this
    ridge_square: Array  # [P] squared length of an item's vector of the posterior
    session_gain: Array  # [] of what was shown, in the score
    posterior: RidgePrior
    num_likers: Array  # [N] float32
    nearest: Rows  # [N, N] to items most alike: users who like both
    communities: FoldCommunities
    order: Array  # [P] int32: the item of each row, N where it is padding
    place: Array  # [N] int32: the row of each item
    num_strata: int = struct.field(pytree_node=False)  # S; P is a multiple of it

    @property
    def width(self) -> int:
        """D of EASE's vectors."""
        return self.item_out.shape[-1] - self.posterior.scale.shape[-1]

    def item_in(self, item: jax.Array) -> jax.Array:
        """e of EASE of an item, []: [D]."""
        row = self.place[item]
        return self.in_scale[row] * self.item_out[row, : self.width]


@dataclasses.dataclass(frozen=True)
class Budgets:
    """How much a session reads at most: fixed sizes, for a compiler."""

    friends: int  # likes of all friends together
    two_hop: int  # likes of all people two hops away together
    likers: int  # people who like an item; more are a random share of them


@struct.dataclass(kw_only=True)
class CrossFittedTables:
    """All that is read and never trained: one copy, whatever the seeds.

    Everything but the factors is sparse: memory grows with likes and friend pairs.
    """

    # [1 + K, ...]: of all training users, then without each fold
    tables_by_fold: FoldTables
    folds: jax.Array  # [K, M] int32: users of a fold; the first again as padding
    is_training: jax.Array  # [U] bool
    friends: PeopleLists
    two_hop: PeopleLists  # people exactly two hops away
    likes: SparseRows  # user -> item, training users only: weight of a like
    feedback: Rows  # [U, N] the same as rows, items ascending
    likers: Rows  # [N, U] training users who like an item, in random order
    num_likes: jax.Array  # [U] float32, of training users
    prior_weight: jax.Array  # [] friends that popularity counts for
    two_hop_weight: jax.Array  # [] weight of the mean feedback two hops away
    dislike_weight: jax.Array  # [] of the first stage: a dislike against a like
    read: Budgets = struct.field(pytree_node=False)


@struct.dataclass(kw_only=True)
class Surroundings:
    """What the users of a batch share."""

    fold_tables: FoldTables
    visible: jax.Array  # [U] float32: 1 for users whose likes may be read
    known: jax.Array  # [U] bool: users of whom the tables are made
    popularity: jax.Array  # [N] their mean weight of an item
    strength: jax.Array  # [N] the same over those who like it
    # [U] weight of a like of theirs: 0 where not visible, less for many likes
    user_weight: jax.Array
    # [N] weight of a like of an item: less for many likers
    inverse_popularity: jax.Array


@check_ranks(masked=1)
def surroundings(
    cross_fitted: CrossFittedTables, masked: jax.Array, fold_tables: jax.Array
) -> Surroundings:
    """masked [U] bool: their likes may not be read, on top of users not in training."""
    visible = (cross_fitted.is_training & ~masked).astype(jnp.float32)
    total = sum_of_rows(cross_fitted.likes, visible)
    likers = sum_of_rows(cross_fitted.likes.replace(values=None), visible)
    return Surroundings(
        fold_tables=jax.tree.map(
            lambda leaf: leaf[fold_tables], cross_fitted.tables_by_fold
        ),
        visible=visible,
        known=_known(cross_fitted, fold_tables),
        popularity=total / jnp.maximum(visible.sum(), 1),
        strength=total / jnp.maximum(likers, 1),
        user_weight=visible / jnp.sqrt(jnp.maximum(cross_fitted.num_likes, 1)),
        inverse_popularity=1 / jnp.sqrt(jnp.maximum(likers, 1)),
    )


def _known(cross_fitted: CrossFittedTables, fold_tables: jax.Array) -> jax.Array:
    """Training users but for those of the fold that the tables were made without."""
    left_out = cross_fitted.folds[jnp.maximum(fold_tables - 1, 0)]
    is_out = jnp.zeros_like(cross_fitted.is_training).at[left_out].set(fold_tables > 0)
    return cross_fitted.is_training & ~is_out
