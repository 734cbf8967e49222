"""Reads run directories into one record each.

A run directory, or a folder of them at any depth, gives `Run`s in the order of their
paths. A run that was killed or is under way has no summary.json yet:
it is read as unfinished, with its log and without results. A run that was re-evaluated
has a run for each other protocol in its folder `evaluated`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlerse_jax.evaluation.protocols import protocol_words
from dlerse_jax.evaluation.summary import longest_precision
from dlerse_jax.runs.checkpoint import read_evaluation
from dlerse_jax.runs.choice import chosen_keys
from dlerse_jax.runs.directory import flat_items, read_settings, read_summary
from dlerse_jax.runs.log import read_metrics
from dlerse_jax.types import Evaluation

REEVALUATED = "evaluated"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One training run or baseline, as its directory tells it."""

    directory: Path
    settings: dict  # config.json: config, data_digest, versions, device, ...
    log: list[dict]  # metrics.jsonl: one object per line
    result: dict  # summary.json; empty while unfinished
    evaluation: Evaluation | None
    baselines: dict[str, Evaluation]
    chosen: frozenset[str] = frozenset()  # keys whose values the data chose

    @property
    def finished(self) -> bool:
        return bool(self.result)

    @property
    def agent(self) -> str:
        return self.result.get("agent", self.directory.name)

    @property
    def is_reevaluated(self) -> bool:
        """Whether it is another run's outcome under another protocol: no training."""
        return self.directory.parent.name == REEVALUATED

    @property
    def name(self) -> str:
        """The directory's name, behind that of the run it was evaluated from."""
        levels = 3 if self.is_reevaluated else 1
        return "/".join(self.directory.parts[-levels:])

    @property
    def protocol(self) -> str:
        """The protocol with its setting, as tables and captions say it."""
        config = flat_config(self)
        return protocol_words(
            self.result["protocol"],
            others_per_like=config.get("evaluation.others_per_like", 0),
            ranking_of=config.get("evaluation.ranking_of", "cold"),
        )


def find_runs(directory: Path) -> list[Run]:
    """All runs in `directory`, or the run that it is and its re-evaluations.

    Raises FileNotFoundError when there is none, ValueError for a file that is not
    what a run writes.
    """
    own = (directory / "config.json").exists()
    pattern = f"{REEVALUATED}/*/config.json" if own else "**/config.json"
    below = sorted(path.parent for path in directory.glob(pattern))
    found = [directory, *below] if own else below
    if not found:
        raise FileNotFoundError(
            f"no run in {directory}: expected a config.json in it or in a folder below"
            f" it; make one with `dlerse train --workdir={directory}`"
        )
    return [read_run(path) for path in found]


def read_run(directory: Path) -> Run:
    """Everything the report uses of one run directory; missing files are empty.

    FileNotFoundError where it has no config.json, ValueError for a damaged file.
    """
    baselines = sorted((directory / "baselines").glob("*.npz"))
    evaluation = directory / "evaluation.npz"
    return Run(
        directory=directory,
        settings=read_settings(directory),
        log=read_metrics(directory),
        result=read_summary(directory),
        evaluation=read_evaluation(evaluation) if evaluation.exists() else None,
        baselines={path.stem: read_evaluation(path) for path in baselines},
        chosen=chosen_keys(directory),
    )


def flat_config(run: Run) -> dict[str, Any]:
    """The run's configuration with dotted keys, as the command line takes them."""
    return dict(flat_items(run.settings["config"]))


def named_config(run: Run) -> dict[str, Any]:
    """The same without what the data chose: that differs by split, and tells nobody
    apart."""
    return {k: v for k, v in flat_config(run).items() if k not in run.chosen}


def validation_precision(run: Run) -> tuple[str, float] | None:
    """The metric with the longest list, and its value of what the run has kept.

    That of its last validation where it selects the last; None before the first.
    """
    for line in reversed(run.log):
        if found := line_precision(line, "best") or line_precision(line, "eval"):
            return found
    return None


def line_precision(
    line: Mapping[str, float | None], group: str = "eval"
) -> tuple[str, float] | None:
    """The precision over the longest list in a line of the log, if it has one."""
    numbers = {
        name.removeprefix(f"{group}/"): value
        for name, value in line.items()
        if value is not None and name.startswith(f"{group}/")
    }
    metric = longest_precision(numbers)
    return (metric, numbers[metric]) if metric else None


def training_seconds(run: Run) -> float:
    """Its share of the wall time of the program that trained it; 0 where not said."""
    seconds = run.result.get("wall_seconds") or 0.0
    return seconds / run.result.get("runs_in_program", 1)


def parts_of_training(run: Run) -> tuple[float, float] | None:
    """Of `training_seconds` those of updates and of validations; None: not logged."""
    updates, validation = map(run.result.get, ("update_seconds", "validation_seconds"))
    if updates is None or validation is None:
        return None
    return updates / run.result.get("runs_in_program", 1), validation


def device_hours(run: Run) -> float:
    """Hours of training times the devices it ran on."""
    device = run.settings.get("device")
    count = device.get("count", 1) if isinstance(device, dict) else 1
    return training_seconds(run) * count / 3600
