"""A search over a few numbers, each on a ladder of values, in a few rounds of points.

Coordinate descent in which all neighbours of the best point are asked together, as one
batch: a policy's settings interact little, and a ladder needs no derivative. Users
answer in parts, and a point that is behind after the first part is left: most are.
Points are compared in pairs, on the users who answered for both.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

STEPS = (2, 1)  # rungs that each round goes up and down
FINALISTS = 4
PARTS = 3  # of the users: the first two answer while climbing, the last at the end
CLEAR = 4.0  # standard errors on everybody that no choice among so many points fakes
Point = dict[str, float]
# (points, number of the part) -> a precision per point and user of the part, [P, B]
Ask = Callable[[Sequence[Point], int], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried:
    """One point of a search: what it is, and its mean over those who were asked."""

    settings: Point
    round: int  # in which it was asked first; 0: the starts
    mean: float
    num_users: int  # a part of them where it was behind after it


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
    standard error on everybody, and again on those alone who are asked last: among
    forty points one is always a little better on those who picked it. Those may be too
    few to see it; four standard errors on everybody are enough without them. Two
    standard errors where nobody is left to be asked.
    """
    ladders = {word: _with(rungs, start[word]) for word, rungs in ladders.items()}
    search = _Search(ask)
    search.look([start, *others], start)
    sides: dict[str, tuple[int, ...]] = dict.fromkeys(ladders, (-1, 1))
    for step in STEPS:
        centre = search.best
        moves = {
            (word, way): _moved(centre, word, way * step, ladders[word])
            for word in ladders
            for way in sides[word]
        }
        search.look(list(moves.values()), centre)
        search.look(_joined(search, centre, moves), centre)
        sides = {word: _sides(search, centre, moves, word) for word in ladders}
    return search.finish(start)


def _sides(search, centre: Point, moves: Mapping[tuple, Point], word: str):
    """Where a word is looked at next: both sides of a value that has moved, else the
    side that was the better one further out."""
    ways = [way for way in (-1, 1) if (word, way) in moves]
    if search.best[word] != centre[word] or len(ways) < 2:
        return tuple(ways)
    return (max(ways, key=lambda way: search.first_mean(moves[word, way])),)


@dataclasses.dataclass(kw_only=True)
class _Asked:
    """What is known of a point: a row of precisions for each part that answered."""

    settings: Point
    round: int
    rows: list[np.ndarray]

    @property
    def row(self) -> np.ndarray:
        return np.concatenate(self.rows)

    @property
    def mean(self) -> float:
        return float(self.row.mean())


class _Search:
    """Points asked so far; nobody is asked twice about one."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._found: dict[tuple, _Asked] = {}
        self._round = 0

    def look(self, points: Sequence[Point], centre: Point) -> None:
        """Asks the first part about new points, and the second about those that are
        ahead of the centre after it; about the centre in any case.
        """
        new = {_key(p): p for p in points if _key(p) not in self._found}
        for key, point in new.items():
            self._found[key] = _Asked(settings=point, round=self._round, rows=[])
        fresh = [self._found[key] for key in new]
        self._answer(fresh, 0)
        level = self.first_mean(centre)
        ahead = [
            asked for asked in fresh if asked.mean > level or asked.settings == centre
        ]
        self._answer(ahead, 1)
        self._round += 1

    def _answer(self, points: Sequence[_Asked], part: int) -> None:
        if points:
            rows = self._ask([asked.settings for asked in points], part)
            for asked, row in zip(points, rows, strict=True):
                asked.rows.append(row)

    def gains(self, point: Point, centre: Point) -> np.ndarray | None:
        """Paired differences over users; None where the point was behind early."""
        asked = self._found[_key(point)]
        if len(asked.rows) < 2:
            return None
        return asked.row - self._found[_key(centre)].row

    def first_mean(self, point: Point) -> float:
        """Mean over the first part, whom every point is asked."""
        return float(self._found[_key(point)].rows[0].mean())

    @property
    def _whole(self) -> list[_Asked]:
        return [asked for asked in self._found.values() if len(asked.rows) > 1]

    @property
    def best(self) -> Point:
        return max(self._whole, key=lambda asked: asked.mean).settings

    def finish(self, start: Point) -> Outcome:
        """Asks the rest about the best few."""
        first = self._found[_key(start)]
        ranked = sorted(self._whole, key=lambda asked: -asked.mean)
        finalists = [first, *[x for x in ranked if x is not first][:FINALISTS]]
        self._answer(finalists, 2)
        rows = np.stack([asked.row for asked in finalists])
        best = int(rows.mean(axis=1).argmax())
        gains = rows[best] - rows[0]
        fresh = gains[len(gains) - len(first.rows[2]) :]  # who have not picked it
        needed = 2.0
        if len(fresh):
            needed = 1.0 if fresh.mean() > _error(fresh) else CLEAR
        is_better = gains.mean() > needed * _error(gains)
        chosen = best if is_better else 0
        return Outcome(
            settings=finalists[chosen].settings,
            mean=float(rows[chosen].mean()),
            mean_of_start=float(rows[0].mean()),
            standard_error=_error(rows[chosen] - rows[0]),
            num_users=rows.shape[1],
            tried=tuple(_tried(asked) for asked in self._found.values()),
        )


def _tried(asked: _Asked) -> Tried:
    return Tried(
        settings=asked.settings,
        round=asked.round,
        mean=asked.mean,
        num_users=len(asked.row),
    )


def _error(gains: np.ndarray) -> float:
    """Standard error of the mean of differences [B]; 0 of nobody's."""
    return float(gains.std() / np.sqrt(len(gains))) if len(gains) else 0.0


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
        gain = search.gains(point, centre)
        if gain is None:
            continue
        error = _error(gain) + 1e-12
        if gain.mean() > gains.get(word, (0.5, None))[0] * error:
            gains[word] = (float(gain.mean() / error), point[word])
    ranked = sorted(gains, key=lambda word: -gains[word][0])
    halves = ranked, ranked[: (len(ranked) + 1) // 2]
    return [centre | {word: gains[word][1] for word in half} for half in halves if half]
