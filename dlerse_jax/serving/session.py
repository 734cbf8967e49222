"""One person's conversation with a recommender: one encoder step per answer.

What a session holds is a small pytree (`Session.state`). `Session.to_bytes` writes it
with whom it belongs to, and `Recommender.resume` takes the conversation up again, in
this process or in another that has the same agent.
"""

import dataclasses
import io
import json
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.runtime.messages import shorten
from dlerse_jax.serving.explain import Explanation, explain_person
from dlerse_jax.serving.people import Person, bucket, padded
from dlerse_jax.serving.player import SessionState
from dlerse_jax.serving.questions import Recommendation

if TYPE_CHECKING:
    from dlerse_jax.serving.recommender import Recommender

NUM_KEPT = 8  # former states, for undo; older ones are computed again
SMALLEST_LEFT_OUT = 32  # so that a session of the usual length compiles once


class Session:
    """A conversation; `Recommender.session` begins one."""

    def __init__(
        self,
        recommender: "Recommender",
        person: Person,
        key: jax.Array,
        state: SessionState | None = None,
    ) -> None:
        """state: with axes [1], after the person's answers; None: it is computed."""
        self._recommender, self._key, self._person = recommender, key, person
        if state is None:
            state = recommender.start([person], key[None])
        self._states = [state]

    @property
    def person(self) -> Person:
        return self._person

    @property
    def answers(self) -> list[tuple[Any, bool]]:
        """Items answered so far, by id, and whether they were liked."""
        item_id = self._recommender.names.item_id
        pairs = zip(self._person.items, self._person.liked, strict=True)
        return [(item_id(item), liked) for item, liked in pairs]

    @property
    def state(self) -> SessionState:
        """What the session holds: a pytree of arrays; a few kilobytes for most agents,
        some vectors over items and users for dlerse_rank."""
        return jax.tree.map(lambda leaf: leaf[0], self._states[-1])

    def next(self, *, skip: tuple[Any, ...] = ()) -> Recommendation | None:
        """The item to show now, the same until it is answered; None for none left.

        skip: ids of items to pass over this time; nothing is learned from that.
        """
        skipped = [self._recommender.names.item(item) for item in skip]
        return self._recommender.best(self._states[-1], self._person, skipped)

    def explain(self, item: Any, **options: Any) -> Explanation:
        """Why an item is shown now; options as of `Recommender.explain`."""
        return explain_person(self._recommender, item, self._person, **options)

    def answer(self, item: Any, liked: bool) -> None:
        """Tells what the person said of an item, shown or not.

        ValueError for an item that the data set does not have or that was answered, and
        for what is neither True nor False: the text "no" would count as a like.
        """
        if not isinstance(liked, bool | np.bool_):
            raise ValueError(f"liked must be True or False, got {shorten(repr(liked))}")
        names = self._recommender.names
        index = names.item(item)
        if index in self._person.items:
            raise ValueError(
                f"{names.title(index)!r} was answered before; undo() takes the last "
                "answer back"
            )
        person = self._person.with_answer(index, bool(liked))
        self._states = [*self._states[-NUM_KEPT:], self._after(person)]
        self._person = person

    def _after(self, person: Person) -> SessionState:
        recommender = self._recommender
        if len(person.items) > recommender.room(person):
            # The agent holds no more answers: the oldest ones are forgotten.
            return recommender.start([person], self._key[None])
        item = jnp.asarray(person.items[-1:], jnp.int32)
        liked = jnp.asarray(person.liked[-1:], jnp.float32)
        return recommender.player.hear(self._states[-1], item, liked)

    def undo(self) -> None:
        """Takes the last answer back; ValueError where there is none."""
        if not self._person.items:
            raise ValueError("nothing was answered yet: there is nothing to undo")
        self._person = self._person.with_answers(slice(-1))
        self._states.pop()
        if not self._states:
            self._states = [self._recommender.start([self._person], self._key[None])]

    def to_bytes(self) -> bytes:
        """The session as it is now, without its former states."""
        about = {
            "agent": self._recommender.agent.name,
            "person": dataclasses.asdict(self._person),
        }
        leaves = jax.tree.leaves((self._key, self._states[-1]))
        content: dict[str, Any] = {
            f"leaf_{number}": _host(x) for number, x in enumerate(leaves)
        }
        stream = io.BytesIO()
        np.savez_compressed(stream, about=np.array(json.dumps(about)), **content)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, recommender: "Recommender", content: bytes) -> "Session":
        """What `to_bytes` wrote; ValueError for a session with another agent."""
        found, about = _read(content)
        parts: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in about["person"].items()
        }
        person = Person(**parts)
        key = jax.random.key(0)
        like = jax.eval_shape(lambda: (key, recommender.start([person], key[None])))
        wanted, tree = jax.tree.flatten(like)
        stored: list[Any] = [
            found.get(f"leaf_{number}") for number in range(len(found))
        ]
        if about["agent"] != recommender.agent.name or not _fit(stored, wanted):
            raise ValueError(
                f"the session is one with {about['agent']}, of another run than "
                f"{recommender!r}"
            )
        leaves = map(_device, stored, wanted)
        key, state = jax.tree.unflatten(tree, leaves)
        return cls(recommender, person, key, state)


def _read(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a saved session, and what it is about."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        about = json.loads(str(found.pop("about")))
    except (ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"this is no whole session of Session.to_bytes ({error}); begin a new one"
        ) from error
    return found, about


def left_out_items(items: Sequence[int], num_items: int) -> jax.Array:
    """Items to leave out of one person's choice: [1, P], padded with N."""
    return padded([items], num_items, max(SMALLEST_LEFT_OUT, bucket(len(items))))


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _host(leaf: jax.Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _device(array: np.ndarray, like: jax.ShapeDtypeStruct) -> jax.Array:
    leaf = jnp.asarray(array)
    return jax.random.wrap_key_data(leaf) if _is_key(like) else leaf


def _fit(stored: list[np.ndarray], wanted: list[jax.ShapeDtypeStruct]) -> bool:
    def fits(array: np.ndarray | None, like: jax.ShapeDtypeStruct) -> bool:
        if array is None or _is_key(like):  # keys are stored as their words
            return array is not None
        return (array.shape, array.dtype) == (like.shape, like.dtype)

    return len(stored) == len(wanted) and all(map(fits, stored, wanted))
