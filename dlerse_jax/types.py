"""Every container that crosses a module border, and the legend of shape letters.

Letters in docstrings and comments: U users, N items, E directed friend pairs,
L likes in the whole data set, B users in a batch, T steps of an episode,
S seeds, D embedding width, H interest (GRU) width, K hops, A items in a list.

A user or item is an index (0..U-1, 0..N-1) everywhere but in `data/` and in what
is printed: `Dataset.user_ids` and `Dataset.item_ids` lead back to the file's ids.
Padding of an item list is the index N, one past the last item, so that a scatter
drops it; padding always travels with its mask or its length.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jraph
import numpy as np
from flax import struct
from jax.sharding import Mesh

# Users as nodes, edges from a friend to the user who names them.
FriendGraph = jraph.GraphsTuple


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """Users of each part as sorted user indices; feedback of the last two is hidden."""

    train: np.ndarray  # [<=U] int32
    validation: np.ndarray  # [U // 10 or one more] int32
    test: np.ndarray  # [U // 10 or one more] int32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Taggings:
    """Who called which item what: one entry per word given, in any order."""

    users: np.ndarray  # [G] int32
    items: np.ndarray  # [G] int32
    tags: np.ndarray  # [G] int32, 0..num_tags-1
    num_tags: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemFeatures:
    """What a file says of items: one entry per number that is not zero, any order."""

    items: np.ndarray  # [G] int32
    columns: np.ndarray  # [G] int32, 0..num_columns-1
    values: np.ndarray  # [G] float32
    num_columns: int


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Dataset:
    """Who liked what and who knows whom, on the host, as index arrays.

    Likes are rows of a sparse matrix: user u likes
    `liked_items[like_offsets[u] : like_offsets[u + 1]]`, ascending.
    A friend pair says that `friend_targets[i]` names `friend_sources[i]` as a
    friend: taste flows from source to target, attention goes from target to source.

    Newcomers are known for the friends they name alone, cold items for features or
    tags. They come last, and agents are neither trained nor evaluated on them.
    """

    name: str
    user_ids: np.ndarray  # [U] original ids, ascending in each part; int64 or str
    item_ids: np.ndarray  # [N] original ids, ascending in each part; int64 or str
    like_offsets: np.ndarray  # [U + 1] int64
    liked_items: np.ndarray  # [L] int32
    like_weights: np.ndarray  # [L] float32: listening count or rating, 1 where none
    friend_sources: np.ndarray  # [E] int32
    friend_targets: np.ndarray  # [E] int32
    split: Split
    friend_weights: np.ndarray | None = None  # [E] float32, mean 1; None: all alike
    item_titles: tuple[str, ...] | None = None  # [N] where a file has them
    taggings: Taggings | None = None  # where a file has them; feedback, as likes are
    notes: tuple[str, ...] = ()  # what the reader kept and dropped, one line each
    num_newcomers: int = 0  # the last users: without likes, in no part of the split
    item_features: ItemFeatures | None = None  # where a file has them
    num_cold_items: int = 0  # the last items: without likes

    @property
    def num_users(self) -> int:
        return len(self.user_ids)

    @property
    def num_known_users(self) -> int:
        """Users who like something, 0..num_known_users-1; newcomers follow."""
        return self.num_users - self.num_newcomers

    @property
    def num_items(self) -> int:
        return len(self.item_ids)

    @property
    def num_known_items(self) -> int:
        """Items that may be liked, 0..num_known_items-1; cold items follow."""
        return self.num_items - self.num_cold_items

    @property
    def num_likes(self) -> np.ndarray:
        """Items liked by each user, [U]."""
        return np.diff(self.like_offsets)

    @property
    def num_friends(self) -> np.ndarray:
        """Friends each user names, [U]."""
        return np.bincount(self.friend_targets, minlength=self.num_users)

    def __repr__(self) -> str:
        split = self.split
        return (
            f"Dataset({self.name!r}: {self.num_users:,} users, "
            f"{self.num_items:,} items, {len(self.liked_items):,} likes, "
            f"{len(self.friend_sources):,} friend pairs; {len(split.train):,} train, "
            f"{len(split.validation):,} validation, {len(split.test):,} test users)"
        )


@struct.dataclass(kw_only=True)
class Likes:
    """Who likes what, on the device, as sparse rows: memory grows with L alone."""

    offsets: jax.Array  # [U + 1] int32
    items: jax.Array  # [L] int32, ascending within a user
    max_per_user: int = struct.field(pytree_node=False)


@struct.dataclass(kw_only=True)
class FriendLists:
    """Who names whom as a friend, as sparse rows: neighbourhoods are drawn from it."""

    offsets: jax.Array  # [U + 1] int32
    friends: jax.Array  # [E + 1] int32, ascending within a user; the last is padding
    fan_out: int = struct.field(pytree_node=False)  # F: friends drawn per user and hop


@struct.dataclass(kw_only=True)
class Newcomer:
    """Somebody who is no user of the data set: known for the friends they name."""

    friends: jax.Array  # [F] int32 users, padded with U
    two_hops: jax.Array  # [G] int32 users, padded with U: `friends.two_hops_from`


@struct.dataclass(kw_only=True)
class FriendTree:
    """One user, friends of theirs, friends of those, ...: K levels below the root.

    In order of levels: the F friends of node i are at 1 + i F, ..., F + i F, so that
    n = 1 + F + ... + F^K. A user who is reached twice has two nodes.
    """

    users: jax.Array  # [n] int32
    is_real: jax.Array  # [n] bool; False fills up a list shorter than F
    fan_out: int = struct.field(pytree_node=False)  # F


@struct.dataclass(kw_only=True)
class Observation:
    """What an agent may know when it must act: the episode so far, never the likes."""

    user: jax.Array  # [] int32; U for a newcomer
    step: jax.Array  # [] int32: items shown so far
    item: jax.Array  # [] int32: the item shown last; N before the first
    liked: jax.Array  # [] float32: its feedback, 1 or 0
    like_streak: jax.Array  # [] float32: c_p, likes in a row up to now
    dislike_streak: jax.Array  # [] float32: c_n, dislikes in a row up to now
    shown: jax.Array  # [T] int32: items shown so far, padded with N


@struct.dataclass(kw_only=True)
class Episodes:
    """Finished episodes. Leading axes: users, and seeds before them where vmapped.

    Feedback and reward of step t belong to the item of step t. A step without an
    allowed item (a short candidate list) has item N, feedback 0 and reward 0.
    """

    users: jax.Array  # [B] int32
    items: jax.Array  # [B, T] int32
    feedback: jax.Array  # [B, T] float32
    rewards: jax.Array  # [B, T] float32


# Pytrees that an agent makes and nobody else reads.
State = Any  # parameters, optimizer, replay; () if none
Context = Any  # what all users of a batch share
Memory = Any  # what one user's episode carries from step to step
Metrics = Mapping[str, jax.Array]  # name -> []


class Environment(Protocol):
    """What an agent plays in: one user, pure; the caller vmaps over users."""

    @property
    def horizon(self) -> int:
        """T, the steps of an episode."""

    @property
    def num_items(self) -> int:
        """N, which is also the action that shows nothing."""

    @property
    def mesh(self) -> Mesh | None:
        """Devices that its users are sharded over; None: one."""

    def reset(self, key: jax.Array, user: jax.Array) -> tuple[Any, Observation]:
        """The state of an episode before its first step, of user [] int32."""

    def step(
        self, key: jax.Array, state: Any, action: jax.Array
    ) -> tuple[Any, Observation, jax.Array, jax.Array]:
        """Shows item action [] -> state, observation, reward [], done [] bool."""


class ContextFn(Protocol):
    def __call__(self, state: State, masked: jax.Array, /) -> Context:
        """What the users of a batch share, as a pass over a graph: one call per batch.

        masked [U] bool: users whose own feedback must count as unknown, on top of
        validation and test users, who always are.
        """


class BeginFn(Protocol):
    def __call__(
        self,
        state: State,
        context: Context,
        person: jax.Array | Newcomer,
        key: jax.Array,
        /,
    ) -> Memory:
        """What the agent carries through the episode of one person: a user [] int32,
        or a newcomer, who costs what their neighbourhood holds.

        The state of a GRU, a ridge regression, a key if it draws.
        """


class ObserveFn(Protocol):
    def __call__(
        self, state: State, context: Context, memory: Memory, seen: Observation, /
    ) -> Memory:
        """The memory after an answer: `seen.item` was shown, `seen.liked` came back."""


class ScoresFn(Protocol):
    def __call__(
        self, state: State, context: Context, memory: Memory, items: jax.Array | None, /
    ) -> jax.Array:
        """The higher, the sooner it is shown: [A] float32.

        items [A] int32, or None for all N in order.
        """


class BestFn(Protocol):
    def __call__(
        self, state: State, context: Context, memory: Memory, shown: jax.Array, /
    ) -> jax.Array:
        """The item not in shown [S], padded with N, that scores highest, or N: []."""


class UpdateFn(Protocol):
    def __call__(
        self,
        state: State,
        world: Environment,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[State, Metrics]:
        """One update of one seed, which plays its own episodes in the world.

        progress [] in [0, 1) is the share of the phase that is done: schedules read it.
        """


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Agent:
    """A recommender as a bundle of pure functions. Policies and learners alike.

    An episode of one user runs `begin`, then T times `scores` and `observe`; the caller
    masks shown items, takes the arg-max and vmaps over users. `context` is made once
    for all users of a batch. Seeds are vmapped over the state; `seed_axes` is the
    prefix tree for that, 0 where every seed has its own array and None where one array
    serves all of them. `item_axes` names leaves of the state whose rows may be sharded
    over devices, and the axis of N, from the end; spare rows at their end are allowed.
    `served` names the field of the state that the policy uses, "" without training.
    """

    name: str
    init: Callable[[jax.Array], State]  # key -> an untrained state of one seed
    context: ContextFn
    begin: BeginFn
    observe: ObserveFn
    scores: ScoresFn
    seed_axes: Any = 0
    item_axes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    served: str = ""
    best: BestFn | None = None  # for agents that find it without all the scores
    # The same for lists, `retrieval.lists.best_list`; the last arguments are left_out
    # [S] and the length -> scores and items [K].
    best_list: Callable[..., tuple[jax.Array, jax.Array]] | None = None
    horizon: int | None = None  # steps it was made for; None: any
    miss_reward: float | None = None  # what a dislike pays, as it was made; None: any
    far: tuple[int, int | None] = 2, None  # `FriendTable`'s far_hops and most_far
    pretrain: UpdateFn | None = None  # supervised: fits the reward
    q_learning: UpdateFn | None = None  # reinforcement learning: act, store, learn
    # States [S] that go on learning from what is `served` of others; None: they cannot.
    go_on_from: Callable[[State, Any], State] | None = None
    # Training users it does not learn from, if any, and the states that play these.
    held_out: Callable[[State], tuple[State, np.ndarray]] | None = None
    attention: Callable[..., jax.Array] | None = None  # `dqn.social.attention_of`
    source: Any = None  # `experiment.build.Source`, by which it can be made again

    def __repr__(self) -> str:
        phases = [word for word in ("pretrain", "q_learning") if getattr(self, word)]
        steps = "" if self.horizon is None else f", {self.horizon} steps"
        learns = " and ".join(phases) or "nothing to train"
        return f"Agent({self.name!r}{steps}, {learns})"


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation:
    """What an agent did for each evaluated user: one number per user and step.

    Saved as `evaluation.npz` in a run directory; every table and figure is made
    from this and nothing else. A run of one seed has S = 1.
    """

    agent: str
    protocol: str  # "cold", "cold_candidates", "warm"
    users: np.ndarray  # [B] int32 user indices
    items: np.ndarray  # [S, B, T] int32; N where no item was left
    feedback: np.ndarray  # [S, B, T] uint8
    num_likes: np.ndarray  # [B] items the user likes (what recall divides by)
    num_friends: np.ndarray  # [B]
    num_items: int  # N of the data set: what tells padding from an item
    miss_reward: float  # base reward of a dislike: -1 or 0

    def __repr__(self) -> str:
        seeds, users, steps = self.items.shape
        what = f"{self.agent!r}, {self.protocol}: {seeds} seeds"
        return f"Evaluation({what}, {users:,} users, {steps} steps)"
