"""How much is there to gain over the best policy without learning? Two policies that
know more than any agent may.

    python benchmarks/headroom.py --data=dense --splits=0,1,2 --out=runs/headroom

DATA as in `benchmarks/settings.py`. Beside popularity and `linear_plus`, with settings
from training users, new users are served by

- hindsight: EASE on all that a user likes and does not like, but for the item that is
  scored; all 32 items at once, with the penalty that is best on these very users. What
  answers could tell a linear model, if a session had as many as there are items.
- maker, in a synthetic world: the surest item given the answers, by Bayes' rule, of one
  who knows how the world was made: communities, popularity, and every friend's home.
  What is left unknown is where the new user is at home, whom they visit, and how much
  they like. A policy that also asks for the answer's sake could do better.

Precision of the split's validation users, then ratios to `linear_plus`, paired by user.
What was answered is kept in --out, and a split that is there is not played again.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from settings import WORLDS, load, play, words

import dlerse_jax as dj
from dlerse_jax.data import synthetic
from dlerse_jax.evaluation.bootstrap import paired_ratio
from dlerse_jax.types import Dataset

HORIZON = 32
PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0)
LENGTHS = 5  # numbers of likes that a new user may have: quantiles of training users
NEWTON_STEPS = 25
HOMOPHILY, COMMUNITIES = 0.8, 12  # defaults of `synthetic_dataset`, kept by WORLDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--path")
    parser.add_argument("--splits", default="0,1,2,3,4")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    found, users = {}, []
    for split in map(int, chosen.splits.split(",")):
        file = chosen.out / f"{chosen.data}-{split}.npz"
        data = load(chosen.data, chosen.path, split)
        if not file.exists():
            np.savez(file, **play_all(chosen.data, data))
        users.append(data.split.validation)
        for name, table in np.load(file).items():
            found.setdefault(name, []).append(table)
    report(chosen.data, found, users)


def play_all(name: str, data: Dataset) -> dict[str, np.ndarray]:
    """Answers [B, T] of validation users, by policy; those of hindsight in no order."""
    users = data.split.validation
    world = dj.make_simulator(data, alpha=0.0, horizon=HORIZON)
    tuned = dj.tuned_settings("linear_plus", data, world=world).settings
    rest = data, world, users, 0, {}
    likes = like_matrix(data)
    found = {
        "popularity": play("popularity", {}, *rest)[0],
        "linear_plus": play("linear_plus", tuned, *rest)[0],
        "hindsight": hindsight(likes, data.split.train, users),
    }
    if name in WORLDS:
        found["maker"] = Maker(data, **WORLDS[name]).play(likes, users)
    return found


def like_matrix(data: Dataset) -> np.ndarray:
    """[U, N] of ones and zeros."""
    likes = np.zeros((data.num_users, data.num_items), np.float32)
    owner = np.repeat(np.arange(data.num_users), np.diff(data.like_offsets))
    likes[owner, data.liked_items] = 1
    return likes


def hindsight(likes: np.ndarray, training: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Likes [B, T] among the T items that EASE puts first, under the best penalty.

    The diagonal of its weights is zero: no item tells of itself.
    """
    mean = likes[training].mean(axis=0)
    rows = (likes[training] - mean).astype(float)
    gram, asked = rows.T @ rows, likes[users] - mean
    found = []
    for penalty in PENALTIES:
        inverse = np.linalg.inv(gram + penalty * np.eye(len(gram)))
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0)
        top = np.argsort(-(mean + asked @ weights), axis=1)[:, :HORIZON]
        found.append(np.take_along_axis(likes[users], top, axis=1))
    return max(found, key=np.mean)


class Maker:
    """Greedy by Bayes' rule over H tastes: a home, two visits, and a number of likes.

    Answers are taken to be independent, given the taste.
    """

    def __init__(self, data: Dataset, **world) -> None:
        self._data = data
        catalogue, self._homes = made_again(data, **world)
        by_community, everywhere = shares(catalogue)
        communities = np.arange(len(by_community))
        grid = np.stack(np.meshgrid(*[communities] * 3, indexing="ij"), axis=-1)
        tastes = grid.reshape(-1, 3)
        is_taste = [len(set(taste)) == 3 for taste in tastes.tolist()]
        tastes = tastes[is_taste]
        *of_tastes, of_all = synthetic._TASTE_SHARES
        draws = of_all * everywhere + sum(
            share * by_community[tastes[:, place]]
            for place, share in enumerate(of_tastes)
        )
        num_likes = np.diff(data.like_offsets)[data.split.train]
        lengths = np.quantile(num_likes, (np.arange(LENGTHS) + 0.5) / LENGTHS)
        chances = [liked_chances(draws, length) for length in lengths]
        self._chances = np.concatenate(chances).astype(np.float32)  # [H, N]
        self._home = np.tile(tastes[:, 0], LENGTHS)  # [H]

    def play(self, likes: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Answers [B, T] of users [B]; likes [U, N]."""
        of_home = np.stack([self._log_home(user) for user in users])
        belief = of_home[:, self._home].astype(np.float32)  # [B, H] log, up to a sum
        is_liked = np.log(self._chances + 1e-6)
        is_not = np.log1p(-np.minimum(self._chances, 1 - 1e-4))
        each, shown = (
            np.arange(len(users)),
            np.zeros((len(users), likes.shape[1]), bool),
        )
        answers = np.zeros((len(users), HORIZON), np.float32)
        for step in range(HORIZON):
            chance = np.exp(belief - belief.max(axis=1, keepdims=True))
            expected = (chance / chance.sum(axis=1, keepdims=True)) @ self._chances
            items = np.where(shown, -1, expected).argmax(axis=1)
            answers[:, step] = likes[users, items]
            shown[each, items] = True
            liked = answers[:, step, None] > 0
            belief += np.where(liked, is_liked[:, items].T, is_not[:, items].T)
        return answers

    def _log_home(self, user: int) -> np.ndarray:
        """Log of the chance of each home, up to a constant: [C]."""
        count = 1 + self._home.max()
        # As `_draw_tastes` draws homes; a friend is of the same home or anybody.
        found = -np.log(np.arange(count) + 6.0)
        at_home = np.bincount(self._homes, minlength=count)
        friends = self._data.friend_sources[self._data.friend_targets == user]
        for home in self._homes[friends]:
            chance = np.full(count, (1 - HOMOPHILY) / len(self._homes))
            chance[home] += HOMOPHILY / at_home[home]
            found += np.log(chance)
        return found


def made_again(data: Dataset, *, num_users, num_items, mean_likes, **rest):
    """The catalogue of a world of seed 0, and every user's home [U]."""
    del rest
    rng = np.random.default_rng(0)
    catalogue = synthetic._make_catalogue(rng, num_items, COMMUNITIES, 0)
    tastes = synthetic._draw_tastes(rng, num_users, COMMUNITIES)
    _, items = synthetic._draw_likes(rng, tastes, catalogue, mean_likes)
    if not np.array_equal(items, data.liked_items):
        raise ValueError(
            "this world is drawn in another order than synthetic_dataset draws it; "
            "mend made_again in benchmarks/headroom.py"
        )
    return catalogue, tastes[:, 0]


def shares(catalogue) -> tuple[np.ndarray, np.ndarray]:
    """Of a draw from each community [C, N], and from the whole catalogue [N]."""
    weights = np.diff(catalogue.cumulative_weight)
    found = np.zeros((len(catalogue.bounds) - 1, catalogue.num_items))
    for community in range(len(found)):
        some = slice(*catalogue.bounds[community : community + 2])
        found[community, catalogue.items[some]] = weights[some]
    everywhere = found.sum(axis=0)
    return found / found.sum(axis=1, keepdims=True), everywhere / everywhere.sum()


def liked_chances(draws: np.ndarray, length: float) -> np.ndarray:
    """That an item is among `length` distinct ones, drawn by shares [H, N]: [H, N].

    1 - exp(-rate share), with the rate that makes them sum to the length.
    """
    rate = np.full((len(draws), 1), float(length))
    for _ in range(NEWTON_STEPS):
        missed = np.exp(-rate * draws)
        surplus = (1 - missed).sum(axis=1, keepdims=True) - length
        slope = (draws * missed).sum(axis=1, keepdims=True)
        rate -= np.clip(surplus / slope, -rate, rate / 2)
    return 1 - np.exp(-rate * draws)


def report(data: str, found: dict, users: list) -> None:
    means = {name: np.concatenate(tables).mean() for name, tables in found.items()}
    line = {"data": data, "validation users": sum(map(len, users))}
    print(json.dumps(line | {k: round(float(x), 4) for k, x in means.items()}))
    tables = {
        name: [table.mean(axis=-1)[None] for table in each]
        for name, each in found.items()
    }
    for name in sorted(tables.keys() & {"hindsight", "maker"}):
        ratio = paired_ratio(tables[name], tables["linear_plus"], users=users)
        print(json.dumps({"data": data, f"{name} to linear_plus": words(ratio)}))


if __name__ == "__main__":
    main()
