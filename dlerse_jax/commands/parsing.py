"""The flags of every command, and the config that `--config` and its overrides make."""

from absl import flags
from ml_collections import ConfigDict, config_flags

from dlerse_jax.commands import search, sweep
from dlerse_jax.defaults import base_config
from dlerse_jax.experiment.agent_keys import check_command
from dlerse_jax.experiment.search import read_search
from dlerse_jax.experiment.sweep import read_sweep
from dlerse_jax.runtime import multihost

# Commands whose base config is named by the file they are given.
FILES_WITH_BASE = {
    "sweep": (read_sweep, "sweeps/alpha.py:quick"),
    "search": (read_search, "searches/learning.py:quick"),
}


def parse(
    arguments: list[str], *, names_config: bool = True
) -> tuple[flags.FlagValues, list[str]]:
    """Flags and what is left. Overrides like --config.a.b=1 are ml_collections' own.

    They change the file that --config names, or the defaults where a command names no
    file; `values["config"].override_values` has them alone.
    """
    values, words = flags.FlagValues(), ["dlerse", *arguments]
    options = {"flag_values": values, "sys_argv": words}
    try:
        if names_config:
            config_flags.DEFINE_config_file("config", None, **options)
        else:
            config_flags.DEFINE_config_dict("config", base_config(), **options)
        flags.DEFINE_string("workdir", "", "folder of the run", flag_values=values)
        sweep.define_flags(values)
        search.define_flags(values)
        _define_process_flags(values)
        for name in ("quiet", "json", "debug"):
            flags.DEFINE_boolean(name, False, name, flag_values=values)
        return values, values(words, known_only=False)[1:]
    except AttributeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"a key that no config has: {reason}") from error


def _define_process_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0", flag_values=values)
    flags.DEFINE_integer("num-processes", None, "of this run", flag_values=values)
    flags.DEFINE_integer("process-id", None, "from 0 on", flag_values=values)


def start_processes(values: flags.FlagValues) -> None:
    """Joins the other processes of the run, where flags or a scheduler name some."""
    multihost.start(
        coordinator=values.coordinator,
        num_processes=values["num-processes"].value,
        process_id=values["process-id"].value,
    )


def parse_command(words: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """What a command line after `dlerse` says, as its command reads it."""
    command, *arguments = words
    if command in FILES_WITH_BASE:
        arguments = _with_base(command, arguments)
    return parse(arguments, names_config=command != "evaluate")


def _with_base(command: str, arguments: list[str]) -> list[str]:
    """The arguments with the file's own base config ahead, unless they name one."""
    if any(text.partition("=")[0] in ("--config", "-config") for text in arguments):
        return arguments
    values = flags.FlagValues()
    flags.DEFINE_string(command, "", "file", flag_values=values)
    values(["dlerse", *arguments], known_only=True)
    read, example = FILES_WITH_BASE[command]
    if not values[command].value:
        raise ValueError(f"--{command} is missing, for example {example}")
    return [f"--config={read(values[command].value).base}", *arguments]


def config_of(values: flags.FlagValues) -> ConfigDict:
    """The config named on the command line.

    ValueError where none is, and for a key that does nothing for the agent.
    """
    if values.config is None:
        raise ValueError("--config is missing, for example experiments/synthetic.py")
    if not values.sweep:  # whose points have agents of their own
        flag = values["config"]
        _, _, option = flag.config_filename.partition(":")
        check_command(values.config, flag.override_values, option)
    return values.config
