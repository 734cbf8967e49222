"""Starts the server of a run: checks what was asked for, then hands over to uvicorn."""

import asyncio
import dataclasses
import gc
import logging
import os
import sys
from pathlib import Path

import uvicorn

from dlerse_jax.runs.directory import CONFIG_NAME, read_config
from dlerse_jax.server.app import make_app
from dlerse_jax.server.core import open_core
from dlerse_jax.server.guard import App
from dlerse_jax.server.security import (
    ENVIRONMENT,
    check_exposure,
    is_loopback,
    read_keys,
)
from dlerse_jax.server.settings import Settings
from dlerse_jax.server.telemetry import traced
from dlerse_jax.server.threads import leave_loading
from dlerse_jax.server.workers import check_port, check_store, shared_socket, supervise
from dlerse_jax.server.workers import number as worker_number

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
BACKLOG = 2048
WORKERS_LOOK = 5.0  # seconds between looks for a new model
RARELY = 1000  # searches of younger objects, for each one of all


def serve(
    run: Path,
    settings: Settings,
    *,
    host: str,
    port: int,
    keys_file: str = "",
    seed: int = 0,
    telemetry: bool = False,
    workers: int = 1,
) -> None:
    """Serves until it is told to stop; requests that are in it are answered first.

    workers: processes, which are started with the words of this command line.
    ValueError where others could ask without a key, and where workers cannot share the
    store, before anything is loaded.
    """
    number = worker_number()
    keys = read_keys(keys_file or None, os.environ.get(ENVIRONMENT, ""))
    check_exposure(host, keys)
    check_run(run, seed)
    check_store(settings.store, workers)
    check_port(host, port, workers)
    asyncio.run(check_parts(settings))
    if not settings.hosts:
        hosts = default_hosts(host, bool(keys))
        settings = dataclasses.replace(settings, hosts=hosts)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if workers > 1:
        if number is None:
            supervise(workers, sys.argv[1:])
            return
        settings = of_worker(settings, number)

    def load():
        from dlerse_jax.server.loading import load_model

        model = load_model(run, seed=seed)
        keep_aside()
        return model

    app: App = make_app(settings, load, keys=keys, run=run)
    if telemetry:
        app = traced(app)
    sockets = [shared_socket(host, port)] if number is not None else None
    server = uvicorn.Server(uvicorn_config(app, host, port))
    server.run(sockets)
    leave_loading()
    if not server.started:
        raise SystemExit(1)


def uvicorn_config(app: App, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http="httptools",
        loop="uvloop",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,  # nobody here asks where a request comes from
        backlog=BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=20,
    )


def of_worker(settings: Settings, number: int) -> Settings:
    """A worker draws other lists than the rest, and finds a new model by itself: a
    request to reload reaches one of them."""
    return dataclasses.replace(
        settings,
        seed=None if settings.seed is None else settings.seed + number,
        watch_seconds=settings.watch_seconds or WORKERS_LOOK,
    )


def keep_aside() -> None:
    """Takes what is in memory now, millions of objects of the model and of JAX, out of
    Python's searches for garbage, each of which would stop all requests for .3 s.

    Sessions in memory would be searched, too, the more often the faster they come.
    """
    gc.unfreeze()  # the model before this one may be garbage by now
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], RARELY)


def check_run(run: Path, seed: int) -> None:
    """FileNotFoundError where the folder holds no run, ValueError for another seed."""
    if not (run / CONFIG_NAME).exists():
        raise FileNotFoundError(
            f"{run}: no config.json in it; name the folder of a finished run"
        )
    count = read_config(run).get("num_seeds", seed + 1)
    if seed >= count:
        raise ValueError(f"--seed={seed}: {run} has the seeds 0 to {count - 1}")


async def check_parts(settings: Settings) -> None:
    """Opens store and log once: ValueError or OSError where one cannot be used."""
    core = await open_core(settings)
    await core.close()


def default_hosts(host: str, has_keys: bool) -> tuple[str, ...]:
    """Names that a request may come to where there is no key: else a web page could
    reach this machine under a name of its own.
    """
    return LOOPBACK if is_loopback(host) and not has_keys else ()
