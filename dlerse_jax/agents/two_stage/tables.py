"""The tables that dlerse_rank reads, made on the host: one set without each fold.

Fold tables are what dlerse_plus starts from on a data set in which the users of one
fold are not in training: factors, ridge posterior and tags know nothing of them
(cross-fitting: Wolpert, Stacked generalization, 1992). Where `activity_power` is above
0, one number, by which all likes of friends are multiplied, is of all training users.
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
    MERGED,
    Budgets,
    CrossFittedTables,
    FoldCommunities,
    FoldTables,
    RidgePrior,
)
from dlerse_jax.agents.two_stage.rows import Rows, make_rows
from dlerse_jax.data.feedback import training_mask, visible_likes
from dlerse_jax.graph.communities import (
    PRIOR_FRIENDS,
    Communities,
    find_communities,
    num_communities,
)
from dlerse_jax.graph.friends import (
    FriendTable,
    friend_table,
    people_lists,
    two_hop_table,
)
from dlerse_jax.graph.neighbour_means import like_rows
from dlerse_jax.linear_models.spectra import spectra_of_folds
from dlerse_jax.runtime.sharding import adopted, aligned_empty
from dlerse_jax.types import Dataset

FOLD_SEED = 0  # which training user is in which fold: the same for every run
MOST_PEOPLE = 1024  # two hops away, or further; more are a random share of them
MOST_READ = 2**15  # likes of friends, and of people two hops away, in a session
MOST_LIKERS = 256  # of an item; more are a random share of them
MOST_ALIKE = 64  # items that an item is compared with; fewer where that is more than
MOST_PAIRS = 2**25  # of all items together, for every fold has its own


def make_tables(
    dataset: Dataset,
    *,
    num_folds: int,
    num_candidates: int,
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
    _check(num_candidates, plus)
    folds = make_folds(dataset.split.train, num_folds)
    # Made first: while they are, they take more memory than the tables of a fold.
    table = friend_table(dataset, plus.far_hops, MOST_PEOPLE)
    sparse_tables = _sparse_tables(dataset, table, plus, start["miss_reward"])
    everybodys = nearest_of(visible_likes(dataset))
    spectrum_of = spectra_of_folds()
    communities_of = _finder_of_communities(dataset, folds, table)

    def tables_without(users: np.ndarray) -> FoldTables:
        known = without(dataset, users)
        likes = visible_likes(known)
        found = make_start(
            likes, known, plus=plus, copies=False, spectrum_of=spectrum_of, **start
        )
        return _fold_tables(
            found,
            likes.getnnz(axis=0),
            _as_long(nearest_of(likes), everybodys) if len(users) else everybodys,
            communities_of(likes),
            num_candidates,
            dataset.num_known_items,
        )

    left_out = [np.zeros(0, np.int32), *([] if to_serve else folds)]

    def all_tables() -> Iterator[FoldTables]:
        for number, users in enumerate(left_out, start=1):
            tell(f"cross-fitting tables {number}/{len(left_out)}")
            yield tables_without(users)

    return CrossFittedTables(
        tables_by_fold=stacked(all_tables(), 1 + len(folds)),
        folds=_padded(folds),
        is_training=jnp.asarray(training_mask(dataset)),
        prior_weight=jnp.float32(plus.prior_weight),
        two_hop_weight=jnp.float32(plus.two_hop_weight),
        dislike_weight=jnp.float32(dislike_weight),
        **sparse_tables,
    )


def _check(num_candidates: int, plus: Plus) -> None:
    if num_candidates < 1:
        raise ValueError(f"rank.candidates must be 1 or more, got {num_candidates}")
    if plus.ridge_rank < 1:
        raise ValueError(
            "dlerse_rank reads a ridge posterior: plus.ridge_rank must be 1 or more, "
            f"got {plus.ridge_rank}"
        )


def stacked(tables: Iterable[FoldTables], count: int) -> FoldTables:
    """Tables [...] of equal shapes as one, leaves [count, ...]; the last one repeats.

    Each is let go before the next is made, and the whole is never copied: beside it,
    one is held at a time.
    """
    whole: list[np.ndarray] = []
    place = 0  # `enumerate` would hold one until it has the next
    for each in tables:
        leaves, tree = jax.tree.flatten(each)
        if not whole:
            whole = [aligned_empty((count, *leaf.shape), leaf.dtype) for leaf in leaves]
        for all_places, leaf in zip(whole, leaves, strict=True):
            all_places[place] = leaf
        place += 1  # noqa: SIM113
        del each, leaves, leaf
    for all_places in whole:
        all_places[place:] = all_places[place - 1]
    filled = (whole.pop(0) for _ in range(len(whole)))
    return jax.tree.unflatten(tree, list(map(adopted, filled)))


def _finder_of_communities(
    dataset: Dataset, folds: list[np.ndarray], table: FriendTable
) -> Callable[[sparse.csr_matrix], Communities]:
    """Of the likes [U, N] that are known without a fold: as many without each."""
    fewest = len(dataset.split.train) - max(map(len, folds))
    runs, count = num_communities(fewest, dataset.num_users + dataset.num_items)
    friends = table.weighted_matrix
    return lambda likes: find_communities(likes, friends, runs=runs, count=count)


def _sparse_tables(
    dataset: Dataset, table: FriendTable, plus: Plus, miss_reward: float
) -> dict:
    """What sessions look into, of all training users."""
    likes = visible_likes(dataset)
    feedback = copied_feedback(likes, dataset, plus, miss_reward)
    two_hop = two_hop_table(table)
    likers = in_random_order(likes.T.tocsr())
    num_likes = likes.getnnz(axis=1)
    return {
        "friends": people_lists(table),
        "two_hop": people_lists(two_hop),
        "num_likes": jnp.asarray(num_likes, jnp.float32),
        "likes": like_rows(feedback),
        "feedback": make_rows(feedback),
        "likers": make_rows(likers),
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


def by_popularity(popularity: np.ndarray, count: int) -> np.ndarray:
    """Items by falling popularity, padded with N to a multiple of `count`: [P] int32.

    So every count-th of them are a stratum, with popular items and rare ones alike.
    """
    num_items = len(popularity)
    order = np.argsort(-popularity, kind="stable").astype(np.int32)
    return np.pad(order, (0, -num_items % count), constant_values=num_items)


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


def nearest_of(likes: sparse.csr_matrix) -> Rows:
    """To items the most alike [N, N]: those of likes [U, N] who like both."""
    most = max(1, min(MOST_ALIKE, MOST_PAIRS // likes.shape[1]))
    return make_rows(most_alike(likes, most=most))


def _as_long(rows: Rows, everybodys: Rows) -> Rows:
    """Rows of a fold's lists in arrays as long as those of everybody, who name more."""
    missing = (0, len(everybodys.columns) - len(rows.columns))
    return rows.replace(
        columns=np.pad(rows.columns, missing, constant_values=rows.num_columns),
        values=np.pad(rows.values, missing),
        longest=everybodys.longest,
    )


def _fold_tables(
    start: Start,
    popularity: np.ndarray,
    nearest: Rows,
    communities: Communities,
    num_candidates: int,
    num_known: int,
) -> FoldTables:
    """num_known: items that are not cold; what is copied for anybody is of these.

    num_candidates: of the first stage, as many strata; a multiple of MERGED where there
    are more items.
    """
    is_all = num_candidates >= len(popularity)
    num_strata = len(popularity) if is_all else MERGED * -(-num_candidates // MERGED)
    order = by_popularity(popularity, num_strata)
    real = order[: len(popularity)]
    place = np.empty_like(real)
    place[real] = np.arange(len(real))
    item_in, item_out = map(np.asarray, (start.tables.item_in, start.tables.item_out))
    width = item_in.shape[1]
    ridge_items = item_out[:num_known, width:]
    projection = np.asarray(start.posterior.projection)[:num_known]
    in_scale = multiples(item_out[:, :width], item_in, axis=1)
    square = np.einsum("nr,nr->n", item_out[:, width:], item_out[:, width:])
    return FoldTables(
        item_out=_in_order(item_out, order),
        in_scale=_in_order(in_scale, order),
        ridge_square=_in_order(square, order),
        session_gain=np.float32(start.session_gain),
        posterior=RidgePrior(
            scale=multiples(ridge_items, projection, axis=0),
            regularisation=start.posterior.regularisation,
            weight=start.posterior.weight,
        ),
        num_likers=popularity.astype(np.float32),
        nearest=nearest,
        communities=FoldCommunities(
            chances=_in_order(communities.chances, order),
            members=np.pad(communities.members, ((0, 1), (0, 0))),
            prior=np.float32(PRIOR_FRIENDS) * communities.shares,
            num_runs=communities.num_runs,
        ),
        order=order,
        place=place,
        num_strata=num_strata,
    )


def _in_order(rows: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Rows [N, ...] as order [P] has them, and zeros where that is padding."""
    found = np.zeros((len(order), *rows.shape[1:]), rows.dtype)
    np.take(rows, order[: len(rows)], axis=0, out=found[: len(rows)], mode="clip")
    return found


def multiples(given: np.ndarray, wanted: np.ndarray, *, axis: int) -> np.ndarray:
    """How many times the given vectors are those wanted: both [N, D] -> [N] or [D].

    axis: the one along which a vector runs. By least squares: what is no multiple, as
    the two vectors of a cold item, which are predicted apart, comes as near as it can.
    A vector of zeros is wanted no times.
    """
    sums = "nd,nd->n" if axis else "nd,nd->d"
    both, own = (
        np.einsum(sums, given, other, dtype=np.float64) for other in (wanted, given)
    )
    return (both / np.where(own > 0, own, 1)).astype(np.float32)


def _padded(folds: list[np.ndarray]) -> jax.Array:
    length = max(map(len, folds))
    rows = [np.pad(fold, (0, length - len(fold)), mode="wrap") for fold in folds]
    return jnp.asarray(np.stack(rows), jnp.int32)
