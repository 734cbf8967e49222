"""Q-learning beside more or less of the supervised loss: validation users, paired.

    python benchmarks/supervised_weight.py --data=sparse --splits=0,1 \
        --weights=0.05,2,3.2 --out=runs/weight

DATA as of `benchmarks/start.py`. An agent is pre-trained once for every split; from the
parameters that validation users liked best, Q-learning goes on with each of the weights
(`q_learning.supervised_weight`, per like), by one compiled program. Test users are not
asked. Who selects flatters what is selected: the difference of a weight to the best of
pre-training is too low, and that of two weights is not.

One JSON line per split and weight: P@32, P@1 after each 20 updates, then the paired
difference at the last one to the best of pre-training, with the standard error over
users. What pre-training left is kept in --out, and is not made again.
"""

import argparse
import json
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from settings import load

import dlerse_jax as dj
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout
from dlerse_jax.learning.train_loop import init_states, seed_keys, train_chunk

EVERY = 20  # updates between two validations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--path")
    parser.add_argument("--agent", default="dlerse_con")
    parser.add_argument("--splits", default="0")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", default="0.5,1,2,4", help="per like")
    parser.add_argument("--updates", type=int, default=60, help="of Q-learning")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for split in map(int, chosen.splits.split(",")):
        data = load(chosen.data, chosen.path, split)
        for line in lines(chosen, data, split):
            given = {"data": chosen.data, "agent": chosen.agent, "split": split}
            print(json.dumps(given | line), flush=True)


def lines(chosen, data, split: int):
    """One per weight, after that of pre-training."""
    world = dj.make_simulator(data, alpha=0.0, horizon=32)
    agent = dj.make_agent(chosen.agent, data, tune=chosen.data != "lastfm")
    roots, users = seed_keys(jnp.arange(chosen.seeds)), data.split.validation
    rollout = greedy_rollout(agent)

    def feedback(states) -> np.ndarray:
        rest = world, users, roots
        played = evaluate_users(rollout, states, *rest, agent_name=agent.name)
        return played.feedback.astype(np.float32)

    name = f"{chosen.data}-{chosen.agent}-{chosen.seeds}-{split}.pkl"
    file = chosen.out / name
    if not file.exists():
        made = pretrained(agent, world, roots, feedback)
        file.write_bytes(pickle.dumps(jax.device_get(made)))
    best, optimizer, replay = pickle.loads(file.read_bytes())
    fresh = jax.device_get(init_states(agent, roots))
    begun = fresh.replace(average=best, optimizer=optimizer, replay=replay)
    before = feedback(jax.device_put(begun))
    yield {"weight": None} | precision([before])
    chunk = train_chunk(agent, "q_learning", EVERY)
    for weight in map(float, chosen.weights.split(",")):
        states = jax.device_put(begun)
        states = agent.go_on_from(states, states.average)
        weights = jnp.full_like(states.settings.supervised_weight, weight)
        settings = states.settings.replace(supervised_weight=weights)
        states, rows = states.replace(settings=settings), []
        for first in range(0, chosen.updates, EVERY):
            states, _ = chunk(states, world, roots, first, chosen.updates)
            rows.append(feedback(states))
        gaps = (rows[-1] - before).mean((0, 2))  # by user
        error = gaps.std() / np.sqrt(len(gaps))
        gap = [round(float(x), 4) for x in (gaps.mean(), error)]
        yield {"weight": weight} | precision(rows) | {"difference": gap}


def precision(rows) -> dict:
    """Of feedback [S, V, T] after each chunk, over all seeds and users."""
    found = {"P@32": [x.mean() for x in rows], "P@1": [x[..., 0].mean() for x in rows]}
    return {key: [round(float(x), 4) for x in row] for key, row in found.items()}


def pretrained(agent, world, roots, feedback) -> tuple:
    """Of each seed the averaged parameters that did best; optimiser and replay."""
    updates = dj.base_config().pretrain.num_updates
    states, chunk = init_states(agent, roots), train_chunk(agent, "pretrain", EVERY)
    rows, params = [], []
    for first in range(0, updates, EVERY):
        states, _ = chunk(states, world, roots, first, updates)
        rows.append(feedback(states).mean((1, 2)))
        params.append(jax.device_get(states.average))
    places = np.argmax(rows, axis=0)
    best = jax.tree.map(
        lambda *leaves: np.stack([leaves[at][s] for s, at in enumerate(places)]),
        *params,
    )
    return best, states.optimizer, states.replay


if __name__ == "__main__":
    main()
