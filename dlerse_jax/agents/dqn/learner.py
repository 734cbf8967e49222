"""The deep Q-learner: DLERSE, and the agents that differ from it in settings alone.

`pretrain` and `q_learning` are one update each; the policy plays the averaged
parameters. The order of one Q-learning update: act, store, sample, double-Q loss, step.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dlerse_jax.agents.dqn.acting import ITEM_AXES, Acting, Policy, Shared
from dlerse_jax.agents.dqn.hyperparameters import Plan, Settings
from dlerse_jax.agents.dqn.objective import (
    less_later,
    pretrain_losses,
    queries,
    td_losses,
    td_targets,
)
from dlerse_jax.agents.dqn.policy import greedy_policy, policy_context
from dlerse_jax.agents.dqn.social import attends, attention_of, social_of_all
from dlerse_jax.environment.rollout import Exploration, rollout
from dlerse_jax.environment.simulator import Simulator
from dlerse_jax.learning.optimizer import apply_scaled, warmup_cosine
from dlerse_jax.learning.replay import Replay, empty_replay, sample, store
from dlerse_jax.networks.q_network import Tables
from dlerse_jax.runtime import sharding
from dlerse_jax.runtime.random_streams import stream_key
from dlerse_jax.types import Agent

VALUE_HEADS = ("head", "social_head")  # of a network: Q is the sum, or a mean of twice


@struct.dataclass(kw_only=True)
class LearnerState:
    """Everything a resumed run needs besides its seed."""

    shared: Shared
    params: dict  # "network", "item_bias", and "tables" where they are trained
    target: dict
    average: dict
    optimizer: optax.OptState
    replay: Replay
    settings: Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """What is static, and so may be closed over: modules and counts, no arrays."""

    policy: Policy
    optimizer: optax.GradientTransformation
    plan: Plan


def _draw_masked(state: LearnerState, users, key):
    """Users whose feedback counts as unknown: [U] bool, the batch's own included."""
    key_share, key_who = jax.random.split(key)
    share = jax.random.uniform(
        key_share,
        minval=state.settings.mask_least,
        maxval=state.settings.mask_most,
    )
    masked = jax.random.uniform(key_who, state.shared.visible.shape) < share
    return masked.at[users].set(True)


def _draw_users(state: LearnerState, count: int, key):
    """Training users [count], with replacement."""
    train_users = state.shared.train_users
    return train_users[jax.random.randint(key, (count,), 0, train_users.shape[0])]


@functools.partial(jax.jit, static_argnums=0)
@jax.named_scope("descend")
def _descend(parts: Parts, state, gradients, learning_rate):
    """One optimiser step, then the running average follows."""
    updates, optimizer_state = parts.optimizer.update(
        gradients, state.optimizer, state.params
    )
    params = apply_scaled(state.params, updates, learning_rate)
    average = optax.incremental_update(
        params, state.average, state.settings.average_step
    )
    return state.replace(params=params, average=average, optimizer=optimizer_state)


@jax.named_scope("act")
def _play(parts: Parts, state, world, key, epsilon):
    """Fresh episodes of random training users, played by the current parameters.

    With them who was masked [U], and the catalogue as these parameters score it.
    """
    users = _draw_users(state, parts.plan.act_batch, stream_key(key, "users"))
    masked = _draw_masked(state, users, stream_key(key, "mask"))
    acting = Acting(shared=state.shared, params=state.params)
    exploration = Exploration(
        epsilon=epsilon, cumulative_weights=state.shared.exploration_weights
    )
    context = policy_context(
        parts.policy,
        acting,
        masked,
        stream_key(key, "friends"),
        sharding.num_item_shards(world.mesh),
    )
    episodes = rollout(
        greedy_policy(parts.policy, "behaviour"),
        acting,
        context,
        world,
        users,
        stream_key(key, "act"),
        exploration=exploration,
    )
    return episodes, masked, context.catalogue


def _pretrain(parts: Parts, state: LearnerState, world: Simulator, key, progress):
    """One supervised update on episodes the network has just played itself."""
    settings, plan = state.settings, parts.plan
    episodes, masked, _ = _play(parts, state, world, key, settings.pretrain_epsilon)
    batch = episodes.users, episodes.items, episodes.feedback
    # The friends that were drawn for acting: the same key.
    friends = masked, episodes.users, stream_key(key, "friends")
    key_dropout = stream_key(key, "dropout")

    def loss(params):
        acting = Acting(shared=state.shared, params=params)
        social = social_of_all(parts.policy, acting, *friends)
        _, query = queries(parts.policy, acting, social, batch, key_dropout)
        return pretrain_losses(
            plan, acting, world, social, query, batch, key_dropout
        ).mean()

    value, gradients = jax.value_and_grad(loss)(state.params)
    pace = warmup_cosine(progress, plan.warmup)
    state = _descend(parts, state, gradients, settings.pretrain_learning_rate * pace)
    replay = store(state.replay, episodes)
    state = state.replace(target=state.params, replay=replay)
    return state, _metrics(episodes, gradients, {"pretrain_loss": value})


def _q_learning(parts: Parts, state: LearnerState, world: Simulator, key, progress):
    """One double-Q update on replayed episodes, after acting and storing.

    The first of a phase moves V alone (`_with_later_value`).
    """
    settings, plan = state.settings, parts.plan
    epsilon_fall = settings.epsilon_first - settings.epsilon_last
    epsilon = settings.epsilon_first - progress * epsilon_fall
    episodes, _, catalogue = _play(parts, state, world, key, epsilon)
    replay = store(state.replay, episodes)
    batch = sample(replay, stream_key(key, "replay"), plan.batch_size)
    batch = sharding.over_users(world.mesh, batch)
    users, _, _ = batch
    masked = _draw_masked(state, users, stream_key(key, "replay_mask"))
    slow = Acting(shared=state.shared, params=state.target)
    friends = masked, users, stream_key(key, "replay_friends")
    slow_social = social_of_all(parts.policy, slow, *friends)
    key_dropout = stream_key(key, "dropout")

    def loss(params):
        acting = Acting(shared=state.shared, params=params)
        social = social_of_all(parts.policy, acting, *friends)
        states, query = queries(parts.policy, acting, social, batch, key_dropout)
        networks = (acting, states, social), (slow, slow_social)
        targets, is_greedy = td_targets(
            parts.policy, catalogue, *networks, world, settings, batch
        )
        errors, contrasts, q = td_losses(acting, social, query, targets, batch)
        at_hand = less_later(query, targets, batch, world)
        fits = pretrain_losses(plan, acting, world, social, at_hand, batch, key_dropout)
        total = errors.mean() + settings.supervised_weight * fits.mean()
        total += settings.contrastive_weight * contrasts.mean()
        return total, {
            "loss": total,
            "td_loss": errors.mean(),
            "q": q.mean(),
            "target": targets.mean(),
            "greedy_share": is_greedy.mean(),  # of what was replayed
        }

    gradients, measured = jax.grad(loss, has_aux=True)(state.params)
    pace = warmup_cosine(progress, plan.warmup)
    after = _descend(parts, state, gradients, settings.learning_rate * pace)
    target = optax.incremental_update(after.params, state.target, settings.target_step)
    after = after.replace(target=target)
    begun = _with_later_value(state, measured["target"] - measured["q"], plan.horizon)
    state = _either(progress == 0, begun, after).replace(replay=replay)
    measured |= {"epsilon": epsilon, "reward": episodes.rewards.mean()}
    return state, _metrics(episodes, gradients, measured)


def _either(condition: jax.Array, one: LearnerState, other: LearnerState):
    """What an update moves, of one of two states that have all else in common."""
    names = ("params", "target", "average", "optimizer")
    pick = functools.partial(jax.tree.map, functools.partial(jnp.where, condition))
    return one.replace(**{n: pick(getattr(one, n), getattr(other, n)) for n in names})


def _with_later_value(
    state: LearnerState, error: jax.Array, horizon: int
) -> LearnerState:
    """V of all networks moved until the mean temporal-difference error is 0: error [].

    What comes later is worth the same whatever is shown now, and a network that was
    fitted to rewards knows nothing of it. Left to gradients, what is played is moved
    past what is not, and the order that was learned before is lost. A V that is moved
    by b moves Q by b and targets by gamma b, in all steps but the last.
    """
    kept = 1 - state.settings.gamma * (1 - 1 / horizon)

    def moved(params: dict) -> dict:
        network = dict(params["network"])
        heads = [name for name in VALUE_HEADS if name in network]
        for name in heads:
            value = network[name]["value"]
            value = value | {"bias": value["bias"] + error / kept / len(heads)}
            network[name] = network[name] | {"value": value}
        return params | {"network": network}

    return state.replace(
        params=moved(state.params),
        target=moved(state.target),
        average=moved(state.average),
    )


def _metrics(episodes, gradients, measured):
    return measured | {
        "gradient_norm": optax.tree.norm(gradients),
        "precision": episodes.feedback.mean(),
    }


def make_dqn(
    name: str,
    *,
    policy: Policy,
    tables: Tables,
    shared: Shared,
    optimizer: optax.GradientTransformation,
    settings: Settings,
    plan: Plan,
) -> Agent:
    """A deep agent. tables are where it starts; shared.tables is None if they train."""
    parts = Parts(policy=policy, optimizer=optimizer, plan=plan)
    greedy = greedy_policy(policy, name)

    @jax.jit
    def start(key, params):
        # It reads the shape of a row and no number: tables are not part of the program.
        rows = jax.tree.map(lambda x: jnp.zeros((1, *x.shape[1:]), x.dtype), tables)
        variables = policy.network.init(key, rows)
        params = params | {"network": variables["params"]}
        replay = empty_replay(plan.replay_capacity, plan.horizon)
        return params, optimizer.init(params), replay

    def init(key):
        params: dict[str, Any] = {"item_bias": tables.item_bias}
        if shared.tables is None:
            params["tables"] = tables.replace(item_bias=None)
        params, optimizer_state, replay = start(key, params)
        return LearnerState(
            shared=shared,
            params=params,
            target=params,
            average=params,
            optimizer=optimizer_state,
            replay=replay,
            settings=settings,
        )

    def acting(state):
        return Acting(shared=state.shared, params=state.average)

    return Agent(
        name=name,
        init=init,
        seed_axes=_seed_axes(),
        item_axes=ITEM_AXES,
        served="average",
        horizon=plan.horizon,
        context=lambda state, masked: greedy.context(acting(state), masked),
        begin=lambda state, *rest: greedy.begin(acting(state), *rest),
        observe=lambda state, *rest: greedy.observe(acting(state), *rest),
        scores=lambda state, *rest: greedy.scores(acting(state), *rest),
        best=lambda state, *rest: greedy.best(acting(state), *rest),
        best_list=lambda state, *rest: greedy.best_list(acting(state), *rest),
        attention=_attention(policy, acting) if attends(policy, shared) else None,
        pretrain=functools.partial(_pretrain, parts),
        q_learning=functools.partial(_q_learning, parts),
        go_on_from=_go_on_from,
    )


def _go_on_from(states: LearnerState, average) -> LearnerState:
    """All three networks are the averaged one; optimiser and replay stay as they are.

    Three copies, for an update gives the memory of each away.
    """
    params, target, own = _copies(average)
    return states.replace(params=params, target=target, average=own)


@jax.jit
def _copies(params):
    return tuple(jax.tree.map(jnp.copy, params) for _ in range(3))


def _attention(policy: Policy, acting):
    return lambda state, *rest: attention_of(policy, acting(state), *rest)


def _seed_axes() -> LearnerState:
    """Every leaf of the state has a seed axis but the arrays that seeds share."""
    axes: dict[str, Any] = {f.name: 0 for f in dataclasses.fields(LearnerState)}
    return LearnerState(**(axes | {"shared": None}))
