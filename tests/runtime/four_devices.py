"""Twice ten updates on one and on four devices; `test_sharding.py` runs it.

Devices can only be forced before JAX starts, so this is a process of its own. It
leaves `one.npz`, `four.npz` and `moved.npz` (saved on four devices after ten updates,
gone on with on one), all leaves of the final states and the metrics, and `four.hlo`.
Updates are of Q-learning, which plays and fits rewards as pre-training does, and more.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from small_agents import small_agent
from worlds import random_world

from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout
from dlerse_jax.learning.train_loop import init_states, seed_keys, train_chunk
from dlerse_jax.runs import checkpoint
from dlerse_jax.runtime import sharding

UPDATES, HORIZON = 10, 4
DATASET = random_world(num_users=40, num_items=67)  # rows that two devices cannot share
AGENT = small_agent(
    DATASET,
    HORIZON,
    {"supervised_weight": 1.0},
    train_tables=True,
    width=4,
    session_gain=1.0,
    dropout=0.2,
)
ROOTS = seed_keys(jnp.arange(2))
FRESH = jax.device_get(init_states(AGENT, ROOTS))
SHAPES = jax.eval_shape(lambda: FRESH)


class Place:
    """One mesh: its world, its compiled chunk, and what happens there."""

    def __init__(self, users: int, catalogue: int) -> None:
        self.mesh = sharding.make_mesh(users, catalogue)
        world = make_simulator(DATASET, alpha=0.1, horizon=HORIZON)
        self.world = sharding.place(self.mesh, world).replace(mesh=self.mesh)
        self.roots = sharding.place(self.mesh, ROOTS)
        self.compiled, self.play = None, greedy_rollout(AGENT)

    def train(self, states):
        """host states [S, ...] -> host states and metrics."""
        states = sharding.place(
            self.mesh, jax.tree.map(jnp.array, states), AGENT.item_axes
        )
        arguments = (states, self.world, self.roots, 0, UPDATES)
        if self.compiled is None:
            chunk = train_chunk(AGENT, "q_learning", UPDATES)
            self.compiled = chunk.compile(*arguments)
        states, metrics = self.compiled(*arguments)
        states = sharding.collect(self.mesh, states, SHAPES, AGENT.item_axes)
        return jax.device_get((states, metrics))

    def answers(self, states) -> np.ndarray:
        """What five users, a number that two devices cannot share, are shown."""
        evaluation = evaluate_users(
            self.play,
            sharding.place(self.mesh, states, AGENT.item_axes),
            self.world,
            np.arange(5),
            self.roots,
            agent_name=AGENT.name,
        )
        return evaluation.items


def main(folder: Path) -> None:
    one, four = Place(1, 1), Place(2, 2)
    for name, place in (("one", one), ("four", four)):
        begun, first = place.train(FRESH)
        if place is four:
            checkpoint.save(folder, UPDATES, begun)
        learned, metrics = place.train(begun)
        keep(folder, name, learned, first, metrics, place.answers(learned))
    _, restored = checkpoint.restore_newest(folder, FRESH)
    moved, metrics = one.train(restored)
    keep(folder, "moved", moved, first, metrics, one.answers(moved))
    (folder / "four.hlo").write_text(four.compiled.program.as_text())


def keep(folder: Path, name: str, *trees) -> None:
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(trees)[0]
    }
    np.savez(folder / f"{name}.npz", **leaves)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
