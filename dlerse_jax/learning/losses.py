"""What is minimised: the temporal-difference error, and two supervised fits.

Everything is for one user's episode of T steps; the caller vmaps.
Conventions: `query` holds a `Query` for the state before each of the T steps, `items`
[T] the items shown in order, `liked` [T] the answers.
"""

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.networks.heads import Query
from dlerse_jax.networks.q_network import (
    Tables,
    advantages,
    allowed_means,
    pairwise_advantages,
    shown_before,
)
from dlerse_jax.runtime.ranks import check_ranks


@check_ranks(liked=1)
def opposite_steps(liked: jax.Array) -> tuple[jax.Array, jax.Array]:
    """For each step the nearest step with the opposite answer; the earlier of two.

    liked [T] -> steps [T] int32 and whether there is one [T] bool. The competitor
    item a_C of DEERS (Zhao et al., KDD 2018), within the episode.
    """
    steps = jnp.arange(liked.shape[0])
    distance = jnp.abs(steps[:, None] - steps[None, :])
    is_opposite = liked[:, None] != liked[None, :]
    distance = jnp.where(is_opposite, distance, liked.shape[0])
    return jnp.argmin(distance, axis=1), is_opposite.any(axis=1)


@check_ranks(query={"direction": 2}, items=1, liked=1)
def contrastive_loss(query: Query, tables: Tables, items: jax.Array, liked: jax.Array):
    """DEERS: softplus(-(Q(z_t, a_t) - Q(z_t, a_C)) * sign), mean over steps: [].

    sign is +1 after a like and -1 after a dislike: a liked item should outscore its
    disliked competitor. V and the mean of A cancel in the difference. 0 for an episode
    of likes alone or dislikes alone.
    """
    competitors, exists = opposite_steps(liked)
    of_shown = pairwise_advantages(query, tables, items)
    of_competitors = jnp.take_along_axis(of_shown, competitors[:, None], axis=1)
    margin = jnp.diagonal(of_shown) - of_competitors[:, 0]
    losses = jax.nn.softplus(-jnp.where(liked > 0, margin, -margin))
    count = jnp.maximum(exists.sum(), 1)
    return jnp.sum(jnp.where(exists, losses, 0.0)) / count


@struct.dataclass(kw_only=True)
class CatalogueSums:
    """Sums over all items that the squared fit needs, computed once per update."""

    gram: jax.Array  # [D, D] sum of o o'
    vectors: jax.Array  # [D] sum of o
    biased: jax.Array  # [D] sum of b o
    biases: jax.Array  # [] sum of b
    squares: jax.Array  # [] sum of b^2
    num_items: jax.Array  # [] N


def catalogue_sums(tables: Tables) -> CatalogueSums:
    """O(N D^2) once per update, in place of O(B T N D) for the loss."""
    out, bias = tables.item_out, tables.item_bias
    return CatalogueSums(
        # A written transpose would be carried out: a second item table.
        gram=jnp.einsum("nd,ne->de", out, out),
        vectors=out.sum(axis=0),
        biased=jnp.einsum("nd,n->d", out, bias),
        biases=bias.sum(),
        squares=jnp.sum(bias**2),
        num_items=jnp.float32(out.shape[0]),
    )


@check_ranks(query={"direction": 2}, items=1, liked=1, likes=1)
def squared_reward_loss(
    query: Query,
    tables: Tables,
    sums: CatalogueSums,
    items: jax.Array,
    liked: jax.Array,
    likes: jax.Array,
    miss_reward: jax.Array,
) -> jax.Array:
    """Mean over allowed items of (Q(z_t, v) - base reward of v)^2, for each t: [T].

    The loss the paper prints, in the units of the reward, over the items not shown
    before t. likes [M]: everything the user likes, padded with N. The sum over the
    catalogue is a quadratic form of q, so nothing here has length N.
    """
    num_items = tables.item_out.shape[0]
    span = 1.0 - miss_reward
    # From here on Q is measured from the reward of a miss, so most targets are 0.
    level = query.value - allowed_means(query, tables, items) - miss_reward
    q = query.direction
    everything = (
        level**2 * sums.num_items
        + jnp.sum((q @ sums.gram) * q, axis=-1)
        + sums.squares
        + 2 * level * (q @ sums.vectors + sums.biases)
        + 2 * q @ sums.biased
    )
    if tables.copied is not None:
        everything += _squares_of_copying(query, tables, level)
    shown = level[:, None] + pairwise_advantages(query, tables, items)
    was_shown = shown_before(items)
    shown_likes = was_shown * liked[None]
    num_likes = jnp.sum(likes < num_items)
    likes_left = num_likes - shown_likes.sum(axis=1)
    of_likes = level * num_likes + _summed_advantages(query, tables, likes)
    cross = of_likes - jnp.sum(shown * shown_likes, axis=1)
    total = everything - jnp.sum(was_shown * shown**2, axis=1)
    total = total - 2 * span * cross + span**2 * likes_left
    return total / (sums.num_items - jnp.arange(items.shape[0]))


def _squares_of_copying(query: Query, tables: Tables, level: jax.Array) -> jax.Array:
    """What g c adds to the sum over items of (level + q . o + b + g c)^2: [T]."""
    copied, gain = tables.copied, query.copy_gain
    with_others = level * copied.sum() + query.direction @ (copied @ tables.item_out)
    with_others += copied @ tables.item_bias
    return gain**2 * (copied @ copied) + 2 * gain * with_others


def _summed_advantages(query: Query, tables: Tables, items: jax.Array) -> jax.Array:
    """Sum of A(z_t, v) over v in items [A], padded with N: [T].

    Rows are summed before the product, which then has no axis A.
    """

    def total(table: jax.Array) -> jax.Array:
        rows = table.at[items].get(mode="fill", fill_value=0.0)
        return rows.sum(axis=0)

    summed = query.direction @ total(tables.item_out) + total(tables.item_bias)
    if tables.copied is None:
        return summed
    return summed + query.copy_gain * total(tables.copied)


@check_ranks(query={"direction": 2}, items=1, likes=1, steps=1)
def cross_entropy_reward_loss(
    query: Query,
    tables: Tables,
    items: jax.Array,
    likes: jax.Array,
    steps: jax.Array,
) -> jax.Array:
    """Mean over allowed items of the cross entropy of sigmoid(Q) against likes: [S].

    The other form of the printed loss: Q is then a log-odds. Evaluated at the given
    steps [S] <= T alone, one at a time and recomputed in the backward pass, because
    it has no closed form: memory is N per user, whatever S.
    """
    num_items = tables.item_out.shape[0]
    is_liked = jnp.zeros(num_items).at[likes].set(1.0, mode="drop")
    level = query.value - allowed_means(query, tables, items)
    order = jnp.arange(items.shape[0])

    @jax.checkpoint
    def at_step(step):
        state = jax.tree.map(lambda leaf: leaf[step], query)
        logits = level[step] + advantages(state, tables, None)
        losses = jax.nn.softplus(logits) - is_liked * logits
        shown = jnp.where(order < step, items, num_items)
        losses = losses.at[shown].set(0.0, mode="drop")
        return losses.sum() / (num_items - step)

    return jax.lax.map(at_step, steps)
