"""How fast an agent and its world are, part by part, beside a floor.

One line per part: median milliseconds of a call, what XLA took to compile it, its
temporary memory, and its ratio to the floor. The floor of an update is the matrix
products that it cannot avoid, alone, in blocks that fit the cache: T times [B, D] x
[D, N] to act, and [B T, D] x [D, N] again for the target of `q_learning`. Parts take
turns, round by round, and a ratio is taken within a round, so that another program on
the machine slows both of its sides. Parts overlap: `pretrain` and `q_learning` contain
the others.
"""

import ctypes
import dataclasses
import functools
import importlib.metadata
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dlerse_jax.agents.dqn.acting import Acting
from dlerse_jax.environment.rollout import rollout
from dlerse_jax.environment.simulator import Simulator
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout
from dlerse_jax.experiment.build import build_all, build_dataset
from dlerse_jax.experiment.checks import check_dataset, check_run
from dlerse_jax.experiment.chosen_settings import settled_agent
from dlerse_jax.learning.replay import sample
from dlerse_jax.learning.train_loop import init_states, seed_keys
from dlerse_jax.networks.encoders import make_encoder
from dlerse_jax.retrieval.argmax import block_length
from dlerse_jax.retrieval.index import sort_catalogue
from dlerse_jax.retrieval.search import best_items_of_episodes
from dlerse_jax.runs.directory import git_commit
from dlerse_jax.runtime.sharding import by_backend
from dlerse_jax.types import Agent, Dataset

ROUNDS = 9
# In pairs, what suits a CPU (2 MiB of scores stay in the cache of two cores) and what
# keeps a device of thousands of cores busy.
FLOOR_ROWS, FLOOR_BLOCK = 512, (1024, 32_768)
COPIED = 2**24, 2**28  # float32 numbers copied to measure bandwidth: 64 MiB, 1 GiB
SIMULATED_USERS = 4096, 131_072
MMAP_MAX, TRIM_THRESHOLD = -4, -1  # options of glibc's mallopt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One compiled function and what it is called with."""

    name: str
    call: Callable  # without arguments; returns arrays to wait for
    floor: str = ""  # part it is compared with
    amount: float = 0.0  # of `unit` that one call does
    unit: str = ""
    compile_seconds: float = 0.0
    temporary_bytes: int = 0


def bench(config: ConfigDict) -> Iterator[dict]:
    """Lines of what the machine does, then one per part. Takes about two minutes.

    ValueError, before any compile, for a config or data that no run can be made of.
    """
    check_run(config)
    dataset = build_dataset(config)
    check_dataset(config, dataset)
    keep_freed_memory()
    began = time.perf_counter()
    config = settled_agent(config, dataset)
    seconds_of_choice = time.perf_counter() - began
    [experiment] = build_all([config], dataset)
    dataset, agent = experiment.task.known, experiment.agent
    world = experiment.environment
    shape = {
        "agent": agent.name,
        "users": dataset.num_users,
        "items": dataset.num_items,
        "friend_pairs": len(dataset.friend_sources),
        "batch": config.q_learning.act_batch,
        "horizon": world.horizon,
        "width": config.network.width,
        "hidden": config.network.hidden,
    }
    context = machine() | shape
    if config.tune:
        choice = {"part": "choice of settings", "seconds": round(seconds_of_choice, 1)}
        yield choice | context
    for line in measure(list(_parts(config, agent, world, dataset))):
        yield line | context
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    yield {"part": "peak memory of the process", "bytes": peak} | context


def keep_freed_memory() -> None:
    """Asks glibc to keep the memory that programs free, instead of giving it back.

    A program's temporaries are made anew at every call, and glibc takes those above 32
    MiB from the system: a page fault per 4 KiB, which can cost as much as the program.
    Training pays that once per chunk of many updates; a benchmark that calls one update
    at a time would pay it for each. Nothing happens where there is no glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, 2**31 - 1)


def machine() -> dict:
    """What a figure depends on besides its config."""
    names = ("jax", "jaxlib", "flax", "dlerse_jax")
    return {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "commit": git_commit(),
        "versions": {name: importlib.metadata.version(name) for name in names},
    }


def compiled(name: str, function: Callable, *arguments, **more) -> Part:
    """A part that calls `function` of these arguments, compiled here."""
    start = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    memory = program.memory_analysis()
    return Part(
        name=name,
        call=functools.partial(program, *arguments),
        compile_seconds=seconds,
        temporary_bytes=getattr(memory, "temp_size_in_bytes", 0),
        **more,
    )


def measure(parts: list[Part], rounds: int = ROUNDS) -> Iterator[dict]:
    """Calls all parts in turn, once to warm up and then `rounds` times -> lines."""
    seconds = {part.name: [] for part in parts}
    for _ in range(rounds + 1):
        for part in parts:
            start = time.perf_counter()
            jax.block_until_ready(part.call())
            seconds[part.name].append(time.perf_counter() - start)
    for part in parts:
        own = seconds[part.name][1:]
        middle = statistics.median(own)
        line = {
            "part": part.name,
            "milliseconds": round(1e3 * middle, 2),
            "fastest": round(1e3 * min(own), 2),
            "compile_seconds": round(part.compile_seconds, 1),
            "temporary_mib": round(part.temporary_bytes / 2**20, 1),
        }
        if part.unit:
            line[part.unit] = float(f"{part.amount / middle:.4g}")
        if part.floor:
            ratios = np.divide(own, seconds[part.floor][1:])
            line["ratio_to_floor"] = round(statistics.median(ratios), 2)
            line["floor"] = part.floor
        yield line


def _parts(config, agent: Agent, world: Simulator, dataset: Dataset) -> Iterator[Part]:
    batch, key = config.q_learning.act_batch, jax.random.key(1)
    users = jnp.asarray(np.resize(dataset.split.train, batch))
    hidden = jnp.zeros(world.num_users, bool).at[users].set(True)
    state = agent.init(jax.random.key(0))
    yield from floors(world.num_items, batch, world.horizon, config.network.width)
    yield simulator_alone(world)

    def act(state, key):
        context = agent.context(state, hidden)
        return rollout(agent, state, context, world, users, key)

    steps = {"amount": batch * world.horizon, "unit": "steps_per_second"}
    yield compiled("acting", act, state, key, floor="floor of acting", **steps)
    halfway = jnp.float32(0.5)
    if agent.pretrain:
        pretrain = functools.partial(
            agent.pretrain, world=world, key=key, progress=halfway
        )
        yield compiled("pretrain", pretrain, state, floor="floor of acting", **steps)
    if agent.q_learning:
        state, _ = jax.jit(pretrain)(state)  # replay must not be empty
        q_learning = functools.partial(
            agent.q_learning, world=world, key=key, progress=halfway
        )
        yield compiled("q_learning", q_learning, state, floor="floor of learn", **steps)
        yield from _inside_an_update(config, agent, world, state, hidden)
    yield _evaluation(agent, world, dataset)


def floors(num_items: int, batch: int, horizon: int, width: int) -> Iterator[Part]:
    """Bare products of an update, and a copy of memory."""
    draws = np.random.default_rng(0)
    items = jnp.asarray(draws.normal(size=(num_items, width)), jnp.float32)
    states = jnp.asarray(draws.normal(size=(horizon, batch, width)), jnp.float32)
    rows = np.gcd(horizon * batch, FLOOR_ROWS)

    def acting(states, items):
        return _bare_products(states, items)

    def learning(states, items):
        of_target = _bare_products(states.reshape(-1, rows, width), items)
        return acting(states, items) + of_target

    flops = 2 * horizon * batch * width * num_items
    more = {"unit": "flop_per_second"}
    yield compiled("floor of acting", acting, states, items, amount=flops, **more)
    yield compiled("floor of learn", learning, states, items, amount=2 * flops, **more)
    copied = by_backend(COPIED)
    long, bandwidth = jnp.zeros(copied), "bytes_per_second"
    yield compiled("copy", lambda x: x + 1, long, amount=8 * copied, unit=bandwidth)


def _bare_products(states: jax.Array, items: jax.Array) -> jax.Array:
    """Products [rows, D] x [D, block], one after the other; nothing is kept of them.

    states [groups, rows, D], items [N, D].
    """
    block = block_length(len(items), by_backend(FLOOR_BLOCK))
    padded = jnp.pad(items, ((0, -len(items) % block), (0, 0)))
    blocks = padded.reshape(-1, block, items.shape[1])

    def of_rows(total, rows):
        def of_block(total, block):
            scores = jax.lax.optimization_barrier(rows @ block.T)
            return total + scores[0, 0], None

        return jax.lax.scan(of_block, total, blocks)

    return jax.lax.scan(of_rows, jnp.float32(0), states)[0]


def simulator_alone(world: Simulator) -> Part:
    """Episodes of items drawn uniformly, nobody choosing: the draws are included."""
    num_users = by_backend(SIMULATED_USERS)

    def play(world, user, key):
        items = jax.random.bits(key, (world.horizon,)) % jnp.uint32(world.num_items)
        start, _ = world.reset(key, user)

        def step(state, item):
            state, seen, reward, _ = world.step(key, state, item)
            return state, (seen.liked, reward)

        # The last state goes out too, so that XLA keeps the list of what was shown.
        return jax.lax.scan(step, start, items.astype(jnp.int32))

    users = jnp.arange(num_users) % world.num_users
    keys = jax.random.split(jax.random.key(0), num_users)
    play_all = jax.vmap(play, in_axes=(None, 0, 0))  # adds users
    steps = {"amount": num_users * world.horizon, "unit": "steps_per_second"}
    return compiled("simulator alone", play_all, world, users, keys, **steps)


def _inside_an_update(config, agent: Agent, world, state, hidden) -> Iterator[Part]:
    """Graph, encoder, choice of the target and replay of a deep agent's update."""
    network, batch = config.network, config.q_learning.batch_size
    draws = np.random.default_rng(0)

    def size_of_context(average):
        people = agent.context(state.replace(average=average), hidden).people
        leaves = jax.tree.leaves(people)
        return sum(jnp.sum(leaf**2) for leaf in leaves if leaf.dtype == jnp.float32)

    yield compiled("graph, forward", size_of_context, state.average)
    yield compiled("graph, gradient", jax.grad(size_of_context), state.average)
    encoder = make_encoder(
        network.encoder or "gru", hidden=network.hidden, horizon=world.horizon
    )
    shape = (batch, world.horizon, 2 * network.width + 2)
    clicks = jnp.asarray(draws.normal(size=shape), jnp.float32)
    weights = encoder.init(jax.random.key(0), clicks[0], method="unroll")

    def size_of_interests(weights, clicks):
        unroll = functools.partial(encoder.apply, weights, method="unroll")
        return jnp.sum(jax.vmap(unroll)(clicks) ** 2)  # adds B

    yield compiled("encoder, forward", size_of_interests, weights, clicks)
    gradient = jax.grad(size_of_interests)
    yield compiled("encoder, gradient", gradient, weights, clicks)

    drawn = functools.partial(sample, batch_size=batch)
    yield compiled("replay, sample", drawn, state.replay, jax.random.key(2))
    items = draws.integers(world.num_items, size=shape[:2]).astype(np.int32)
    table = Acting(shared=state.shared, params=state.average).tables.item_out
    directions = jnp.asarray(
        draws.normal(size=(*shape[:2], table.shape[1])), jnp.float32
    )
    choose = functools.partial(choice_of_target, most=config.q_learning.block)
    name = "choice of the target"
    yield compiled(name, choose, directions, table, items, floor="floor of acting")
    table /= jnp.maximum(jnp.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    name += ", vectors of one length"  # and so all of them scored
    yield compiled(name, choose, directions, table, items, floor="floor of acting")


def choice_of_target(directions, table, items, *, most: int) -> jax.Array:
    """The choice of `q_learning`, biases left out: [B, T, D], [N, D], [B, T]."""
    catalogue = sort_catalogue(table, jnp.zeros(len(table)), most)
    return best_items_of_episodes(catalogue, directions, None, None, items)


def _evaluation(agent: Agent, world: Simulator, dataset: Dataset) -> Part:
    """Greedy episodes of all test users, from the host and back."""
    roots, play = seed_keys(jnp.arange(1)), greedy_rollout(agent)
    states, users = init_states(agent, roots), dataset.split.test

    def evaluate():
        return evaluate_users(
            play, states, world, users, roots, agent_name=agent.name
        ).feedback

    start = time.perf_counter()
    evaluate()
    return Part(
        name="evaluation of all test users",
        call=evaluate,
        amount=len(users),
        unit="users_per_second",
        compile_seconds=time.perf_counter() - start,
    )
