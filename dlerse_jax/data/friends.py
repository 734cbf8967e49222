"""Friend pairs in the file's ids to pairs of user indices, and who is in them alone.

People who like nothing yet but name friends who do are whom this package is for: they
become users, behind all others. Everybody else who is unknown goes with their pairs.
"""

import numpy as np
import polars as pl

# A newcomer can be served if somebody within so many hops has likes.
MOST_HOPS = 3
_MOST_LOST = 0.1  # share of pairs lost in the join above which that is a warning

Notes = tuple[str, ...]


def add_newcomers(
    pairs: pl.DataFrame, users: pl.Series, known: pl.Series
) -> tuple[pl.Series, Notes]:
    """Ids of newcomers (in the friends file alone), ascending, and notes.

    pairs: target and source ids, reversed ones included. users: ids that have likes
    after the filters. known: all ids of the interactions; who fell to a filter stays
    out. A newcomer names somebody with likes, or another newcomer, within three hops.
    """
    open_pairs = pairs.filter(~pl.col("target").is_in(known.implode()))
    found = users.head(0)
    reached = users
    for _ in range(MOST_HOPS):
        if open_pairs.is_empty():
            break
        is_next = pl.col("source").is_in(reached.implode())
        reached = open_pairs.filter(is_next)["target"].unique()
        found = pl.concat([found, reached.alias(found.name)])
        open_pairs = open_pairs.filter(~pl.col("target").is_in(reached.implode()))
    note = (
        f"{len(found)} people are in the friends file alone: users without likes, "
        "in no part of the split"
    )
    return found.sort(), (note,) if len(found) else ()


def index_friends(
    pairs: pl.DataFrame, users: pl.DataFrame, known: pl.Series
) -> tuple[pl.DataFrame, Notes]:
    """Friend pairs as user indices `target`, `source`, sorted, each once, no loops.

    A repeated pair has the highest of its weights; pairs without weights stay so.
    pairs: target and source ids; users: user id and index u; known: all ids of the
    interactions, so that strangers are not taken for people whom a filter dropped.
    """
    more = _weight_columns(pairs)
    inside = (
        pairs.join(users, left_on="target", right_on="user", how="inner")
        .select("source", *more, target="u")
        .join(users, left_on="source", right_on="user", how="inner")
        .select("target", *more, source="u")
    )
    proper = inside.filter(pl.col("target") != pl.col("source"))
    distinct = proper.group_by("target", "source").agg(pl.col(more).max())
    num_lost = pairs.height - inside.height
    dropped = {
        "friend pairs with a user outside the data": num_lost,
        "friend pairs of a user with themselves": inside.height - proper.height,
        "repeated friend pairs": proper.height - distinct.height,
    }
    notes = [f"dropped {count} {what}" for what, count in dropped.items() if count]
    warning = _join_warning(pairs, known, num_lost)
    return distinct.sort("target", "source"), (*notes, *warning)


def _weight_columns(pairs: pl.DataFrame) -> list[str]:
    return ["weight"] if "weight" in pairs.columns else []


def without_pairs_of_no_weight(pairs: pl.DataFrame) -> tuple[pl.DataFrame, Notes]:
    """Pairs that count for something, and how many do not."""
    if "weight" not in pairs.columns:
        return pairs, ()
    kept = pairs.filter(pl.col("weight") > 0)
    num_lost = pairs.height - kept.height
    note = f"dropped {num_lost} friend pairs of weight 0"
    return kept, (note,) if num_lost else ()


def scaled_weights(friends: pl.DataFrame) -> np.ndarray | None:
    """Weights of pairs with a mean of 1: [E] float32; None where all are alike.

    So popularity, which counts as so many friends, counts the same whatever the scale.
    """
    if "weight" not in friends.columns or friends["weight"].n_unique() < 2:
        return None
    weights = friends["weight"].to_numpy().astype(np.float64)
    return (weights / weights.mean()).astype(np.float32)


def with_reverse(
    pairs: pl.DataFrame, reverse_weight: float
) -> tuple[pl.DataFrame, Notes]:
    """Each pair both ways, and how many that adds; as they are for a weight of 0.

    A pair keeps its own weight, and one that is added has so much of its reverse's.
    """
    if not reverse_weight:
        return pairs, ()
    if reverse_weight != 1 and "weight" not in pairs.columns:
        pairs = pairs.with_columns(weight=pl.lit(1.0))
    more = _weight_columns(pairs)
    pairs = pairs.group_by("target", "source").agg(pl.col(more).max().cast(pl.Float64))
    counted = [pl.col(word) * reverse_weight for word in more]
    reverse = pairs.select(*counted, target="source", source="target")
    added = reverse.join(pairs, on=["target", "source"], how="anti")
    both = pl.concat([pairs, added.select(pairs.columns)])
    return both, (f"added {both.height - pairs.height} reverse friend pairs",)


def _join_warning(pairs: pl.DataFrame, known: pl.Series, num_lost: int) -> Notes:
    """A line where more than a tenth of the pairs name ids that no interaction has."""
    is_known = [pl.col(end).is_in(known.implode()) for end in ("target", "source")]
    unknown = pairs.filter(~(is_known[0] & is_known[1]).fill_null(False))
    if unknown.height <= _MOST_LOST * pairs.height:
        return ()
    shown = ", ".join(
        "one beyond 64 bits" if end is None else f"{end}" for end in unknown.row(0)
    )
    return (
        f"warning: {unknown.height} of {pairs.height} friend pairs have an id that no "
        f"interaction has (first: {shown}), and {num_lost} pairs are "
        "dropped; are ids written alike in both files?",
    )
