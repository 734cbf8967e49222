"""What a run compiles ahead of need: the programs of its phases and its evaluation.

Some of it starts while the states are made, the rest is a list of jobs, which
`training_run.train` does in one thread beside training.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from dlerse_jax.environment.simulator import Simulator
from dlerse_jax.experiment.baselines import baseline_jobs
from dlerse_jax.experiment.training_run import Run
from dlerse_jax.experiment.vmapped_keys import hyperparameters_read
from dlerse_jax.learning.train_loop import Programs, state_shapes
from dlerse_jax.runtime import sharding

Job = Callable[[], object]


def compile_first(
    programs: Programs,
    phases: Sequence[str],
    configs: Sequence[ConfigDict],
    world: Simulator,
    roots: jax.Array,
) -> list[Job]:
    """Starts to compile the first phase of fresh runs -> jobs that wait for each phase.

    Where training leaves the CPU alone, all phases at once. On a mesh chunks compile at
    their first call.
    """
    if world.mesh is not None:
        return []

    def start(phase: str):
        numbers = {hyperparameters_read(config)[phase] for config in configs}
        count = len(numbers) * len(roots)
        number = jax.ShapeDtypeStruct((), np.int32)
        return programs.prepare(
            phase,
            state_shapes(programs.agent, count),
            world.replace(alpha=jax.ShapeDtypeStruct((count,), world.alpha.dtype)),
            jax.ShapeDtypeStruct((count,), roots.dtype),
            number,  # of the first update
            number,  # of updates in the phase
        )

    def wait_for(phase: str) -> None:
        start(phase).result()

    at_once = sharding.by_backend((1, len(phases)))
    for phase in phases[:at_once]:
        start(phase)
    return [functools.partial(wait_for, phase) for phase in phases]


def jobs_beside(run: Run, phases: Sequence[Job]) -> list[Job]:
    """All that runs of one program need, in the order in which they need it.

    First the phase that the main thread waits for: what compiles beside it would take
    its cores. None on a mesh, where all processes must do the same in the same order.
    """
    if run.world.mesh is not None:
        return []

    def compile_evaluation(users: np.ndarray) -> None:
        states = state_shapes(run.agent, len(run.roots))
        run.evaluator.prepare(states, run.world, users, run.roots)

    evaluations = [
        functools.partial(compile_evaluation, users)
        for users in (run.task.validation, run.task.users)
        if len(users)
    ]
    return [*phases[:1], *evaluations, *phases[1:], *baseline_jobs(run)]
