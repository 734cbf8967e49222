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
from dlerse_jax.agents.dqn.playing import KEYS, REPLAY_KEYS, draw_masked, play
from dlerse_jax.agents.dqn.policy import greedy_policy
from dlerse_jax.agents.dqn.social import (
    attends,
    attention_of,
    social_of_all,
    social_of_users,
)
from dlerse_jax.environment.simulator import Simulator
from dlerse_jax.learning.optimizer import apply_scaled, warmup_cosine
from dlerse_jax.learning.replay import Replay, empty_replay, sample, store
from dlerse_jax.networks.q_network import Tables
from dlerse_jax.runtime import sharding
from dlerse_jax.runtime.random_streams import stream_keys
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


@functools.partial(jax.jit, static_argnums=0)
@jax.named_scope("descend")
def _descend(parts: Parts, state, gradients, learning_rate, average_step):
    """One optimiser step, then the running average follows."""
    updates, optimizer_state = parts.optimizer.update(
        gradients, state.optimizer, state.params
    )
    params = apply_scaled(state.params, updates, learning_rate)
    average = optax.incremental_update(params, state.average, average_step)
    return state.replace(params=params, average=average, optimizer=optimizer_state)


def _pretrain(parts: Parts, state: LearnerState, world: Simulator, key, progress):
    """One supervised update on episodes the network plays itself, with a gradient
    through what it played them with: nothing is computed twice."""
    settings, plan, policy = state.settings, parts.plan, parts.policy
    keys = stream_keys(key, *KEYS)
    key_dropout = keys["dropout"]

    def loss(params):
        acting = Acting(shared=state.shared, params=params)
        setting = state, acting, world, keys
        played = play(policy, plan, *setting, settings.pretrain_epsilon)
        episodes = played.episodes
        batch = episodes.users, episodes.items, episodes.feedback
        people = played.context.people
        social = social_of_users(policy, acting, people, episodes.users)
        inputs = acting, social, batch, key_dropout
        _, query = queries(policy, *inputs, interests=played.interests)
        losses = pretrain_losses(plan, acting, world, social, query, batch, key_dropout)
        return losses.mean(), episodes

    found, gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
    value, episodes = found
    pace = warmup_cosine(progress, plan.warmup)
    rate = settings.pretrain_learning_rate * pace
    state = _descend(parts, state, gradients, rate, settings.average_step)
    replay = store(state.replay, episodes)
    state = state.replace(target=state.params, replay=replay)
    return state, _metrics(episodes, gradients, {"pretrain_loss": value})


def _q_learning(parts: Parts, state: LearnerState, world: Simulator, key, progress):
    """One double-Q update on replayed episodes, after acting and storing.

    The first of a phase moves V alone (`_with_later_value`): the steps of everything
    else are 0 in it.
    """
    settings, plan = state.settings, parts.plan
    epsilon_fall = settings.epsilon_first - settings.epsilon_last
    epsilon = settings.epsilon_first - progress * epsilon_fall
    online = Acting(shared=state.shared, params=state.params)
    keys = stream_keys(key, *KEYS, *REPLAY_KEYS)
    played = play(parts.policy, plan, state, online, world, keys, epsilon)
    episodes, catalogue = played.episodes, played.context.catalogue
    replay = store(state.replay, episodes)
    batch = sample(replay, keys["replay"], plan.batch_size)
    batch = sharding.over_users(world.mesh, batch)
    users, _, _ = batch
    masked = draw_masked(state, users, keys["replay_mask"])
    slow = Acting(shared=state.shared, params=state.target)
    friends = masked, users, keys["replay_friends"]
    slow_social = social_of_all(parts.policy, slow, *friends)
    key_dropout = keys["dropout"]

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
        per_like = fits.mean() / state.shared.liked_share
        total = errors.mean() + settings.supervised_weight * per_like
        total += settings.contrastive_weight * contrasts.mean()
        return total, {
            "loss": total,
            "td_loss": errors.mean(),
            "q": q.mean(),
            "target": targets.mean(),
            "greedy_share": is_greedy.mean(),  # of what was replayed
        }

    gradients, measured = jax.grad(loss, has_aux=True)(state.params)
    learns = progress > 0
    pace = learns * warmup_cosine(progress, plan.warmup)
    steps = learns * settings.average_step, learns * settings.target_step
    after = _descend(parts, state, gradients, settings.learning_rate * pace, steps[0])
    keep_if_first = functools.partial(jnp.where, learns)
    after = after.replace(
        target=optax.incremental_update(after.params, state.target, steps[1]),
        optimizer=jax.tree.map(keep_if_first, after.optimizer, state.optimizer),
        replay=replay,
    )
    error = (1 - learns) * (measured["target"] - measured["q"])
    state = _with_later_value(after, error, plan.horizon)
    measured |= {"epsilon": epsilon, "reward": episodes.rewards.mean()}
    return state, _metrics(episodes, gradients, measured)


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
