"""Writes a small world with odd ties or odd likes, as tables.

    python benchmarks/odd_worlds.py --world=one_friend --seed=7 --out=runs/one_friend
    python benchmarks/start.py --data=one_friend --path=runs/one_friend --tune \
        --rivals --splits=0,1,2 --out=runs/start

Users and items belong to ten communities. A user likes some 20 of 500 items, those of
the own community eight times as often as others that are as popular, and names some
friends, four in five of them from the own community. Of that, each world changes one
thing:

- plain: nothing.
- one_friend: everybody names one friend.
- celebrity: all name one and the same user, and half of them a second one.
- sure: five items are liked by everybody.
- eaters: two users like nearly everything, and half of the others name the first.
"""

import argparse
from pathlib import Path

import numpy as np
from heavy_tails import write

NUM_USERS, NUM_ITEMS, NUM_COMMUNITIES = 800, 500, 10
MEAN_LIKES, FEWEST_LIKES, AT_HOME = 20, 5, 8.0
MEAN_FRIENDS, HOMOPHILY = 4, 0.8
WORLDS = ("plain", "one_friend", "celebrity", "sure", "eaters")
Sets = list[set[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", choices=WORLDS, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    home = rng.integers(0, NUM_COMMUNITIES, NUM_USERS)
    likes, friends = draw_likes(rng, home), draw_friends(rng, home, chosen.world)
    if chosen.world == "sure":
        likes = [row | set(range(5)) for row in likes]
    if chosen.world == "eaters":
        for eater, share in enumerate((0.95, 0.85)):
            likes[eater] |= set(range(int(share * NUM_ITEMS)))
        for user in range(2, NUM_USERS, 2):
            friends[user].add(0)
    chosen.out.mkdir(parents=True, exist_ok=True)
    write(chosen.out / "interactions.csv", "item", likes)
    write(chosen.out / "friends.csv", "friend", friends)


def draw_likes(rng: np.random.Generator, home: np.ndarray) -> Sets:
    of_items = rng.integers(0, NUM_COMMUNITIES, NUM_ITEMS)
    popularity = (np.arange(NUM_ITEMS) + 5.0) ** -0.8
    counts = np.maximum(rng.poisson(MEAN_LIKES, NUM_USERS), FEWEST_LIKES)
    likes = []
    for user, count in enumerate(counts):
        weights = popularity * np.where(of_items == home[user], AT_HOME, 1)
        chances = weights / weights.sum()
        likes.append(set(rng.choice(NUM_ITEMS, count, replace=False, p=chances)))
    return likes


def draw_friends(rng: np.random.Generator, home: np.ndarray, world: str) -> Sets:
    if world == "celebrity":
        named = [{0} | ({1} if user % 2 else set()) for user in range(NUM_USERS)]
        return [row - {user} for user, row in enumerate(named)]
    friends: Sets = [set() for _ in home]
    everybody = np.arange(NUM_USERS)
    for user, community in enumerate(home):
        at_home = np.flatnonzero(home == community)
        count = 1 if world == "one_friend" else rng.poisson(MEAN_FRIENDS)
        for _ in range(count):
            others = at_home if rng.random() < HOMOPHILY else everybody
            friends[user].add(int(rng.choice(others[others != user])))
    return friends


if __name__ == "__main__":
    main()
