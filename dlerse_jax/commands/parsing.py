"""The flags of each command, and the config that `--config` and its overrides make.

Each command knows its own flags and words; any other is refused, with what it may have
been meant for.
"""

import contextlib
import difflib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from dlerse_jax.commands import recommend, report, search, serve, sweep
from dlerse_jax.config_ranges import check_ranges
from dlerse_jax.defaults import base_config
from dlerse_jax.experiment.agent_keys import check_command
from dlerse_jax.experiment.chosen_settings import keep_given
from dlerse_jax.experiment.config_files import known_keys, load_config, unknown_key
from dlerse_jax.experiment.search import read_search
from dlerse_jax.experiment.sweep import read_sweep
from dlerse_jax.runs.directory import flat_items
from dlerse_jax.runtime import multihost
from dlerse_jax.runtime.messages import shorten

# Commands whose base config is named by the file they are given.
FILES_WITH_BASE: dict[str, tuple[Callable[[str], Any], str]] = {
    "sweep": (read_sweep, "sweeps/alpha.py:quick"),
    "search": (read_search, "searches/learning.py:quick"),
}


def _define_workdir(values: flags.FlagValues) -> None:
    flags.DEFINE_string("workdir", "", "folder of the run", flag_values=values)
    flags.DEFINE_boolean("quiet", False, "no progress", flag_values=values)


def _define_process_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0", flag_values=values)
    flags.DEFINE_integer("num-processes", None, "of this run", flag_values=values)
    flags.DEFINE_integer("process-id", None, "from 0 on", flag_values=values)


def _define_json(values: flags.FlagValues) -> None:
    flags.DEFINE_boolean("json", False, "as JSON", flag_values=values)


# What defines a command's flags, beside --config and --debug.
FLAGS: dict[str, tuple[Callable[[flags.FlagValues], None], ...]] = {
    "train": (_define_workdir, _define_process_flags),
    "sweep": (_define_workdir, _define_process_flags, sweep.define_flags),
    "search": (_define_workdir, search.define_flags),
    "evaluate": (_define_process_flags,),
    "report": (report.define_flags,),
    "recommend": (recommend.define_person, recommend.define_flags, _define_json),
    "chat": (recommend.define_person,),
    "card": (),
    "bench": (),
    "data": (_define_json,),
    "serve": (serve.define_serve_flags,),
    "events": (serve.define_events_flags,),
}
# Others take none.
MOST_WORDS = {
    "evaluate": 1,
    "report": sys.maxsize,
    "recommend": 1,
    "chat": 1,
    "card": 1,
    "data": 2,
    "serve": 1,
    "events": 2,
}
HIDING = ("undefok", "flagfile")  # absl's own, which no check of ours would see
WITHOUT_FILE = ("evaluate", "report", "recommend", "chat", "card", "serve", "events")


def parse_command(words: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """What a command line after `dlerse` says -> flags, and words that are none.

    `values.config` is the config with its overrides, None where none is named;
    `values["config"].override_values` has the overrides alone.
    """
    command, *arguments = words
    file, arguments = _without_config(arguments)
    if file and command in WITHOUT_FILE:
        raise ValueError(
            f"{command} reads the config of the run itself: leave --config={file} out"
        )
    if not file and command in FILES_WITH_BASE:
        file = _base_of(command, arguments)
    _check_overrides(arguments)
    values = _defined(command, _config(command, file), arguments)
    values.set_gnu_getopt(True)
    with _worded(command, arguments):
        found = values(["dlerse", *arguments], known_only=False)[1:]
    for word in found[MOST_WORDS.get(command, 0) :]:
        raise ValueError(_stray(command, word))
    values.config_file = file
    return values, found


def _defined(
    command: str, config: ConfigDict, arguments: list[str]
) -> flags.FlagValues:
    values = flags.FlagValues()
    words = ["dlerse", *arguments]
    config_flags.DEFINE_config_dict(
        "config", config, flag_values=values, sys_argv=words
    )
    flags.DEFINE_string("config_file", "", "set here", flag_values=values)
    flags.DEFINE_boolean("debug", False, "traceback", flag_values=values)
    for define in FLAGS[command]:
        define(values)
    return values


def _without_config(arguments: list[str]) -> tuple[str, list[str]]:
    """The file that --config names, "" where it names none, and all else."""
    file, left, rest = "", [], iter(arguments)
    for text in rest:
        name, has_value, value = text.partition("=")
        if name not in ("--config", "-config"):
            left.append(text)
            continue
        file = value if has_value else next(rest, "")
        if not file:
            raise ValueError("--config names no file, as experiments/synthetic.py")
    return file, left


def _base_of(command: str, arguments: list[str]) -> str:
    """The base config of the file that a sweep or a search is given."""
    values = flags.FlagValues()
    flags.DEFINE_string(command, "", "file", flag_values=values)
    values.set_gnu_getopt(True)
    values(["dlerse", *arguments], known_only=True)
    read, example = FILES_WITH_BASE[command]
    if not values[command].value:
        raise ValueError(f"--{command} is missing, for example {example}")
    return read(values[command].value).base


def _config(command: str, file: str) -> ConfigDict:
    if file:
        return load_config(file)
    return base_config()


def _check_overrides(arguments: list[str]) -> None:
    """ValueError for an override of a key that no config has, or that nobody sees."""
    known = known_keys()
    for text in arguments:
        name = text.partition("=")[0].lstrip("-").removeprefix("no")
        if text.startswith("-") and name in HIDING:
            raise ValueError(f"--{name} is not taken: it would hide mistakes in flags")
        if not text.startswith("-") or not name.startswith("config."):
            continue
        key, bracket, _ = name.removeprefix("config.").partition("[")
        if key in known and bracket:
            raise ValueError(
                f"{shorten(text)}: parts of a value are not set one by one; give all "
                f"of {key}, as --config.{key}={config_flags_text(known[key])}"
            )
        if key in known:
            continue
        if inside := [other for other in known if other.startswith(f"{key}.")]:
            raise ValueError(
                f"{key} is a section, whose keys are set one by one, as "
                f"--config.{inside[0]}={known[inside[0]]}"
            )
        raise ValueError(unknown_key(key))


@contextlib.contextmanager
def _worded(command: str, arguments: list[str]) -> Iterator[None]:
    """Says what absl and ml_collections find in this project's words."""
    try:
        yield
    except flags.UnrecognizedFlagError as error:
        raise ValueError(_unknown_flag(command, error.flagname)) from error
    except (flags.IllegalFlagValueError, ValueError, TypeError, SyntaxError) as error:
        for text in arguments:
            if problem := _wrong_type(text):
                raise ValueError(problem) from error
        raise ValueError(str(error)) from error


def _unknown_flag(command: str, name: str) -> str:
    owners = [other for other in FLAGS if name in _names(other) and other != command]
    if owners:
        return f"--{name} is a flag of {' and '.join(owners)}, not of {command}"
    near = difflib.get_close_matches(name, _names(command), n=1)
    hint = f"did you mean --{near[0]}?" if near else f"see `dlerse {command} --help`"
    return f"{command} has no flag --{shorten(name)}; {hint}"


def _names(command: str) -> list[str]:
    own = {"config", "debug"}
    values = flags.FlagValues()
    for define in FLAGS[command]:
        define(values)
    return sorted(own | set(values))


def _wrong_type(text: str) -> str:
    """Why an override's value is none of its key; "" where it may be one."""
    name, has_value, value = text.lstrip("-").partition("=")
    known = known_keys()
    key = name.removeprefix("config.")
    if not has_value or key not in known:
        return ""
    kinds = {bool: "True or False", int: "a whole number", float: "a number"}
    kind = float if known[key] is None else type(known[key])
    expected = kinds.get(kind, "what its default is like")
    problem = f"{key} is {shorten(repr(value))}, expected {expected}"
    if kind is not tuple and (kind not in kinds or _reads_as(kind, value)):
        return ""
    if known[key] is None:
        return f"{problem}; where there is none, leave it out"
    return f"{problem}, as --config.{key}={config_flags_text(known[key])}"


def config_flags_text(value: object) -> str:
    """A value as a command line gives it."""
    return f'"{value}"' if isinstance(value, tuple) else str(value)


def _reads_as(kind: type, value: str) -> bool:
    if kind is bool:
        return value.lower() in ("true", "false", "0", "1")
    try:
        kind(value)
    except ValueError:
        return False
    return True


def _stray(command: str, word: str) -> str:
    problem = f"{command} takes no word {shorten(repr(word))}"
    key = word.partition("=")[0]
    if key in known_keys():
        return f"{problem}; did you mean --config.{shorten(word)}?"
    return f"{problem}; see `dlerse {command} --help`"


def start_processes(values: flags.FlagValues) -> None:
    """Joins the other processes of the run, where flags or a scheduler name some."""
    multihost.start(
        coordinator=values.coordinator,
        num_processes=values["num-processes"].value,
        process_id=values["process-id"].value,
    )


def config_of(values: flags.FlagValues) -> ConfigDict:
    """The config named on the command line, its numbers in their ranges.

    ValueError where none is, and for a key that does nothing for the agent.
    """
    if not values.config_file:
        raise ValueError("--config is missing, for example experiments/synthetic.py")
    check_ranges(flat_items(values.config.to_dict()))
    if "sweep" not in values:  # whose points have agents of their own
        _, _, option = values.config_file.partition(":")
        given = values["config"].override_values
        check_command(values.config, given, option)
        return keep_given(values.config, given)
    return values.config
