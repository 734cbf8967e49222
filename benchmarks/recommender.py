"""How long does somebody wait for a first recommendation, and for the next one?

A first recommendation is `Recommender.start` (friends to social vector) and one greedy
item; an answer is one step of the encoder and the next greedy item. Both are measured
for B people at once, all of them newcomers with eight friends, after a call that
compiles. Agents are not trained: time does not depend on what was learned. One JSON
line per agent, world and B, with the median of the repetitions; `answers_per_core` are
answers, each with its next item, per second of CPU time, all cores together.

    python benchmarks/recommender.py --agent=dlerse_con --users=1892 --items=2828
"""

import argparse
import json
import platform
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.data import synthetic_dataset
from dlerse_jax.defaults import base_config
from dlerse_jax.experiment.build import build_agent
from dlerse_jax.experiment.restore import Restored
from dlerse_jax.learning.train_loop import init_states, seed_keys
from dlerse_jax.serving.people import Person
from dlerse_jax.serving.recommender import Recommender
from dlerse_jax.serving.session import left_out_items

NUM_FRIENDS = 8


def make_recommender(
    agent_name: str, num_users: int, num_items: int, factors: str
) -> Recommender:
    """An untrained agent on a synthetic world of these sizes, likes as on LastFM."""
    dataset = synthetic_dataset(
        num_users=num_users,
        num_items=num_items,
        num_communities=min(40, num_items // 4),
        mean_likes=38.0,
        mean_friends=13.0,
    )
    config = base_config()
    config.network.factors = factors
    agent = build_agent(config, dataset, agent_name, to_serve=True)
    roots = seed_keys(jnp.arange(1))
    return Recommender(
        Restored(
            agent=agent,
            states=init_states(agent, roots),
            roots=roots,
            dataset=dataset,
            selected=None,
        )
    )


def people(recommender: Recommender, count: int, draws: np.random.Generator):
    users = recommender.dataset.num_users
    return [
        Person(
            user=None, friends=tuple(draws.choice(users, NUM_FRIENDS, replace=False))
        )
        for _ in range(count)
    ]


def milliseconds(call, repeats: int) -> dict[str, float]:
    """Median and least over calls, and the median of all cores' time together.

    The first call, which compiles, does not count.
    """
    jax.block_until_ready(call())
    times, busy = [], []
    for _ in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(call())
        times.append(1000 * (time.perf_counter() - start))
        busy.append(1000 * (time.process_time() - cpu))
    median = statistics.median
    return {"median": median(times), "least": min(times), "cpu": median(busy)}


def measure(recommender: Recommender, batch: int, repeats: int) -> dict[str, float]:
    draws = np.random.default_rng(0)
    asked = people(recommender, batch, draws)
    keys = jnp.broadcast_to(recommender.key, (batch,))
    nothing = jnp.repeat(left_out_items([], recommender.dataset.num_items), batch, 0)
    player = recommender.player

    def first():
        sessions = recommender.start(asked, keys)
        return sessions, player.next(sessions, nothing, nothing)

    sessions, (items, _, _) = first()
    liked = jnp.asarray(draws.random(batch) < 0.5, jnp.float32)
    left_out = nothing.at[:, 0].set(items)

    def answer():
        after = player.hear(sessions, items, liked)
        return after, player.next(after, left_out, left_out)

    found = {"first": milliseconds(first, repeats)}
    found["answer"] = milliseconds(answer, repeats)
    line = {
        f"{name}_{kind}_ms": value
        for name, kinds in found.items()
        for kind, value in kinds.items()
    }
    return line | {"answers_per_core": 1000 * batch / found["answer"]["cpu"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agent", default="dlerse_con")
    parser.add_argument("--users", type=int, default=1_892)
    parser.add_argument("--items", type=int, default=2_828)
    parser.add_argument("--factors", default="ease", help="network.factors")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 1024])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    start = time.perf_counter()
    recommender = make_recommender(
        options.agent, options.users, options.items, options.factors
    )
    built = time.perf_counter() - start
    for batch in options.batches:
        found = measure(recommender, batch, options.repeats)
        line = {
            "agent": options.agent,
            "users": options.users,
            "items": options.items,
            "batch": batch,
            **{name: round(value, 3) for name, value in found.items()},
            "build_s": round(built, 1),
            "device": jax.devices()[0].device_kind,
            "jax": jax.__version__,
            "machine": platform.machine(),
        }
        print(json.dumps(line), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
