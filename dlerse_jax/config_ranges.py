"""The range of every number of the config: a value outside is refused by its key.

`RANGES` has a line for each key of `defaults.base_config` that holds a number; in
sections that have one for each agent, `*` stands for the agent's name. What depends on
the data or on two keys is checked where it is read.
"""

import dataclasses
import fnmatch
import functools
import math
from collections.abc import Iterable
from typing import Any

from dlerse_jax.runtime.messages import shorten

# What the programs' int32 and float32 hold.
MOST_INT, MOST_FLOAT, LEAST_FLOAT = 2**31 - 1, 3e38, 1.2e-38


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from low to high, with or without the ends; or a few numbers alone."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False  # low itself is outside
    below: bool = False  # high itself is outside
    among: tuple[float, ...] = ()

    def __contains__(self, number: float) -> bool:
        if not math.isfinite(number):
            return False
        if self.among:
            return number in self.among
        over = number > self.low if self.above else number >= self.low
        under = number < self.high if self.below else number <= self.high
        return over and under

    def __str__(self) -> str:
        if self.among:
            return " or ".join(f"{number:g}" for number in self.among)
        if (self.low, self.high, self.above, self.below) == (0, 1, False, False):
            return "between 0 and 1"
        return " and ".join(filter(None, [self._low, self._high])) or "finite"

    @property
    def _low(self) -> str:
        if not math.isfinite(self.low):
            return ""
        return f"above {self.low:,.12g}" if self.above else f"{self.low:,.12g} or more"

    @property
    def _high(self) -> str:
        if not math.isfinite(self.high):
            return ""
        return f"{'below' if self.below else 'at most'} {self.high:,.12g}"

    def expected(self, number: float) -> str:
        """What this number should have been: of a long range, the end it is beyond."""
        if self.high > 1 and math.isfinite(number) and not self.among:
            return self._low if number <= self.low else self._high
        return str(self)


COUNT = Range(1)
ANY_COUNT = Range(0)  # 0 has a meaning of its own, or none
SIZE = Range(1, 65_536)  # of a layer or a factorisation
ANY_SIZE = Range(0, 65_536)
WEIGHT = Range(0)
POSITIVE = Range(0, above=True)
SHARE = Range(0, 1)
SHARE_BELOW_1 = Range(0, 1, below=True)
STEP = Range(0, 1, above=True)  # a share that is more than nothing
SEED = Range(0, MOST_INT - 100_000)  # runs of one program count up from it
PEOPLE = Range(1, 10_000_000)

RANGES = {
    "seed": SEED,
    "num_seeds": Range(1, 10_000),
    "devices.users": ANY_COUNT,
    "devices.catalogue": COUNT,
    "data.split": Range(0, 9),
    "data.min_items_per_user": COUNT,
    "data.min_users_per_item": COUNT,
    "data.min_rating": Range(),
    "data.reverse_weight": STEP,
    "data.synthetic.seed": SEED,
    "data.synthetic.num_users": PEOPLE,
    "data.synthetic.num_items": PEOPLE,
    "data.synthetic.num_communities": COUNT,
    "data.synthetic.most_topics": ANY_COUNT,
    "data.synthetic.mean_likes": Range(5, 100_000),
    "data.synthetic.mean_friends": Range(2, 100_000),
    "data.synthetic.homophily": SHARE,
    "data.synthetic.friendless_share": SHARE,
    "reward.alpha": WEIGHT,
    "reward.miss": Range(among=(-1, 0)),
    "user.satiation": ANY_COUNT,
    "user.most_topics": ANY_COUNT,
    "episode.horizon": COUNT,
    "network.width": SIZE,
    "network.hidden": SIZE,
    "network.hops": Range(0, 100),
    "network.fan_out": ANY_COUNT,
    "network.heads": COUNT,
    "network.dropout": SHARE_BELOW_1,
    "network.factor_regularisation": POSITIVE,
    "network.session_gain": WEIGHT,
    "network.dislike_weight": WEIGHT,
    "plus.prior_weight": POSITIVE,
    "plus.two_hop_weight": WEIGHT,
    "plus.far_hops": Range(2, 4),
    "plus.activity_power": Range(0, 2),
    "plus.rank_weight": Range(0, 2),
    "plus.tag_weight": WEIGHT,
    "plus.min_tag_uses": COUNT,
    "plus.ridge_rank": ANY_SIZE,
    "plus.ridge_power": Range(0, 0.5),
    "plus.ridge_regularisation": POSITIVE,
    "plus.ridge_weight": WEIGHT,
    "plus.scale": POSITIVE,
    "rank.candidates": COUNT,
    "rank.folds": Range(2),
    "rank.episodes": COUNT,
    "rank.epsilon": SHARE,
    "rank.friendless_share": SHARE,
    "rank.width": SIZE,
    "rank.learning_rate": POSITIVE,
    "rank.weight_decay": WEIGHT,
    "rank.answer_rank": ANY_SIZE,
    "rank.batches": COUNT,
    "rank.batch_size": COUNT,
    "pretrain.num_updates": ANY_COUNT,
    "pretrain.learning_rate": POSITIVE,
    "pretrain.steps": COUNT,
    "pretrain.epsilon": SHARE,
    "q_learning.num_updates": ANY_COUNT,
    "q_learning.learning_rate": POSITIVE,
    "q_learning.gamma": SHARE,
    "q_learning.epsilon_first": SHARE,
    "q_learning.epsilon_last": SHARE,
    "q_learning.target_step": STEP,
    "q_learning.supervised_weight": WEIGHT,
    "q_learning.contrastive_weight": WEIGHT,
    "q_learning.act_batch": COUNT,
    "q_learning.batch_size": COUNT,
    "q_learning.replay_capacity": Range(1, 10_000_000),
    "q_learning.mask_least": SHARE,
    "q_learning.mask_most": SHARE,
    "q_learning.block": ANY_COUNT,
    "optimizer.clip_norm": POSITIVE,
    "optimizer.weight_decay": WEIGHT,
    "optimizer.bias_rate": WEIGHT,
    "optimizer.warmup": SHARE,
    "optimizer.average_step": STEP,
    "baseline.*.rank": SIZE,
    "baseline.*.regularisation": POSITIVE,
    "baseline.*.prior_weight": POSITIVE,
    "baseline.*.two_hop_weight": WEIGHT,
    "baseline.*.far_hops": Range(2, 4),
    "baseline.*.activity_power": Range(0, 2),
    "baseline.*.answer_weight": WEIGHT,
    "baseline.*.dislike_weight": WEIGHT,
    "baseline.*.exploration": WEIGHT,
    "baseline.*.rank_weight": Range(0, 2),
    "baseline.*.tag_weight": WEIGHT,
    "baseline.*.min_tag_uses": COUNT,
    "baseline.*.ridge_rank": SIZE,
    "baseline.*.ridge_power": Range(0, 0.5),
    "baseline.*.ridge_regularisation": POSITIVE,
    "baseline.*.ridge_weight": WEIGHT,
    "offline.ncf.width": Range(2, 65_536),
    "offline.*.width": SIZE,
    "offline.*.hidden": SIZE,
    "offline.*.learning_rate": POSITIVE,
    "offline.*.weight_decay": WEIGHT,
    "offline.*.batches": COUNT,
    "offline.*.batch_size": COUNT,
    "offline.*.dropout": SHARE_BELOW_1,
    "offline.*.regularisation": WEIGHT,
    "offline.*.like_weight": WEIGHT,
    "offline.*.dislike_weight": WEIGHT,
    "offline.*.prior_weight": POSITIVE,
    "offline.*.layers": COUNT,
    "offline.*.num_unliked": COUNT,
    "offline.*.num_answers": COUNT,
    "offline.*.num_candidates": COUNT,
    "offline.*.session_length": COUNT,
    "offline.*.score_penalty": WEIGHT,
    "offline.*.beta": WEIGHT,
    "offline.*.annealing": STEP,
    "evaluation.every": COUNT,
    "evaluation.others_per_like": COUNT,
    "evaluation.least_users": SIZE,
    "evaluation.most_users": ANY_COUNT,
    "serve.exploration_seed": Range(-1),
    "tracking.every": COUNT,
    "tracking.checkpoint_every": COUNT,
}


@functools.cache  # every run, and every point of a sweep, asks for the same keys
def range_of(key: str) -> Range | None:
    """The range of a key, by its own line or its section's; None where it has none."""
    if key in RANGES:
        return RANGES[key]
    lines = (line for line in RANGES if fnmatch.fnmatchcase(key, line))
    return next((RANGES[line] for line in lines), None)


def check_ranges(values: Iterable[tuple[str, Any]]) -> None:
    """ValueError for the first (key, number) outside of its range; words are let be."""
    for key, value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        allowed = range_of(key)
        if allowed is not None and value not in allowed:
            expected = allowed.expected(value)
            raise ValueError(f"{key} must be {expected}, got {shorten(str(value))}")
        if 0 < abs(value) < LEAST_FLOAT:
            raise ValueError(f"{key} is {value}, which is 0 in the programs' 32 bits")
        most = MOST_INT if isinstance(value, int) else MOST_FLOAT
        if not abs(value) <= most:
            raise ValueError(f"{key} must be at most {most:,}, got {value}")
