"""Users without friends: a trained agent against policies that read no friends, paired.

    python benchmarks/friendless.py runs/filmtrust/data.split=* --out=runs/alone
    python benchmarks/friendless.py runs/lastfm/data.split=* --forget --out=runs/alone

RUNS are run folders of one agent on one data set, whose files are found again as their
configs name them. Validation users without friends are played by the agent with what it
learned, and by each policy with settings that the data choose. With --forget all
validation users are played as if they named nobody: their friend pairs are left out.
Paired differences have 95 % intervals over users and, from three splits on, splits.
What was played is kept in --out, and a split that is there is not played again.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
from settings import words

import dlerse_jax as dj
from dlerse_jax.evaluation.bootstrap import paired_difference, paired_ratio
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout
from dlerse_jax.experiment.build import build_agent, build_dataset
from dlerse_jax.experiment.restore import restore_trained, stored_config
from dlerse_jax.learning.train_loop import init_states

POLICIES = ("popularity", "ease_popularity", "mf_mean")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--forget", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list] = {}
    users = []
    for run in chosen.runs:
        file = chosen.out / f"{run.name}{'-forget' * chosen.forget}.npz"
        if not file.exists():
            np.savez(file, **play(run, chosen.forget))
        rows = dict(np.load(file))
        users.append(rows.pop("users"))
        for name, table in rows.items():
            found.setdefault(name, []).append(table)
    compare(found, users)


def play(run: Path, forget: bool) -> dict[str, np.ndarray]:
    """Feedback [1, B, T] of the agent and of each policy, and the users [B]."""
    config = stored_config(run)
    data = build_dataset(config)
    users = data.split.validation
    named = np.bincount(data.friend_targets, minlength=data.num_users)
    if forget:
        data = without_pairs(data, users)
    else:
        users = users[named[users] == 0]
    world = dj.make_simulator(data, alpha=0.0, horizon=config.episode.horizon)
    restored = restore_trained(run, to_serve=True)
    agent = build_agent(config, data, to_serve=True)
    states = init_states(agent, restored.roots)
    learned = {agent.served: getattr(restored.states, agent.served)}
    rest = world, users, restored.roots
    played = {"users": users, agent.name: of(agent, states.replace(**learned), *rest)}
    for name in POLICIES:
        policy = dj.make_agent(name, data, tune=name != "popularity")
        played[name] = of(policy, init_states(policy, restored.roots), *rest)
    return played


def without_pairs(data: dj.Dataset, users: np.ndarray) -> dj.Dataset:
    """The data set in which these users name nobody."""
    kept = ~np.isin(data.friend_targets, users)
    weights = data.friend_weights
    return dataclasses.replace(
        data,
        friend_targets=data.friend_targets[kept],
        friend_sources=data.friend_sources[kept],
        friend_weights=None if weights is None else weights[kept],
    )


def of(agent: dj.Agent, states, world, users, roots) -> np.ndarray:
    rollout = greedy_rollout(agent)
    return evaluate_users(
        rollout, states, world, users, roots, agent_name=agent.name
    ).feedback


def compare(found: dict[str, list], users: list) -> None:
    """The agent, which comes first, less each policy."""
    (own, tables), *policies = found.items()
    for cutoff in (1, 32):
        first = [table[..., :cutoff].mean(axis=-1) for table in tables]
        for name, others in policies:
            second = [table[..., :cutoff].mean(axis=-1) for table in others]
            pair = first, second
            line = {"agent": own, "less": name, "metric": f"P@{cutoff}"}
            line |= {"users": sum(map(len, users))}
            line |= {
                "mean": [round(float(np.concatenate(x, -1).mean()), 4) for x in pair]
            }
            line |= {"difference": words(paired_difference(*pair, users=users))}
            line |= {"ratio": words(paired_ratio(*pair, users=users))}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
