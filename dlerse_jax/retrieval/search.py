"""The best item of a catalogue, found without scoring all of it.

Exact: the item is that of an arg-max over all scores q . o_v + b_v (+ g c_v of a copy
head). How the search goes is in `walk`.
"""

import jax
import jax.numpy as jnp

from dlerse_jax.retrieval.argmax import fast_argmax
from dlerse_jax.retrieval.index import Catalogue, Copied, in_order
from dlerse_jax.retrieval.walk import Keep, asked_of, searching
from dlerse_jax.runtime.ranks import check_ranks

EPISODES_AT_ONCE = 16  # static: times T rows of scores stay in a core's cache


@check_ranks(direction=1, gain=0, shown=1)
def best_item(
    catalogue: Catalogue,
    direction: jax.Array,
    gain: jax.Array | None,
    copied: Copied | None,
    shown: jax.Array,
) -> jax.Array:
    """arg-max of q . o_v + b_v + g c_v over items not shown: [] int32, N if none left.

    direction [D], gain [], shown [S] padded with N. Ties go to the longer vector, then
    to the smaller index. Under `vmap` users go through the blocks together.
    """
    gain = None if gain is None else gain[None]
    return best_items(catalogue, direction[None], gain, copied, shown[None])[0]


@check_ranks(directions=2, gains=1, shown=2)
def best_items(catalogue, directions, gains, copied, shown) -> jax.Array:
    """The same for R states of one user: [R, D], [R], [R, S] -> [R] int32."""
    asked = asked_of(catalogue, directions, gains, copied, shown)
    scores, items = (found[:, 0] for found in _search(catalogue, asked))
    share = jnp.argmax(scores, axis=0)
    return jnp.take_along_axis(items, share[None], axis=0)[0]


@check_ranks(directions=3, gains=2, copied=2, items=2)
def best_items_of_episodes(catalogue, directions, gains, copied, items) -> jax.Array:
    """The same before every step of B episodes, given items [B, T] as shown in order.

    directions [B, T, D], gains [B, T], copied [B, N] -> [B, T] int32. Before step t
    the items of the steps before it are left out. EPISODES_AT_ONCE go together.
    """
    num_items = catalogue.places.shape[1] - 1
    steps = jnp.arange(items.shape[1])
    was_shown = steps[None, :] < steps[:, None]

    def of_episode(episode):
        directions, gains, copied, items = episode
        shown = jnp.where(was_shown, items[None], num_items)
        copied = in_order(catalogue, copied)
        return best_items(catalogue, directions, gains, copied, shown)

    count = items.shape[0]
    group = max(n for n in range(1, EPISODES_AT_ONCE + 1) if count % n == 0)

    def in_groups(array):
        """[B, ...] -> [B / G, G, ...]; users stay on their devices."""
        return jnp.moveaxis(array.reshape(group, -1, *array.shape[1:]), 1, 0)

    episodes = jax.tree.map(in_groups, (directions, gains, copied, items))
    best = jax.lax.map(jax.vmap(of_episode), episodes)
    return jnp.moveaxis(best, 0, 1).reshape(items.shape)


def _nothing(shape: tuple[int, int], num_items: int) -> tuple[jax.Array, jax.Array]:
    """Highest allowed score and whose it is: [C, Q] each; -inf and N for none."""
    return jnp.full(shape, -jnp.inf), jnp.full(shape, num_items, jnp.int32)


def _better(kept, scores: jax.Array, items: jax.Array):
    score, item = kept
    winner = fast_argmax(scores)[..., None]
    found = jnp.take_along_axis(scores, winner, axis=-1)[..., 0]
    found_item = jnp.take_along_axis(items[:, None], winner, axis=-1)[..., 0]
    is_better = found > score
    return jnp.where(is_better, found, score), jnp.where(is_better, found_item, item)


_search = searching(Keep(_nothing, _better, lambda kept, bound: bound > kept[0]))
