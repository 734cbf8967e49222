"""What a run must not lose, as arrays on disk: its state, and its evaluation.

In go a pytree and the step it belongs to; out comes the newest one that is whole,
so that a killed run goes on to the bit. Orbax writes the arrays; beside them lies a
manifest with every leaf's shape and every file's checksum: a truncated checkpoint is
known before it is read, and one of another network is named leaf by leaf. What no
update changes (embeddings that are not trained, the graph) is stored once a run.

    checkpoints/shared/                what seeds share, in the same form as a step
    checkpoints/<step>/arrays/         Orbax
    checkpoints/<step>/manifest.json   leaves and checksums
    evaluation.npz                     types.Evaluation
"""

import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import logging
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.runtime.atomic_files import (
    clear_disk_errors,
    is_writer,
    write_atomically,
)
from dlerse_jax.types import Evaluation

if TYPE_CHECKING:  # a command starts without it: nothing is saved for a while
    import orbax.checkpoint as ocp

NUM_KEPT = 3
SHARED = "shared"  # folder of what no update changes

_logger = logging.getLogger(__name__)


def save(workdir: str | Path, step: int, state: Any, seed_axes: Any = 0) -> None:
    """Saves a pytree of arrays (typed keys included) and drops all but the last three.

    seed_axes is a prefix of the state, None where no update changes it: that part goes
    to `shared/`, once. A kill or a full disk (OSError, one line) leaves the former
    checkpoints as they are. Of several processes, which all hold the whole, one writes.
    """
    if not is_writer():
        return
    leaves, is_shared = _named_leaves(state), _shared_leaves(state, seed_axes)
    shared = {name: leaf for name, leaf in leaves.items() if is_shared[name]}
    own = {name: leaf for name, leaf in leaves.items() if not is_shared[name]}
    if shared and not (_folders(workdir) and _is_whole(_root(workdir) / SHARED)):
        _save_folder(_root(workdir) / SHARED, shared)
    _save_folder(_root(workdir) / str(step), own)
    for old in _folders(workdir)[:-NUM_KEPT]:
        shutil.rmtree(old)


def _save_folder(folder: Path, leaves: dict[str, Any]) -> None:
    """Writes leaves beside their place, then moves them there."""
    partial = folder.with_suffix(".partial")
    try:
        with clear_disk_errors(folder):
            shutil.rmtree(partial, ignore_errors=True)
            _write(partial, leaves)
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def exists(workdir: str | Path) -> bool:
    """Whether there is a checkpoint, whole or not."""
    return bool(_folders(workdir))


def restore_newest(
    workdir: str | Path, like: Any, *, last_step: int | None = None
) -> tuple[int, Any] | None:
    """(step, state) of the newest checkpoint that is whole; None when there is none.

    Those after `last_step` do not count, where it is given.
    `like` is a pytree of arrays or of `jax.ShapeDtypeStruct`. A damaged checkpoint is
    skipped with a warning. ValueError names the first leaf whose shape or type is not
    that of `like`.
    """
    for folder in reversed(_folders(workdir)):
        if last_step is not None and int(folder.name) > last_step:
            continue
        try:
            manifests = _read_manifests(folder, wanted := _named_leaves(like))
        except ValueError as problem:
            _logger.warning("skipped the damaged checkpoint %s: %s", folder, problem)
            continue
        described = {}
        for manifest in manifests.values():
            described |= manifest["leaves"]
        _check_leaves(folder, described, wanted)
        found = {}
        for part, manifest in manifests.items():
            found |= _read(part, manifest["leaves"], wanted)
        leaves = [found[name] for name in wanted]
        return int(folder.name), jax.tree.unflatten(jax.tree.structure(like), leaves)
    return None


def _root(workdir: str | Path) -> Path:
    return Path(workdir).resolve() / "checkpoints"


def _folders(workdir: str | Path) -> list[Path]:
    """Finished checkpoints, oldest first; a save that was cut short is `.partial`."""
    finished = [path for path in _root(workdir).glob("*") if path.name.isdigit()]
    return sorted(finished, key=lambda path: int(path.name))


def _named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves by readable path, as state/params/kernel, in the order of the tree."""
    paths_and_leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        "state/" + jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in paths_and_leaves
    }


def _shared_leaves(state: Any, seed_axes: Any) -> dict[str, bool]:
    """Which leaves, by the names of `_named_leaves`, lie below a None of seed_axes."""

    def mark(axis, part):
        return jax.tree.map(lambda leaf: axis is None, part)

    marks = jax.tree.map(mark, seed_axes, state, is_leaf=lambda axis: axis is None)
    return dict(zip(_named_leaves(state), jax.tree.leaves(marks), strict=True))


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _write(folder: Path, leaves: dict[str, Any]) -> None:
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
    manifest = {"leaves": described, "files": _checksums(folder)}
    write_atomically(folder / "manifest.json", json.dumps(manifest).encode())


def _read(
    folder: Path, described: dict[str, Any], wanted: dict[str, Any]
) -> dict[str, np.ndarray | jax.Array]:
    """The leaves of one folder, by name."""
    import orbax.checkpoint as ocp

    stored = {
        name: ocp.RestoreArgs(restore_type=np.ndarray)
        for name, leaf in described.items()
        if 0 not in leaf["shape"]
    }
    arrays = {}
    if stored:
        with _orbax() as checkpointer:
            arrays = checkpointer.restore(folder / "arrays", restore_args=stored)
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


def _check_leaves(
    folder: Path, described: dict[str, Any], wanted: dict[str, Any]
) -> None:
    found = {
        name: f"{leaf['dtype']}{leaf['shape']}" for name, leaf in described.items()
    }
    expected = {
        name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in wanted.items()
    }
    for name in [*expected, *found]:
        if found.get(name) != expected.get(name):
            raise ValueError(
                f"{folder}: {name} is {found.get(name, 'absent')} in the checkpoint, "
                f"{expected.get(name, 'absent')} in this run; use the config that the "
                "checkpoint was saved with, or another --workdir"
            )


def _read_manifests(folder: Path, wanted: dict[str, Any]) -> dict[Path, dict]:
    """Manifests of a step and, where leaves are not in it, of what seeds share."""
    manifests = {folder: _read_manifest(folder)}
    shared = folder.with_name(SHARED)
    if shared.exists() and set(wanted) - set(manifests[folder]["leaves"]):
        manifests[shared] = _read_manifest(shared)
    return manifests


def _is_whole(folder: Path) -> bool:
    try:
        _read_manifest(folder)
    except ValueError:
        return False
    return True


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, once every file is what was written; else ValueError says which."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError("manifest.json is missing or cut short") from error
    found = _checksums(folder)
    for name, checksum in manifest["files"].items():
        if found.get(name) != checksum:
            raise ValueError(f"{name} is missing or not what was written")
    return manifest


def _check_room(folder: Path, num_bytes: int) -> None:
    """Ahead of Orbax, which on a full disk prints tracebacks of every thread."""
    if shutil.disk_usage(folder).free < num_bytes:
        raise OSError(errno.ENOSPC, "No space left on device")


def _checksums(folder: Path) -> dict[str, str]:
    checksums = {}
    for path in sorted((folder / "arrays").rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            checksums[path.relative_to(folder).as_posix()] = digest
    return checksums


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


def write_evaluation(path: str | Path, evaluation: Evaluation) -> None:
    """Writes one evaluation as a compressed `.npz`, in one step."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dataclasses.asdict(evaluation))
    write_atomically(Path(path), buffer.getvalue())


def read_evaluation(path: str | Path) -> Evaluation:
    """What `write_evaluation` wrote. FileNotFoundError or ValueError with the mend."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: there is no evaluation; let `dlerse train` finish first"
        )
    try:
        with np.load(path, allow_pickle=False) as stored:
            fields = {
                field.name: stored[field.name]
                for field in dataclasses.fields(Evaluation)
            }
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: not a whole evaluation ({error}); remove it and run "
            "`dlerse train` on the same --workdir again"
        ) from error
    scalars = {name: value.item() for name, value in fields.items() if not value.ndim}
    return Evaluation(**(fields | scalars))
