"""What the server runs on the device: a compiled call for some people, one array back.

A person's row is the session's state, as `packing` has it, then items, scores and
chances of the best items, all bit for bit. One call and one array cost a fraction of
what the parts do. Programs are made for the shapes that come, and kept as they were
traced, so that a server of the same model starts without tracing.

Letters: B people, W words of a state, K ranked items, N items, H and A answers, P past
likes, F friends, G friends of friends.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.runtime.export_cache import exported, keeps_programs
from dlerse_jax.server.packing import StatePacker
from dlerse_jax.serving.player import Answers, Player, SessionState
from dlerse_jax.types import Newcomer


class Best(NamedTuple):
    """Of B people: their sessions and their best items, descending."""

    states: np.ndarray  # [B, W] uint32
    items: np.ndarray  # [B, K] int32
    scores: np.ndarray  # [B, K] float32
    chances: np.ndarray | None  # [B, K] float32


class Program(NamedTuple):
    """A compiled call, which is handed what it reads: each array costs, read or not."""

    call: Any  # (shared, arguments) -> one array
    shared: list  # of what all people share
    arguments: list[int]  # which of the arguments


class Programs:
    """Programs of one player. Only one thread may call them."""

    def __init__(
        self, player: Player, example: SessionState, sizes: tuple[int, int], kept: str
    ) -> None:
        """example: a session's shapes, [1, ...]; sizes: K at first, and of `more`.

        kept: a name that no other model has, under which programs outlive the process;
        "": they do not.
        """
        self._parts, self._packer, self._kept = player.parts, StatePacker(example), kept
        self._sizes, self._has_chances = sizes, player.has_chances
        leaves, self._tree = jax.tree.flatten(self._parts.shared)
        self._leaves = [jnp.asarray(leaf) for leaf in leaves]
        self._programs: dict[Any, Program] = {}

    def __len__(self) -> int:
        """Programs made so far."""
        return len(self._programs)

    def reads(self, place: int, *leaves) -> bool:
        """Whether `begin` looks at all at the argument of a place."""
        return place in self._made(self._begin, leaves).arguments

    def begin(self, *leaves) -> Best:
        """New sessions after some answers. leaves: user indices [B], or places of
        friends [B, F] and their friends [B, G]; past [B, P], items [B, H], liked
        [B, H]; allowed and answered [B, A], as of `Player.start` and `top`.
        """
        return self._call(self._begin, leaves)

    def hear(self, states, items, liked, allowed, answered) -> Best:
        """Sessions after one more answer each: states [B, W], items [B], liked [B]."""
        return self._call(self._hear, (states, items, liked, allowed, answered))

    def more(self, states, allowed, answered) -> Best:
        """The same sessions with the longer list."""
        return self._call(self._more, (states, allowed, answered))

    def among(self, states, items, answered) -> Best:
        """The same with the best of items [B, A] alone, as of `Player.top_among`."""
        return self._call(self._among, (states, items, answered))

    def _call(self, function, leaves: tuple) -> Best:
        shape = function.__name__, *[leaf.shape for leaf in leaves]
        program = self._programs.get(shape)
        if program is None:
            program = self._programs[shape] = self._made(function, leaves)
        read = [leaves[place] for place in program.arguments]
        rows = np.asarray(program.call(program.shared, read))
        size = self._sizes[shape[0] in ("_more", "_among")]
        words = rows.shape[1] - size * (2 + self._has_chances)
        found = rows[:, words:].reshape(len(rows), -1, size)
        return Best(
            states=rows[:, :words],
            items=found[:, 0].view(np.int32),
            scores=found[:, 1].view(np.float32),
            chances=found[:, 2].view(np.float32) if self._has_chances else None,
        )

    def _made(self, function, leaves: tuple) -> Program:
        def of_leaves(shared, leaves):
            return function(jax.tree.unflatten(self._tree, shared), *leaves)

        if not self._kept or not keeps_programs():
            every = list(range(len(leaves)))
            return Program(jax.jit(of_leaves), self._leaves, every)
        identity = f"{self._kept} {function.__name__} {self._sizes}"
        found = exported(of_leaves, (self._leaves, list(leaves)), identity)
        return _of_what_it_reads(found, self._leaves, leaves)

    # --- what is compiled -------------------------------------------------------------

    def _begin(self, shared, *leaves):
        *place, past, items, liked, allowed, answered = leaves
        people: Any = place[0]
        if len(place) == 2:
            people = Newcomer(friends=place[0], two_hops=place[1])
        answers = Answers(past=past, items=items, liked=liked)
        keys = jnp.broadcast_to(jax.random.key(0), allowed.shape[:1])
        sessions = self._parts.start(shared, people, keys, answers)
        return self._packed(shared, sessions, allowed, answered, self._sizes[0])

    def _hear(self, shared, states, items, liked, allowed, answered):
        sessions = self._parts.hear(shared, self._packer.unpack(states), items, liked)
        return self._packed(shared, sessions, allowed, answered, self._sizes[0])

    def _more(self, shared, states, allowed, answered):
        sessions = self._packer.unpack(states)
        return self._packed(shared, sessions, allowed, answered, self._sizes[1])

    def _among(self, shared, states, items, answered):
        sessions = self._packer.unpack(states)
        top = self._parts.top_among
        return self._listed(top, shared, sessions, items, answered, self._sizes[1])

    def _packed(self, shared, sessions, allowed, answered, count: int) -> jax.Array:
        top = self._parts.top
        return self._listed(top, shared, sessions, allowed, answered, count)

    def _listed(self, top, shared, sessions, *asked) -> jax.Array:
        """[B, W + 2 K], or 3 K where the agent has chances."""
        best = top(shared, sessions, *asked)
        words = [
            jax.lax.bitcast_convert_type(part, jnp.uint32)
            for part in best
            if part is not None
        ]
        return jnp.concatenate([self._packer.pack(sessions), *words], axis=1)


def _of_what_it_reads(found, shared: list, leaves: tuple) -> Program:
    """A program of (shared, leaves) as one of those that it does not ignore."""
    every = [*shared, *leaves]
    is_read = np.zeros(len(every), bool)
    is_read[list(found.module_kept_var_idx)] = True
    is_read |= [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in every]
    count = len(shared)
    places = np.flatnonzero(is_read[:count]), np.flatnonzero(is_read[count:])

    def of_read(shared_read, read):
        zeros = functools.cache(jnp.zeros)  # few shapes, of hundreds of arrays
        filled = [
            None if reads else zeros(leaf.shape, leaf.dtype)
            for leaf, reads in zip(every, is_read, strict=True)
        ]
        for place, leaf in zip(places[0], shared_read, strict=True):
            filled[place] = leaf
        for place, leaf in zip(places[1], read, strict=True):
            filled[count + place] = leaf
        return found.call(filled[:count], filled[count:])

    return Program(
        jax.jit(of_read), [shared[place] for place in places[0]], places[1].tolist()
    )
