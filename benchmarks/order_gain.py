"""What does Q-learning gain by the order of recommendations? LastFM, paired.

    python benchmarks/order_gain.py --splits=0,1,2,3,4 --out=runs/order --test

dlerse_rank is pre-trained once per split, as `experiments/lastfm_order.py` has it, with
every seed. From there it learns an order for each alpha, gamma 1. What it gains is the
reward under that alpha less that of gamma 0, which has nothing to learn here and shows
the surest item, always. Last parameters: nothing is selected. Validation users, or test
users with --test. What was played is kept in --out, and a split that is there is not
played again. One JSON line per alpha: the gain with its 95 % interval, how often the
surest is held back by the streaks before it, and the lengths of rows of answers.
"""

import argparse
import functools
import json
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.environment.reward import episode_rewards, streaks_before
from dlerse_jax.evaluation.bootstrap import paired_difference
from dlerse_jax.experiment.build import (
    build_agent,
    build_dataset,
    build_environments,
)
from dlerse_jax.learning.train_loop import (
    init_states,
    join_states,
    join_worlds,
    seed_keys,
    train_chunk,
)

CONFIG = Path(__file__).parents[1] / "experiments" / "lastfm_order.py"
CHUNK = 10  # updates of one program


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", default="0,1,2,3,4")
    parser.add_argument("--alphas", default="0.1,0.2")
    parser.add_argument("--path", default="", help="folder of LastFM's files")
    parser.add_argument("--option", default="", help="quick: a smoke test")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--test", action="store_true")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    alphas = [float(alpha) for alpha in chosen.alphas.split(",")]
    rows = [row_of(chosen, alphas, int(split)) for split in chosen.splits.split(",")]
    for number, alpha in enumerate(alphas):
        line = {"part": part_of(chosen), "splits": chosen.splits, "alpha": alpha}
        print(json.dumps(line | report(rows, number, alpha)), flush=True)


def part_of(chosen) -> str:
    return "test" if chosen.test else "validation"


def row_of(chosen, alphas: list[float], split: int) -> dict:
    """What one split's users answered, from the folder or played now."""
    part = part_of(chosen)
    file = chosen.out / f"gain-{chosen.alphas}-{part}-{split}{chosen.option}.npz"
    if not file.exists():
        config = runpy.run_path(str(CONFIG))["get_config"](chosen.option)
        config.data.split, config.data.path = split, chosen.path
        np.savez(file, **played(config, alphas, part))
    return dict(np.load(file))


def played(config, alphas: list[float], part: str) -> dict:
    """Of each alpha, seed and user, [A, S, B, T]: answers, and whether the surest was
    held back; answers [S, B, T] where it is shown always."""
    dataset = build_dataset(config)
    agent = build_agent(config, dataset)
    users = jnp.asarray(getattr(dataset.split, part))
    world = build_environments([config], dataset)[0]
    roots = seed_keys(jnp.arange(config.num_seeds))
    states = init_states(agent, roots)
    states = trained(agent, "pretrain", states, world, roots, config.pretrain)
    play = jax.jit(functools.partial(play_users, agent))
    surest, _ = each_lane(agent, states, lambda state: play(state, world, users))
    worlds = [world.replace(alpha=jnp.float32(alpha)) for alpha in alphas]
    states = join_states(agent, [states] * len(alphas))
    roots = seed_keys(jnp.tile(jnp.arange(config.num_seeds), len(alphas)))
    all_worlds = join_worlds(worlds, config.num_seeds)
    rest = all_worlds, roots, config.q_learning
    states = trained(agent, "q_learning", states, *rest)
    found = each_lane(agent, states, lambda state: play(state, world, users))
    liked, held = (table.reshape(len(alphas), *surest.shape) for table in found)
    learned = {"liked": liked, "held": held, "weights": states.params.weights}
    return {"users": users, "surest": surest, **learned}


def trained(agent, phase: str, states, world, roots, settings):
    length = settings.num_updates
    chunk = train_chunk(agent, phase, min(CHUNK, length))
    for first in range(0, length, CHUNK):
        states, _ = chunk(states, world, roots, jnp.int32(first), jnp.int32(length))
    return states


def each_lane(agent, states, play) -> list[np.ndarray]:
    """What play(state) finds for each seed, or alpha and seed, one after the other."""

    def of_lane(lane):
        def take(axis, part):
            return part if axis is None else jax.tree.map(lambda leaf: leaf[lane], part)

        axes = agent.seed_axes
        return jax.tree.map(take, axes, states, is_leaf=lambda axis: axis is None)

    found = [play(of_lane(lane)) for lane in range(len(states.params.weights))]
    return [np.stack(table) for table in zip(*found, strict=True)]


def play_users(agent, state, world, users):
    """Answers [B, T], and whether the surest was held back."""
    context = agent.context(state, jnp.zeros(world.num_users, bool))
    myopic = jnp.zeros_like(state.params.weights)
    myopic = state.replace(params=state.params.replace(weights=myopic))

    def step(carry, _):
        episode, moment = carry
        shown = moment.session.items
        item = agent.best(state, context, moment, shown)
        surest = agent.best(myopic, context, moment, shown)
        episode, seen, _, _ = world.step(jax.random.key(0), episode, item)
        moment = agent.observe(state, context, moment, seen)
        return (episode, moment), (seen.liked, item != surest)

    def play(user):
        episode, _ = world.reset(jax.random.key(0), user)
        start = episode, agent.begin(state, context, user, jax.random.key(0))
        return jax.lax.scan(step, start, length=world.horizon)[1]

    return jax.vmap(play)(users)  # adds B


def report(rows: list[dict], number: int, alpha: float) -> dict:
    """Of one alpha: rows of all splits."""
    liked = [row["liked"][number] for row in rows]  # [S, B, T]
    held = [row["held"][number] for row in rows]
    surest, users = [row["surest"] for row in rows], [row["users"] for row in rows]
    rewards = [[reward(table, alpha) for table in x] for x in (liked, surest)]
    gap = paired_difference(*rewards, users=users, same_seeds=True)
    after, before = stacked_rows(liked), stacked_rows(surest)
    by_dislikes, by_likes = held_by_streak(after, stacked_rows(held))
    return {
        "gain": f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]",
        "reward of gamma 0": round(float(reward(before, alpha).mean()), 4),
        "precision": [round(float(x.mean()), 4) for x in (before, after)],
        "held back": round(float(stacked_rows(held).mean()), 3),
        "after dislikes": by_dislikes,
        "after likes": by_likes,
        "first half, second": [
            round(float(x.mean()), 3)
            for x in np.array_split(stacked_rows(held), 2, axis=1)
        ],
        "rows": [lengths(x) for x in (before, after)],
    }


def reward(liked: np.ndarray, alpha: float) -> np.ndarray:
    """Mean reward a step: [..., T] -> [...]."""
    answers = liked.astype(np.float32)
    return episode_rewards(answers, alpha=alpha, miss_reward=-1.0).mean(axis=-1)


def stacked_rows(tables: list[np.ndarray]) -> np.ndarray:
    """[S, B, T] each -> [all, T]."""
    return np.concatenate([table.reshape(-1, table.shape[-1]) for table in tables])


def held_by_streak(liked: np.ndarray, held: np.ndarray) -> list[list[float]]:
    """Share of steps at which the surest is held back, after 0 to 3 and more dislikes
    in a row, and after 1 to 3 and more likes: from [R, T]."""
    likes, dislikes = streaks_before(liked.astype(np.float32))
    found = []
    for streak, first in ((dislikes, 0), (likes, 1)):
        of = [held[np.minimum(streak, 3) == n] for n in range(first, 4)]
        found.append([round(float(x.mean()), 3) if x.size else None for x in of])
    return found


def lengths(liked: np.ndarray) -> list[float]:
    """Mean lengths of rows of likes, of dislikes, and of an episode's longest row of
    dislikes: [R, T]."""
    after = np.pad(liked.astype(np.float32), ((0, 0), (0, 1)))
    streaks = [streak[:, 1:] for streak in streaks_before(after)]  # after each answer
    means = [np.mean(liked == x) / np.mean(streaks[1 - x] == 1) for x in (1, 0)]
    longest = streaks[1].max(axis=1).mean()
    return [round(float(x), 2) for x in (*means, longest)]


if __name__ == "__main__":
    main()
