"""Probe worlds: small data sets of which the right answer is known beforehand."""

import numpy as np

from dlerse_jax.types import Dataset, Split


def make_world(likes, friend_pairs=(), *, num_validation=0, num_test=0) -> Dataset:
    """A data set from a dense table: likes [U, N] of 0 and 1.

    friend_pairs are (user, friend they name); the last users are test, those before
    them validation, the rest train.
    """
    likes = np.asarray(likes, bool)
    num_users, num_items = likes.shape
    pairs = np.asarray(friend_pairs, np.int32).reshape(-1, 2)
    users = np.arange(num_users, dtype=np.int32)
    num_train = num_users - num_validation - num_test
    return Dataset(
        name="probe",
        user_ids=users.astype(np.int64),
        item_ids=np.arange(num_items),
        like_offsets=np.concatenate([[0], np.cumsum(likes.sum(axis=1))]),
        liked_items=np.nonzero(likes)[1].astype(np.int32),
        like_weights=np.ones(likes.sum(), np.float32),
        friend_sources=pairs[:, 1],
        friend_targets=pairs[:, 0],
        split=Split(
            train=users[:num_train],
            validation=users[num_train : num_train + num_validation],
            test=users[num_train + num_validation :],
        ),
    )


def checkerboard(num_users=40, num_items=16) -> Dataset:
    """Even users like even items, odd users odd items; nobody has a friend.

    Both kinds are equally popular, so the first answer is a guess, but it tells
    everything: an agent that learns inside an episode misses at most once.
    """
    users, items = np.indices((num_users, num_items))
    return make_world((users + items) % 2 == 0, num_validation=4, num_test=4)


def friends_decide(num_users=40, num_items=16) -> Dataset:
    """The checkerboard with friends of one's own kind: they tell the first item too."""
    users, items = np.indices((num_users, num_items))
    pairs = [(user, (user + 2 * k) % num_users) for user in users[:, 0] for k in (1, 2)]
    pairs += [(friend, user) for user, friend in pairs]
    return make_world((users + items) % 2 == 0, pairs, num_validation=4, num_test=4)


def random_world(seed=0, num_users=24, num_items=12) -> Dataset:
    """Likes and friends by chance; some users have no friend at all (user 0, say)."""
    draws = np.random.default_rng(seed)
    likes = draws.random((num_users, num_items)) < 0.4
    pairs = np.argwhere(draws.random((num_users, num_users)) < 0.1)
    pairs = [(user, friend) for user, friend in pairs if user % 6 and user != friend]
    return make_world(likes, pairs, num_validation=4, num_test=4)


def flip_feedback(world: Dataset, users) -> Dataset:
    """The same world where these users like exactly what they did not like before."""
    likes = np.zeros((world.num_users, world.num_items), bool)
    rows = np.repeat(np.arange(world.num_users), world.num_likes)
    likes[rows, world.liked_items] = True
    likes[users] = ~likes[users]
    return make_world(
        likes,
        np.stack([world.friend_targets, world.friend_sources], axis=1),
        num_validation=len(world.split.validation),
        num_test=len(world.split.test),
    )
