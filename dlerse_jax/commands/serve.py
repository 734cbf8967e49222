"""`dlerse serve RUN` and `dlerse events export`: flags to settings of the server.

The server's packages are an extra, so they are imported here and not above.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags

from dlerse_jax.commands.output import say
from dlerse_jax.defaults import base_config
from dlerse_jax.runs.directory import CONFIG_NAME, read_config

STORE = "DLERSE_STORE"  # what --store says: a list of processes shows its password
EXTRA = "pip install 'dlerse_jax[serve]'"
NUMBERS = {  # flag -> default, what it is
    "rate": (100.0, "requests a second for each key, 0: no limit"),
    "watch": (0.0, "seconds between looks for a new model, 0: never"),
    "session-days": (30.0, "that a session is kept after its last answer"),
    "event-days": (90.0, "that files of the log are kept"),
}
TEXTS = {
    "host": ("127.0.0.1", "address to listen at"),
    "state": ("", "folder of sessions and log"),
    "store": ("", "where sessions are"),
    "keys": ("", "file of API keys"),
    "new-key": ("", "makes a key"),
    "exploration": ("", "none, epsilon:0.1 or softmax:0.5; the run's without it"),
    "origins": ("", "of other sites' pages"),
    "hosts": ("", "names that a request may come to"),
}
SWITCHES = {
    "demo": "the page may search for users",
    "wait-for-disk": "a commit is safe against a power cut",
    "telemetry": "spans for OpenTelemetry",
}


def define_serve_flags(values: flags.FlagValues) -> None:
    for name, (default, words) in TEXTS.items():
        flags.DEFINE_string(name, default, words, flag_values=values)
    for name, (number, words) in NUMBERS.items():
        flags.DEFINE_float(name, number, words, 0.0, flag_values=values)
        flags.register_validator(
            name, math.isfinite, "it must be a finite number", flag_values=values
        )
    for name, words in SWITCHES.items():
        flags.DEFINE_boolean(name, False, words, flag_values=values)
    flags.DEFINE_integer("port", 8000, "to listen at", 0, 65535, flag_values=values)
    flags.DEFINE_integer("seed", 0, "of the run's seeds", 0, flag_values=values)
    flags.DEFINE_integer(
        "exploration-seed", None, "of what is drawn", 0, flag_values=values
    )
    flags.DEFINE_integer(
        "cache", 256, "MiB of sessions in memory", 1, flag_values=values
    )
    flags.DEFINE_integer("workers", 1, "processes", 1, 64, flag_values=values)
    flags.DEFINE_integer(
        "candidates", 20, "that exploration chooses among", 1, 128, flag_values=values
    )


def define_events_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("format", "", "parquet, vw or obp", flag_values=values)
    flags.DEFINE_string("output", "", "file to write", flag_values=values)


def set_threads(names: Sequence[str]) -> None:
    """For a run that is served, before JAX is set up."""
    from dlerse_jax.server import threads

    for name in names:
        threads.set_threads(Path(name).expanduser())


def serve(values: flags.FlagValues, names: Sequence[str]) -> None:
    """Serves a run until it is told to stop, or makes an API key."""
    if values["new-key"].value:
        _new_key(values["new-key"].value, values.keys)
        return
    if len(names) != 1:
        raise ValueError("usage: dlerse serve RUN")
    try:
        from dlerse_jax.server import run as server
    except ImportError as error:
        raise ValueError(
            f"dlerse serve needs a package that is not installed ({error.name}): "
            f"{EXTRA}"
        ) from None
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    directory = Path(names[0]).expanduser()
    server.serve(
        directory,
        _settings(values, directory),
        host=values.host,
        port=values.port,
        keys_file=values.keys,
        seed=values.seed,
        telemetry=values.telemetry,
        workers=values.workers,
    )


def _settings(values: flags.FlagValues, run: Path):
    from dlerse_jax.server.settings import DAY, Settings

    state = Path(values.state).expanduser() if values.state else run / "serving"
    here = f"sqlite:{state / 'sessions.sqlite'}"
    return Settings(
        store=values.store or os.environ.get(STORE) or here,
        events=state / "events",
        **_exploration(values, run),
        candidates=values.candidates,
        origins=_listed(values.origins),
        hosts=_listed(values.hosts),
        demo=values.demo,
        cached_bytes=values.cache << 20,
        rate=values.rate,
        burst=2 * values.rate,
        session_seconds=values["session-days"].value * DAY,
        watch_seconds=values.watch,
        wait_for_disk=values["wait-for-disk"].value,
        event_days=values["event-days"].value,
    )


def _exploration(values: flags.FlagValues, run: Path) -> dict[str, Any]:
    """What the flags say, else the `serve` section of the run's config."""
    from dlerse_jax.server.exploration import parse_exploration

    said = dict(base_config().serve)
    if (run / CONFIG_NAME).exists():
        said |= read_config(run).get("serve", {})
    seed = values["exploration-seed"].value
    if seed is None and said["exploration_seed"] >= 0:
        seed = said["exploration_seed"]
    text = values.exploration or said["exploration"]
    return {"exploration": parse_exploration(text), "seed": seed}


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _new_key(words: str, path: str) -> None:
    """Prints a key and adds its digest to the file."""
    from dlerse_jax.server.security import new_key

    name, _, role = words.partition(":")
    key, line = new_key(name, role or "client")
    if not path:
        raise ValueError("--keys is missing: name the file that the key goes into")
    with Path(path).expanduser().open("a+b") as file:
        file.seek(0)
        written = file.read()
        start = b"" if written[-1:] in (b"", b"\n") else b"\n"  # an editor left none
        file.write(start + line.encode() + b"\n")
    say(f"{key}\nis shown this once; {path} has its digest")


def events(values: flags.FlagValues, names: Sequence[str]) -> None:
    """Writes the log of events in another program's format."""
    if len(names) != 2 or names[0] != "export" or not values.output:
        raise ValueError(
            "usage: dlerse events export FOLDER --format=WORD --output=FILE"
        )
    from dlerse_jax.server.event_export import export_events

    count = export_events(
        Path(names[1]).expanduser(), Path(values.output).expanduser(), values.format
    )
    say(f"{values.output}: {count:,} rows")
