"""Runs of one config get the agent and the compiled programs that the first one got.

A run builds its agent anew, and so traces and compiles everything; tests of kills,
signals and sweeps start ten runs of the same config.
"""

import pytest
from ml_collections import ConfigDict

from dlerse_jax.evaluation.evaluator import make_evaluator
from dlerse_jax.experiment import baselines, build, runner
from dlerse_jax.experiment.vmapped_keys import traced_keys
from dlerse_jax.learning.train_loop import Programs
from dlerse_jax.runs.directory import flat_items

# What no data set, task or agent is built from.
READ_ELSEWHERE = ("tracking.", "evaluation.every", "evaluation.baselines")
READ_ELSEWHERE += (
    "evaluation.select",
    "pretrain.num_updates",
    "q_learning.num_updates",
)
READ_ELSEWHERE += ("num_seeds",)


_FOUND: list[dict] = []  # all that is remembered, a function each


def _remembered(make):
    """`make`, called once for arguments that come to the same program."""
    found = {}
    _FOUND.append(found)

    def remembered(*arguments, name="", **_):  # keywords make no other program
        key = tuple(map(_identity, arguments))
        if key not in found:  # arguments are kept: an id lives as long as its object
            found[key] = make(*arguments, *([name] if name else [])), arguments
        return found[key][0]

    return remembered


def _identity(argument):
    if isinstance(argument, ConfigDict):
        not_static = traced_keys(argument)
        return str(
            [
                (key, value)
                for key, value in flat_items(argument.to_dict())
                if key not in not_static and not key.startswith(READ_ELSEWHERE)
            ]
        )
    return argument if isinstance(argument, (str, int)) else id(argument)


REMEMBERED = [
    (module, name, _remembered(getattr(module, name)))
    for module, name in (
        (build, "build_dataset"),
        (build, "build_task"),
        (build, "build_agent"),
        (baselines, "build_agent"),
    )
]
REMEMBERED.append((runner, "build_dataset", REMEMBERED[0][2]))


def _named(make):
    return lambda agent, other, name: make(agent, other, name=name)


# All that an agent's programs are, once agents are remembered; kept under a name for
# other workers, and for files that come after room was made.
_programs = _remembered(Programs)
_evaluators = _remembered(make_evaluator)
REMEMBERED += [
    (module, "make_evaluator", _named(_evaluators)) for module in (baselines, runner)
]
REMEMBERED += [(runner, "Programs", _named(_programs))]


def share_programs(patch: pytest.MonkeyPatch) -> None:
    for module, name, function in REMEMBERED:
        patch.setattr(module, name, function)


def forget_programs() -> None:
    """Lets go of agents, worlds and compiled programs: the next test makes its own."""
    for found in _FOUND:
        found.clear()
