"""What a compiled call takes of a batch: NumPy's arrays, filled up to a size.

Where a batch says nothing, as nearly all lists of newcomers do of answers, its arrays
are the same as last time, and on the device already.

Letters: B people of a batch and who fills it up, N items, L places of a list.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from dlerse_jax.server.ranking import Question


def table(rows: Sequence[Sequence], padding: int, length: int, size: int) -> Any:
    """Rows of numbers, each filled up with padding: [B, L] int32."""
    found = np.full((size, length), padding, np.int32)
    lengths = [len(row) for row in rows]
    if total := sum(lengths):
        places = np.arange(length) < np.array(lengths)[:, None]
        values = np.fromiter(itertools.chain.from_iterable(rows), np.int32, total)
        found[: len(rows)][places] = values
    return found


def filled(rows: np.ndarray, size: int) -> np.ndarray:
    """Rows and, up to a size, zeros."""
    found = np.zeros((size, *rows.shape[1:]), rows.dtype)
    found[: len(rows)] = rows
    return found


class Choice:
    """Which items may be shown, and which were answered."""

    def __init__(self, num_items: int) -> None:
        self._num_items = num_items
        self._all = functools.cache(lambda size: jnp.ones((size, num_items), bool))
        self._none = functools.cache(
            lambda size, length: jnp.full((size, length), num_items, jnp.int32)
        )

    def allowed(self, questions: Sequence[Question], size: int) -> Any:
        """Which items may be shown to whom: [B, N] bool."""
        rows_hidden = [hidden(question) for question in questions]
        limited = [n for n, one in enumerate(questions) if one.only is not None]
        lengths = [len(row) for row in rows_hidden]
        if not limited and not any(lengths):
            return self._all(size)
        allowed = np.ones((size, self._num_items), bool)
        for place in limited:
            allowed[place] = False
            allowed[place, list(questions[place].only or ())] = True
        rows = np.repeat(np.arange(len(questions)), lengths)
        allowed[rows, list(itertools.chain.from_iterable(rows_hidden))] = False
        return allowed

    def left_out(self, questions: Sequence[Question], size: int, length: int) -> Any:
        """Items that may not be shown to whom: [B, P] int32, padded with N."""
        rows = [hidden(question) for question in questions]
        if not any(rows):
            return self._none(size, length)
        return table(rows, self._num_items, length, size)

    def only(self, questions: Sequence[Question], size: int, length: int) -> Any:
        """Items that alone may be shown, ascending: [B, A] int32, padded with N."""
        rows = [
            sorted({*question.only} - {*hidden(question)}) for question in questions
        ]
        return table(rows, self._num_items, length, size)

    def answered(self, questions: Sequence[Question], size: int, length: int) -> Any:
        """Items answered in the session, the last ones: [B, length] int32."""
        if not length or not any(question.person.items for question in questions):
            return self._none(size, length)
        rows = [question.person.items[-length:] for question in questions]
        return table(rows, self._num_items, length, size)


def hidden(question: Question) -> list[int]:
    """Items that may not be shown to somebody."""
    return [*question.person.not_shown, *question.left_out]
