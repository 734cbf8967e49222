"""The flags of every command, and the config that `--config` and its overrides make."""

from absl import flags
from ml_collections import ConfigDict, config_flags

from dlerse_jax.commands import sweep
from dlerse_jax.defaults import base_config


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
        for name in ("quiet", "json", "debug"):
            flags.DEFINE_boolean(name, False, name, flag_values=values)
        return values, values(words, known_only=False)[1:]
    except AttributeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"a key that no config has: {reason}") from error


def parse_command(words: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """What a command line after `dlerse` says, as its command reads it."""
    command, *arguments = words
    if command == "sweep":  # its base config is named by its file
        arguments = sweep.with_base(arguments)
    return parse(arguments, names_config=command != "evaluate")


def config_of(values: flags.FlagValues) -> ConfigDict:
    """The config named on the command line; ValueError where none is."""
    if values.config is None:
        raise ValueError("--config is missing, for example experiments/synthetic.py")
    return values.config
