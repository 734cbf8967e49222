"""Plays a policy without learning on training users whom it does not know.

Training users are cut into the folds that cross-fitting has. For each fold that is
asked, item factors are made without it, and its feedback is masked, as that of test
users is; then every point of a search plays the same users. Points differ in arrays of
the policy's state alone, so one compiled program serves all points and folds.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.agents.classical.sources import Sources, make_sources
from dlerse_jax.agents.registry import CLASSICAL
from dlerse_jax.agents.two_stage.tables import make_folds, without
from dlerse_jax.data.feedback import visible_likes
from dlerse_jax.environment.simulator import Simulator
from dlerse_jax.evaluation.episodes import (
    CELLS_AT_ONCE,
    cells_per_user,
    greedy_rollout,
)
from dlerse_jax.graph.neighbour_means import SocialFeedback
from dlerse_jax.learning.train_loop import seed_keys
from dlerse_jax.linear_models.item_factors import SideInformation, feature_rows
from dlerse_jax.linear_models.spectra import Spectrum, gram_spectrum, nearby_spectrum
from dlerse_jax.runtime.sharding import by_backend
from dlerse_jax.types import Agent, Dataset

NUM_FOLDS, FEWEST_FOLDS = 8, 4  # cut; asked
FEWEST_ASKED, MOST_ASKED = 192, 512  # users of a round
ITEMS_SCORED = 2**23  # for each point of a round, between these two numbers of users
MOST_TOGETHER = 96  # users
AT_ONCE = 2, 16  # points in a call, on a CPU and elsewhere: they share friends' means
SIDE = tuple(SideInformation.__annotations__)
MEANS = ("rank_weight", "far_hops", "activity_power")  # settings that means depend on


class FoldPlayer:
    """One policy on one data set. Points are its settings, all of them, by word."""

    def __init__(self, name: str, dataset: Dataset, world: Simulator) -> None:
        self._make = CLASSICAL[name]
        self._name = name
        self._dataset = dataset
        self._world = world
        folds = make_folds(
            dataset.split.train, min(NUM_FOLDS, len(dataset.split.train))
        )
        some = ITEMS_SCORED // (world.horizon * world.num_items)
        some = min(max(some, FEWEST_ASKED), MOST_ASKED)
        size = min(map(len, folds))
        folds = folds[: max(FEWEST_FOLDS, -(-some // size))]
        draws = np.random.default_rng(0)  # a part of a fold is any of its users
        self._folds = [draws.permutation(fold) for fold in folds]
        self._some = min(size, -(-some // len(self._folds)))
        self._most = min(size, 2 * self._some)
        self._known = [without(dataset, fold) for fold in self._folds]
        self._sources: dict[tuple, Sources] = {}
        self._social: dict[tuple, SocialFeedback] = {}
        self._near: Spectrum | None = None
        self._agent: Agent | None = None  # whose functions serve all points
        self._play: Callable[..., tuple[jax.Array, jax.Array]]
        self._numbers: frozenset[str] = frozenset()  # words that a state has as such
        self._made: dict[int, tuple[dict, Any]] = {}  # the last state of each fold
        self._size = 0  # of a batch; 0: not known yet

    def precision(self, points: Sequence[Mapping], part: int) -> np.ndarray:
        """Each user's precision over the horizon: [points, users of the part]."""
        found = []
        for fold, users in self.asked(part):
            rows = np.zeros((len(points), len(users)), np.float32)
            for places in self._together(points):
                states = [self._state(points[place], fold) for place in places]
                rows[places] = self._played(states, fold, users)[: len(places)]
            found.append(rows)
        return np.concatenate(found or [np.zeros((len(points), 0), np.float32)], axis=1)

    def asked(self, part: int) -> list[tuple[int, np.ndarray]]:
        """Who answers, in the order of `precision`: folds by number, and their users.

        Parts 0 and 1 are as many users of each fold, of one half of the folds and of
        the other; part 2 is more of every fold, and empty where folds are small.
        """
        half, some = -(-len(self._folds) // 2), self._some
        folds = [range(half), range(half, len(self._folds)), range(len(self._folds))]
        users = slice(some, self._most) if part == 2 else slice(some)
        asked = [(number, self._folds[number][users]) for number in folds[part]]
        return [(number, users) for number, users in asked if len(users)]

    def _together(self, points: Sequence[Mapping]) -> list[list[int]]:
        """Places of points that are played in one call: they share who likes what, and
        who is asked."""
        at_once = by_backend(AT_ONCE)
        by_social: dict[tuple, list[int]] = {}
        for place, point in enumerate(points):
            words = tuple(_words(point, MEANS).values())
            by_social.setdefault(words, []).append(place)
        return [
            places[first : first + at_once]
            for places in by_social.values()
            for first in range(0, len(places), at_once)
        ]

    def _state(self, point: Mapping, fold: int):
        """The policy's state: made anew where a number is in its tables."""
        tables = {word: point[word] for word in point if word not in self._numbers}
        made_of, state = self._made.get(fold, (None, None))
        if made_of != tables:
            state = self._made_state(point, fold)
            self._made[fold] = tables, state
        return _with_numbers(state, point)

    def _made_state(self, point: Mapping, fold: int):
        own = dict(point)
        if self._name == "linear_plus":
            own["most_answers"] = self._world.horizon
        agent = self._make(
            self._known[fold], **own, sources=self._sources_of(point, fold)
        )
        state = agent.init(jax.random.key(0))
        if self._agent is None:
            self._agent = dataclasses.replace(agent, seed_axes=_axes(state))
            self._play = greedy_rollout(self._agent)
            self._numbers = _numbers(state)
        return state

    def _sources_of(self, point: Mapping, fold: int) -> Sources:
        """Rows without the fold; means are of everybody, and masked while playing."""
        side, means = _words(point, SIDE), _words(point, MEANS)
        key = (fold, *means.values(), *side.values())
        if key not in self._sources:
            rows = _rows(self._known[fold], side)
            rank = max(point.get("rank", 0), point.get("ridge_rank", 0))
            self._sources[key] = Sources(
                social=self._social_of(means),
                rows=rows,
                spectrum=self._spectrum(rows, side, rank) if rank else None,
            )
        return self._sources[key]

    def _social_of(self, means: Mapping[str, Any]) -> SocialFeedback:
        words = tuple(means.values())
        if words not in self._social:
            social = make_sources(self._dataset, **means).social
            likes = social.likes
            if likes.values is None:  # as weights, so that one program serves all
                ones = jnp.ones(likes.rows.shape, jnp.float32)
                social = social.replace(likes=likes.replace(values=ones))
            self._social[words] = social
        return self._social[words]

    def _spectrum(self, rows, side: Mapping, rank: int) -> Spectrum:
        if self._near is None:  # that of the first point, which the policy itself needs
            self._near = gram_spectrum(_rows(self._dataset, side), rank)
        return nearby_spectrum(rows, rank, self._near)

    def _played(self, states: Sequence, fold: int, asked: np.ndarray) -> np.ndarray:
        """Precision of some users of a fold under each state."""
        states = [*states, *[states[-1]] * (by_backend(AT_ONCE) - len(states))]
        joined = _joined(states)
        roots = seed_keys(jnp.zeros(len(states), jnp.int32))  # the same luck for all
        masked = np.zeros(self._dataset.num_users, bool)
        masked[self._folds[fold]] = True
        size = self._batch_size(joined, roots)
        padded = np.resize(asked, -(-len(asked) // size) * size)
        batches = padded.reshape(-1, size)
        found = [
            self._play(joined, self._world, users, masked, roots, number, None, None)[1]
            for number, users in enumerate(batches)
        ]
        feedback = np.concatenate(jax.device_get(found), axis=1)
        return feedback[:, : len(asked)].mean(axis=-1)

    def _batch_size(self, joined, roots) -> int:
        """One size for every call: what fits, in as few batches as that takes."""
        if not self._size and self._agent:
            cells = cells_per_user(self._agent, joined, self._world, roots)
            most = CELLS_AT_ONCE // (cells * len(roots))
            most = min(max(most, 1), MOST_TOGETHER)
            self._size = -(-self._some // -(-self._some // most))
        return self._size


def _words(point: Mapping, words: Sequence[str]) -> dict[str, Any]:
    """Some settings of a point, those that its policy has."""
    return {word: point[word] for word in words if word in point}


def _rows(dataset: Dataset, side: Mapping):
    return feature_rows(visible_likes(dataset), dataset, **side)[1]


def _axes(state: Any) -> Any:
    """As `Agent.seed_axes`: points share who likes what, and nothing else."""
    if isinstance(state, SocialFeedback):
        return None
    if not dataclasses.is_dataclass(state) or isinstance(state, type):
        return 0
    fields = {
        each.name: getattr(state, each.name) for each in dataclasses.fields(state)
    }
    return dataclasses.replace(state, **{k: _axes(x) for k, x in fields.items()})


def _numbers(state: Any) -> frozenset[str]:
    """Names of a state's fields that are one number; those of friends' means are not,
    for the means depend on them."""
    found: frozenset[str] = frozenset()
    for each in dataclasses.fields(state):
        value = getattr(state, each.name)
        if isinstance(value, SocialFeedback):
            continue
        if dataclasses.is_dataclass(value):
            found |= _numbers(value)
        elif np.ndim(value) == 0:
            found |= {each.name}
    return found


def _with_numbers(state: Any, point: Mapping) -> Any:
    """The state with the numbers of another point, which are not in its tables."""
    changes = {}
    for each in dataclasses.fields(state):
        value = getattr(state, each.name)
        if isinstance(value, SocialFeedback):
            continue
        if dataclasses.is_dataclass(value):
            changes[each.name] = _with_numbers(value, point)
        elif each.name in point and np.ndim(value) == 0:
            changes[each.name] = np.float32(point[each.name])
    return dataclasses.replace(state, **changes)


def _joined(states: Sequence[Any]) -> Any:
    """The states of several points as one, with an axis for them in front."""
    first = states[0]
    if isinstance(first, SocialFeedback):
        return first
    if not dataclasses.is_dataclass(first) or isinstance(first, type):
        return np.stack([np.asarray(state) for state in states])
    names = [each.name for each in dataclasses.fields(first)]
    joined = {name: _joined([getattr(s, name) for s in states]) for name in names}
    return dataclasses.replace(first, **joined)
