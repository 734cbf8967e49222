"""What is planning worth where topics satiate users? Rules that know which do.

    python benchmarks/satiation.py --config=experiments/satiation.py

Each rule shows the item of the highest chance of a like, 0 for one whose topic
satiates now, less `price` times its number of topics: at price 0 it is myopic. Chances
are popularity among training users, or, for the ceiling, the user's own likes.

Last come rules that know no topic: what they know of satiation is how training users
answered to random items. An item has its rate of likes among these answers and, after
another one was shown, a factor for the pair, of low rank. They are myopic, and know
nothing of the user. Validation users.
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
EPISODES = (2000, 8000, 24000)  # of random items
PAIR_RANK = 6


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
    training = like_matrix(dataset, dataset.split.train)
    options = {"horizon": config.episode.horizon, "satiation": config.user.satiation}
    for count in EPISODES:
        items, answers = explore(training, topics, count, **options)
        model = answer_model(items, answers, len(topics), config.user.satiation)
        hits = play_answers(likes, *model, topics, **options)
        line = {"chances": "answers", "episodes": count, "precision": round(hits, 3)}
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


def is_bored(items, recent: list, topics) -> np.ndarray:
    """Whether items [B] share a topic with one of the recent ones, [B] each."""
    closed = np.zeros((len(items), topics.shape[1]), bool)
    for others in recent:
        closed |= topics[others]
    return (closed & topics[items]).any(axis=1)


def explore(likes, topics, count: int, *, horizon: int, satiation: int):
    """Random items and the answers of random users: [E, T] each; likes [B, N]."""
    draws = np.random.default_rng(1)
    likes = likes[draws.integers(len(likes), size=count)]
    items = draws.random(likes.shape).argsort(axis=1)[:, :horizon]
    liked = np.take_along_axis(likes, items, axis=1)
    for step in range(horizon):
        recent = list(items[:, max(0, step - satiation) : step].T)
        liked[:, step] *= ~is_bored(items[:, step], recent, topics)
    return items, liked


def answer_model(items, answers, num_items: int, memory: int):
    """Log rate of likes of an item, [N], and what showing one of [N] shortly before
    another adds to it, [N, N], the same both ways and of low rank."""
    shown, liked = np.zeros((2, num_items, num_items))
    now, horizon = items[:, memory:], items.shape[1]
    for lag in range(1, memory + 1):
        before = items[:, memory - lag : horizon - lag]
        np.add.at(shown, (now, before), 1)
        np.add.at(liked, (now, before), answers[:, memory:])
    rate = (liked.sum(axis=1) + 0.5) / (shown.sum(axis=1) + 1)
    expected = shown * rate[:, None]
    factor = np.log((liked + liked.T + 1) / (expected + expected.T + 1))
    np.fill_diagonal(factor, 0)
    means = factor.mean(axis=0)
    values, vectors = np.linalg.eigh(factor - means - means[:, None] + means.mean())
    kept = np.argsort(-np.abs(values))[:PAIR_RANK]
    return np.log(rate), (vectors[:, kept] * values[kept]) @ vectors[:, kept].T


def play_answers(likes, rate, factor, topics, *, horizon: int, satiation: int):
    """Mean precision of the likeliest item first, likes [B, N]; see `answer_model`."""
    users, shown, hits = np.arange(len(likes)), [], 0.0
    allowed = np.ones(likes.shape, bool)
    for _ in range(horizon):
        recent = shown[max(0, len(shown) - satiation) :]
        scores = rate + sum((factor[items] for items in recent), np.zeros(likes.shape))
        items = np.where(allowed, scores, -np.inf).argmax(axis=1)
        hits += np.mean(likes[users, items] * ~is_bored(items, recent, topics))
        allowed[users, items] = False
        shown.append(items)
    return hits / horizon


if __name__ == "__main__":
    main()
