"""What is planning worth where topics satiate users? Rules that know which do.

    python benchmarks/satiation.py --config=experiments/satiation.py

Each rule shows the item of the highest chance of a like, 0 for one whose topic
satiates now, less `price` times its number of topics: at price 0 it is myopic. Chances
are popularity among training users, or, for the ceiling, the user's own likes.
Validation users.
"""

import json
import sys

import numpy as np

from dlerse_jax.commands.parsing import config_of, parse_command
from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.environment.simulator import item_topics
from dlerse_jax.experiment.build import build_dataset
from dlerse_jax.types import Dataset

PRICES = (0.0, 0.05, 0.1, 0.2, 0.4)


def main() -> None:
    config = config_of(parse_command(["bench", *sys.argv[1:]])[0])
    dataset = build_dataset(config)
    topics = topic_matrix(item_topics(dataset, config.user.most_topics))
    likes = like_matrix(dataset, dataset.split.validation)
    popularity = visible_likes(dataset).mean(axis=0)
    everybody = np.broadcast_to(popularity, likes.shape)
    for name, chances in {"popularity": everybody, "preferences": likes}.items():
        for price in PRICES:
            hits = play(
                likes,
                chances - price * topics.sum(axis=1),
                chances,
                topics,
                horizon=config.episode.horizon,
                satiation=config.user.satiation,
            )
            line = {"chances": name, "price": price, "precision": round(hits, 3)}
            sys.stdout.write(json.dumps(line) + "\n")


def topic_matrix(topics: np.ndarray) -> np.ndarray:
    """Rows of topics [N + 1, G], padded with -1 -> [N, number of topics] bool."""
    return (topics[:-1, :, None] == np.arange(topics.max() + 1)).any(axis=1)


def like_matrix(dataset: Dataset, users: np.ndarray) -> np.ndarray:
    """Likes of some users: [B, N] float."""
    likes = np.zeros((dataset.num_users, dataset.num_items))
    rows = np.repeat(np.arange(dataset.num_users), dataset.num_likes)
    likes[rows, dataset.liked_items] = 1
    return likes[users]


def play(likes, scores, chances, topics, *, horizon: int, satiation: int) -> float:
    """Mean precision of a rule: likes, scores and chances [B, N], topics [N, C].

    Scores are of an item that would not bore; one that would loses its chance.
    """
    users = np.arange(len(likes))
    scores = scores + 1e-3 * np.random.default_rng(0).random(likes.shape)  # ties
    allowed, shown, hits = np.ones(likes.shape, bool), [], 0.0
    for _ in range(horizon):
        recent = shown[max(0, len(shown) - satiation) :]
        closed = np.zeros((len(likes), topics.shape[1]), bool)
        for items in recent:
            closed |= topics[items]
        bored = (closed.astype(int) @ topics.T.astype(int)) > 0
        now = np.where(allowed, scores - chances * bored, -np.inf)
        items = now.argmax(axis=1)
        hits += np.mean(likes[users, items] * ~bored[users, items])
        allowed[users, items] = False
        shown.append(items)
    return hits / horizon


if __name__ == "__main__":
    main()
