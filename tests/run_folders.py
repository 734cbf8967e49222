"""Run directories made by hand, as training leaves them, for tests of their readers."""

import json

import numpy as np

from dlerse_jax.evaluation.summary import summarize
from dlerse_jax.runs.checkpoint import write_evaluation
from dlerse_jax.types import Evaluation

NUM_USERS, NUM_ITEMS, HORIZON = 60, 200, 32
STATISTICS = {
    "users": 600,
    "items": NUM_ITEMS,
    "interactions": 9_000,
    "friend_pairs": 4_200,
    "items_per_user": 15.0,
    "friends_per_user": 7.0,
}


def make_evaluation(agent, rate, num_seeds=2, seed=0, split=0):
    """An agent that is liked with the given rate, more so by users with friends.

    No two splits share a user.
    """
    rng = np.random.default_rng(seed)
    num_friends = np.random.default_rng(99).choice([0, 3, 10, 30], NUM_USERS)
    order = rng.permuted(
        np.tile(np.arange(NUM_ITEMS), (num_seeds, NUM_USERS, 1)), axis=2
    )
    chances = rate + 0.05 * (num_friends > 5)[None, :, None]
    liked = rng.random((num_seeds, NUM_USERS, HORIZON)) < chances
    return Evaluation(
        agent=agent,
        protocol="cold",
        users=np.arange(NUM_USERS, dtype=np.int32) + split * NUM_USERS,
        items=order[:, :, :HORIZON].astype(np.int32),
        feedback=liked.astype(np.uint8),
        num_likes=np.random.default_rng(98).integers(5, 50, NUM_USERS),
        num_friends=num_friends,
        num_items=NUM_ITEMS,
        miss_reward=-1.0,
    )


def make_run(directory, agent="dlerse_con", rate=0.3, split=0, **changes):
    """A finished run's directory: config, summary, log and evaluations."""
    evaluation = make_evaluation(agent, rate, seed=split, split=split)
    baselines = {
        "popularity": make_evaluation("popularity", 0.2, 1, split + 10, split),
        "friends": make_evaluation("friends", 0.25, 1, split + 20, split),
    }
    directory.mkdir(parents=True)
    result = {
        "agent": agent,
        "dataset": "lastfm",
        "protocol": "cold",
        "split": split,
        "num_seeds": 2,
        "summary": summarize(evaluation),
        "baselines": {name: summarize(table) for name, table in baselines.items()},
        "wall_seconds": 63.2,
        "decisions_per_second": 41_000.0,
        "peak_memory_bytes": 9e8,
        "num_parameters": 250_000,
        "dataset_statistics": STATISTICS,
    }
    write_json(directory / "summary.json", result | changes)
    write_json(
        directory / "config.json",
        {
            "config": {"agent": {"name": agent}, "data": {"split": split}},
            "versions": {"jax": "0.10.2"},
            "device": "cpu",
            "git_commit": "0123456789abcdef",
            "created": "2026-11-23T12:00:00",
        },
    )
    write_log(directory / "metrics.jsonl")
    write_evaluation(directory / "evaluation.npz", evaluation)
    for name, table in baselines.items():
        write_evaluation(directory / "baselines" / f"{name}.npz", table)
    return directory


def change_config(directory, **sections):
    """Puts sections into the config of a run made by hand."""
    settings = json.loads((directory / "config.json").read_text())
    settings["config"] |= sections
    write_json(directory / "config.json", settings)


def write_json(path, content):
    path.write_text(json.dumps(content))


def write_log(path):
    lines = [
        {"step": step, "wall_seconds": step / 3, "q_learning/loss": 1 / (step + 1)}
        | {"eval/precision_at_32": 0.3 - 0.2 / (step + 1), "eval/reward_alpha_0": None}
        for step in range(0, 100, 10)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
