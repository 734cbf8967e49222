"""Threads: how many a model computes with, and the one that the next is loaded in."""

import asyncio
import contextlib
import logging
import os
import sys
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlerse_jax.runs.dataset_file import DATASET_NAME

MOST_IN_ONE_THREAD = 50_000  # items
LOADING = "dlerse-loading"
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


async def load_aside(load: Callable[[], Any]) -> Any:
    """load's result, from a thread that asyncio does not wait for in the end."""
    found: Future[Any] = Future()
    found.set_running_or_notify_cancel()  # it ends, whoever has stopped waiting for it

    def work() -> None:
        try:
            found.set_result(load())
        except BaseException as error:  # raised where the result is awaited
            found.set_exception(error)

    threading.Thread(target=work, name=LOADING, daemon=True).start()
    return await asyncio.wrap_future(found)


def leave_loading() -> None:
    """Ends the process now where a model is still being loaded, which may take minutes.

    For a server that has closed everything else. A signal has mostly ended it before;
    not so the first process of a container, which no signal ends by itself. XLA's
    compiler cannot be stopped, nor may Python end while it runs.
    """
    if any(thread.name == LOADING for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
