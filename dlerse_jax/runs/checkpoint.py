"""What a run must not lose, as arrays on disk: its state, and its evaluation.

A pytree is saved under the step it belongs to; the newest one that is whole is read
back, so that a killed run goes on to the bit. Orbax writes the arrays; a manifest with
every leaf's shape and every file's checksum tells a damaged checkpoint before it is
read, and the one before takes its place. What no update changes (embeddings that are
not trained, the graph) is stored once per run; where it is damaged, it is made again.

    checkpoints/shared/                what seeds share, in the same form as a step
    checkpoints/<step>/arrays/         Orbax
    checkpoints/<step>/metrics.jsonl   the run's log up to this step
    checkpoints/<step>/manifest.json   leaves and checksums
    evaluation.npz                     types.Evaluation
"""

import dataclasses
import io
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlerse_jax.runs.leaves import leaf_digest, read_leaves, write_leaves
from dlerse_jax.runs.manifest import Damaged, is_whole, read_manifest
from dlerse_jax.runtime.atomic_files import (
    clear_disk_errors,
    is_writer,
    write_atomically,
)
from dlerse_jax.types import Evaluation

NUM_KEPT = 3
SHARED = "shared"  # folder of what no update changes
LOG_NAME = "metrics.jsonl"

_logger = logging.getLogger(__name__)


def save(
    workdir: str | Path,
    step: int,
    state: Any,
    seed_axes: Any = 0,
    *,
    identity: str = "",
) -> None:
    """Saves a pytree of arrays (typed keys included) beside the run's log as it is now.

    Of this step and those before it the last three are kept; later ones, which a run
    that went back to this step has left, stay until it gets there.
    seed_axes is a prefix of the state, None where no update changes it: that part goes
    to `shared/`, once. identity is what `restore_newest` compares. A kill or a full
    disk (OSError, one line) leaves the former checkpoints as they are. Of several
    processes, which all hold the whole, one writes.
    """
    if not is_writer():
        return
    leaves, is_shared = _named_leaves(state), _shared_leaves(state, seed_axes)
    shared = {name: leaf for name, leaf in leaves.items() if is_shared[name]}
    own = {name: leaf for name, leaf in leaves.items() if not is_shared[name]}
    content = {"identity": identity, "shared": {}}
    if shared:
        content["shared"] = _save_shared(workdir, shared)
    log = Path(workdir) / LOG_NAME
    extra = {LOG_NAME: log.read_bytes()} if log.exists() else {}
    _save_folder(_root(workdir) / str(step), own, content, extra)
    former = [path for path in _folders(workdir) if int(path.name) <= step]
    unfinished = [*_root(workdir).glob("*.partial"), *_root(workdir).glob("*.former")]
    for old in [*former[:-NUM_KEPT], *unfinished]:  # of kills
        _remove(old)


def _save_shared(workdir: str | Path, leaves: dict[str, Any]) -> dict[str, Any]:
    """Writes what seeds share, unless it is there and whole -> its description."""
    folder = _root(workdir) / SHARED
    if not (_folders(workdir) and is_whole(folder)):
        digests = {name: leaf_digest(leaf) for name, leaf in leaves.items()}
        _save_folder(folder, leaves, {"digests": digests})
    manifest = read_manifest(folder)
    return {key: manifest[key] for key in ("leaves", "digests")}


def _save_folder(
    folder: Path,
    leaves: dict[str, Any],
    content: dict[str, Any],
    extra: dict[str, bytes] | None = None,
) -> None:
    """Writes leaves beside their place, then moves them there.

    What was there is deleted once they are.
    """
    partial, former = folder.with_suffix(".partial"), folder.with_suffix(".former")
    try:
        with clear_disk_errors(folder):
            _remove(partial)
            write_leaves(partial, leaves, content, extra or {})
            _remove(former)
            if folder.exists():
                folder.rename(former)
            partial.rename(folder)
    finally:
        _remove(partial)
    _remove(former)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def exists(workdir: str | Path) -> bool:
    """Whether there is a checkpoint, whole or not."""
    return bool(_folders(workdir))


def restore_newest(
    workdir: str | Path,
    like: Any,
    *,
    last_step: int | None = None,
    identity: str | None = None,
    fresh: Callable[[], Any] | None = None,
) -> tuple[int, Any] | None:
    """(step, state) of the newest checkpoint that is whole; None when there is none.

    Those after `last_step` do not count, where it is given.
    `like` is a pytree of arrays or of `jax.ShapeDtypeStruct`. A damaged checkpoint is
    skipped with a warning. Where what seeds share is damaged it is taken of `fresh()`,
    the state that the run began with. ValueError names the first leaf whose shape or
    type is not that of `like`, and says where `identity` is another than was saved.
    """
    wanted, damaged = _named_leaves(like), 0
    for folder in reversed(_folders(workdir)):
        if last_step is not None and int(folder.name) > last_step:
            continue
        try:
            found = _read_step(folder, wanted, identity, fresh)
        except Damaged as problem:
            _logger.warning("skipped the damaged checkpoint %s: %s", folder, problem)
            damaged += 1
            continue
        leaves = [found[name] for name in wanted]
        return int(folder.name), jax.tree.unflatten(jax.tree.structure(like), leaves)
    if damaged and last_step is None:
        root = _root(workdir)
        _logger.warning("%s has no whole checkpoint: the run starts at update 0", root)
    return None


def stored_log(workdir: str | Path, step: int) -> bytes | None:
    """The log as it was when this step was saved; None where there was none."""
    path = _root(workdir) / str(step) / LOG_NAME
    return path.read_bytes() if path.exists() else None


def _read_step(
    folder: Path,
    wanted: dict[str, Any],
    identity: str | None,
    fresh: Callable[[], Any] | None,
) -> dict[str, Any]:
    """All leaves of a step, by name."""
    manifest = read_manifest(folder)
    if identity not in (None, manifest["identity"]):
        raise ValueError(
            f"{folder} was saved by a run of another config or other data than this "
            "one; take another --workdir"
        )
    shared = manifest["shared"]
    described = manifest["leaves"] | shared.get("leaves", {})
    _check_leaves(folder, described, wanted)
    found = read_leaves(folder, manifest["leaves"], wanted)
    if shared:
        found |= _read_shared(folder.with_name(SHARED), shared, wanted, fresh)
    return found


def _read_shared(
    folder: Path,
    shared: dict[str, Any],
    wanted: dict[str, Any],
    fresh: Callable[[], Any] | None,
) -> dict[str, Any]:
    """What seeds share, from its folder or, where that is damaged, from `fresh`."""
    try:
        if read_manifest(folder)["digests"] != shared["digests"]:
            raise Damaged("it is of another run")
        return read_leaves(folder, shared["leaves"], wanted)
    except Damaged as problem:
        if fresh is None:
            raise Damaged(f"{folder.name}: {problem}") from problem
        _logger.warning(
            "%s is damaged (%s): made again from config and data", folder, problem
        )
    made = _named_leaves(fresh())
    for name, digest in shared["digests"].items():
        if leaf_digest(made[name]) != digest:
            raise ValueError(
                f"{folder} is damaged, and {name} as this machine makes it is not the "
                "same to the bit; go on where the run began, or take another --workdir"
            )
    return {name: made[name] for name in shared["digests"]}


def _root(workdir: str | Path) -> Path:
    return Path(workdir).resolve() / "checkpoints"


def _folders(workdir: str | Path) -> list[Path]:
    """Finished checkpoints, oldest first; a save that was cut short is `.partial`."""
    finished = [path for path in _root(workdir).glob("*") if path.name.isdecimal()]
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

    def mark(axis: int | None, part: Any) -> Any:
        return jax.tree.map(lambda leaf: axis is None, part)

    marks = jax.tree.map(mark, seed_axes, state, is_leaf=lambda axis: axis is None)
    return dict(zip(_named_leaves(state), jax.tree.leaves(marks), strict=True))


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
                f"{expected.get(name, 'absent')} in this run; use the config and the "
                "version of dlerse_jax that it was saved with, or another --workdir"
            )


def write_evaluation(path: str | Path, evaluation: Evaluation) -> None:
    """Writes one evaluation as a compressed `.npz`, in one step."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dataclasses.asdict(evaluation))
    write_atomically(Path(path), buffer.getvalue())


def _check_shapes(fields: dict[str, np.ndarray]) -> None:
    """ValueError for the first array that no evaluation of [S, B, T] has."""
    episodes = fields["items"].shape
    users = episodes[1:2]
    expected = {"items": (episodes, "iu"), "feedback": (episodes, "iub")}
    expected |= {"agent": ((), "U"), "protocol": ((), "U")}
    expected |= {"num_items": ((), "iu"), "miss_reward": ((), "iuf")}
    for name in ("users", "num_likes", "num_friends"):
        expected[name] = users, "iu"
    for name, (shape, kinds) in expected.items():
        found = fields[name]
        if found.shape != shape or found.dtype.kind not in kinds or len(episodes) != 3:
            raise ValueError(f"{name} is {found.dtype}{list(found.shape)}")


def read_evaluation(path: str | Path) -> Evaluation:
    """What `write_evaluation` wrote. FileNotFoundError or ValueError otherwise."""
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
            _check_shapes(fields)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise of every kind
        raise ValueError(
            f"{path}: not a whole evaluation ({error}); remove that file alone and run "
            "`dlerse train` on the same --workdir again"
        ) from error
    scalars = {name: value.item() for name, value in fields.items() if not value.ndim}
    return Evaluation(**(fields | scalars))
