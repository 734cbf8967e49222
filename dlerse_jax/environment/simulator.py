"""The simulated user: shows one item, answers like or dislike, pays a reward.

A `Simulator` is a pytree whose `reset` and `step` play one episode of one user and are
vmapped by the caller. The user's likes are looked up by binary search in sparse rows,
so nothing of length N is carried. After the environment of TPGR (Chen et al., AAAI
2019). An option beyond it is satiation: a user dislikes a topic for a while after it
was shown, so that what is shown now decides what can be liked later.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import Mesh

from dlerse_jax.data.features import without_cold_items
from dlerse_jax.environment.reward import step_reward, streaks_after
from dlerse_jax.runtime.numbers import is_whole
from dlerse_jax.runtime.ranks import check_ranks
from dlerse_jax.runtime.sparse_rows import places_in_rows, row_contains, row_starts
from dlerse_jax.types import Dataset, Likes, Observation


@struct.dataclass(kw_only=True)
class EpisodeState:
    """One user's episode up to now. The likes themselves stay in the simulator."""

    user: jax.Array  # [] int32
    step: jax.Array  # [] int32
    shown: jax.Array  # [T] int32, padded with N
    like_streak: jax.Array  # [] float32: c_p
    dislike_streak: jax.Array  # [] float32: c_n


@check_ranks(user=0, item=0)
def is_liked(likes: Likes, user: jax.Array, item: jax.Array) -> jax.Array:
    """Whether a user likes an item: bool []. A user without likes: never."""
    return row_contains(likes.offsets, likes.items, likes.max_per_user, user, item)


@check_ranks(user=0)
def liked_items(likes: Likes, user: jax.Array) -> jax.Array:
    """All items a user likes, padded with the past-the-end item: [M] int32."""
    slots = likes.offsets[user] + jnp.arange(likes.max_per_user)
    in_row = slots < likes.offsets[user + 1]
    # The last entry of the table is the past-the-end item.
    return likes.items[jnp.where(in_row, slots, -1)]


@check_ranks(item=0, recent=1)
def is_satiated(topics: jax.Array, item: jax.Array, recent: jax.Array) -> jax.Array:
    """Whether an item shares a topic with one of those shown last: bool [].

    topics [N + 1, G] as of `item_topics`, recent [m] items, padded with N. An item
    without topics satiates nobody, and nobody is satiated with it.
    """
    own, others = topics[item][:, None], topics[recent].reshape(1, -1)
    return jnp.any((own == others) & (own >= 0))


@check_ranks(shown=1, step=0)
def last_shown(
    shown: jax.Array, step: jax.Array, count: int, nothing: int
) -> jax.Array:
    """The last `count` of the `step` items in shown [T], latest first: [count] int32.

    `nothing`, the item N, where there were fewer.
    """
    places = step - 1 - jnp.arange(count)
    return jnp.where(places >= 0, shown[places], nothing)


@struct.dataclass(kw_only=True)
class Simulator:
    """The users of a data set; alpha and the miss reward are traced, so vmappable."""

    likes: Likes
    num_friends: jax.Array  # [U] int32: what reports group users by
    alpha: jax.Array  # [] weight of the streaks in the reward
    miss_reward: jax.Array  # [] base reward of a dislike: -1, or 0
    # [N + 1, G] int32 of `item_topics`; None: no satiation.
    topics: jax.Array | None = None
    horizon: int = struct.field(pytree_node=False)  # T
    num_users: int = struct.field(pytree_node=False)  # U
    num_items: int = struct.field(pytree_node=False)  # N
    # m: as many items are remembered, and what shares a topic with one is disliked.
    satiation: int = struct.field(pytree_node=False, default=0)
    # Devices that its users are sharded over; None: one.
    mesh: Mesh | None = struct.field(pytree_node=False, default=None)

    @check_ranks(user=0)
    def reset(
        self, key: jax.Array, user: jax.Array
    ) -> tuple[EpisodeState, Observation]:
        """An empty episode. The key is unused: this user answers without chance."""
        del key
        state = EpisodeState(
            user=user,
            step=jnp.int32(0),
            shown=jnp.full(self.horizon, self.num_items, jnp.int32),
            like_streak=jnp.float32(0),
            dislike_streak=jnp.float32(0),
        )
        nothing = jnp.int32(self.num_items)
        return state, _observe(state, nothing, jnp.float32(0))

    @check_ranks(action=0)
    @jax.named_scope("answer")
    def step(
        self, key: jax.Array, state: EpisodeState, action: jax.Array
    ) -> tuple[EpisodeState, Observation, jax.Array, jax.Array]:
        """Shows item `action` -> state, observation, reward [] and done [] bool.

        Action N shows nothing: reward 0, streaks unchanged. The caller never shows an
        item twice; done is True with the last of T steps. With `satiation`, a liked
        item gets a dislike where a topic of it is a topic of one of the last m items
        shown, whatever their answers were.
        """
        del key
        showed = action < self.num_items
        liked = self._answer(state, action).astype(jnp.float32)
        streaks = state.like_streak, state.dislike_streak
        reward = step_reward(liked, *streaks, self.alpha, self.miss_reward) * showed
        like_streak, dislike_streak = streaks_after(*streaks, liked, showed)
        state = state.replace(
            step=state.step + 1,
            shown=state.shown.at[state.step].set(action),
            like_streak=like_streak,
            dislike_streak=dislike_streak,
        )
        done = state.step >= self.horizon
        return state, _observe(state, action, liked), reward, done

    def _answer(self, state: EpisodeState, item: jax.Array) -> jax.Array:
        liked = is_liked(self.likes, state.user, item)
        if self.topics is None:
            return liked
        recent = last_shown(state.shown, state.step, self.satiation, self.num_items)
        return liked & ~is_satiated(self.topics, item, recent)

    @check_ranks(user=0, items=1, answers=1)
    def preferences(
        self, user: jax.Array, items: jax.Array, answers: jax.Array
    ) -> jax.Array:
        """Which of the items [T] shown are liked, satiation aside: float32 [T].

        These are the answers [T] themselves where there is no satiation.
        """
        if self.topics is None:
            return answers
        over_items = jax.vmap(is_liked, in_axes=(None, None, 0))  # adds T
        return over_items(self.likes, user, items).astype(jnp.float32)


def _observe(state: EpisodeState, item: jax.Array, liked: jax.Array) -> Observation:
    return Observation(
        user=state.user,
        step=state.step,
        item=item,
        liked=liked,
        like_streak=state.like_streak,
        dislike_streak=state.dislike_streak,
        shown=state.shown,
    )


def likes_table(dataset: Dataset) -> Likes:
    """The likes of all users as sparse rows on the device."""
    # One pad entry keeps the look-up in range when the last user has no likes.
    items = np.append(dataset.liked_items, np.int32(dataset.num_items))
    return Likes(
        offsets=row_starts(dataset.like_offsets, "likes"),
        items=jnp.asarray(items, jnp.int32),
        max_per_user=int(dataset.num_likes.max(initial=1)),
    )


def item_topics(dataset: Dataset, most_topics: int = 0) -> np.ndarray:
    """Topics of each item, those it was given most often first: [N + 1, G] int32.

    A topic is a tag; at most `most_topics` an item count (0: all), of equals those
    with the lower number. Rows are padded with -1, and the last one, for nothing shown,
    is padding alone. The user's side: everybody's tags are read, test users' too.
    ValueError where items have no tags.
    """
    taggings = dataset.taggings
    if taggings is None or not len(taggings.tags):
        raise ValueError(
            f"user.satiation needs items with tags, and {dataset.name} has none; set "
            "it to 0, or data.synthetic.most_topics to 1 or more on the synthetic world"
        )
    pairs = taggings.items.astype(np.int64) * taggings.num_tags + taggings.tags
    pairs, times = np.unique(pairs, return_counts=True)
    items, tags = np.divmod(pairs, taggings.num_tags)
    order = np.lexsort((tags, -times, items))
    items, tags = items[order], tags[order]
    ranks = places_in_rows(items)
    is_kept = ranks < (most_topics or taggings.num_tags)
    topics = np.full((dataset.num_items + 1, ranks[is_kept].max() + 1), -1, np.int32)
    topics[items[is_kept], ranks[is_kept]] = tags[is_kept]
    return topics


def make_simulator(
    dataset: Dataset,
    *,
    alpha: float,
    horizon: int,
    miss_reward: float = -1.0,
    satiation: int = 0,
    most_topics: int = 0,
) -> Simulator:
    """The world of a data set. Raises ValueError where T items cannot be shown.

    Cold items are no part of it: nobody's answer about them is known. satiation is the
    number m of items that a user remembers; most_topics of `item_topics` is read where
    that is above 0.
    """
    dataset = without_cold_items(dataset)
    if not is_whole(horizon) or not 1 <= horizon <= dataset.num_items:
        raise ValueError(
            f"episode.horizon is {horizon}, but {dataset.name} has "
            f"{dataset.num_items} items and none is shown twice; "
            f"set it between 1 and {dataset.num_items}"
        )
    if not 0 <= alpha < np.inf:
        raise ValueError(f"reward.alpha must be 0 or more, got {alpha}")
    if miss_reward not in (-1, 0):
        raise ValueError(f"reward.miss must be -1 or 0, got {miss_reward}")
    for key, number in (("satiation", satiation), ("most_topics", most_topics)):
        if number < 0:
            raise ValueError(f"user.{key} must be 0 or more, got {number}")
    topics = jnp.asarray(item_topics(dataset, most_topics)) if satiation else None
    return Simulator(
        likes=likes_table(dataset),
        num_friends=jnp.asarray(dataset.num_friends, jnp.int32),
        alpha=jnp.float32(alpha),
        miss_reward=jnp.float32(miss_reward),
        topics=topics,
        satiation=satiation,
        horizon=int(horizon),
        num_users=dataset.num_users,
        num_items=dataset.num_items,
    )
