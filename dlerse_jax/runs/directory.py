"""What a run directory says about itself: `config.json` and `summary.json`.

In go the resolved config and, at the end, the final metrics; out come files from
which a reader can tell what ran, with which versions, on what device, from which
commit. A directory belongs to one config: the same one resumes, another is refused.
"""

import importlib.metadata
import json
import math
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dlerse_jax.runtime.atomic_files import write_atomically

_PACKAGES = ("dlerse_jax", "jax", "jaxlib", "flax", "optax", "jraph", "numpy")
_ABSENT = object()


def write_config(workdir: str | Path, config: Mapping[str, Any]) -> None:
    """Writes `config.json`, or leaves it where it already holds this config.

    `devices` may differ: a run may go on with another number of them.

    ValueError names the first key, in this config's order, that the directory holds
    another value of.
    """
    path = Path(workdir) / "config.json"
    resolved = json.loads(json.dumps(config))  # tuples become lists, as in the file
    if path.exists():
        _check_same(path, found=read_config(workdir), expected=resolved)
        return
    about = {
        "config": resolved,
        "versions": _versions(),
        "device": _device(),
        "git_commit": git_commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_atomically(path, _as_json(about))


def read_config(workdir: str | Path) -> dict[str, Any]:
    """The resolved config of a run directory, nested as it was written.

    FileNotFoundError where there is no run, ValueError where the file is not whole.
    """
    path = Path(workdir) / "config.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: {workdir} is not a run directory; make one with "
            f"`dlerse train --config=... --workdir={workdir}`"
        )
    try:
        return json.loads(path.read_bytes())["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not a config that this package wrote ({error}); remove the "
            "directory or take another --workdir"
        ) from error


def write_summary(workdir: str | Path, summary: Mapping[str, Any]) -> None:
    """Writes `summary.json` in one step; a number that is not finite becomes null."""
    write_atomically(Path(workdir) / "summary.json", _as_json(_finite(summary)))


def _as_json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _finite(value: Any) -> Any:
    """`value` as JSON can hold it: NumPy and JAX numbers and arrays made Python's."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_same(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    found_keys, expected_keys = dict(flat_items(found)), dict(flat_items(expected))
    for key in [*expected_keys, *found_keys]:
        if key.startswith("devices."):
            continue
        old, new = found_keys.get(key, _ABSENT), expected_keys.get(key, _ABSENT)
        if old != new:
            raise ValueError(
                f"{path}: {key} is {_shown(old)} there and {_shown(new)} in this run; "
                f"take another --workdir, or remove {path.parent} to start over"
            )


def flat_items(
    nested: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """(dotted key, value), in order; an empty section counts as a value."""
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            yield from flat_items(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _shown(value: Any) -> str:
    return "absent" if value is _ABSENT else json.dumps(value)


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version()} | packages


def _device() -> dict[str, Any]:
    import jax  # here, as it takes a second and readers of a config need none of it

    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
    }


def git_commit() -> str | None:
    """Commit of the package's own checkout, "-dirty" if changed; None if installed."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(
            describe, cwd=checkout, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
