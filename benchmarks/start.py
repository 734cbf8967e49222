"""Training against its own start: precision on test users, paired.

    python benchmarks/start.py --data=sparse --agent=dlerse_con --splits=0,1,2 \
        --out=runs/start
    python benchmarks/start.py --data=sparse --tune --out=runs/start
    python benchmarks/start.py --data=films --path=runs/films --tune --rivals \
        --out=runs/start

DATA is lastfm, filmtrust (files where `load_dataset` finds them, or --path) or one of
the synthetic worlds of `benchmarks/settings.py`. An agent with its default settings, or
with --tune those that the data choose for its start, is trained and selected as `dlerse
train` does it, and plays the test users of each split twice: as it was before its first
update, and as it was selected. With --rivals so do all policies without learning, with
settings that the data choose, on validation users, and the best of them there, the bar,
on test users. One JSON line per split, then the paired differences with 95 % intervals
over users. What test users answered is kept in --out, and a split that is there is not
trained again.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from settings import load, play, words

import dlerse_jax as dj
from dlerse_jax.agents.registry import CLASSICAL
from dlerse_jax.evaluation.bootstrap import paired_difference, paired_ratio
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout
from dlerse_jax.learning.train_loop import init_states

# Updates of both phases and between two validations, where nothing else is asked.
LENGTHS = {"dlerse_rank": (40, 0, 10)}
OTHERS = (200, 60, 20)
NOT_TUNED = ("popularity", "mf_static")  # policies without settings to choose


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--path")
    parser.add_argument("--agent", default="dlerse_rank")
    parser.add_argument("--splits", default="0,1,2,3,4")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--rivals", action="store_true")
    parser.add_argument("--lengths", help="pretrain, Q-learning, between validations")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    lengths = LENGTHS.get(chosen.agent, OTHERS)
    if chosen.lengths:
        lengths = tuple(map(int, chosen.lengths.split(",")))
    found, users = {}, []
    for split in map(int, chosen.splits.split(",")):
        name = [chosen.data, chosen.agent, chosen.seeds, *lengths, split]
        name += ["tuned"] * chosen.tune + ["rivals"] * chosen.rivals
        file = chosen.out / f"{'-'.join(map(str, name))}.npz"
        if not file.exists():
            data = load(chosen.data, chosen.path, split)
            rows = train_and_play(chosen, data, split, lengths)
            np.savez(file, users=data.split.test, **rows)
        rows = dict(np.load(file))
        users.append(rows.pop("users"))
        for key, table in rows.items():
            found.setdefault(key, []).append(table)
    compare(chosen, found, users)


def train_and_play(chosen, data, split: int, lengths: tuple[int, ...]) -> dict:
    """Feedback [S, B, T] of the test users before training, and as selected."""
    world = dj.make_simulator(data, alpha=0.0, horizon=32)
    agent = dj.make_agent(chosen.agent, data, tune=chosen.tune)
    began = time.process_time()
    pretrain, q_learning, every = lengths
    trained = dj.train(
        agent,
        world,
        seeds=jnp.arange(chosen.seeds),
        pretrain_updates=pretrain,
        q_learning_updates=q_learning,
        validation=data.split.validation,
        validate_every=every,
    )
    seconds, rollout = time.process_time() - began, greedy_rollout(agent)
    states = {"start": init_states(agent, trained.roots), "final": trained.states}
    played = {}
    for key, own in states.items():
        rest = world, data.split.test, trained.roots
        played[key] = evaluate_users(rollout, own, *rest, agent_name=agent.name)
    feedback = {key: each.feedback for key, each in played.items()}
    rivals = {}
    if chosen.rivals:
        rivals, feedback["bar"] = best_rival(data, world)
    validated = [m["eval/precision_at_32"] for m in trained.history if "eval" in str(m)]
    line = {
        "data": chosen.data,
        "split": split,
        "agent": chosen.agent,
        "updates": lengths,
        "cpu_seconds": round(seconds),
        "validation": [round(float(x), 4) for x in validated],
        "selected": trained.selected,
        "rivals on validation users": rivals,
        "test": {key: round(float(x.mean()), 4) for key, x in feedback.items()},
    }
    print(json.dumps(line), flush=True)
    return feedback


def best_rival(data, world) -> tuple[dict[str, float], np.ndarray]:
    """P@32 of policies without learning on validation users, and of the best of them
    what the test users answered [1, B, T]."""
    settings, found, rest = {}, {}, (0, {})
    for name in sorted(set(CLASSICAL) - {"random"}):
        settings[name] = {}
        if name not in NOT_TUNED:
            settings[name] = dj.tuned_settings(name, data, world=world).settings
        asked = data, world, data.split.validation
        found[name] = float(play(name, settings[name], *asked, *rest).mean())
    best = max(found, key=found.get)
    answers = play(best, settings[best], data, world, data.split.test, *rest)
    return {name: round(mean, 4) for name, mean in found.items()}, answers


def compare(chosen, found: dict, users: list) -> None:
    """The selected state less the start, and less the bar, over the test users of all
    splits."""
    others = ["start", *["bar"] * ("bar" in found)]
    for other, cutoff in itertools.product(others, (1, 32)):
        pair = [
            [table[..., :cutoff].mean(axis=-1) for table in found[key]]
            for key in ("final", other)
        ]
        line = {"data": chosen.data, "agent": chosen.agent, "metric": f"P@{cutoff}"}
        line |= {"less": other, "users": int(sum(map(len, users)))}
        line |= {"mean": [round(float(np.concatenate(x, -1).mean()), 4) for x in pair]}
        line |= {"difference": words(paired_difference(*pair, users=users))}
        line |= {"ratio": words(paired_ratio(*pair, users=users))}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
