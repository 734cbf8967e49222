"""The tables that dlerse_rank reads, made on the host: one set without each fold.

Fold tables are what dlerse_plus starts from on a data set in which the users of one
fold are not in training: factors, ridge posterior and tags know nothing of them
(cross-fitting: Wolpert, Stacked generalization, 1992).
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from dlerse_jax.agents.dqn.initialization import (
    Plus,
    Start,
    copied_feedback,
    make_start,
)
from dlerse_jax.agents.two_stage.alike import in_random_order, most_alike
from dlerse_jax.agents.two_stage.fold_tables import (
    Budgets,
    CrossFittedTables,
    FoldTables,
)
from dlerse_jax.agents.two_stage.rows import make_rows
from dlerse_jax.data.feedback import training_mask, visible_likes
from dlerse_jax.graph.friends import (
    FriendTable,
    friend_table,
    people_lists,
    two_hop_table,
)
from dlerse_jax.graph.neighbour_means import like_rows
from dlerse_jax.types import Dataset

FOLD_SEED = 0  # which training user is in which fold: the same for every run
MOST_PEOPLE = 1024  # two hops away from somebody; more are a random share of them
MOST_READ = 2**15  # likes of friends, and of people two hops away, in a session
MOST_LIKERS = 256  # of an item; more are a random share of them
MOST_ALIKE = 64  # items that an item is compared with


def make_tables(
    dataset: Dataset,
    *,
    num_folds: int,
    num_strata: int,
    dislike_weight: float,
    plus: Plus,
    to_serve: bool = False,
    tell: Callable[[str], None] = lambda step: None,
    **start,
) -> CrossFittedTables:
    """start: keywords of `make_start`. ValueError where folds are too many.

    to_serve: the tables of all training users are made alone, and stand in the place of
    those of each fold, which training alone reads. tell reports which of the tables is
    made: each takes as long as one `make_start`.
    """
    if num_strata < 1:
        raise ValueError(f"rank.candidates must be 1 or more, got {num_strata}")
    if plus.ridge_rank < 1:
        raise ValueError(
            "dlerse_rank reads a ridge posterior: plus.ridge_rank must be 1 or more, "
            f"got {plus.ridge_rank}"
        )
    folds = make_folds(dataset.split.train, num_folds)

    def tables_without(users: np.ndarray) -> FoldTables:
        known = without(dataset, users)
        likes = visible_likes(known)
        found = make_start(likes, known, plus=plus, copies=False, **start)
        return _fold_tables(found, likes.getnnz(axis=0), num_strata)

    left_out = [np.zeros(0, np.int32), *([] if to_serve else folds)]

    def all_tables() -> Iterator[FoldTables]:
        for number, users in enumerate(left_out, start=1):
            tell(f"cross-fitting tables {number}/{len(left_out)}")
            yield tables_without(users)

    tables_by_fold = stacked(all_tables(), 1 + len(folds))
    likes = visible_likes(dataset)
    feedback = copied_feedback(likes, dataset, plus, start["miss_reward"])
    return CrossFittedTables(
        tables_by_fold=tables_by_fold,
        folds=_padded(folds),
        is_training=jnp.asarray(training_mask(dataset)),
        num_likes=jnp.asarray(likes.getnnz(axis=1), jnp.float32),
        prior_weight=jnp.float32(plus.prior_weight),
        two_hop_weight=jnp.float32(plus.two_hop_weight),
        dislike_weight=jnp.float32(dislike_weight),
        **_sparse_tables(dataset, likes, feedback),
    )


def stacked(tables: Iterable[FoldTables], count: int) -> FoldTables:
    """Tables [...] of equal shapes as one, leaves [count, ...]; the last one repeats.

    Each is let go before the next is made: beside the whole, one is held at a time.
    """
    whole: list[np.ndarray] = []
    place = 0  # `enumerate` would hold one until it has the next
    for each in tables:
        leaves, tree = jax.tree.flatten(each)
        if not whole:
            whole = [np.empty((count, *leaf.shape), leaf.dtype) for leaf in leaves]
        for all_places, leaf in zip(whole, leaves, strict=True):
            all_places[place:] = leaf
        place += 1  # noqa: SIM113
        del each, leaves, leaf
    filled = (whole.pop(0) for _ in range(len(whole)))
    return jax.tree.unflatten(tree, list(map(jnp.asarray, filled)))


def _sparse_tables(
    dataset: Dataset, likes: sparse.csr_matrix, feedback: sparse.csr_matrix
) -> dict:
    """What sessions look into; likes [U, N] and the same as they count."""
    table = friend_table(dataset)
    two_hop = two_hop_table(table, most=MOST_PEOPLE)
    likers = in_random_order(likes.T.tocsr())
    num_likes = likes.getnnz(axis=1)
    nearest = most_alike(likes, most=MOST_ALIKE)
    by_other = nearest.copy()
    by_other.data = likers.getnnz(axis=1)[nearest.indices]
    return {
        "friends": people_lists(table),
        "two_hop": people_lists(two_hop),
        "likes": like_rows(feedback),
        "feedback": make_rows(feedback),
        "likers": make_rows(likers),
        "nearest": make_rows(nearest),
        "likers_of_nearest": make_rows(by_other).values,
        "read": Budgets(
            friends=_budget(table, num_likes),
            two_hop=_budget(two_hop, num_likes),
            likers=min(MOST_LIKERS, max(1, int(likers.getnnz(axis=1).max()))),
        ),
    }


def _budget(table: FriendTable, num_likes: np.ndarray) -> int:
    """Likes of all people of a user: enough for everybody where that is few."""
    total = np.asarray(table.matrix @ num_likes)
    return int(min(MOST_READ, max(1, total.max(initial=1))))


def make_strata(popularity: np.ndarray, count: int) -> np.ndarray:
    """Items in turn, by falling popularity, into at most `count` strata: [A, L] int32.

    Padded with N. Each holds popular items and rare ones alike.
    """
    num_items = len(popularity)
    count = min(count, num_items)
    length = -(-num_items // count)
    padded = np.full(count * length, num_items, np.int32)
    padded[:num_items] = np.argsort(-popularity, kind="stable")
    return np.ascontiguousarray(padded.reshape(length, count).T)


def make_folds(training: np.ndarray, count: int) -> list[np.ndarray]:
    """Training users in folds of equal size; ValueError where there are too few."""
    if not 2 <= count <= len(training):
        raise ValueError(
            f"rank.folds must be between 2 and the {len(training)} training users, "
            f"got {count}"
        )
    order = np.random.default_rng(FOLD_SEED).permutation(training)
    return [np.sort(fold) for fold in np.array_split(order, count)]


def without(dataset: Dataset, users: np.ndarray) -> Dataset:
    """The data set in which these users are as new as the test users are."""
    train = np.setdiff1d(dataset.split.train, users)
    return dataclasses.replace(
        dataset, split=dataclasses.replace(dataset.split, train=train)
    )


def _fold_tables(start: Start, popularity: np.ndarray, num_strata: int) -> FoldTables:
    ranks = np.argsort(np.argsort(-popularity, kind="stable")) / len(popularity)
    return FoldTables(
        item_in=start.tables.item_in,
        item_out=start.tables.item_out,
        session_gain=jnp.float32(start.session_gain),
        posterior=start.posterior,
        strata=jnp.asarray(make_strata(popularity, num_strata)),
        rank=jnp.asarray(ranks, jnp.float32),
    )


def _padded(folds: list[np.ndarray]) -> jax.Array:
    length = max(map(len, folds))
    rows = [np.pad(fold, (0, length - len(fold)), mode="wrap") for fold in folds]
    return jnp.asarray(np.stack(rows), jnp.int32)
