"""Shapes of compiled calls: few, so that all of them are there before anybody asks."""

import dataclasses
from collections.abc import Sequence

from dlerse_jax.server.batch_arrays import hidden
from dlerse_jax.server.ranking import Question
from dlerse_jax.serving.people import bucket

LIST_SIZES = (32, 128)  # ranked items that come back; the smaller one if it is enough
SIZES = (1, 4, 8, 16, 64)  # people of a batch of a common shape
RARE_SIZES = (1, 4, 16)  # and of another, so that fewer programs are made
FRIENDS = (8, 32, 1024)  # places for friends, in a neighbourhood of each kind
TWO_HOPS = (128, 256, 32_768)  # and for theirs, no more than there are users
HEARD = (0, 32, 128, 512, 2048)  # places for answers, and for likes before them
ANSWERED = (32, 512)  # places for answered items, which chances of a like leave out
LEFT_OUT = (64, 2048)  # of a large catalogue: places for items not to be shown,
ONLY = (256, 10_240)  # and for items that alone may be


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """Questions of one form are answered together."""

    kind: str  # "hear": one more answer; "user" or "new": from the beginning
    heard: int = 0  # places for answers
    friends: int = 0  # places for friends of somebody new,
    two_hops: int = 0  # and for theirs
    answered: int = 0  # places for answered items, where there are chances of a like
    left_out: int = 0  # of a large catalogue: places for items not to be shown,
    only: int = 0  # and for items that alone may be; 0: all
    ranked: int = LIST_SIZES[0]

    @property
    def begins_without_list(self) -> bool:
        """Whether the list is made by a call of its own, for it is of a rare kind."""
        return self.only > 0 or self.left_out > LEFT_OUT[0]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of its batches."""
        has_many = self.friends > FRIENDS[1] or self.answered > ANSWERED[0]
        if self.heard or has_many or self.begins_without_list:
            return RARE_SIZES
        return SIZES


def all_limits(form: Form) -> list[Form]:
    """A form for a large catalogue, with each size of what may be shown.

    Sizes beyond the first are those of a call of its own, the same for every form.
    """
    found = dataclasses.replace(form, left_out=LEFT_OUT[0])
    if form.kind != "user" or form.heard:
        return [found]
    many = [dataclasses.replace(found, left_out=size) for size in LEFT_OUT]
    return many + [dataclasses.replace(found, only=size) for size in ONLY]


def with_room(form: Form, question: Question) -> Form:
    """The form with as many places as a question of a large catalogue needs."""
    if question.only is not None:
        only = fitting(ONLY, len(question.only))
        return dataclasses.replace(form, left_out=LEFT_OUT[0], only=only)
    count = len(hidden(question))
    left_out = fitting(LEFT_OUT, count) if count <= LEFT_OUT[-1] else bucket(count)
    return dataclasses.replace(form, left_out=left_out)


def fitting(sizes: Sequence[int], length: int) -> int:
    """The first size that is enough; the last where none is."""
    return next((size for size in sizes if size >= length), sizes[-1])
