"""What the server runs on the device: a compiled call for some people, one array back.

A person's row is the session's state, as `packing` has it, then items, scores and
chances of the best items, all bit for bit. One call and one array cost a fraction of
what the parts do. Programs are made for the shapes that come, and kept as they were
traced, so that a server of the same model starts without tracing.

Letters: B people, W words of a state, K ranked items, N items, H answers.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.runtime.export_cache import exported_program
from dlerse_jax.server.packing import StatePacker
from dlerse_jax.serving.player import Answers, Player, SessionState


class Best(NamedTuple):
    """Of B people: their sessions and their best items, descending."""

    states: np.ndarray  # [B, W] uint32
    items: np.ndarray  # [B, K] int32
    scores: np.ndarray  # [B, K] float32
    chances: np.ndarray | None  # [B, K] float32


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
        self._leaves, self._tree = jax.tree.flatten(self._parts.shared)
        self._leaves = [jnp.asarray(leaf) for leaf in self._leaves]
        self._programs: dict[Any, Any] = {}

    def __len__(self) -> int:
        """Programs made so far."""
        return len(self._programs)

    def begin(self, people: Any, answers: Answers, allowed, answered) -> Best:
        """New sessions after some answers: arguments as of `Player.start` and `top`."""
        return self._call(self._begin, people, answers, allowed, answered)

    def hear(self, states, items, liked, allowed, answered) -> Best:
        """Sessions after one more answer each: states [B, W], items [B], liked [B]."""
        return self._call(self._hear, states, items, liked, allowed, answered)

    def more(self, states, allowed, answered) -> Best:
        """The same sessions with the longer list."""
        return self._call(self._more, states, allowed, answered)

    def _call(self, function, *arguments) -> Best:
        leaves, tree = jax.tree.flatten(arguments)
        shape = function.__name__, tree, tuple(leaf.shape for leaf in leaves)
        program = self._programs.get(shape)
        if program is None:
            program = self._programs[shape] = self._made(function, leaves, tree)
        rows = np.asarray(program(self._leaves, leaves))
        size = self._sizes[function == self._more]
        words = rows.shape[1] - size * (2 + self._has_chances)
        found = rows[:, words:].reshape(len(rows), -1, size)
        return Best(
            states=rows[:, :words],
            items=found[:, 0].view(np.int32),
            scores=found[:, 1].view(np.float32),
            chances=found[:, 2].view(np.float32) if self._has_chances else None,
        )

    def _made(self, function, leaves: list, tree: Any):
        def of_leaves(shared, leaves):
            shared = jax.tree.unflatten(self._tree, shared)
            return function(shared, *jax.tree.unflatten(tree, leaves))

        if not self._kept:
            return jax.jit(of_leaves)
        identity = f"{self._kept} {function.__name__} {tree} {self._sizes}"
        return jax.jit(exported_program(of_leaves, (self._leaves, leaves), identity))

    # --- what is compiled -------------------------------------------------------------

    def _begin(self, shared, people, answers: Answers, allowed, answered):
        keys = jnp.broadcast_to(jax.random.key(0), allowed.shape[:1])
        sessions = self._parts.start(shared, people, keys, answers)
        return self._packed(shared, sessions, allowed, answered, self._sizes[0])

    def _hear(self, shared, states, items, liked, allowed, answered):
        sessions = self._parts.hear(shared, self._packer.unpack(states), items, liked)
        return self._packed(shared, sessions, allowed, answered, self._sizes[0])

    def _more(self, shared, states, allowed, answered):
        sessions = self._packer.unpack(states)
        return self._packed(shared, sessions, allowed, answered, self._sizes[1])

    def _packed(self, shared, sessions, allowed, answered, count: int) -> jax.Array:
        """[B, W + 2 K], or 3 K where the agent has chances."""
        best = self._parts.top(shared, sessions, allowed, answered, count)
        words = [
            jax.lax.bitcast_convert_type(part, jnp.uint32)
            for part in best
            if part is not None
        ]
        return jnp.concatenate([self._packer.pack(sessions), *words], axis=1)
