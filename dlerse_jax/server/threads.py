"""How many threads a served model computes with, decided before JAX is set up."""

import contextlib
import os
import zipfile
from pathlib import Path

import jax
import numpy as np

from dlerse_jax.runs.dataset_file import DATASET_NAME

MOST_IN_ONE_THREAD = 50_000  # items
FLAG = "--xla_cpu_multi_thread_eigen"
THREADS = "NPROC"  # how many XLA has, beside the one that calls


def set_threads(run: Path) -> None:
    """A call's answer is waited for in the thread that calls, and there a small
    catalogue is scored, too: to wake other threads takes longer than that.

    A variable of the user's own stands.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    flags = os.environ.get("XLA_FLAGS", "")
    if num_items(run) > MOST_IN_ONE_THREAD:
        return
    os.environ.setdefault(THREADS, "1")
    if FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}=false".strip()


def num_items(run: Path) -> int:
    """Of a run's data set; 0 where it cannot be read, which is said when it is."""
    with (
        contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile),
        np.load(run / DATASET_NAME) as dataset,
    ):
        return len(dataset["item_ids"])
    return 0
