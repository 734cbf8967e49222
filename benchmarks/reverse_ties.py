"""Do those who name a user tell what they like? Friends' likes vote, paired by user.

    python benchmarks/reverse_ties.py --data=filmtrust

Items are ranked by the mean feedback of a user's friends, to which popularity counts as
so many more friends, and a pair whose reverse alone is in the data counts r. One JSON
line per number of friends and r: P@32 of validation users of the splits, less that of
the pairs as given, of all and of those who have reverse pairs alone; intervals are of
95 %, over users. Nothing is played, and no answer is read.
"""

import argparse
import json
import logging

import numpy as np
from scipy import sparse
from settings import words

import dlerse_jax as dj
from dlerse_jax.data.feedback import training_mask, visible_likes
from dlerse_jax.evaluation.bootstrap import paired_difference
from dlerse_jax.graph.friends import friend_table

SHARES = (0.0, 0.25, 0.5, 1.0)
PRIORS = (2.0, 4.0, 8.0, 16.0)
CUTOFF = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--path")
    parser.add_argument("--splits", default="0,1,2,3,4")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    found: dict[tuple, list] = {}
    alone = []
    for split in map(int, chosen.splits.split(",")):
        data = dj.load_dataset(chosen.data, chosen.path, split=split)
        given, reverse = pairs_of(data)
        users = data.split.validation
        alone.append((given[users].sum(1) == 0) & (reverse[users].sum(1) > 0))
        for prior in PRIORS:
            for share in SHARES:
                votes = (given + share * reverse)[users]
                row = precision(data, users, votes, prior)
                found.setdefault((prior, share), []).append(row)
    is_alone = np.concatenate(alone)
    for (prior, share), rows in found.items():
        compare(prior, share, np.concatenate(found[prior, 0.0]), rows, is_alone)


def pairs_of(data: dj.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """How much each user names each other, and is named without naming: [U, U] both."""
    given = friend_table(data).weighted_matrix.toarray()
    return given, np.where(given == 0, given.T, 0)


def precision(data: dj.Dataset, users, votes, prior: float) -> np.ndarray:
    """Share of liked items among the first ones, by votes [B, U] of friends: [B]."""
    known, is_training = visible_likes(data), training_mask(data)
    popularity = np.asarray(known.sum(axis=0)).ravel() / is_training.sum()
    votes = votes * is_training
    total = votes @ known.toarray() + prior * popularity
    shown = np.argsort(-total, axis=1, kind="stable")[:, :CUTOFF]
    shape = data.num_users, data.num_items
    ones = np.ones(len(data.liked_items), np.float32)
    likes = sparse.csr_matrix((ones, data.liked_items, data.like_offsets), shape=shape)
    return np.take_along_axis(likes[users].toarray(), shown, axis=1).mean(axis=1)


def compare(prior: float, share: float, given, rows, is_alone) -> None:
    row = np.concatenate(rows)
    line = {"popularity counts as": prior, "r": share, "users": len(row)}
    line |= {"P@32": round(float(row.mean()), 4)}
    for name, who in (("all", slice(None)), ("reverses alone", is_alone)):
        line[name] = words(paired_difference(row[None, who], given[None, who]))
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
