"""Plays episodes: one scan over T steps of (score, choose, answer, observe).

Training plays with exploration, evaluation without.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.environment.exploration import draw_items, first_allowed
from dlerse_jax.environment.simulator import Simulator
from dlerse_jax.retrieval.argmax import best_allowed, best_candidate
from dlerse_jax.runtime import sharding
from dlerse_jax.runtime.ranks import check_ranks
from dlerse_jax.types import Agent, Context, Episodes, Memory, Observation, State

Recorded = TypeVar("Recorded")
DRAWS = 2  # random items per step; where all were shown, the greedy one is taken


@struct.dataclass(kw_only=True)
class Exploration:
    """Epsilon-greedy: with chance epsilon a random allowed item, drawn by weight."""

    epsilon: jax.Array  # [] in [0, 1], traced
    cumulative_weights: jax.Array  # [N] int32; arange(1, N + 1) is uniform


@check_ranks(users=1, candidates=2, history=2)
def rollout(
    agent: Agent,
    state: State,
    context: Context,
    world: Simulator,
    users: jax.Array,
    key: jax.Array,
    *,
    exploration: Exploration | None = None,
    candidates: jax.Array | None = None,
    history: jax.Array | None = None,
) -> Episodes:
    """One episode of each user, users [B] -> Episodes [B, T].

    Without exploration the agent is greedy. candidates [B, C], padded with N, limit
    the choice (protocol `cold_candidates`); None allows the whole catalogue. history
    [B, H], padded with N, is what the users liked before (protocol `warm`): see
    `prime`; none of it is shown again, and a user for whom nothing is left is shown
    item N.
    """
    episodes, _ = recorded_rollout(
        _nothing,
        agent,
        state,
        context,
        world,
        users,
        key,
        exploration=exploration,
        candidates=candidates,
        history=history,
    )
    return episodes


def recorded_rollout(
    record: Callable[[Memory], Recorded],
    agent: Agent,
    state: State,
    context: Context,
    world: Simulator,
    users: jax.Array,
    key: jax.Array,
    *,
    exploration: Exploration | None = None,
    candidates: jax.Array | None = None,
    history: jax.Array | None = None,
) -> tuple[Episodes, Recorded]:
    """The same, and record(memory) of what each choice was made from: [B, T, ...].

    A gradient of what is recorded goes back through the steps that were played, so far
    as the agent lets it. Ranks are those of `rollout`.
    """
    keys = user_keys(key, users.shape[0])
    users, keys = sharding.over_users(world.mesh, (users, keys))
    play = functools.partial(_play, record, agent, state, context, world, exploration)
    in_axes = (0, 0, *(None if each is None else 0 for each in (candidates, history)))
    play = jax.vmap(play, in_axes=in_axes)  # adds B
    return play(users, keys, candidates, history)


def _nothing(memory: Memory) -> None:
    del memory


def user_keys(key: jax.Array, num_users: int) -> jax.Array:
    """A key for each user of a batch: [B]."""
    return jax.random.split(key, num_users)


def episode_keys(key: jax.Array) -> jax.Array:
    """What one user's episode draws from: for `begin`, the world, exploration: [3]."""
    return jax.random.split(key, 3)


@check_ranks(history=1)
def prime(
    agent: Agent,
    state: State,
    context: Context,
    memory: Memory,
    before: Observation,
    history: jax.Array | None,
) -> Memory:
    """The memory of one user after a past of likes: history [H] in order, or None.

    Padding N leaves the memory as it is. `before` is the observation ahead of the
    first recommendation: its step and its streaks stay 0 all through the past, for they
    belong to the session that is about to start.
    """
    if history is None:
        return memory
    num_items = before.item  # before the first recommendation the last item is N

    def observe(memory: Memory, item: jax.Array) -> tuple[Memory, None]:
        past = before.replace(item=item, liked=jnp.float32(1))
        after = agent.observe(state, context, memory, past)
        is_real = item < num_items
        after = jax.tree.map(lambda x, y: jnp.where(is_real, x, y), after, memory)
        return after, None

    return jax.lax.scan(observe, memory, history)[0]


@check_ranks(shown=1, candidates=1)
@jax.named_scope("choose")
def choose(
    agent: Agent,
    state: State,
    context: Context,
    memory: Memory,
    shown: jax.Array,
    num_items: int,
    candidates: jax.Array | None = None,
    item_shards: int = 1,
) -> jax.Array:
    """The greedy item of one user: [] int32; N where none is left.

    item_shards: devices that the item tables are sharded over.
    """
    score_items = functools.partial(agent.scores, state, context, memory)
    if candidates is not None:
        return best_candidate(score_items, shown, candidates, num_items)
    if agent.best and item_shards == 1:
        return agent.best(state, context, memory, shown)
    item = best_allowed(score_items, shown, num_items, shards=item_shards)
    return jnp.where(jnp.any(shown == item), jnp.int32(num_items), item)


@jax.named_scope("explore")
def _exploration_draws(
    key: jax.Array, horizon: int, exploration: Exploration
) -> tuple[jax.Array, jax.Array]:
    """What chance decides in an episode, drawn at once: whether to explore, [T] bool,
    and what is shown then, the first of items [DRAWS T] that is still allowed.
    """
    key_whether, key_which = jax.random.split(key)
    chances = jax.random.uniform(key_whether, (horizon,))
    words = jax.random.bits(key_which, (DRAWS * horizon,))
    items = draw_items(words, exploration.cumulative_weights)
    return chances < exploration.epsilon, items


def _play(
    record: Callable[[Memory], Recorded],
    agent: Agent,
    state: State,
    context: Context,
    world: Simulator,
    exploration: Exploration | None,
    user: jax.Array,
    key: jax.Array,
    candidates: jax.Array | None,
    history: jax.Array | None,
) -> tuple[Episodes, Recorded]:
    """One user's episode and what is recorded: leading axis T (user is a scalar)."""
    key_begin, key_world, key_explore = episode_keys(key)
    episode, observation = world.reset(key_world, user)
    memory = agent.begin(state, context, user, key_begin)
    memory = prime(agent, state, context, memory, observation, history)
    seen_before = jnp.zeros(0, jnp.int32) if history is None else history

    explores = random_items = None
    if exploration is not None:
        explores, random_items = _exploration_draws(
            key_explore, world.horizon, exploration
        )

    def step(carry: Any, explores: jax.Array | None) -> tuple[Any, Any]:
        episode, observation, memory = carry
        recorded = record(memory)
        shown = jnp.concatenate([seen_before, observation.shown])
        item = choose(
            agent,
            state,
            context,
            memory,
            shown,
            world.num_items,
            candidates,
            sharding.num_item_shards(world.mesh),
        )
        if explores is not None and random_items is not None:
            random_item = first_allowed(random_items, shown, otherwise=item)
            item = jnp.where(explores, random_item, item)
        key_step = jax.random.fold_in(key_world, episode.step)
        episode, observation, reward, _ = world.step(key_step, episode, item)
        with jax.named_scope("observe"):
            memory = agent.observe(state, context, memory, observation)
        played = Episodes(
            users=user,
            items=item,
            feedback=observation.liked,
            rewards=reward,
        )
        return (episode, observation, memory), (played, recorded)

    carry = (episode, observation, memory)
    _, found = jax.lax.scan(step, carry, explores, length=world.horizon)
    played, recorded = found
    return played.replace(users=user), recorded
