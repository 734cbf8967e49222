"""Several processes as one run: how they meet, who writes, and what ends them.

`start` reads flags, or the variables of Slurm, Open MPI or a TPU pod; after it JAX sees
the devices of all processes. Every process reads its own data files and does all of
the host's work; process 0 alone writes. Without any of these a process is alone, and
everything here is then a constant.
"""

import ctypes
import importlib.util
import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from dlerse_jax.runtime.atomic_files import write_nothing

# A process that is silent for so long counts as dead, and the others end.
HEARTBEAT_SECONDS = 30
LOST = 3  # exit status of a process that has lost another
_MEETING = (
    "the processes of this run did not meet: give each the same "
    "--coordinator=HOST:PORT of process 0 and --num-processes, and its own --process-id"
)
_GO_ON = (
    "start all of them again with the same command, and the run goes on from its "
    "newest checkpoint\n"
)
_LOST_LINE = f"dlerse: another process of this run ended; {_GO_ON}"
_ABORT_LINE = (
    "dlerse: XLA ended this process, most likely because another one of this run ended "
    f"or does not answer; {_GO_ON}"
)


def start(
    *, coordinator: str, num_processes: int | None, process_id: int | None
) -> None:
    """Meets the other processes; returns at once where there are none.

    coordinator is `host:port` of process 0; what is "" or None is taken from Slurm,
    Open MPI or the TPU pod. num_processes 1 is a process alone, wherever it runs.
    ValueError where something is missing. Call it before anything is computed.
    """
    given = bool(coordinator) or num_processes is not None or process_id is not None
    is_named = given or _is_one_of_many()
    if num_processes == 1 or not (is_named or _has_tpu()):
        return
    if given:
        num_processes, process_id = _complete(coordinator, num_processes, process_id)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would take SIGTERM away from `signals.stop_requested`.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator or None,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (ValueError, OSError, jax.errors.JaxRuntimeError) as error:
        if not is_named and not isinstance(error, jax.errors.JaxRuntimeError):
            return  # a TPU that belongs to no pod
        raise ValueError(f"{_MEETING} ({_first_line(error)})") from error
    _end_clearly_where_xla_aborts()
    if jax.process_index():
        write_nothing()
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the process ends


def _is_one_of_many() -> bool:
    """Whether a Slurm step or `mpirun` says so.

    Slurm's allocation does not count: a command in it, without `srun`, is alone.
    """
    counts = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    return any(int(os.environ.get(name, 1)) > 1 for name in counts)


def _has_tpu() -> bool:
    """Whether this host has a TPU to be used: JAX then asks its pod for the others."""
    wanted = os.environ.get("JAX_PLATFORMS", "tpu").startswith("tpu")
    chips = [*Path("/dev").glob("accel*"), *Path("/dev").glob("vfio/[0-9]*")]
    return wanted and bool(chips) and importlib.util.find_spec("libtpu") is not None


def _complete(
    coordinator: str, num_processes: int | None, process_id: int | None
) -> tuple[int, int]:
    """Number and index of the processes: what flags leave open a scheduler may know."""
    ranks = _ranks()
    if num_processes is None:
        num_processes = ranks.get("size")
    if process_id is None:
        process_id = ranks.get("rank")
    if not coordinator or num_processes is None or process_id is None:
        raise ValueError(f"{_MEETING} (one of them is missing)")
    return num_processes, process_id


def _ranks() -> dict[str, int]:
    """How many processes there are and which one this is, as a scheduler says it.

    JAX asks Open MPI for an address too, which Open MPI 5 no longer tells.
    """
    for size, rank in (
        ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ):
        if size in os.environ and rank in os.environ:
            return {"size": int(os.environ[size]), "rank": int(os.environ[rank])}
    return {}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


# --- what one process does for all ----------------------------------------------------


def are_many() -> bool:
    """Whether the run has other processes; wakes no device to find out."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def in_any(flag: bool) -> bool:
    """Whether the flag is up in some process; all of them must ask."""
    if not are_many():
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def check_same_steps(steps: list[int], folder) -> None:
    """ValueError where processes found different checkpoints; all of them must ask."""
    if not are_many():
        return
    found = multihost_utils.process_allgather(np.array(steps, np.int32))
    found = np.reshape(found, (jax.process_count(), -1))
    if (found != found[0]).any():
        raise ValueError(
            f"{folder}: processes found checkpoints of different updates there "
            f"({', '.join(map(str, found[:, 0]))}); --workdir must be one folder that "
            "all of them see"
        )


# --- the end --------------------------------------------------------------------------


def is_loss(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    from_runtime = isinstance(error, jax.errors.JaxRuntimeError)
    return are_many() and (from_runtime or "Gloo" in str(error))


def leave(status: int) -> int:
    """Ends this process at once where it failed among others, else hands status back.

    The usual way out waits for the others, who may wait for this one.
    """
    if status in (2, LOST) and are_many():
        if status == LOST:
            sys.stderr.write(_LOST_LINE)
        sys.stderr.flush()
        os._exit(status)
    return status


def _end_clearly_where_xla_aborts() -> None:
    """A lost process met outside a collective makes XLA abort in a thread of its own.

    No Python handler would run then; one of C does, and puts a clear line last.
    """

    def end(_):
        os.write(2, _ABORT_LINE.encode())
        os._exit(LOST)

    libc = ctypes.CDLL(None)
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal.restype = ctypes.c_void_p
    _kept.append(ctypes.CFUNCTYPE(None, ctypes.c_int)(end))
    libc.signal(signal.SIGABRT, ctypes.cast(_kept[-1], ctypes.c_void_p))


_kept: list = []  # the handler lives as long as the process
