"""What is shown in place of the greedy choice, and with which chance.

The candidates are the best items by the agent's score. A list is filled from its first
position on; the propensity of a position is the chance of its item there given the
items before it, so that the chance of a whole list is the product.
"""

import dataclasses
import functools

import numpy as np

KINDS = ("none", "epsilon", "softmax")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exploration:
    """`none`; `epsilon:0.1`: with that chance any candidate, each alike;
    `softmax:0.5`: candidates by exp(score / temperature), the temperature in standard
    deviations of the candidates' scores.
    """

    kind: str = "none"
    amount: float = 0.0

    def __str__(self) -> str:
        return self.kind if self.kind == "none" else f"{self.kind}:{self.amount:g}"


def parse_exploration(text: str) -> Exploration:
    """ValueError where the text is none of the three."""
    kind, _, number = text.partition(":")
    problem = f"exploration is {text!r}, expected none, epsilon:0.1 or softmax:0.5"
    if kind not in KINDS or (kind == "none") is not (number == ""):
        raise ValueError(problem)
    if kind == "none":
        return Exploration()
    try:
        amount = float(number)
    except ValueError:
        raise ValueError(problem) from None
    most = 1.0 if kind == "epsilon" else np.inf
    if not 0 < amount <= most or amount == np.inf:
        raise ValueError(f"{problem}; the number is above 0, that of epsilon up to 1")
    return Exploration(kind=kind, amount=amount)


def first_chances(exploration: Exploration, scores: np.ndarray) -> np.ndarray:
    """Chances of the first position. scores [C], descending and finite -> [C]."""
    return conditional_chances(exploration, scores, np.zeros(len(scores), bool))


def conditional_chances(
    exploration: Exploration, scores: np.ndarray, taken: np.ndarray
) -> np.ndarray:
    """Chances of the next position where taken [C] are shown already: [C], sum 1."""
    left = ~taken
    if exploration.kind == "softmax":
        spread = float(np.std(scores)) or 1.0
        logits = np.where(left, scores, -np.inf) / (exploration.amount * spread)
        weights = np.exp(logits - logits.max())
        return weights / weights.sum()
    chances = np.zeros(len(scores))
    chances[np.argmax(left)] = 1.0 - exploration.amount
    return chances + exploration.amount * left / left.sum()


@functools.cache
def _first(k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first k places, certainly."""
    return np.arange(k), np.ones(k)


def draw(
    exploration: Exploration, scores: np.ndarray, k: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A list of k of the candidates -> their places [K], propensities [K].

    scores [C], descending and finite; fewer than k come back where C is smaller.
    """
    k = min(k, len(scores))
    if exploration.kind == "none":
        return _first(k)
    taken = np.zeros(len(scores), bool)
    places, propensities = np.zeros(k, int), np.zeros(k)
    for position in range(k):
        chances = conditional_chances(exploration, scores, taken)
        place = rng.choice(len(scores), p=chances)
        places[position], propensities[position] = place, chances[place]
        taken[place] = True
    return places, propensities
