"""One packed table of friend pairs, and the layouts of it that agents read.

`friend_table` sorts and cleans the pairs of a data set once, on the host. Everything
else here derives from it: friends of friends, common friends, and device arrays in the
order that attention, sampling, propagation or the copy head are fastest with.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy import sparse

from dlerse_jax.networks.copy_head import PeopleLists
from dlerse_jax.runtime.sparse_rows import places_in_rows, row_blocks, row_starts
from dlerse_jax.types import Dataset, FriendLists

PATHS_AT_ONCE = 2**22  # from users to people further away
MOST_MASKED = 100_000  # users of whom a mask is made


@dataclasses.dataclass(frozen=True, kw_only=True)
class FriendTable:
    """People of each user as sparse rows: each person once, the user never."""

    offsets: np.ndarray  # [U + 1] int64
    friends: np.ndarray  # [E] int32, ascending within a user
    weights: np.ndarray | None = None  # [E] float32; None: all 1
    far_hops: int = 2  # how far away people are, at most, who are no friends
    most_far: int | None = None  # of them are kept for each user; None: all

    @property
    def num_users(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_friends(self) -> np.ndarray:
        """Friends of each user: [U]."""
        return np.diff(self.offsets)

    def friends_of(self, user: int) -> np.ndarray:
        """People whom a user names, ascending: [F] int32."""
        return self.friends[self.offsets[user] : self.offsets[user + 1]]

    @property
    def users(self) -> np.ndarray:
        """Whose friend each entry is: [E] int32, ascending."""
        return np.repeat(np.arange(self.num_users, dtype=np.int32), self.num_friends)

    @property
    def matrix(self) -> sparse.csr_matrix:
        """Ones where a user names a friend: [U, U] float32."""
        shape, ones = (self.num_users,) * 2, np.ones(len(self.friends), np.float32)
        return sparse.csr_matrix((ones, self.friends, self.offsets), shape=shape)

    @property
    def weighted_matrix(self) -> sparse.csr_matrix:
        """How much a friend counts where a user names one: [U, U] float32."""
        matrix = self.matrix
        if self.weights is not None:
            matrix.data = np.asarray(self.weights, np.float32)
        return matrix


def friend_table(
    dataset: Dataset, far_hops: int = 2, most_far: int | None = None
) -> FriendTable:
    """Who names whom as a friend; repeated pairs and pairs with oneself are dropped.

    ValueError for far_hops below 2.
    """
    check_far_hops(far_hops)
    table = _table_of(
        dataset.friend_targets,
        dataset.friend_sources,
        dataset.num_users,
        dataset.friend_weights,
    )
    return dataclasses.replace(table, far_hops=far_hops, most_far=most_far)


def check_far_hops(far_hops: int) -> None:
    if far_hops < 2:
        raise ValueError(f"far_hops must be 2 or more, got {far_hops}")


def no_friends(num_users: int) -> FriendTable:
    """The table of users without any friend."""
    nobody = np.zeros(0, np.int32)
    return _table_of(nobody, nobody, num_users)


def two_hop_table(table: FriendTable) -> FriendTable:
    """People two hops away, or up to `far_hops`: neither friends nor the user.

    `most_far` of them where there are more: those who come first in a random order of
    all users, always the same. Made for some users at a time, so memory is what is
    kept.
    """
    named, paths = table.matrix, table.num_friends
    for _ in range(table.far_hops - 1):
        paths = named @ paths  # of each user, as long as one step more
    counts, people_of_all = [], [np.zeros(0, np.int32)]
    for first, last in row_blocks(paths, PATHS_AT_ONCE):
        reached = named[first:last] @ named
        for _ in range(table.far_hops - 2):
            reached.data[:] = 1  # numbers of paths soon are more than float32 can hold
            reached += reached @ named
        reached -= reached.multiply(named[first:last])
        users, people = reached.nonzero()
        is_other = users + first != people
        users, people = _some_of_each(users[is_other], people[is_other], table)
        keys = np.sort(users.astype(np.int64) * table.num_users + people)
        people_of_all.append((keys % table.num_users).astype(np.int32))
        counts.append(np.bincount(users, minlength=last - first))
    return FriendTable(
        offsets=np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
        friends=np.concatenate(people_of_all),
    )


def _some_of_each(users: np.ndarray, people: np.ndarray, table: FriendTable):
    """Pairs [P] and [P] with at most `most_far` people of each user; users ascend."""
    if table.most_far is None or not len(users):
        return users, people
    is_kept = np.bincount(users)[users] <= table.most_far
    others = np.flatnonzero(~is_kept)  # few, so that few are sorted
    draws = order_of_users(table.num_users)[people[others]]
    others = others[np.lexsort((draws, users[others]))]
    is_kept[others[places_in_rows(users[others]) < table.most_far]] = True
    return users[is_kept], people[is_kept]


def two_hops_from(
    table: FriendTable, friends: np.ndarray, itself: int | None
) -> np.ndarray:
    """The same of somebody who names `friends` [F]: [G] int32, ascending.

    itself: which user of the table this is; None: none of them.
    """
    reached = np.unique(np.asarray(friends, np.int32))
    known = reached if itself is None else np.append(reached, np.int32(itself))
    for _ in range(table.far_hops - 1):
        rows = [table.friends_of(user) for user in reached]
        reached = _union(table, [reached, *rows])
    found = np.setdiff1d(reached, known, assume_unique=True)
    return _some_of_each(np.zeros_like(found), found, table)[1]


def _union(table: FriendTable, rows: list[np.ndarray]) -> np.ndarray:
    """Users of any of the rows, ascending: [R] int32."""
    if table.num_users > MOST_MASKED:
        return np.unique(np.concatenate(rows))
    is_in = np.zeros(table.num_users, bool)  # faster than to sort
    is_in[np.concatenate(rows)] = True
    return np.flatnonzero(is_in).astype(np.int32)


@functools.cache
def order_of_users(num_users: int) -> np.ndarray:
    """A place for each user in a random order, the same every time: [U] int32."""
    return np.random.default_rng(0).permutation(num_users).astype(np.int32)


def common_friends(table: FriendTable) -> np.ndarray:
    """How many friends each user shares with each of theirs: [E]."""
    if not len(table.friends):  # SciPy gives an index of nothing another shape
        return np.zeros(0)
    named = table.matrix
    return np.asarray((named @ named.T)[table.users, table.friends]).ravel()


def _table_of(
    users: np.ndarray,
    friends: np.ndarray,
    num_users: int,
    weights: np.ndarray | None = None,
) -> FriendTable:
    """Pairs of a user and a friend, in any order."""
    is_other = users != friends
    keys = users[is_other].astype(np.int64) * num_users + friends[is_other]
    keys, places = np.unique(keys, return_index=True)  # sorted, each once
    users, friends = np.divmod(keys, num_users)
    counts = np.bincount(users, minlength=num_users)
    return FriendTable(
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        friends=friends.astype(np.int32),
        weights=None if weights is None else weights[is_other][places],
    )


# --- on the device --------------------------------------------------------------------


@struct.dataclass(kw_only=True)
class FriendPairs:
    """Friend pairs sorted by the user who names the friend: for sums over friends."""

    sources: jax.Array  # [E] int32: the friend
    targets: jax.Array  # [E] int32, ascending


def friend_pairs(table: FriendTable) -> FriendPairs:
    return FriendPairs(
        sources=jnp.asarray(table.friends), targets=jnp.asarray(table.users)
    )


def friend_lists(table: FriendTable, fan_out: int) -> FriendLists:
    """Rows to sample at most `fan_out` friends per user and hop from."""
    offsets, friends = _padded_rows(table)
    return FriendLists(offsets=offsets, friends=friends, fan_out=fan_out)


def people_lists(table: FriendTable) -> PeopleLists:
    """Rows that are read whole: every friend of a user."""
    offsets, people = _padded_rows(table)
    weights = None
    if table.weights is not None:
        weights = jnp.asarray(np.append(table.weights, np.float32(1)))
    longest = int(table.num_friends.max(initial=1))
    return PeopleLists(offsets=offsets, people=people, weights=weights, longest=longest)


def _padded_rows(table: FriendTable) -> tuple[jax.Array, jax.Array]:
    """Offsets [U + 1] and friends [E + 1], both int32.

    The entry at the end keeps a look-up in range where nobody has a friend.
    """
    friends = np.append(table.friends, np.int32(0))
    return row_starts(table.offsets, "friend pairs"), jnp.asarray(friends)
