"""The tables that dlerse_rank reads, made on the host: one set without each fold.

Fold tables are what dlerse_plus starts from on a data set in which the users of one
fold are not in training: factors, ridge posterior and tags know nothing of them
(cross-fitting: Wolpert, Stacked generalization, 1992).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.agents.dqn.initialization import Plus, Start, make_start
from dlerse_jax.agents.two_stage.session import CrossFittedTables, FoldTables
from dlerse_jax.data.feedback import training_mask, visible_likes
from dlerse_jax.graph.neighbourhoods import MOST_CELLS
from dlerse_jax.types import Dataset

FOLD_SEED = 0  # which training user is in which fold: the same for every run


def make_tables(
    dataset: Dataset,
    *,
    num_folds: int,
    num_strata: int,
    dislike_weight: float,
    plus: Plus,
    tell: Callable[[str], None] = lambda step: None,
    **start,
) -> CrossFittedTables:
    """start: keywords of `make_start`. ValueError where folds or items are too many.

    tell reports which of the tables is made: each takes as long as one `make_start`.
    """
    training, num_items = dataset.split.train, dataset.num_items
    if not 2 <= num_folds <= len(training):
        raise ValueError(
            f"rank.folds must be between 2 and the {len(training)} training users, "
            f"got {num_folds}"
        )
    if num_strata < 1:
        raise ValueError(f"rank.candidates must be 1 or more, got {num_strata}")
    if num_items**2 > MOST_CELLS:
        raise ValueError(
            f"dlerse_rank holds a matrix of items x items, and {num_items:,} items are "
            f"more than its {MOST_CELLS:,} cells; set agent.name to dlerse_con"
        )
    if plus.ridge_rank < 1:
        raise ValueError(
            "dlerse_rank reads a ridge posterior: plus.ridge_rank must be 1 or more, "
            f"got {plus.ridge_rank}"
        )
    folds = make_folds(training, num_folds)
    tables_by_fold, neighbourhoods = [], None
    for number, left_out in enumerate((np.zeros(0, np.int32), *folds), start=1):
        tell(f"cross-fitting tables {number}/{len(folds) + 1}")
        known = without(dataset, left_out)
        likes = visible_likes(known)
        found = make_start(likes, known, plus=plus, **start)
        neighbourhoods = neighbourhoods or found.neighbourhoods  # of everybody
        tables_by_fold.append(_fold_tables(found, likes.getnnz(axis=0), num_strata))
    likes = visible_likes(dataset)
    return CrossFittedTables(
        tables_by_fold=jax.tree.map(lambda *leaves: jnp.stack(leaves), *tables_by_fold),
        folds=_padded(folds),
        is_training=jnp.asarray(training_mask(dataset)),
        neighbourhoods=neighbourhoods,
        likers=jnp.asarray(likes.T.toarray(), jnp.float32),
        liked_both=jnp.asarray((likes.T @ likes).toarray(), jnp.float32),
        dislike_weight=jnp.float32(dislike_weight),
    )


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
