"""`dlerse train`: one run from a config, to its table of results."""

import sys
from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console

from dlerse_jax.agents.registry import name_bar
from dlerse_jax.evaluation.summary import results_table
from dlerse_jax.experiment.runner import train_and_evaluate


def train(config: ConfigDict, workdir: Path, *, quiet: bool) -> None:
    """Trains or resumes, then writes the results beside the baselines to stdout."""
    summary = train_and_evaluate(config, workdir, quiet=quiet)
    summaries = {**summary["baselines"], summary["agent"]: summary["summary"]}
    console = Console(file=sys.stdout)
    bar = name_bar(summary["baselines_validation"])
    console.print(results_table(summaries, bar=bar))
    console.print(f"run saved in {workdir}; `dlerse report {workdir}` makes the page")
