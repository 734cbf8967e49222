"""Writes a world in which a few users like much and have many friends, as tables.

    python benchmarks/heavy_tails.py --out=runs/heavy
    python benchmarks/settings.py --data=heavy --path=runs/heavy --out=runs/settings

Numbers of likes and of friends are log-normal, popularity falls as a power of the rank,
tastes are mixtures of topics, and a part of what somebody likes is taken over from
friends: a friend by chance, then one of that friend's likes by chance. So a like of
somebody who likes much says less. Friendship is directed, half of it returned.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

NUM_USERS, NUM_ITEMS = 2500, 3000
NUM_TOPICS, NUM_COMMUNITIES = 25, 60
MEDIAN_LIKES, SPREAD = 14, 0.9  # log-normal; nobody has fewer than 5 likes
MEDIAN_FRIENDS = 3.6  # with the same spread, of those who name anybody
FRIENDLESS, HOMOPHILY, RETURNED = 0.15, 0.7, 0.5
TAKEN_OVER = 0.25  # of a user's likes
TRIES = 20  # draws for each like that is wanted; who finds no more has fewer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    home = rng.integers(0, NUM_COMMUNITIES, NUM_USERS)
    friends = draw_friends(rng, home)
    likes = draw_likes(rng, home, friends)
    chosen.out.mkdir(parents=True, exist_ok=True)
    write(chosen.out / "interactions.csv", "item", likes)
    write(chosen.out / "friends.csv", "friend", friends)


def draw_friends(rng: np.random.Generator, home: np.ndarray) -> list[set[int]]:
    """Whom each user names; some are named more than others."""
    attraction = np.exp(rng.normal(0, 1, NUM_USERS))
    friends: list[set[int]] = [set() for _ in range(NUM_USERS)]
    for user in np.flatnonzero(rng.random(NUM_USERS) >= FRIENDLESS):
        count = max(1, round(rng.lognormal(np.log(MEDIAN_FRIENDS), SPREAD)))
        is_near = home == home[user]
        for _ in range(count):
            weights = attraction * (is_near if rng.random() < HOMOPHILY else 1)
            friend = int(rng.choice(NUM_USERS, p=weights / weights.sum()))
            if friend != user:
                friends[user].add(friend)
                if rng.random() < RETURNED:
                    friends[friend].add(int(user))
    return friends


def draw_likes(rng: np.random.Generator, home: np.ndarray, friends) -> list[set[int]]:
    """What each user likes: first of their own accord, then what friends like."""
    popularity = (np.arange(NUM_ITEMS) + 8.0) ** -0.9
    topics = rng.dirichlet(np.full(NUM_TOPICS, 0.12), NUM_ITEMS)
    shared = rng.dirichlet(np.full(NUM_TOPICS, 0.3), NUM_COMMUNITIES)
    tastes = np.stack([rng.dirichlet(shared[c] * 15 + 0.02) for c in home])
    wanted = rng.lognormal(np.log(MEDIAN_LIKES), SPREAD, NUM_USERS)
    wanted = np.clip(wanted, 5, NUM_ITEMS // 6).astype(int)
    likes: list[set[int]] = [set() for _ in range(NUM_USERS)]
    for user, count in enumerate(wanted):
        weights = (topics @ tastes[user]) * popularity
        own = max(1, int(count * (1 - TAKEN_OVER)))
        likes[user] |= set(
            rng.choice(NUM_ITEMS, own, replace=False, p=weights / weights.sum())
        )
    for user in rng.permutation(NUM_USERS):
        named = sorted(friends[user])
        for _ in range(TRIES * wanted[user] if named else 0):
            if len(likes[user]) >= wanted[user]:
                break
            friend = named[rng.integers(len(named))]
            likes[user].add(rng.choice(sorted(likes[friend])))
    return likes


def write(path: Path, column: str, of_users: list[set[int]]) -> None:
    """Pairs of a user and an item or a friend."""
    pairs = [(user, int(other)) for user, row in enumerate(of_users) for other in row]
    names = ["user", column]
    pl.DataFrame(sorted(pairs), schema=names, orient="row").write_csv(path)


if __name__ == "__main__":
    main()
