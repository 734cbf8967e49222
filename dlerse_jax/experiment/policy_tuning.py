"""Settings of a policy without learning, from training users alone.

`choose_settings` plays the policy on folds of training users whom it does not know and
climbs ladders of values. Neither validation nor test users are asked. The starts of the
climb have popularity among them, as the limit that every such policy has, so that the
policy is not left below popularity where likes are few.
"""

import time
from collections.abc import Collection, Mapping

from dlerse_jax.environment.simulator import Simulator
from dlerse_jax.experiment.fold_player import FoldPlayer
from dlerse_jax.experiment.ladder_search import Outcome, climb
from dlerse_jax.types import Dataset

WEIGHT = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 1000.0)
RIDGE = (0.5, 1.0, 2.0, 3.5, 6.0, 10.0, 18.0, 32.0, 60.0, 100.0)
EASE = (3.0, 10.0, 30.0, 60.0, 100.0, 175.0, 300.0, 500.0, 900.0, 1600.0, 3000.0, 1e4)
ANSWERS = (0.0, 0.3, 0.6, 1.0, 1.5, 2.2, 3.0, 4.5, 6.5, 10.0)
LADDERS: dict[str, tuple[float, ...]] = {
    "regularisation": EASE,
    "prior_weight": WEIGHT,
    "two_hop_weight": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0),
    "far_hops": (2, 3),
    "activity_power": (0.0, 0.25, 0.5, 0.75, 1.0),
    "answer_weight": ANSWERS,
    "dislike_weight": (0.0, 0.02, 0.05, 0.1, 0.17, 0.25, 0.4, 0.6, 1.0),
    "ridge_regularisation": RIDGE,
    "ridge_weight": (0.0, 0.25, 0.5, 0.75, 1.0, 1.4, 2.0, 3.0),
    "exploration": (0.0, 0.03, 0.06, 0.1, 0.2, 0.4, 0.8),
    "rank_weight": (0.0, 0.7),
    "tag_weight": (0.0, 1.0),
}
SOCIAL = ("prior_weight", "two_hop_weight", "far_hops", "activity_power")
# In place of 0 where that would switch off what an agent could learn more of.
LEAST = 0.03
# Of a regression on the answers, which has a `regularisation` of another scale.
REGRESSIONS = ("mf_mean", "mf_friends", "linucb", "lints")
REGRESSION_LADDERS = {"regularisation": (0.1, 0.3, 0.6, 1.0, 2.0, 3.5, *RIDGE[4:8])}
# Where the climb starts beside the settings at hand; words a policy lacks are left out.
STARTS: tuple[dict[str, float], ...] = (
    {  # popularity
        "prior_weight": 1000.0,
        "two_hop_weight": 0.0,
        "answer_weight": 0.0,
        "ridge_weight": 0.0,
    },
    {  # few likes: the answers are trusted less, popularity more
        "regularisation": 60.0,
        "prior_weight": 16.0,
        "two_hop_weight": 0.1,
        "answer_weight": 0.6,
        "ridge_regularisation": 18.0,
    },
    {  # few likes and few friends: more people are read
        "regularisation": 60.0,
        "prior_weight": 16.0,
        "two_hop_weight": 1.2,
        "far_hops": 3,
        "answer_weight": 0.6,
        "ridge_regularisation": 18.0,
    },
    {  # few likes, and items go together
        "regularisation": 60.0,
        "prior_weight": 8.0,
        "answer_weight": 2.2,
        "ridge_weight": 0.5,
    },
    {  # many likes: the other way
        "regularisation": 900.0,
        "prior_weight": 2.0,
        "answer_weight": 4.5,
        "ridge_regularisation": 3.5,
    },
    {"ridge_weight": 0.0, "two_hop_weight": 0.0},
    {"answer_weight": 0.6, "ridge_weight": 1.4},
)
REGRESSION_STARTS: tuple[dict[str, float], ...] = (
    {"regularisation": 18.0, "prior_weight": 16.0, "exploration": 0.03},
    {"regularisation": 1.0, "prior_weight": 0.5, "exploration": 0.2},
)


def tunable_words(settings: Mapping[str, float], dataset: Dataset) -> tuple[str, ...]:
    """Words of a policy's settings that a search moves; ranks stay, as do weights of
    tags, counts and friends where the data have none, and how much less those count who
    like much, where all like as much."""
    has_counts = len(dataset.like_weights) and dataset.like_weights.min() != (
        dataset.like_weights.max()
    )
    idle = {"tag_weight": dataset.taggings is None, "rank_weight": not has_counts}
    has_friends = len(dataset.friend_targets) > 0
    idle |= dict.fromkeys(SOCIAL, not has_friends)
    num_likes = dataset.num_likes[dataset.split.train]
    idle["activity_power"] |= len(num_likes) == 0 or num_likes.min() == num_likes.max()
    return tuple(w for w in LADDERS if w in settings and not idle.get(w, False))


def choose_settings(
    name: str,
    dataset: Dataset,
    world: Simulator,
    settings: Mapping[str, float],
    *,
    fixed: Collection[str] = (),
    above_zero: Collection[str] = (),
) -> tuple[Outcome, float]:
    """The settings of policy `name` for these data, and the seconds it took.

    settings: all that the policy takes, where the search starts. Words in `fixed` keep
    their value, those in `above_zero` have LEAST where a ladder or a start has 0. The
    world is one of the data set's users, and its horizon that of the precision.
    ValueError where there are fewer than two training users.
    """
    began = time.perf_counter()
    if len(dataset.split.train) < 2:
        raise ValueError(
            f"{dataset.name} has {len(dataset.split.train)} training users, and "
            "settings are chosen on folds of them; give tune=False"
        )
    free = [word for word in tunable_words(settings, dataset) if word not in fixed]
    is_regression = name in REGRESSIONS
    ladders = LADDERS | (REGRESSION_LADDERS if is_regression else {})
    ladders = {word: ladders[word] for word in free}
    starts = [
        {word: start[word] for word in free if word in start}
        for start in (REGRESSION_STARTS if is_regression else STARTS)
    ]
    for word in set(above_zero) & set(free):
        ladders[word] = tuple(max(rung, LEAST) for rung in ladders[word])
        for start in starts:
            start |= {word: max(start[word], LEAST)} if word in start else {}
    player = FoldPlayer(name, dataset, world)
    found = climb(
        dict(settings),
        [dict(settings) | start for start in starts],
        ladders,
        player.precision,
    )
    return found, time.perf_counter() - began
