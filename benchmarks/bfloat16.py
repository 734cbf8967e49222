"""Items scored in bfloat16: which choices change, and what do products cost?

    python benchmarks/bfloat16.py --config=experiments/synthetic.py

The lines of speed are as in `dlerse bench`; the dtypes take turns. Then two agents that
differ in `network.score_dtype` alone are trained (`fit`, all seeds in one program) and
play the validation users: one line for each pair of what trained and what plays. The
last line is of choices: at every state of the float32 agent's episodes, how often
bfloat16 takes another item, and what that item lacks in float32 score.
"""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.agents.dqn.factory import SCORE_DTYPES
from dlerse_jax.commands.parsing import config_of, parse
from dlerse_jax.environment.rollout import choose, rollout
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout
from dlerse_jax.evaluation.metrics import precision_at
from dlerse_jax.experiment.bench import choice_of_target, compiled, machine, measure
from dlerse_jax.experiment.build import build_agent, build_dataset, build_environments
from dlerse_jax.learning.train_loop import init_states, seed_keys, train_chunk


def agents_of(config, dataset) -> dict:
    """The same agent once a dtype."""
    agents = {}
    for dtype in SCORE_DTYPES:
        config.network.score_dtype = dtype
        agents[dtype] = build_agent(config, dataset)
    return agents


def trained(agent, world, roots, num_updates: int):
    """States after `fit`, a leading axis of seeds."""
    chunk = train_chunk(agent, "pretrain", num_updates)
    return chunk(init_states(agent, roots), world, roots, 0, num_updates)[0]


def precisions(agents, states, world, users, roots):
    """Precision of the validation users, each training with each way to play."""
    for of_training in SCORE_DTYPES:
        for of_play, agent in agents.items():
            found = evaluate_users(
                greedy_rollout(agent),
                states[of_training],
                world,
                users,
                roots,
                agent_name=agent.name,
            )
            each = precision_at(found.feedback, world.horizon)
            seeds = np.round(each.mean(axis=1), 4).tolist()
            yield {"trained": of_training, "played": of_play, "precision": seeds}


def compare_choices(agents, state, world, hidden, user):
    """One float32 episode -> [T] whether bfloat16 differs, [T] what its item lacks."""
    exact, rough = (agents[dtype] for dtype in SCORE_DTYPES)
    contexts = exact.context(state, hidden), rough.context(state, hidden)
    episode, observation = world.reset(jax.random.key(0), user)
    memory = exact.begin(state, contexts[0], user, jax.random.key(0))

    def step(carry, _):
        episode, observation, memory = carry
        item, other = (
            choose(agent, state, context, memory, observation.shown, world.num_items)
            for agent, context in zip((exact, rough), contexts, strict=True)
        )
        scores = exact.scores(state, contexts[0], memory, jnp.stack([item, other]))
        episode, observation, _, _ = world.step(jax.random.key(0), episode, item)
        memory = exact.observe(state, contexts[0], memory, observation)
        return (episode, observation, memory), (item != other, scores[0] - scores[1])

    carry = episode, observation, memory
    return jax.lax.scan(step, carry, length=world.horizon)[1]


def changed_choices(agents, states, world, users) -> dict:
    """How often bfloat16 chooses otherwise, and by how little; the first seed."""
    axes = agents[SCORE_DTYPES[0]].seed_axes
    state = jax.tree.map(
        lambda axis, part: part if axis is None else jax.tree.map(lambda x: x[0], part),
        axes,
        states,
        is_leaf=lambda axis: axis is None,
    )
    hidden = jnp.zeros(world.num_users, bool).at[users].set(True)
    compare = jax.vmap(  # adds B
        functools.partial(compare_choices, agents), in_axes=(None, None, None, 0)
    )
    differs, lack = jax.jit(compare)(state, world, hidden, jnp.asarray(users))
    return {
        "choices": differs.size,
        "share_changed": round(float(differs.mean()), 5),
        "lack_of_changed": float(
            jnp.sum(lack * differs) / jnp.maximum(differs.sum(), 1)
        ),
    }


def parts(config, agents, world, dataset):
    """Acting of a batch, and the choice of the target at all its states, each dtype."""
    batch, key = config.q_learning.act_batch, jax.random.key(1)
    users = jnp.asarray(np.resize(dataset.split.train, batch))
    hidden = jnp.zeros(world.num_users, bool)
    shape = batch, world.horizon, config.network.width
    directions = jax.random.normal(key, shape)
    items = jax.random.randint(key, shape[:2], 0, world.num_items)
    table = jax.random.normal(key, (world.num_items, config.network.width))
    choose_all = functools.partial(choice_of_target, most=config.q_learning.block)
    for dtype, agent in agents.items():

        def act(state, key, agent=agent):
            context = agent.context(state, hidden)
            return rollout(agent, state, context, world, users, key)

        state, floor = agent.init(key), "acting, float32"
        yield compiled(f"acting, {dtype}", act, state, key, floor=floor)
        arguments = directions, table.astype(dtype), items
        name, floor = f"choice of the target, {dtype}", "choice of the target, float32"
        yield compiled(name, choose_all, *arguments, floor=floor)


def main() -> None:
    config = config_of(parse(sys.argv[1:])[0])
    dataset = build_dataset(config)
    world, users = build_environments([config], dataset)[0], dataset.split.validation
    agents = agents_of(config, dataset)
    roots = seed_keys(config.seed + jnp.arange(config.num_seeds))
    context = {"items": world.num_items, "width": config.network.width} | machine()
    write(measure(list(parts(config, agents, world, dataset))), context)
    states = {
        dtype: trained(agent, world, roots, config.pretrain.num_updates)
        for dtype, agent in agents.items()
    }
    write(precisions(agents, states, world, users, roots), context)
    write([changed_choices(agents, states["float32"], world, users)], context)


def write(lines, context: dict) -> None:
    for line in lines:
        sys.stdout.write(json.dumps(line | context) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
