"""Longer pre-training against the default one: precision of validation users, paired.

    python benchmarks/pretrain_length.py --data=lastfm --splits=0,1,2,3,4 \
        --updates=200,400 --out=runs/length
    python benchmarks/pretrain_length.py --data=lastfm --halves --out=runs/length
    python benchmarks/pretrain_length.py --data=sparse --tune --splits=0 \
        --out=runs/length

DATA as of `benchmarks/start.py`. For every split and number of updates an agent is
pre-trained and then learns by Q-learning as `dlerse train` does it. Validation users
are played with the last parameters of pre-training, with its best ones, where
Q-learning begins, and with the checkpoint that is selected; test users are not asked.
Who selects flatters what is selected, and a longer run has more to select from. So with
--halves there is pre-training alone, and each half of the validation users is played
with the checkpoint that the other half selects.

One JSON line per run, then each number of updates less the first one, with 95 %
intervals over users and splits. What validation users answered is kept in --out, and a
run that is there is not made again.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from settings import load, words

import dlerse_jax as dj
from dlerse_jax.evaluation.bootstrap import paired_difference
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout
from dlerse_jax.learning.train_loop import init_states, seed_keys, train_chunk

EVERY = 20  # updates between two validations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--path")
    parser.add_argument("--agent", default="dlerse_con")
    parser.add_argument("--splits", default="0,1,2,3,4")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", default="200,400", help="of pre-training")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--halves", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    lengths = [int(word) for word in chosen.updates.split(",")]
    found: dict = {length: [] for length in lengths}
    users = []
    for split in map(int, chosen.splits.split(",")):
        data = load(chosen.data, chosen.path, split)
        users.append(data.split.validation)
        for length in lengths:
            found[length].append(answers(chosen, data, split, length))
    for length in lengths[1:]:
        compare(chosen, found, users, length, lengths[0])


def answers(chosen, data, split: int, length: int) -> dict:
    """What validation users answered, by moment [1, V, T], made unless it is there."""
    name = [chosen.data, chosen.agent, chosen.seed, length, split]
    name += ["tuned"] * chosen.tune + ["halves"] * chosen.halves
    file = chosen.out / f"{'-'.join(map(str, name))}.npz"
    if not file.exists():
        world = dj.make_simulator(data, alpha=0.0, horizon=32)
        agent = dj.make_agent(chosen.agent, data, tune=chosen.tune)
        make = every_checkpoint if chosen.halves else train_and_play
        began = time.perf_counter(), time.process_time()
        rest = world, data.split.validation, chosen.seed, length
        feedback, more = make(agent, *rest)
        np.savez(file, **feedback)
        line = {"data": chosen.data, "split": split, "updates": length}
        seconds = time.perf_counter() - began[0], time.process_time() - began[1]
        line |= {"seconds": [round(x) for x in seconds]}  # wall, CPU
        line |= {key: rounded(x.mean((-2, -1))) for key, x in feedback.items()}
        print(json.dumps(line | more), flush=True)
    feedback = dict(np.load(file))
    return chosen_by_others(feedback["every"]) if chosen.halves else feedback


def rounded(numbers) -> list[float]:
    return [round(float(x), 4) for x in numbers]


def train_and_play(agent, world, users, seed: int, length: int) -> tuple[dict, dict]:
    """Feedback [1, V, T] at the end of pre-training, at its best and as selected."""
    params = {}

    def go_on_from(states, best):
        params["end"] = jax.tree.map(np.array, getattr(states, agent.served))
        params["best"] = jax.tree.map(np.array, best)
        return agent.go_on_from(states, best)

    trained = dj.train(
        dataclasses.replace(agent, go_on_from=go_on_from),
        world,
        seeds=jnp.array([seed]),
        pretrain_updates=length,
        validation=users,
        validate_every=EVERY,
    )
    params["selected"] = getattr(trained.states, agent.served)
    rollout, feedback = greedy_rollout(agent), {}
    for key, own in params.items():
        states = trained.states.replace(**{agent.served: own})
        rest = world, users, trained.roots
        feedback[key] = evaluate_users(
            rollout, states, *rest, agent_name=agent.name
        ).feedback
    validated = [m["eval/precision_at_32"] for m in trained.history if "eval" in str(m)]
    return feedback, {"validation": rounded(validated), "taken at": trained.selected}


def every_checkpoint(agent, world, users, seed: int, length: int) -> tuple[dict, dict]:
    """Feedback [C, V, T] at each of C checkpoints of pre-training."""
    roots = seed_keys(jnp.array([seed]))
    states, rows = init_states(agent, roots), []
    chunk, rollout = train_chunk(agent, "pretrain", EVERY), greedy_rollout(agent)
    for first in range(0, length, EVERY):
        states, _ = chunk(states, world, roots, first, length)
        rest = world, users, roots
        played = evaluate_users(rollout, states, *rest, agent_name=agent.name)
        rows.append(played.feedback[0])
    return {"every": np.stack(rows)}, {}


def chosen_by_others(feedback: np.ndarray) -> dict:
    """Of [C, V, T] what each half of the users answered where the other was best."""
    is_even = np.arange(feedback.shape[1]) % 2 == 0
    of_others = np.empty_like(feedback[0])
    for half in (is_even, ~is_even):
        best = feedback[:, ~half].mean(axis=(1, 2)).argmax()
        of_others[half] = feedback[best, half]
    best = feedback.mean(axis=(1, 2)).argmax()
    return {"end": feedback[-1:], "best": feedback[[best]], "others": of_others[None]}


def compare(chosen, found: dict, users: list, length: int, other: int) -> None:
    """One number of updates less the other, over the validation users of all splits."""
    for moment in found[length][0]:
        for cutoff in (1, 32):
            pair = [
                [split[moment][..., :cutoff].mean(axis=-1) for split in found[key]]
                for key in (length, other)
            ]
            line = {"data": chosen.data, "agent": chosen.agent, "at": moment}
            line |= {"updates": [length, other], "metric": f"P@{cutoff}"}
            line |= {"users": sum(map(len, users))}
            line |= {
                "mean": [round(float(np.concatenate(x, -1).mean()), 4) for x in pair]
            }
            gap = paired_difference(*pair, users=users, same_seeds=True)
            line |= {"difference": words(gap)}
            splits = [float((x - y).mean()) for x, y in zip(*pair, strict=True)]
            line |= {"splits": [round(x, 4) for x in splits]}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
