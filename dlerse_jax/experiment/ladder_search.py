"""A search over a few numbers, each on a ladder of values, in a few rounds of points.

Coordinate descent in which all neighbours of the best point are asked together, as one
batch: a policy's settings interact little, and a ladder needs no derivative. Whoever is
asked answers for every point, so points are compared in pairs.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

STEPS = (2, 1)  # rungs that each round goes up and down
FINALISTS = 4
Point = dict[str, float]
# (points, whether everybody is asked, or the first part of them) -> [points, users]
Ask = Callable[[Sequence[Point], bool], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried:
    """One point of a search: what it is, and its mean over those who were asked."""

    settings: Point
    round: int  # 0: the starts; the last: everybody
    mean: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was chosen, and how it compares with the start on everybody."""

    settings: Point
    mean: float
    mean_of_start: float
    standard_error: float  # of the difference, over users
    num_users: int
    tried: tuple[Tried, ...]


def climb(
    start: Point, others: Sequence[Point], ladders: Mapping[str, Sequence[float]], ask
) -> Outcome:
    """The best point found from a start and other starts, by rungs of the ladders.

    Words without a ladder stay. The start stays where nothing is better than it by a
    standard error on everybody: among fifty points one is always a little better.
    """
    ladders = {word: _with(rungs, start[word]) for word, rungs in ladders.items()}
    search = _Search(ask)
    search.look([start, *others])
    for step in STEPS:
        centre = search.best
        moves = {
            (word, way): _moved(centre, word, way * step, ladders[word])
            for word in ladders
            for way in (-1, 1)
        }
        search.look(list(moves.values()))
        search.look(_joined(search, centre, moves))
    return search.finish(start)


class _Search:
    """Points asked so far; none is asked twice."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._found: dict[tuple, np.ndarray] = {}
        self.tried: list[Tried] = []
        self._round = 0

    def look(self, points: Sequence[Point]) -> None:
        new = {_key(p): p for p in points if _key(p) not in self._found}
        if new:
            rows = self._ask(list(new.values()), False)
            self._found |= dict(zip(new, rows, strict=True))
            self._note(new.values(), rows)

    def _note(self, points, rows: np.ndarray) -> None:
        for point, row in zip(points, rows, strict=True):
            mean = float(row.mean())
            self.tried.append(Tried(settings=point, round=self._round, mean=mean))
        self._round += 1

    def of(self, point: Point) -> np.ndarray:
        return self._found[_key(point)]

    @property
    def best(self) -> Point:
        return max(self.tried, key=lambda tried: tried.mean).settings

    def finish(self, start: Point) -> Outcome:
        """Asks everybody about the best few."""
        ranked = sorted(self.tried, key=lambda tried: -tried.mean)
        points = [tried.settings for tried in ranked if tried.settings != start]
        points = [start, *points[:FINALISTS]]
        rows = self._ask(points, True)
        self._note(points, rows)
        best = int(rows.mean(axis=1).argmax())
        gains = rows - rows[0]
        errors = gains.std(axis=1) / np.sqrt(rows.shape[1])
        chosen = best if gains[best].mean() > errors[best] else 0
        return Outcome(
            settings=points[chosen],
            mean=float(rows[chosen].mean()),
            mean_of_start=float(rows[0].mean()),
            standard_error=float(errors[chosen]),
            num_users=rows.shape[1],
            tried=tuple(self.tried),
        )


def _key(point: Point) -> tuple:
    return tuple(sorted(point.items()))


def _with(rungs: Sequence[float], value: float) -> tuple[float, ...]:
    return tuple(sorted({*rungs, value}))


def _moved(point: Point, word: str, steps: int, rungs: Sequence[float]) -> Point:
    """Another rung for one word; a point that left the ladder is put on it."""
    at = int(np.searchsorted(rungs, point[word]))
    return point | {word: rungs[min(max(at + steps, 0), len(rungs) - 1)]}


def _joined(search: _Search, centre: Point, moves: Mapping[tuple, Point]):
    """The centre with the better move of every word that gains; and with half of them.

    Moves count that gain half a standard error: together they may gain what none of
    them shows alone.
    """
    gains = {}
    for (word, _), point in moves.items():
        gain = search.of(point) - search.of(centre)
        error = gain.std() / np.sqrt(len(gain)) + 1e-12
        if gain.mean() > gains.get(word, (0.5, None))[0] * error:
            gains[word] = (float(gain.mean() / error), point[word])
    ranked = sorted(gains, key=lambda word: -gains[word][0])
    halves = ranked, ranked[: (len(ranked) + 1) // 2]
    return [centre | {word: gains[word][1] for word in half} for half in halves if half]
