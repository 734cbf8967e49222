"""Arrays of one folder, by name: Orbax writes them and reads them back to the bit."""

import contextlib
import errno
import hashlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.runs.manifest import Damaged, write_manifest
from dlerse_jax.runtime.atomic_files import write_atomically

if TYPE_CHECKING:  # a command starts without it: nothing is saved for a while
    import orbax.checkpoint as ocp


def write_leaves(
    folder: Path,
    leaves: dict[str, Any],
    content: dict[str, Any],
    extra: dict[str, bytes],
) -> None:
    """Makes the folder: leaves, extra files, and a manifest that has `content` too."""
    described = {
        name: {
            "shape": list(leaf.shape),
            "dtype": str(leaf.dtype),
            "key": str(jax.random.key_impl(leaf)) if _is_key(leaf) else None,
        }
        for name, leaf in leaves.items()
    }
    arrays = jax.device_get(
        {
            name: jax.random.key_data(leaf) if _is_key(leaf) else leaf
            for name, leaf in leaves.items()
            if leaf.size  # Orbax refuses an array without elements
        }
    )
    folder.mkdir(parents=True)
    _check_room(folder, sum(array.nbytes for array in arrays.values()))
    if arrays:
        with _orbax() as checkpointer:
            checkpointer.save(folder / "arrays", arrays)
    for name, file in extra.items():
        write_atomically(folder / name, file)
    write_manifest(folder, {"leaves": described, **content})


def read_leaves(
    folder: Path, described: dict[str, Any], wanted: dict[str, Any]
) -> dict[str, np.ndarray | jax.Array]:
    """The leaves of one folder, by name; `Damaged` where Orbax cannot read them."""
    import orbax.checkpoint as ocp

    stored = {
        name: ocp.RestoreArgs(restore_type=np.ndarray)
        for name, leaf in described.items()
        if 0 not in leaf["shape"]
    }
    arrays = {}
    if stored:
        try:
            with _orbax() as checkpointer:
                arrays = checkpointer.restore(folder / "arrays", restore_args=stored)
        except MemoryError:
            raise
        except Exception as error:  # Orbax and TensorStore raise of every kind
            raise Damaged(f"arrays cannot be read ({error})") from error
    return {
        name: _as_leaf(arrays.get(name), wanted[name], leaf["key"])
        for name, leaf in described.items()
    }


def _as_leaf(array: np.ndarray | None, like: Any, key_impl: str | None) -> Any:
    if array is None:
        return jnp.zeros(like.shape, like.dtype)
    if key_impl:
        return jax.random.wrap_key_data(jnp.asarray(array), impl=key_impl)
    return array if isinstance(like, np.ndarray) else jnp.asarray(array)


def leaf_digest(leaf: Any) -> str:
    """The same word for the same bits."""
    array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
    described = f"{leaf.dtype}{list(leaf.shape)}".encode()
    return hashlib.sha256(described + array.tobytes()).hexdigest()


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _check_room(folder: Path, num_bytes: int) -> None:
    """Ahead of Orbax, which on a full disk prints tracebacks of every thread."""
    if shutil.disk_usage(folder).free < num_bytes:
        raise OSError(errno.ENOSPC, "No space left on device")


@contextlib.contextmanager
def _orbax() -> Iterator["ocp.Checkpointer"]:
    """An Orbax checkpointer that keeps its log to itself and knows a full disk."""
    import orbax.checkpoint as ocp

    here = jax.process_index()
    # It waits for no other process: one writes, and each reads the whole.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=str(here)
    )
    orbax_logger = logging.getLogger("absl")
    level = orbax_logger.level
    orbax_logger.setLevel(logging.CRITICAL)
    try:
        handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            yield checkpointer
    except ValueError as error:
        # TensorStore reports a full disk as a ValueError.
        if "No space left on device" in str(error):
            raise OSError(errno.ENOSPC, "No space left on device") from error
        raise
    finally:
        orbax_logger.setLevel(level)
