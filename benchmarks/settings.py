"""Settings from the data against LastFM's: precision of new users, paired.

    python benchmarks/settings.py --data=sparse --splits=0,1,2 --out=runs/settings
    python benchmarks/settings.py --data=dense --agent=dlerse_con --updates=40 \
        --users=validation --splits=0 --out=runs/settings
    python benchmarks/settings.py --data=sparse --users=validation --splits=0,1,2 \
        --keep=far_hops --out=runs/settings

DATA is lastfm, filmtrust (files where `load_dataset` finds them, or --path), one of
three synthetic worlds (sparse, dense, friendless) or tables of your own in --path. For
every split the policy has the default settings, those that `tuned_settings` chooses on
training users and, on LastFM, those of `experiments/lastfm.py`, which validation users
of split 0 chose. An agent that learns is played after --updates of pre-training, one
seed, its last parameters. --keep names a setting that keeps its default in one more
choice. One JSON line per split, then the paired differences with 95 % intervals. What
the users answered is kept in --out, and a split that is there is not played again.
"""

import argparse
import json
import runpy
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import dlerse_jax as dj
from dlerse_jax.agents.registry import CLASSICAL
from dlerse_jax.baseline_defaults import baseline_defaults
from dlerse_jax.evaluation.bootstrap import paired_difference, paired_ratio
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout

WORLDS = {
    "sparse": {
        "num_users": 1500,
        "num_items": 2000,
        "mean_likes": 8.0,
        "mean_friends": 5.0,
    },
    "dense": {
        "num_users": 800,
        "num_items": 400,
        "mean_likes": 60.0,
        "mean_friends": 12.0,
    },
    "friendless": {
        "num_users": 1000,
        "num_items": 800,
        "mean_likes": 25.0,
        "friendless_share": 1.0,
    },
}
DEFAULTS = baseline_defaults()["linear_plus"]
LASTFM = Path(__file__).parents[1] / "experiments" / "lastfm.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--path")
    parser.add_argument("--splits", default="0,1,2,3,4")
    parser.add_argument("--agent", default="linear_plus")
    parser.add_argument("--updates", type=int, default=0, help="of pre-training")
    parser.add_argument("--users", choices=("test", "validation"), default="test")
    parser.add_argument("--keep", choices=sorted(DEFAULTS), help="a word of settings")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    found, users = {}, []
    for split in map(int, chosen.splits.split(",")):
        name = [chosen.data, chosen.agent, chosen.updates, chosen.users, split]
        name += [chosen.keep] if chosen.keep else []
        file = chosen.out / f"{'-'.join(map(str, name))}.npz"
        if not file.exists():
            data = load(chosen.data, chosen.path, split)
            asked = getattr(data.split, chosen.users)
            rows = evaluate_all(chosen, data, asked, split)
            np.savez(file, users=asked, **rows)
        rows = dict(np.load(file))
        users.append(rows.pop("users"))
        for name, table in rows.items():
            found.setdefault(name, []).append(table)
    pairs = [(name, "fixed") for name in found if name != "fixed"]
    pairs += [("tuned", "kept")] if "kept" in found else []
    for name, other in pairs:
        if len(found[name]) == len(users):
            compare(chosen.data, name, other, found, users)


def load(name: str, path: str | None, split: int):
    if name in WORLDS:
        return dj.synthetic_dataset(seed=0, split=split, **WORLDS[name])
    format = None if name in ("lastfm", "filmtrust") else "table"
    return dj.load_dataset(name, path, format=format, split=split)


def evaluate_all(asked_for, data, users: np.ndarray, split: int) -> dict:
    """Feedback [1, B, T] of the users [B] under each choice of settings."""
    name, agent_name = asked_for.data, asked_for.agent
    world = dj.make_simulator(data, alpha=0.0, horizon=32)
    began = time.perf_counter(), time.process_time()
    tuned = dj.tuned_settings(agent_name, data, world=world)
    seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    choices, rollouts = {"fixed": {}, "tuned": tuned.settings}, {}
    if asked_for.keep:
        given = {asked_for.keep: DEFAULTS[asked_for.keep]}
        kept = dj.tuned_settings(agent_name, data, world=world, **given)
        choices["kept"] = given | dict(kept.settings)
    if name == "lastfm":
        own = runpy.run_path(str(LASTFM))["get_config"]().baseline[agent_name]
        choices["validated"] = own.to_dict()
    rest = data, world, users, asked_for.updates, rollouts
    played = {key: play(agent_name, own, *rest) for key, own in choices.items()}
    played["popularity"] = play("popularity", {}, *rest)
    line = {
        "data": name,
        "split": split,
        "agent": agent_name,
        "updates": asked_for.updates,
        "seconds": [round(x, 1) for x in seconds],  # wall, CPU
        "points": len(tuned.tried),
        "training_users": [tuned.precision_before, tuned.precision],
        asked_for.users: {key: round(float(x.mean()), 4) for key, x in played.items()},
        "settings": tuned.settings,
    }
    print(json.dumps(line), flush=True)
    return played


def play(
    name: str, settings: dict, data, world, users, updates: int, rollouts: dict
) -> np.ndarray:
    """Feedback of the users; one program serves all settings of a policy."""
    trained = dj.train(
        dj.make_agent(name, data, **settings),
        world,
        seeds=jnp.arange(1),
        pretrain_updates=updates,
        q_learning_updates=0,
    )
    if name not in CLASSICAL:  # whose settings are in the program
        return dj.evaluate(trained, world, users).feedback
    rollout = rollouts.setdefault(name, greedy_rollout(trained.agent))
    rest = trained.states, world, users, trained.roots
    return evaluate_users(rollout, *rest, agent_name=name).feedback


def compare(data: str, name: str, other: str, found: dict, users: list) -> None:
    """One choice less the other, over the users of all splits."""
    for cutoff in (1, 32):
        pair = [
            [table[..., :cutoff].mean(axis=-1) for table in found[key]]
            for key in (name, other)
        ]
        gap, share = (
            paired_difference(*pair, users=users),
            paired_ratio(*pair, users=users),
        )
        line = {"data": data, f"less {other}": name, "metric": f"P@{cutoff}"}
        line |= {"mean": [round(float(np.concatenate(x, -1).mean()), 4) for x in pair]}
        line |= {"difference": words(gap), "ratio": words(share)}
        print(json.dumps(line), flush=True)


def words(interval) -> str:
    return f"{interval.mean:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


if __name__ == "__main__":
    main()
