"""What the people around a user like: means of visible feedback, one user at a time.

Every prior for a user without a history starts here. `SocialFeedback` is a pytree of
friends and training users' likes that lives in an agent's state; pure functions turn
one user index, or the lists of a newcomer, into a score for each item. Both the social
graph and the likes are sparse, and all that is computed is a weighted sum of rows:
memory is O(L + E), and for B vmapped users O(B * (U + N)).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy import sparse

from dlerse_jax.data.feedback import training_mask, visible_likes
from dlerse_jax.graph.friends import check_far_hops, friend_table
from dlerse_jax.runtime.ranks import PERSON, check_ranks
from dlerse_jax.types import Dataset, Newcomer

BLOCK = 2**16  # static: entries summed at a time, so that B users need B * BLOCK floats


@struct.dataclass(kw_only=True)
class SparseRows:
    """A sparse matrix as blocks of entries, padded with column C."""

    rows: jax.Array  # [blocks, M] int32
    columns: jax.Array  # [blocks, M] int32
    values: jax.Array | None = None  # [blocks, M] float32; None: all ones
    num_columns: int = struct.field(pytree_node=False)


@struct.dataclass(kw_only=True)
class SocialFeedback:
    """Who names whom as a friend, and what training users like."""

    likes: SparseRows  # user -> item, training users only
    friends: SparseRows  # user -> friends they name, as much as each counts
    is_training: jax.Array  # [U] bool
    far_hops: int = struct.field(pytree_node=False, default=2)  # of `two_hops_of`


def social_feedback(
    dataset: Dataset, likes: sparse.csr_matrix | None = None, far_hops: int = 2
) -> SocialFeedback:
    """The friend pairs and visible likes of a data set, on the device.

    likes [U, N]: the visible likes as they count (`feature_rows`); None: 1 each.
    far_hops: how far `two_hops_of` goes, 2 or more; else ValueError.
    """
    check_far_hops(far_hops)
    friends = friend_table(dataset)
    return SocialFeedback(
        likes=like_rows(visible_likes(dataset) if likes is None else likes),
        friends=_sparse_rows(
            friends.users, friends.friends, dataset.num_users, friends.weights
        ),
        is_training=jnp.asarray(training_mask(dataset)),
        far_hops=far_hops,
    )


def weigh_by_activity(likes: sparse.csr_matrix, power: float) -> sparse.csr_matrix:
    """Likes [U, N] of which each counts less the more of them a user has.

    Times n^-power, n of them the user's own, and times what leaves the sum of all as
    it is. Somebody who likes everything says little of a friend by one like. Power 0
    leaves the likes, 1 gives everybody the same say. ValueError for one below 0.
    """
    if power < 0:
        raise ValueError(f"activity_power must not be negative, got {power}")
    if not power or not likes.nnz:
        return likes
    counts = likes.getnnz(axis=1)
    each = np.repeat(np.maximum(counts, 1.0) ** -power, counts)
    weighed = likes.astype(np.float32)
    weighed.data *= each * (likes.data.sum() / np.sum(likes.data * each))
    return weighed


def like_rows(likes: sparse.csr_matrix) -> SparseRows:
    """Likes [U, N], as they count, on the device."""
    entries = likes.tocoo()
    return _sparse_rows(entries.row, entries.col, likes.shape[1], entries.data)


def _sparse_rows(
    rows: np.ndarray,
    columns: np.ndarray,
    num_columns: int,
    values: np.ndarray | None = None,
) -> SparseRows:
    width = max(1, min(BLOCK, len(rows)))
    padding = (0, -len(rows) % width) if len(rows) else (0, width)
    rows = np.pad(rows.astype(np.int32), padding)
    columns = np.pad(columns.astype(np.int32), padding, constant_values=num_columns)
    if values is not None and np.any(values != 1):
        padded = np.pad(values.astype(np.float32), padding)
        weights = jnp.asarray(padded.reshape(-1, width))
    else:
        weights = None
    return SparseRows(
        rows=jnp.asarray(rows.reshape(-1, width)),
        columns=jnp.asarray(columns.reshape(-1, width)),
        values=weights,
        num_columns=num_columns,
    )


@check_ranks(weights=1)
def sum_of_rows(matrix: SparseRows, weights: jax.Array) -> jax.Array:
    """Weighted sum of a matrix's rows: weights [R] -> [C]."""

    def add_block(total, block):
        rows, columns, values = block
        added = weights[rows] if values is None else weights[rows] * values
        return total.at[columns].add(added, mode="drop"), None

    nothing = jnp.zeros(matrix.num_columns, weights.dtype)
    blocks = matrix.rows, matrix.columns, matrix.values
    total, _ = jax.lax.scan(add_block, nothing, blocks)
    return total


@check_ranks(person=PERSON)
def friends_of(social: SocialFeedback, person: jax.Array | Newcomer) -> jax.Array:
    """How much each friend counts that a user or a newcomer names, 1 where the data
    have no weights, else 0: [U] float32."""
    if isinstance(person, Newcomer):
        return _indicators(social, person.friends)
    return sum_of_rows(social.friends, _indicators(social, person))


@check_ranks(person=PERSON, friends=1)
def two_hops_of(
    social: SocialFeedback, person: jax.Array | Newcomer, friends: jax.Array
) -> jax.Array:
    """1 for each user two hops away, or up to `far_hops`, else 0: [U] float32.

    Friends' friends, and theirs, who are neither the user nor among `friends` [U],
    counted once however many friends lead to them, whatever these count. A newcomer
    brings them along.
    """
    if isinstance(person, Newcomer):
        return _indicators(social, person.two_hops)
    is_reached = friends > 0
    for _ in range(social.far_hops - 1):
        so_far = is_reached.astype(jnp.float32)
        is_reached |= sum_of_rows(social.friends, so_far) > 0
    is_far = is_reached & (friends == 0)
    return is_far.astype(jnp.float32).at[person].set(0.0)


def _indicators(social: SocialFeedback, users: jax.Array) -> jax.Array:
    """1 for these users, one or many; U, which is padding, is nobody: [U] float32."""
    nobody = jnp.zeros_like(social.is_training, jnp.float32)
    return nobody.at[users].set(1.0, mode="drop")


@check_ranks(people=1)
def mean_feedback(
    social: SocialFeedback,
    people: jax.Array,
    *,
    prior: jax.Array | float = 0.0,
    prior_weight: jax.Array | float = 0.0,
) -> jax.Array:
    """Mean feedback of some users on every item, smoothed: [N] float32.

    (sum over people + prior_weight * prior) / (people + prior_weight): `prior` counts
    like `prior_weight` more people. people [U] says how much each counts, 0 for those
    who do not, and must be 0 where feedback is not visible: such users count on
    neither side. Nobody at all gives
    `prior`, or zeros where prior_weight is 0.
    """
    total = sum_of_rows(social.likes, people) + prior_weight * prior
    return total / jnp.maximum(people.sum() + prior_weight, 1e-9)


@check_ranks(masked=1)
def visible_users(feedback, masked: jax.Array) -> jax.Array:
    """1 for training users that are not masked [U] bool, else 0: [U] float32.

    feedback: `SocialFeedback`, or whatever else knows `is_training` [U] bool.
    """
    return (feedback.is_training & ~masked).astype(jnp.float32)
