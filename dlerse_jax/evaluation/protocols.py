"""Protocols: on whom agents are evaluated, what is known of them, what may be shown.

A data set and the words of `config.evaluation` make a `Task`, the same for every agent
and for every run of a split. It is made of plain arrays on the host and knows no
agent. docs/protocols.md says it in prose.
"""

import dataclasses

import numpy as np

from dlerse_jax.types import Dataset, Split, Taggings

PROTOCOLS = ("cold", "cold_candidates", "warm", "ranking")
RANKINGS = ("cold", "warm")
HELD_OUT = 0.2  # share of a user's likes that `warm` is evaluated on
HOLD_OUT_STREAM = 80  # keeps this draw apart from that of the folds
ASKED_STREAM = 81


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What every agent of a table is evaluated on, and all that it may know before."""

    protocol: str
    known: Dataset  # what agents are built on and learn from
    answers: Dataset  # the same users; what they like when evaluated on
    users: np.ndarray  # [B] int32 evaluated on in the end
    validation: np.ndarray  # [V] int32 evaluated on while training
    is_ranking: bool = False  # one ranking of the catalogue, not an episode
    split: int = 0
    others_per_like: int = 0  # r of the candidate lists; 0: the whole catalogue
    past: np.ndarray | None = None  # [L of known] int32 rows of likes, as primed

    def candidates(self, users: np.ndarray) -> np.ndarray | None:
        """What each user may be shown, padded with N: [B, C] int32; None for all."""
        if not self.others_per_like:
            return None
        return candidate_lists(
            self.answers, users, split=self.split, others_per_like=self.others_per_like
        )

    def history(self, users: np.ndarray) -> np.ndarray | None:
        """What each user liked before, in order, padded with N: [B, H], or None."""
        if self.past is None:
            return None
        offsets = self.known.like_offsets
        past = [self.past[offsets[user] : offsets[user + 1]] for user in users]
        return _padded(past, self.known.num_items, max(map(len, past), default=0))


def make_task(
    protocol: str,
    dataset: Dataset,
    *,
    split: int,
    others_per_like: int,
    ranking_of: str,
    most_users: int,
) -> Task:
    """The task of a protocol; `split` is the number the data set was split by.

    others_per_like is read by `cold_candidates` alone, ranking_of ("cold" or "warm") by
    `ranking` alone. Of more than `most_users` a random draw is evaluated on (0:
    everybody). Raises ValueError on a word or number that is not allowed.
    """
    _check(protocol, others_per_like, ranking_of, most_users)
    is_ranking = protocol == "ranking"
    if (ranking_of if is_ranking else protocol) == "warm":
        task = _warm_task(protocol, dataset, split=split, is_ranking=is_ranking)
    else:
        task = _cold_task(
            protocol,
            dataset,
            split=split,
            is_ranking=is_ranking,
            others_per_like=others_per_like if protocol == "cold_candidates" else 0,
        )
    return dataclasses.replace(
        task,
        users=_some_of(task.users, most_users, split),
        validation=_some_of(task.validation, most_users, split),
    )


def _some_of(users: np.ndarray, most: int, split: int) -> np.ndarray:
    """At most `most` users, every set equally likely, ascending; all for 0."""
    if not most or most >= len(users):
        return users
    draws = np.random.default_rng([split, ASKED_STREAM])
    return np.sort(draws.choice(users, most, replace=False))


def _cold_task(
    protocol: str,
    dataset: Dataset,
    *,
    split: int,
    is_ranking: bool,
    others_per_like: int,
) -> Task:
    """Test users in the end, validation users while training; both are new."""
    return Task(
        protocol=protocol,
        known=dataset,
        answers=dataset,
        users=dataset.split.test,
        validation=dataset.split.validation,
        is_ranking=is_ranking,
        split=split,
        others_per_like=others_per_like,
    )


def protocol_words(protocol: str, *, others_per_like: int, ranking_of: str) -> str:
    """The protocol with the one setting it reads: "cold_candidates, r = 3"."""
    if protocol == "cold_candidates":
        return f"{protocol}, r = {others_per_like}"
    return f"{protocol} of {ranking_of}" if protocol == "ranking" else protocol


def candidate_lists(
    dataset: Dataset, users: np.ndarray, *, split: int, others_per_like: int
) -> np.ndarray:
    """Each user's likes and `others_per_like` random others per like: [B, C] int32.

    Lists ascend, so that ties among scores gain nothing, and are padded with N to the
    next power of two above the longest, N at most: other splits then find this program
    compiled. A user whose likes leave too few others gets all there are; one without
    likes gets an empty list. A list depends on the split, on r and on the user alone.
    """
    catalogue = np.arange(dataset.num_items, dtype=np.int32)
    lists = []
    for user in users:
        liked = _likes_of(dataset, user)
        others = np.setdiff1d(catalogue, liked, assume_unique=True)
        size = min(others_per_like * len(liked), len(others))
        draws = np.random.default_rng([split, others_per_like, user])
        drawn = draws.choice(others, size, replace=False)
        lists.append(np.sort(np.concatenate([liked, drawn])))
    longest = max(map(len, lists), default=0)
    length = min(1 << (longest - 1).bit_length(), dataset.num_items) if longest else 0
    return _padded(lists, dataset.num_items, length)


def hold_out(
    dataset: Dataset, *, split: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Splits every user's likes 80/20 -> known, held and past: indices of likes.

    They point into `dataset.liked_items`. known and held ascend; past is known with
    each user's likes in random order, for the files do not say which came first. A
    fifth of the likes is held out, rounded, at least one; a user with a single like
    keeps it.
    """
    counts = dataset.num_likes
    users = np.repeat(np.arange(dataset.num_users), counts)
    draws = np.random.default_rng([split, HOLD_OUT_STREAM]).random(len(users))
    shuffled = np.lexsort([draws, users])  # every user's likes stay together
    places = np.arange(len(users)) - dataset.like_offsets[users]
    num_held = np.where(counts > 1, np.maximum(1, np.rint(counts * HELD_OUT)), 0)
    is_held = places < num_held[users]
    past = shuffled[~is_held]
    return np.sort(past), np.sort(shuffled[is_held]), past


def liked_mask(dataset: Dataset, users: np.ndarray) -> np.ndarray:
    """Which items each user likes: [B, N] bool."""
    mask = np.zeros((len(users), dataset.num_items), bool)
    for row, user in zip(mask, users, strict=True):
        row[_likes_of(dataset, user)] = True
    return mask


def _warm_task(
    protocol: str, dataset: Dataset, *, split: int, is_ranking: bool
) -> Task:
    """Who has known likes is a training user; validation users are not evaluated on.

    Validation users answer with held-out likes while checkpoints are selected, so in
    the end the others are evaluated on.
    """
    known, held, past = hold_out(dataset, split=split)
    nobody = np.zeros(0, np.int32)
    everybody = np.arange(dataset.num_known_users, dtype=np.int32)
    training = Split(train=everybody, validation=nobody, test=nobody)
    answers = _only_likes(dataset, held)
    has_answers = answers.num_likes > 0
    validation = dataset.split.validation
    asked = np.setdiff1d(everybody[has_answers[everybody]], validation)
    return Task(
        protocol=protocol,
        known=dataclasses.replace(_only_likes(dataset, known), split=training),
        answers=answers,
        users=asked,
        validation=validation[has_answers[validation]],
        is_ranking=is_ranking,
        split=split,
        past=dataset.liked_items[past],
    )


def _only_likes(dataset: Dataset, rows: np.ndarray) -> Dataset:
    """The data set with these likes alone: rows [<=L] ascending.

    A word given to an item tells as much as a like, so it stays with its like alone.
    """
    offsets = np.searchsorted(rows, dataset.like_offsets)
    users = np.repeat(np.arange(dataset.num_users), dataset.num_likes)
    kept = users[rows] * dataset.num_items + dataset.liked_items[rows]
    return dataclasses.replace(
        dataset,
        taggings=dataset.taggings
        and _taggings_of(dataset.taggings, pairs=kept, num_items=dataset.num_items),
        like_offsets=offsets.astype(np.int64),
        liked_items=dataset.liked_items[rows],
        like_weights=dataset.like_weights[rows],
    )


def _taggings_of(taggings: Taggings, *, pairs: np.ndarray, num_items: int) -> Taggings:
    """Taggings of these pairs, user * N + item."""
    own_pairs = taggings.users.astype(np.int64) * num_items + taggings.items
    is_kept = np.isin(own_pairs, pairs)
    return Taggings(
        users=taggings.users[is_kept],
        items=taggings.items[is_kept],
        tags=taggings.tags[is_kept],
        num_tags=taggings.num_tags,
    )


def _likes_of(dataset: Dataset, user: int) -> np.ndarray:
    first, last = dataset.like_offsets[user : user + 2]
    return dataset.liked_items[first:last]


def _padded(rows: list[np.ndarray], padding: int, length: int) -> np.ndarray:
    """Rows as one table, each filled up to `length`: [B, length] int32."""
    table = np.full((len(rows), length), padding, np.int32)
    for target, row in zip(table, rows, strict=True):
        target[: len(row)] = row
    return table


def _check(
    protocol: str, others_per_like: int, ranking_of: str, most_users: int
) -> None:
    for key, word, words in (
        ("protocol", protocol, PROTOCOLS),
        ("ranking_of", ranking_of, RANKINGS),
    ):
        if word not in words:
            raise ValueError(
                f"evaluation.{key} is {word!r}, expected one of {', '.join(words)}"
            )
    if others_per_like < 1:
        raise ValueError(
            f"evaluation.others_per_like must be 1 or more, got {others_per_like}"
        )
    if most_users < 0:
        raise ValueError(
            f"evaluation.most_users must be 0 (all) or more, got {most_users}"
        )
