"""What a deep agent minimises, for a batch of recorded episodes.

A batch is users [B], items [B, T] and answers [B, T]. `social` is the social influence
of these users, by the online or the slow network. Losses are one per episode. The
encoder is unrolled once, and all losses read the same queries.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from dlerse_jax.agents.dqn.acting import Policy
from dlerse_jax.agents.dqn.episode_states import episode_states, state_queries
from dlerse_jax.agents.dqn.hyperparameters import Plan
from dlerse_jax.environment.reward import step_reward, streak_reward, streaks_before
from dlerse_jax.environment.simulator import liked_items
from dlerse_jax.learning.losses import (
    catalogue_sums,
    contrastive_loss,
    cross_entropy_reward_loss,
    squared_reward_loss,
)
from dlerse_jax.learning.returns import one_step_targets
from dlerse_jax.networks.heads import Query
from dlerse_jax.networks.q_network import (
    allowed_means,
    pairwise_advantages,
    q_values,
)
from dlerse_jax.retrieval.index import Catalogue
from dlerse_jax.retrieval.search import best_items_of_episodes


@jax.named_scope("encode")
def queries(policy: Policy, acting, social, batch, key, interests=None):
    """States of recorded episodes and their queries under dropout: axes [B, T].

    interests [B, T, H] where they are known from acting.
    """
    _, items, liked = batch
    over_users = jax.vmap(functools.partial(episode_states, policy, acting))  # adds B
    states = over_users(social, items, liked, interests)
    keys = jax.random.split(key, items.shape[0])
    queries = jax.vmap(functools.partial(state_queries, policy, acting))
    return states, queries(states, keys)


@jax.named_scope("pretrain_loss")
def pretrain_losses(plan: Plan, acting, world, social, query, batch, key):
    """The supervised loss of B episodes: [B]."""
    sums = catalogue_sums(acting.tables)

    def one(social, query, user, items, liked, key):
        tables = acting.tables_for(social)
        likes = liked_items(world.likes, user)
        # Preferences are fitted: what is liked, whether or not the user was satiated.
        liked = world.preferences(user, items, liked)
        if plan.pretrain_loss == "squared":
            return squared_reward_loss(
                query, tables, sums, items, liked, likes, world.miss_reward
            ).mean()
        steps = jax.random.choice(
            key, plan.horizon, (plan.pretrain_steps,), replace=False
        )
        return cross_entropy_reward_loss(query, tables, items, likes, steps).mean()

    keys = jax.random.split(jax.random.fold_in(key, 1), query.value.shape[0])
    episodes = (social, query, *batch, keys)
    return jax.vmap(one)(*episodes)  # adds B


@jax.named_scope("target")
def td_targets(
    policy: Policy, catalogue: Catalogue, online, slow, world, settings, batch
):
    """Double-Q targets of B episodes [B, T], and where an item is still the greedy one.

    The streak reward of the step itself is subtracted: it is known before acting and
    the same for all items. Constants to the gradient.

    online is the network that learns, its states [B, T] and its social part [B]; the
    catalogue is in its order. slow is the target network and its social part. gamma of
    the settings is read.
    """
    acting, states, social = jax.lax.stop_gradient(online)
    slow, slow_social = slow
    _, items, liked = batch
    undropped = jax.vmap(state_queries, in_axes=(None, None, 0, None))  # adds B
    greedy = undropped(policy, acting, states, None)
    best = best_items_of_episodes(
        catalogue, greedy.direction, greedy.copy_gain, social.copied, items
    )

    def one(slow_social, best, items, liked):
        states = episode_states(policy, slow, slow_social, items, liked)
        later = state_queries(policy, slow, states, None)
        streaks = streaks_before(liked)
        of_streaks = streak_reward(*streaks, world.alpha)
        tables = slow.tables_for(slow_social)
        rewards = step_reward(liked, *streaks, world.alpha, world.miss_reward)
        values = q_values(later, tables, best, items) + of_streaks
        return one_step_targets(rewards, values, settings.gamma) - of_streaks

    targets = jax.vmap(one)(slow_social, best, items, liked)  # adds B
    return targets, best == items


def less_later(query: Query, targets: jax.Array, batch, world) -> Query:
    """Queries [B, T] whose Q is what an item pays at once, for the supervised loss.

    What a target adds to the base reward is the discounted value of later steps. It is
    the same for all items of a state, shown or not, so that both losses agree.
    """
    _, _, liked = batch
    at_once = step_reward(liked, 0.0, 0.0, 0.0, world.miss_reward)
    return query.replace(value=query.value - (targets - at_once))


@jax.named_scope("td_loss")
def td_losses(acting, social, query, targets, batch):
    """Double-Q error (Huber), contrastive loss, mean Q of B episodes: [B] each."""

    def one(social, query, targets, items, liked):
        tables = acting.tables_for(social)
        of_shown = jnp.diagonal(pairwise_advantages(query, tables, items))
        q = query.value + of_shown - allowed_means(query, tables, items)
        error = optax.huber_loss(q, targets).mean()
        return error, contrastive_loss(query, tables, items, liked), q.mean()

    _, items, liked = batch
    return jax.vmap(one)(social, query, targets, items, liked)  # adds B
