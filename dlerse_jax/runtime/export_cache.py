"""Cache of exported programs between runs: Python traces each of them once.

A function of arrays and a text that names everything it was made of give the same
function, as an earlier run traced it where one did. Tracing an update of
DLERSE takes seconds, reading its StableHLO (`jax.export`) a tenth of one. Programs lie
beside what XLA makes of them, in `jax_compilation_cache_dir`; where JAX keeps nothing,
nothing is kept here.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import logging
from collections.abc import Callable
from pathlib import Path

import jax
from jax import export

from dlerse_jax.runtime.atomic_files import write_atomically

NUM_KEPT = 500  # programs, of .2 MB each; those that were not used for longest go
_MADE_WITH = ("jax", "jaxlib", "flax", "optax", "jraph", "chex", "numpy", "scipy")
_DIGEST_SIZE = 32

_logger = logging.getLogger(__name__)


def exported_program(function: Callable, arguments: tuple, identity: str) -> Callable:
    """`function` as it was traced for arguments of these shapes, now or before.

    arguments are tuples, lists and dicts of arrays or `jax.ShapeDtypeStruct`, as are
    results. identity must tell apart all that the function reads beside them: configs,
    data, names. Code, versions and JAX's own settings are added here.
    """
    if not keeps_programs():
        return function
    return exported(function, arguments, identity).call


def keeps_programs() -> bool:
    """Whether there is a folder that programs are kept in."""
    return bool(jax.config.jax_compilation_cache_dir)  # type: ignore[attr-defined]


def exported(function: Callable, arguments: tuple, identity: str) -> export.Exported:
    """The same with what is known of it: `module_kept_var_idx`, what it reads.

    `keeps_programs` holds.
    """
    words = identity, str(jax.tree.map(_description, arguments)), _surroundings()
    name = hashlib.sha256("\n".join(words).encode()).hexdigest()
    cache = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    path = Path(cache, "traced", name)
    content = _read(path)
    if content is None:
        made = export.export(jax.jit(function))(*arguments)
        content = bytes(made.serialize())
        _keep(path, content)
    return export.deserialize(bytearray(content))


def _description(array) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _surroundings() -> str:
    """What every program depends on: code, libraries, JAX's settings, the device."""
    settings = sorted(jax.config.values.items())
    return f"{_digest_of_code()} {_versions()} {settings} {jax.default_backend()}"


@functools.cache
def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _MADE_WITH}


@functools.cache
def _digest_of_code() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> bytes | None:
    """What was kept, if it is whole; then it counts as used just now."""
    try:
        kept = path.read_bytes()
    except OSError:  # not there, or no file
        return None
    digest, content = kept[:_DIGEST_SIZE], kept[_DIGEST_SIZE:]
    if digest != hashlib.sha256(content).digest():
        return None
    with contextlib.suppress(OSError):  # a folder that is read and never written
        path.touch()
    return content


def _keep(path: Path, content: bytes) -> None:
    """A folder that takes no file costs the next run some seconds, and this nothing."""
    try:
        write_atomically(path, hashlib.sha256(content).digest() + content)
        for old in sorted(path.parent.glob("[!.]*"), key=_last_used)[:-NUM_KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        _logger.warning("a traced program was not kept: %s", error)


def _last_used(path: Path) -> float:
    """0 for a file that another process or thread has just deleted."""
    return path.stat().st_mtime if path.exists() else 0.0
