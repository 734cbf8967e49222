"""One packed table of friend pairs, and the layouts of it that agents read.

`friend_table` sorts and cleans the pairs of a data set once, on the host. Everything
else here derives from it: friends of friends, common friends, and device arrays in the
order that attention, sampling, propagation or the copy head are fastest with.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy import sparse

from dlerse_jax.networks.copy_head import PeopleLists
from dlerse_jax.runtime.sparse_rows import places_in_rows, row_blocks, row_starts
from dlerse_jax.types import Dataset, FriendLists

PATHS_AT_ONCE = 2**22  # from a user to a friend's friend


@dataclasses.dataclass(frozen=True, kw_only=True)
class FriendTable:
    """People of each user as sparse rows: each person once, the user never."""

    offsets: np.ndarray  # [U + 1] int64
    friends: np.ndarray  # [E] int32, ascending within a user
    weights: np.ndarray | None = None  # [E] float32; None: all 1

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


def friend_table(dataset: Dataset) -> FriendTable:
    """Who names whom as a friend; repeated pairs and pairs with oneself are dropped."""
    return _table_of(
        dataset.friend_targets,
        dataset.friend_sources,
        dataset.num_users,
        dataset.friend_weights,
    )


def no_friends(num_users: int) -> FriendTable:
    """The table of users without any friend."""
    nobody = np.zeros(0, np.int32)
    return _table_of(nobody, nobody, num_users)


def two_hop_table(table: FriendTable, most: int | None = None) -> FriendTable:
    """People exactly two hops away: friends of friends who are not friends.

    most: people kept of each user, a random share where there are more; None: all.
    Made for some users at a time, so memory is what is kept.
    """
    named, num_friends = table.matrix, table.num_friends
    paths = named @ num_friends  # of two steps, of each user
    counts, people_of_all = [], [np.zeros(0, np.int32)]
    for first, last in row_blocks(paths, PATHS_AT_ONCE):
        reached = named[first:last] @ named
        reached -= reached.multiply(named[first:last])
        users, people = reached.nonzero()
        users, people = _some_of_each(users + first, people, most)
        keys = np.sort(users.astype(np.int64) * table.num_users + people)
        people_of_all.append((keys % table.num_users).astype(np.int32))
        counts.append(np.bincount(users - first, minlength=last - first))
    return FriendTable(
        offsets=np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
        friends=np.concatenate(people_of_all),
    )


def _some_of_each(users: np.ndarray, people: np.ndarray, most: int | None):
    """Pairs [P] and [P] with at most `most` people of each user, drawn the same every
    time.

    users ascend.
    """
    is_other = users != people
    users, people = users[is_other], people[is_other]
    if most is None or not len(users):
        return users, people
    draws = np.random.default_rng(int(users[0])).random(len(users))
    is_kept = np.bincount(users)[users] <= most
    others = np.flatnonzero(~is_kept)  # few, so that few are sorted
    others = others[np.lexsort((draws[others], users[others]))]
    is_kept[others[places_in_rows(users[others]) < most]] = True
    return users[is_kept], people[is_kept]


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
