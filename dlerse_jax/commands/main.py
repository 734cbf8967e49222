"""`dlerse`: reads the command line, hands it to one subcommand, words the errors.

Bad input exits 2 with one line that names the mend; `--debug` shows the traceback. An
interrupted run exits 130 after saving its state.
"""

import os
import sys
from pathlib import Path

import jax
from absl import flags

from dlerse_jax.commands import bench, data, evaluate, report, search, sweep, train
from dlerse_jax.commands.parsing import config_of, parse_command, start_processes
from dlerse_jax.experiment.build import build_dataset
from dlerse_jax.experiment.runner import Interrupted
from dlerse_jax.runtime import multihost

USAGE = """usage: dlerse COMMAND ...

  train   --config=FILE.py[:option] --workdir=DIR [--config.key=value ...] [--quiet]
  sweep   --sweep=FILE.py[:quick] --workdir=DIR [--config.key=value ...]
          [--list | --point=3 | --shard=1/4] [--dry-run] [--quiet]
  search  --search=FILE.py[:quick] --workdir=DIR [--config.key=value ...]
          [--trials=20] [--quiet]
  evaluate DIR --config.evaluation.protocol=WORD [--config.evaluation.key=value ...]
  report  DIR
  bench   --config=FILE.py [--config.key=value ...]
  data    stats --config=FILE.py [--json]
  data    fetch NAME

train, sweep and evaluate run as several processes where Slurm or Open MPI started them,
or with --coordinator=HOST:PORT --num-processes=N --process-id=I in each of them.
--debug shows the traceback of an error."""

USER_ERRORS = (ValueError, FileNotFoundError, OSError, flags.Error)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command -> exit status.

    0 done, 1 done but a point of a sweep failed, 2 bad input, 3 another process of the
    run is lost, 130 interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE + "\n")
        return 0
    _set_up_jax()
    return multihost.leave(_status(arguments))


def _status(arguments: list[str]) -> int:
    try:
        return _command(arguments) or 0
    except Interrupted as stop:
        sys.stderr.write(f"dlerse: {stop}\n")
        return 130
    except jax.errors.JaxRuntimeError as error:
        if not multihost.is_loss(error):
            raise
        return multihost.LOST
    except USER_ERRORS as error:
        if multihost.is_loss(error):
            return multihost.LOST
        if "--debug" in arguments:
            raise
        sys.stderr.write(f"dlerse: {' '.join(str(error).split())}\n")
        return 2


def _command(words: list[str]) -> int | None:
    if words[0] not in COMMANDS:
        raise ValueError(f"no command {words[0]!r}; there are {', '.join(COMMANDS)}")
    values, names = parse_command(words)
    if words[0] in TOGETHER:
        start_processes(values)
    return COMMANDS[words[0]](values, names)


def _train(values: flags.FlagValues, _: list[str]) -> None:
    train.train(config_of(values), _workdir(values), quiet=values.quiet)


def _sweep(values: flags.FlagValues, _: list[str]) -> int:
    workdir = Path(values.workdir) if values.list else _workdir(values)
    return sweep.sweep(values, config_of(values), workdir)


def _search(values: flags.FlagValues, _: list[str]) -> None:
    search.search(values, config_of(values), _workdir(values))


def _evaluate(values: flags.FlagValues, names: list[str]) -> None:
    if len(names) != 1:
        raise ValueError("usage: dlerse evaluate DIR --config.evaluation.protocol=WORD")
    evaluate.evaluate(Path(names[0]), values["config"].override_values)


def _report(_: flags.FlagValues, names: list[str]) -> None:
    if len(names) != 1:
        raise ValueError("usage: dlerse report DIR")
    report.report(Path(names[0]))


def _bench(values: flags.FlagValues, _: list[str]) -> None:
    bench.bench(config_of(values))


def _data(values: flags.FlagValues, names: list[str]) -> None:
    if names == ["stats"]:
        data.stats(build_dataset(config_of(values)), values.json)
    elif len(names) == 2 and names[0] == "fetch":
        data.fetch(names[1])
    else:
        raise ValueError("usage: dlerse data stats --config=FILE.py, data fetch NAME")


def _workdir(values: flags.FlagValues) -> Path:
    if not values.workdir:
        raise ValueError("--workdir is missing: name the folder that keeps what runs")
    return Path(values.workdir)


def _set_up_jax() -> None:
    """Keeps XLA's programs between runs, unless the user named a place for them."""
    if jax.config.jax_compilation_cache_dir is None:
        cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", f"{cache}/dlerse_jax/xla")


COMMANDS = {
    "train": _train,
    "sweep": _sweep,
    "search": _search,
    "evaluate": _evaluate,
    "report": _report,
    "bench": _bench,
    "data": _data,
}

TOGETHER = ("train", "sweep", "evaluate")  # what several processes can do as one

if __name__ == "__main__":
    sys.exit(main())
