"""What a run directory says about itself: `config.json` and `summary.json`.

From the first a reader can tell what ran, on which data, with which versions, on what
device, from which commit; the second holds the final metrics. A directory belongs to
one config and one content of the data: the same resume, others are refused. A key that
is younger than the run had its default then.
"""

import functools
import importlib.metadata
import json
import math
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dlerse_jax.defaults import base_config
from dlerse_jax.former_keys import BEFORE_THE_KEY, RENAMED_KEYS
from dlerse_jax.runs.manifest import digest_of
from dlerse_jax.runtime.atomic_files import write_atomically
from dlerse_jax.runtime.messages import shorten

CONFIG_NAME = "config.json"
FREE = ("devices.", "serve.")  # sections that may differ in one and the same run
SUMMARY_NAME = "summary.json"
_REMAKE_MEND = "remove that file alone and run the same command again"
_CONFIG_MEND = (
    "checkpoints and log beside it are as they were: move that file alone away and run "
    "the same command again, which goes on from them where config and data are the "
    "same; or take another --workdir"
)
_PACKAGES = ("dlerse_jax", "jax", "jaxlib", "flax", "optax", "jraph", "numpy")
# Numbers of a summary, where it has them.
_COSTS = (
    *("wall_seconds", "runs_in_program", "num_parameters", "num_seeds", "split"),
    *("decisions_per_second", "peak_memory_bytes"),
    *("update_seconds", "validation_seconds"),
)
_ABSENT = object()


class OtherConfig(ValueError):
    """The directory holds a run of another config; `difference` says in which key."""

    def __init__(self, path: Path, difference: str) -> None:
        self.difference = difference
        super().__init__(
            f"{path}: {difference} in this run; take another --workdir, or the value "
            "there to go on"
        )


def check_config(workdir: str | Path, config: Mapping[str, Any]) -> None:
    """OtherConfig where the directory holds a run of another config than this.

    It names the first key, in this config's order, that has another value there.
    `devices` and `serve` may differ: a run may go on with another number of devices,
    and is served as its file says. A key that the
    run is older than has its default there; one that is gone since is another value.
    """
    path = Path(workdir) / CONFIG_NAME
    if path.exists():
        check_same(path, read_config(workdir), config)


def check_holds_runs(workdir: str | Path) -> None:
    """ValueError where the folder of a sweep or a search is a run itself."""
    if (Path(workdir) / CONFIG_NAME).exists():
        raise ValueError(
            f"{workdir} is a run itself, and readers of it would not see runs in it; "
            "take another --workdir"
        )


def check_same(
    path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    """As `check_config`, of a config that was found in any file."""
    for key, old, new in _differences(found, expected):
        raise OtherConfig(path, f"{key} is {_shown(old)} there and {_shown(new)}")


def write_config(
    workdir: str | Path,
    config: Mapping[str, Any],
    *,
    data_digest: str | None = None,
    runs_in_program: int = 1,
) -> None:
    """Writes `config.json`, or leaves it where it already holds this config and data.

    data_digest is of the data set's content, and runs_in_program the number of runs
    that were begun side by side. ValueError as of `check_config`, or where the data
    are not those that the directory's run began with.
    """
    path = Path(workdir) / CONFIG_NAME
    if path.exists():
        check_config(workdir, config)
        check_data(workdir, data_digest)
        return
    about = {
        "config": _resolved(config),
        "data_digest": data_digest,
        "runs_in_program": runs_in_program,
        "versions": _versions(),
        "device": _device(),
        "git_commit": git_commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_atomically(path, _as_json(about | {"sha256": digest_of(about)}))


def check_data(workdir: str | Path, data_digest: str | None) -> None:
    """ValueError where the directory's run began with data of another content."""
    if (Path(workdir) / CONFIG_NAME).exists():
        check_digest(workdir, read_settings(workdir).get("data_digest"), data_digest)


def check_digest(workdir: str | Path, stored: Any, data_digest: str | None) -> None:
    """As `check_data`, of a digest that was found; None is of no data at all."""
    if stored is not None and data_digest not in (None, stored):
        raise ValueError(
            f"{workdir}: the data are not those of this run: the config is the same, "
            "the content of the data set has changed since it began; bring the data "
            "back, or take another --workdir"
        )


def check_data_beside(
    folder: Path, config: Mapping[str, Any], data_digest: str
) -> None:
    """ValueError where a run in the folder began with other data of the same config.

    For runs that are compared with one another: the points of a sweep.
    """
    own = {"data": config["data"]}
    for path in sorted(folder.glob(f"*/{CONFIG_NAME}")):
        settings = read_settings(path.parent)
        theirs = {"data": settings["config"].get("data", {})}
        if not any(_differences(theirs, own, within="data.")):
            check_digest(path.parent, settings.get("data_digest"), data_digest)


def runs_in_program(workdir: str | Path) -> int:
    """Runs that were begun side by side with the directory's, itself included."""
    return read_settings(workdir).get("runs_in_program", 1)


def run_identity(config: Mapping[str, Any], data_digest: str) -> str:
    """What a checkpoint belongs to: this config, on any devices, and these data.

    Of a run that is taken up give the config of its directory: it may be older than
    some of today's keys, and its checkpoints are.
    """
    free = [section.rstrip(".") for section in FREE]
    kept = {key: value for key, value in _resolved(config).items() if key not in free}
    return digest_of([kept, data_digest])


def read_settings(workdir: str | Path) -> dict[str, Any]:
    """All of `config.json`: config, data_digest, versions, device, commit, date.

    FileNotFoundError where there is no run; ValueError where the file is damaged, or
    of a version whose keys had other names.
    """
    path = Path(workdir) / CONFIG_NAME
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: {workdir} is not a run directory; make one with "
            f"`dlerse train --config=... --workdir={workdir}`"
        )
    settings = read_json(path, mend=_CONFIG_MEND)
    checksum = settings.pop("sha256", None)
    if checksum not in (None, digest_of(settings)):
        raise ValueError(f"{path} is damaged; {_CONFIG_MEND}")
    if not isinstance(settings.get("config"), dict):
        raise ValueError(f"{path} holds no config; {_CONFIG_MEND}")
    _check_version(path, settings)
    return settings


def read_config(workdir: str | Path) -> dict[str, Any]:
    """The resolved config of a run directory, nested; errors of `read_settings`."""
    return read_settings(workdir)["config"]


def read_summary(workdir: str | Path) -> dict[str, Any]:
    """`summary.json`; {} while the run is not finished. ValueError where damaged."""
    path = Path(workdir) / SUMMARY_NAME
    if not path.exists():
        return {}
    summary = read_json(path, mend=_REMAKE_MEND)
    for key in _COSTS:
        found = summary.get(key, 1)
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if not is_number or (key == "runs_in_program" and found < 1):
            shown = shorten(repr(found))
            raise ValueError(f"{path}: {key} is {shown}, no cost; {_REMAKE_MEND}")
    return summary


def read_json(path: Path, *, mend: str) -> dict[str, Any]:
    """The object in a JSON file; ValueError, with what to do, where there is none."""
    try:
        content = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}, line {error.lineno}: not JSON ({error.msg}); {mend}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}); {mend}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a JSON object; {mend}")
    return content


def _check_version(path: Path, settings: dict[str, Any]) -> None:
    """Runs of old versions are recognised by the names of their sections."""
    renamed = {old.partition(".")[0] for old in RENAMED_KEYS} - set(base_config())
    if old := sorted(renamed & set(settings["config"])):
        raise ValueError(
            f"{path} was made by version {made_by(settings)} of dlerse_jax, which had "
            f"a section {old[0]!r}; read it with that version, or take another "
            "--workdir"
        )


def made_by(settings: Mapping[str, Any]) -> str:
    """The version of this package that a run's settings name, ? where they do not."""
    versions = settings.get("versions")
    return versions.get("dlerse_jax", "?") if isinstance(versions, dict) else "?"


def write_summary(workdir: str | Path, summary: Mapping[str, Any]) -> None:
    """Writes `summary.json` in one step; a number that is not finite becomes null."""
    write_atomically(Path(workdir) / SUMMARY_NAME, _as_json(_finite(summary)))


def _resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(config))  # tuples become lists, as in the file


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


def _differences(
    found: Mapping[str, Any], expected: Mapping[str, Any], within: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Keys, below `within`, of which two configs have other values, and these."""
    defaults = _values(_resolved(base_config().to_dict())) | BEFORE_THE_KEY
    old, new = _values(found), _values(_resolved(expected))
    for key in dict.fromkeys([*new, *old]):
        values = old.get(key, defaults.get(key, _ABSENT)), new.get(key, _ABSENT)
        is_free = key.startswith(FREE) or not key.startswith(within)
        if values[0] != values[1] and not is_free:
            yield key, *values


def _values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Flat keys; a section that is empty, as it may be no more, holds none."""
    return {key: value for key, value in flat_items(config) if value != {}}


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
    return "absent" if value is _ABSENT else shorten(json.dumps(value))


@functools.cache
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
