"""How many LinUCB decisions, each with its update, are made in a second?

A decision is: score N items with their confidence bound, take the best not yet
shown, observe the answer, update the inverse, every score and every width by rank one.
Users are vmapped and episodes are T steps, as in evaluation; answers are drawn
beforehand, so that no simulator is measured. One JSON line per repetition.

    python benchmarks/linucb.py --users=1024 --items=1000 --rank=32
"""

import argparse
import functools
import json
import time

import jax
import jax.numpy as jnp

from dlerse_jax.linear_models.ridge import optimistic_scores, ridge_start, ridge_update
from dlerse_jax.retrieval.argmax import best_allowed


def play(factors, likes, exploration, *, horizon):
    """T decisions of one user: factors [N, D], likes [N] -> items shown [T]."""
    num_items = factors.shape[0]
    ridge = ridge_start(factors, jnp.zeros(factors.shape[1]), jnp.float32(1))
    shown = jnp.full(horizon, num_items, jnp.int32)

    def decide(carry, step):
        ridge, shown = carry
        scores = optimistic_scores(ridge, exploration)
        item = best_allowed(lambda items: scores, shown, num_items)
        ridge = ridge_update(ridge, factors, item, likes[item])
        return (ridge, shown.at[step].set(item)), None

    (_, shown), _ = jax.lax.scan(decide, (ridge, shown), jnp.arange(horizon))
    return shown


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1024)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--horizon", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    key_factors, key_likes = jax.random.split(jax.random.key(0))
    factors = jax.random.normal(key_factors, (options.items, options.rank))
    factors = factors / jnp.sqrt(options.rank)
    chances = jax.random.uniform(key_likes, (options.users, options.items))
    likes = (chances < 0.05).astype(jnp.float32)
    one_user = functools.partial(play, horizon=options.horizon)
    play_all = jax.jit(jax.vmap(one_user, in_axes=(None, 0, None)))  # adds users
    jax.block_until_ready(play_all(factors, likes, jnp.float32(0.1)))
    for repeat in range(options.repeats):
        started = time.perf_counter()
        jax.block_until_ready(play_all(factors, likes, jnp.float32(0.1)))
        seconds = time.perf_counter() - started
        decisions = options.users * options.horizon
        line = vars(options) | {
            "repeat": repeat,
            "device": jax.devices()[0].platform,
            "seconds": round(seconds, 4),
            "decisions_per_second": round(decisions / seconds),
        }
        print(json.dumps(line))


if __name__ == "__main__":
    main()
