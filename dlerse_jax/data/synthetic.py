"""A seeded social world: friends share tastes, popularity is skewed, some are alone.

Every item belongs to one community. A user is at home in one community and visits
two others; what a user likes is drawn from the communities by popularity, or from the
whole catalogue. Friends are mostly drawn from the home community. So a new user's
friends tell the home, and a few answers tell the visited ones.

With `most_topics` items have tags, the communities they belong to: some belong to one
and some, as likely, to several, and are drawn as likes of each of them.

Everything is drawn from cumulative weights: memory and time grow with likes and
friend pairs, never with users x items. Likes are drawn for a stretch of users at a
time, so a million users with twenty likes each take seconds and little more memory
than the data set itself.
"""

import dataclasses

import numpy as np
import polars as pl

from dlerse_jax.data.prepare import row_offsets
from dlerse_jax.data.split import split_users
from dlerse_jax.runtime.numbers import is_whole
from dlerse_jax.types import Dataset, Taggings

# Where a like is drawn from: home, first visited, second visited, whole catalogue.
_TASTE_SHARES = (0.6, 0.17, 0.08, 0.15)
_MAX_REDRAWS = 12  # rounds in which a repeated draw is replaced by another
_USERS_AT_ONCE = 2**16  # whose likes are drawn together


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Catalogue:
    """Items in order of their community, so that each community is one stretch.

    An item of several communities stands in the stretch of each: M places, N or more.
    """

    num_items: int
    items: np.ndarray  # [M] int64, grouped by community
    cumulative_weight: np.ndarray  # [M + 1] float64, popularity summed up to each
    bounds: np.ndarray  # [C + 1] where each community starts in `items`


def synthetic_dataset(
    *,
    seed: int = 0,
    split: int = 0,
    num_users: int = 600,
    num_items: int = 400,
    num_communities: int = 12,
    most_topics: int = 0,
    mean_likes: float = 25.0,
    mean_friends: float = 8.0,
    homophily: float = 0.8,
    friendless_share: float = 0.1,
) -> Dataset:
    """One world per seed; the same arguments give the same world, bit for bit.

    `mean_likes` is the mean number of items a user likes (at least 5 each),
    `mean_friends` the mean number of friends named by a user who has any (friendship
    is mutual; up to a tenth fewer where pairs are drawn twice, as in small worlds),
    `homophily` the share of friends drawn from the user's own home community,
    `friendless_share` that of users without friends, `most_topics` the number of
    communities that an item belongs to at most (0: one each, and no tags). A user
    who has nearly used up the catalogue may get fewer likes than drawn. Items that
    nobody likes stay: ids are 0..num_items-1. ValueError for numbers that describe no
    world.
    """
    wholes = {"seed": seed, "num_users": num_users, "num_items": num_items}
    for name, number in (wholes | {"num_communities": num_communities}).items():
        if not is_whole(number) or number < 0:
            raise ValueError(f"{name} is {number!r}, expected a whole number from 0 on")
    _check_world(num_users, num_items, num_communities, mean_likes, mean_friends)
    if not 0 <= most_topics <= num_communities:
        raise ValueError(
            f"most_topics is {most_topics}, expected 0 to {num_communities}, the "
            "number of communities"
        )
    _check_share("homophily", homophily)
    _check_share("friendless_share", friendless_share)
    rng = np.random.default_rng(seed)
    catalogue = _make_catalogue(rng, num_items, num_communities, most_topics)
    tastes = _draw_tastes(rng, num_users, num_communities)
    offsets, items = _draw_likes(rng, tastes, catalogue, mean_likes)
    targets, sources = _draw_friends(
        rng, tastes[:, 0], mean_friends, homophily, friendless_share
    )
    return Dataset(
        name="synthetic",
        user_ids=np.arange(num_users, dtype=np.int64),
        item_ids=np.arange(num_items, dtype=np.int64),
        like_offsets=offsets,
        liked_items=items,
        like_weights=np.ones(len(items), np.float32),
        friend_sources=sources.astype(np.int32),
        friend_targets=targets.astype(np.int32),
        split=split_users(num_users, split),
        taggings=_taggings(catalogue, offsets, items) if most_topics else None,
        notes=(f"synthetic world, seed {seed}: {num_communities} communities",),
    )


def _check_world(
    num_users: int,
    num_items: int,
    num_communities: int,
    mean_likes: float,
    mean_friends: float,
) -> None:
    lowest = {
        "num_users": (num_users, 2),
        "num_communities": (num_communities, 3),
        "num_items": (num_items, num_communities),
        "mean_likes": (mean_likes, 5),
        "mean_friends": (mean_friends, 2),
    }
    for name, (found, minimum) in lowest.items():
        if not found >= minimum:
            raise ValueError(f"{name} is {found}, expected at least {minimum}")


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{name} is {share}, expected a share between 0 and 1")


def _make_catalogue(
    rng: np.random.Generator, num_items: int, num_communities: int, most_topics: int
) -> _Catalogue:
    """Communities of nearly equal size; within each, popularity falls like 1/rank."""
    numbers = np.arange(num_items)  # before they are shuffled
    communities, rank = numbers % num_communities, numbers // num_communities
    names = rng.permutation(num_items)
    if most_topics > 1:
        more = _further_communities(rng, num_items, num_communities, most_topics)
        numbers = np.concatenate([numbers, more[0]])
        communities = np.concatenate([communities, more[1]])
    communities, numbers = np.divmod(
        _sorted_distinct(communities * num_items + numbers), num_items
    )
    # The offset flattens the top, or one item would be everybody's first like.
    weights = 1 / (rank[numbers] + 2)
    return _Catalogue(
        num_items=num_items,
        items=names[numbers],
        cumulative_weight=np.concatenate([[0], np.cumsum(weights)]),
        bounds=row_offsets(communities, num_communities),
    )


def _further_communities(
    rng: np.random.Generator, num_items: int, num_communities: int, most_topics: int
) -> tuple[np.ndarray, np.ndarray]:
    """Communities beyond the first, as item numbers and communities: [X], [X].

    As often none as each number up to most_topics - 1; some are drawn twice, and so
    are fewer.
    """
    counts = rng.integers(most_topics, size=num_items)
    numbers = np.repeat(np.arange(num_items), counts)
    offsets = rng.integers(1, num_communities, size=len(numbers))
    return numbers, (numbers + offsets) % num_communities


def _taggings(
    catalogue: _Catalogue, offsets: np.ndarray, items: np.ndarray
) -> Taggings:
    """Every user calls what they like by all its communities: likes as sparse rows."""
    num_communities = len(catalogue.bounds) - 1
    users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    tags = np.repeat(np.arange(num_communities), np.diff(catalogue.bounds))
    likes = pl.DataFrame({"item": items.astype(np.int64), "user": users})
    topics = pl.DataFrame({"item": catalogue.items, "tag": tags})
    rows = likes.join(topics, on="item", maintain_order="left_right")
    return Taggings(
        users=rows["user"].to_numpy().astype(np.int32),
        items=rows["item"].to_numpy().astype(np.int32),
        tags=rows["tag"].to_numpy().astype(np.int32),
        num_tags=num_communities,
    )


def _draw_tastes(
    rng: np.random.Generator, num_users: int, num_communities: int
) -> np.ndarray:
    """Home and two visited communities of each user, all different: [U, 3].

    Early communities are home to more users, so their items are popular everywhere.
    """
    size = 1 / (np.arange(num_communities) + 6)
    home = rng.choice(num_communities, num_users, p=size / size.sum())
    first = rng.integers(1, num_communities, size=num_users)
    second = rng.integers(1, num_communities - 1, size=num_users)
    second += second >= first
    return np.stack([home, home + first, home + second], axis=1) % num_communities


def _draw_likes(
    rng: np.random.Generator,
    tastes: np.ndarray,
    catalogue: _Catalogue,
    mean_likes: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Likes as sparse rows: offsets [U + 1] int64 and items [L] int32, ascending."""
    num_users, num_items = len(tastes), catalogue.num_items
    wanted = 5 + rng.gamma(2.0, (mean_likes - 5) / 2, size=num_users) + 0.5
    wanted = np.minimum(wanted.astype(np.int64), num_items)
    counts, items = [], []
    for first in range(0, num_users, _USERS_AT_ONCE):
        some = slice(first, first + _USERS_AT_ONCE)
        likes = _draw_likes_of(rng, tastes[some], wanted[some], catalogue)
        counts.append(np.bincount(likes // num_items, minlength=len(tastes[some])))
        items.append((likes % num_items).astype(np.int32))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return offsets.astype(np.int64), np.concatenate(items)


def _draw_likes_of(
    rng: np.random.Generator,
    tastes: np.ndarray,
    wanted: np.ndarray,
    catalogue: _Catalogue,
) -> np.ndarray:
    """Likes of some users as user * N + item, sorted: tastes [u, 3], wanted [u]."""
    num_items = catalogue.num_items
    likes = np.empty(0, np.int64)  # sorted and free of repeats
    for _ in range(_MAX_REDRAWS):
        missing = wanted - np.bincount(likes // num_items, minlength=len(tastes))
        if not missing.any():
            break
        users = np.repeat(np.arange(len(tastes)), missing)
        drawn = users * num_items + _draw_items(rng, tastes[users], catalogue)
        likes = _sorted_distinct(np.concatenate([likes, drawn]))
    return likes


def _sorted_distinct(keys: np.ndarray) -> np.ndarray:
    # np.unique hashes integers since NumPy 2.3, twenty times slower on 3M keys.
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=-1) != 0]


def _draw_items(
    rng: np.random.Generator, tastes: np.ndarray, catalogue: _Catalogue
) -> np.ndarray:
    """One item per row of tastes: pick a community or all, then by popularity."""
    where = np.searchsorted(np.cumsum(_TASTE_SHARES)[:-1], rng.random(len(tastes)))
    anywhere = where == 3
    community = np.take_along_axis(tastes, np.minimum(where, 2)[:, None], axis=1)[:, 0]
    start = np.where(anywhere, 0, catalogue.bounds[community])
    stop = np.where(anywhere, len(catalogue.items), catalogue.bounds[community + 1])
    low, high = catalogue.cumulative_weight[start], catalogue.cumulative_weight[stop]
    weight = low + rng.random(len(tastes)) * (high - low)
    place = np.searchsorted(catalogue.cumulative_weight, weight, side="right") - 1
    return catalogue.items[np.clip(place, start, stop - 1)]


def _draw_friends(
    rng: np.random.Generator,
    home: np.ndarray,
    mean_friends: float,
    homophily: float,
    friendless_share: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Mutual friend pairs, sorted by target, then source: [E], [E]."""
    num_users = len(home)
    is_social = np.ones(num_users, bool)
    num_friendless = round(friendless_share * num_users)
    is_social[rng.choice(num_users, num_friendless, replace=False)] = False
    social = np.flatnonzero(is_social)
    # Each pair counts for both users, so each names half of the friends.
    num_named = rng.geometric(min(1.0, 2 / mean_friends), size=len(social))
    targets = np.repeat(social, num_named)
    sources = _draw_partners(rng, social, home, targets, homophily)
    both = np.concatenate(
        [targets * num_users + sources, sources * num_users + targets]
    )
    targets, sources = np.divmod(_sorted_distinct(both), num_users)
    proper = targets != sources
    return targets[proper], sources[proper]


def _draw_partners(
    rng: np.random.Generator,
    social: np.ndarray,
    home: np.ndarray,
    targets: np.ndarray,
    homophily: float,
) -> np.ndarray:
    """A social user for each target, from its home community or from anywhere."""
    by_home = social[np.argsort(home[social], kind="stable")]
    bounds = np.searchsorted(home[by_home], np.arange(home.max() + 2))
    at_home = rng.random(len(targets)) < homophily
    start = np.where(at_home, bounds[home[targets]], 0)
    stop = np.where(at_home, bounds[home[targets] + 1], len(social))
    return by_home[rng.integers(start, stop)]
