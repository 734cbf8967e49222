"""`dlerse bench`: one JSON line per part of an update, beside its floor."""

import json
import sys

import jax
from ml_collections import ConfigDict

from dlerse_jax.experiment.bench import bench as measured


def bench(config: ConfigDict) -> None:
    """Writes the lines as they come; compile times are true ones, without a cache."""
    jax.config.update("jax_enable_compilation_cache", False)
    for line in measured(config):
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
