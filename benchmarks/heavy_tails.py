"""Writes a world in which a few users like much and have many friends, as tables.

    python benchmarks/heavy_tails.py --out=runs/heavy
    python benchmarks/settings.py --data=heavy --path=runs/heavy --out=runs/settings
    python benchmarks/heavy_tails.py --world=influence --seed=7 --out=runs/influence

Numbers of likes and of friends are log-normal, popularity falls as a power of the rank,
tastes are mixtures of topics, and a part of what somebody likes is taken over from
friends: a friend by chance, then one of that friend's likes by chance. So a like of
somebody who likes much says less. Friendship is directed, a part of it returned.
`WORLDS` has others of the kind, in which friends say more, or nothing.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import polars as pl

NUM_TOPICS, NUM_COMMUNITIES = 25, 60
TRIES = 20  # draws for each like that is wanted; who finds no more has fewer


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """How many there are, and how far friends say what somebody likes."""

    num_users: int = 2500
    num_items: int = 3000
    median_likes: float = 14  # log-normal; nobody has fewer than 5 likes
    median_friends: float = 3.6  # with the same spread, of those who name anybody
    spread: float = 0.9
    friendless: float = 0.15  # share of users
    homophily: float = 0.7  # share of friends who are of the same community
    returned: float = 0.5  # share of friendships
    taken_over: float = 0.25  # of a user's likes


WORLDS = {
    "heavy": World(),
    # Friends have most of the say.
    "influence": World(
        num_users=2000,
        median_likes=18,
        spread=0.6,
        median_friends=6,
        friendless=0.05,
        homophily=0.5,
        returned=1.0,
        taken_over=0.6,
    ),
    # Many items, most of them liked by few.
    "bookmarks": World(
        num_users=1800,
        num_items=15000,
        median_likes=30,
        spread=0.7,
        median_friends=5,
        friendless=0.1,
        returned=1.0,
        taken_over=0.4,
    ),
    # Friends have nothing to say.
    "strangers": World(
        num_users=2000,
        num_items=1200,
        median_likes=25,
        spread=0.7,
        median_friends=5,
        friendless=0.1,
        homophily=0.0,
        taken_over=0.0,
    ),
    "small": World(
        num_users=350,
        num_items=250,
        median_likes=20,
        spread=0.5,
        median_friends=4,
        friendless=0.1,
        homophily=0.8,
        returned=1.0,
    ),
    # Many users, many likes each.
    "films": World(
        num_users=4000,
        num_items=1500,
        median_likes=40,
        spread=0.8,
        median_friends=4,
        friendless=0.3,
        homophily=0.6,
        taken_over=0.1,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", choices=WORLDS, default="heavy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    world, rng = WORLDS[chosen.world], np.random.default_rng(chosen.seed)
    home = rng.integers(0, NUM_COMMUNITIES, world.num_users)
    friends = draw_friends(rng, world, home)
    likes = draw_likes(rng, world, home, friends)
    chosen.out.mkdir(parents=True, exist_ok=True)
    write(chosen.out / "interactions.csv", "item", likes)
    write(chosen.out / "friends.csv", "friend", friends)


def draw_friends(
    rng: np.random.Generator, world: World, home: np.ndarray
) -> list[set[int]]:
    """Whom each user names; some are named more than others."""
    attraction = np.exp(rng.normal(0, 1, world.num_users))
    friends: list[set[int]] = [set() for _ in range(world.num_users)]
    for user in np.flatnonzero(rng.random(world.num_users) >= world.friendless):
        count = max(1, round(rng.lognormal(np.log(world.median_friends), world.spread)))
        is_near = home == home[user]
        for _ in range(count):
            weights = attraction * (is_near if rng.random() < world.homophily else 1)
            friend = int(rng.choice(world.num_users, p=weights / weights.sum()))
            if friend != user:
                friends[user].add(friend)
                if rng.random() < world.returned:
                    friends[friend].add(int(user))
    return friends


def draw_likes(
    rng: np.random.Generator, world: World, home: np.ndarray, friends
) -> list[set[int]]:
    """What each user likes: first of their own accord, then what friends like."""
    popularity = (np.arange(world.num_items) + 8.0) ** -0.9
    topics = rng.dirichlet(np.full(NUM_TOPICS, 0.12), world.num_items)
    shared = rng.dirichlet(np.full(NUM_TOPICS, 0.3), NUM_COMMUNITIES)
    tastes = np.stack([rng.dirichlet(shared[c] * 15 + 0.02) for c in home])
    wanted = rng.lognormal(np.log(world.median_likes), world.spread, world.num_users)
    wanted = np.clip(wanted, 5, world.num_items // 6).astype(int)
    likes: list[set[int]] = [set() for _ in range(world.num_users)]
    for user, count in enumerate(wanted):
        weights = (topics @ tastes[user]) * popularity
        own = max(1, int(count * (1 - world.taken_over)))
        likes[user] |= set(
            rng.choice(world.num_items, own, replace=False, p=weights / weights.sum())
        )
    for user in rng.permutation(world.num_users):
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
