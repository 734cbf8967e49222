"""Q-learning beside more or less of the supervised loss: validation users, paired.

    python benchmarks/supervised_weight.py --data=sparse --splits=0,1 \
        --weights=0.05,2,3.2

DATA as of `benchmarks/start.py`. An agent is pre-trained once for every split; from the
parameters that validation users liked best, Q-learning goes on with each of the weights
(`q_learning.supervised_weight`, per like), by one compiled program. Test users are not
asked. Who selects flatters what is selected: the difference of a weight to the best of
pre-training is too low, and that of two weights is not.

One JSON line per split and weight: P@32, P@1 after each 20 updates, then the paired
difference at the last one to the best of pre-training, with the standard error over
users.
"""

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np
from settings import load

import dlerse_jax as dj
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout
from dlerse_jax.learning.train_loop import train_chunk

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
    chosen = parser.parse_args()
    for split in map(int, chosen.splits.split(",")):
        data = load(chosen.data, chosen.path, split)
        for line in lines(chosen, data, split):
            given = {"data": chosen.data, "agent": chosen.agent, "split": split}
            print(json.dumps(given | line), flush=True)


def lines(chosen, data, split: int):
    """One per weight, after that of pre-training."""
    world = dj.make_simulator(data, alpha=0.0, horizon=32)
    agent = dj.make_agent(chosen.agent, data, tune=chosen.data != "lastfm")
    users, rollout = data.split.validation, greedy_rollout(agent)

    def feedback(states) -> np.ndarray:
        rest = world, users, trained.roots
        played = evaluate_users(rollout, states, *rest, agent_name=agent.name)
        return played.feedback.astype(np.float32)

    trained = dj.train(
        agent,
        world,
        seeds=jnp.arange(chosen.seeds),
        q_learning_updates=0,
        validation=users,
        validate_every=EVERY,
    )
    begun = jax.device_get(trained.states)  # an update gives its states away
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
            states, _ = chunk(states, world, trained.roots, first, chosen.updates)
            rows.append(feedback(states))
        gaps = (rows[-1] - before).mean((0, 2))  # by user
        error = gaps.std() / np.sqrt(len(gaps))
        gap = [round(float(x), 4) for x in (gaps.mean(), error)]
        yield {"weight": weight} | precision(rows) | {"difference": gap}


def precision(rows) -> dict:
    """Of feedback [S, V, T] after each chunk, over all seeds and users."""
    found = {"P@32": [x.mean() for x in rows], "P@1": [x[..., 0].mean() for x in rows]}
    return {key: [round(float(x), 4) for x in row] for key, row in found.items()}


if __name__ == "__main__":
    main()
