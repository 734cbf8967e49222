"""What the service asks a model and gets back: plain values, no JAX.

Users and items are indices of the model's own data set; a question names its model, so
that one asked before a reload is answered by the model it was asked of.
"""

import dataclasses
from typing import Any, Protocol

import numpy as np

from dlerse_jax.server.store import Id


@dataclasses.dataclass(slots=True, kw_only=True)  # a frozen one costs thrice as much
class Question:
    """For whom, what not, and how many."""

    model: "Model"
    person: Any  # serving.people.Person
    left_out: tuple[int, ...] = ()  # beside what the person answered or liked before
    only: tuple[int, ...] | None = None
    count: int = 1  # ranked items wanted
    # Of a session: its state before the last answer of `person`; None: from the start.
    state: Any = None
    keep_state: bool = False


@dataclasses.dataclass(slots=True, kw_only=True)
class Ranked:
    """The best items, descending; fewer than asked for where fewer are left."""

    items: np.ndarray  # [C] int32
    scores: np.ndarray  # [C] float32
    chances: np.ndarray | None  # [C] of a like
    state: Any = None  # after the last answer, where it was asked for


@dataclasses.dataclass(slots=True, kw_only=True)
class Named:
    """A person by index, and the ids that the model does not know."""

    person: Any
    num_friends: int  # that the model knows
    unknown_friends: list[Id]
    unknown_items: list[Id]


class Model(Protocol):
    """A trained agent that answers batches."""

    digest: str
    name: str
    num_users: int
    num_items: int
    is_quick: bool  # a batch takes so little that the event loop may wait for it

    def user(self, user: object) -> int | None:
        """Index of a user id; None for nobody, and for who is forgotten."""

    def item(self, item: object) -> int | None: ...

    def item_id(self, item: int) -> Id: ...

    def title(self, item: int) -> str: ...

    def person(
        self,
        *,
        user: Id | None,
        friends: tuple[Id, ...] | None,
        added: tuple[str, ...] = (),
        answers: tuple[tuple[Id, bool], ...] = (),
    ) -> Named:
        """added: friends beside those that are given, or that the data has."""

    def rank(self, questions: list[Question]) -> list[Ranked]:
        """Answers a batch, all asked of this model."""

    def explain(self, person: Any, item: int, named: tuple[Id, ...] = ()) -> list[str]:
        """Sentences; of friends they name those alone who are `named`."""

    def similar(self, item: int, k: int) -> list[tuple[int, float]]:
        """Items whose likers are the same, with their cosine."""

    def search_users(self, prefix: str, most: int) -> list[Id]:
        """Ids of users that begin so."""

    def hide(self, is_forgotten: Any) -> None:
        """is_forgotten(user id) -> bool: these users count as unknown from now on."""
