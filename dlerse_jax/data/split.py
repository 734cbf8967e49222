"""Splits users into training, validation and test: ten folds, ten splits of them."""

import numpy as np

from dlerse_jax.runtime.numbers import is_whole
from dlerse_jax.types import Dataset, Split

NUM_FOLDS = 10


def split_users(num_users: int, split: int) -> Split:
    """The users 0..num_users-1, in the order of their ids, in three parts.

    `default_rng(0).permutation(num_users)` is cut into ten folds as equal as can be.
    Split k takes fold k for test and fold (k + 5) % 10 for validation; the rest train.
    So no two splits share a test user, and whoever validates splits 0-4 is a test user
    of none of them. Parts come back sorted; with fewer than ten users some folds are
    empty. ValueError unless `split` is an integer from 0 to 9.
    """
    if not is_whole(split) or not 0 <= split < NUM_FOLDS:
        raise ValueError(
            f"data.split is {split!r}, expected an integer from 0 to {NUM_FOLDS - 1}: "
            "the fold of users that is the test"
        )
    order = np.random.default_rng(0).permutation(num_users).astype(np.int32)
    folds = np.array_split(order, NUM_FOLDS)
    test, validation = folds[split], folds[(split + NUM_FOLDS // 2) % NUM_FOLDS]
    is_train = np.ones(num_users, bool)
    is_train[test] = is_train[validation] = False
    return Split(
        train=np.flatnonzero(is_train).astype(np.int32),
        validation=np.sort(validation),
        test=np.sort(test),
    )


def check_folds(dataset: Dataset, *, least: int) -> None:
    """ValueError where validation or test has fewer than `least` users.

    For whatever evaluates on these folds, before anything is compiled: a mean over
    three people says nothing. Loading a small data set is no error.
    """
    num_test, num_validation = len(dataset.split.test), len(dataset.split.validation)
    if min(num_test, num_validation) < least:
        num_users = len(dataset.split.train) + num_test + num_validation
        raise ValueError(
            f"{dataset.name}: {num_users} users are too few: {num_validation} are left "
            f"for validation and {num_test} for test, and each needs {least} at least, "
            f"so {NUM_FOLDS * least} users in all; lower data.min_items_per_user or "
            "evaluation.least_users, or bring more data"
        )
