"""`dlerse`: reads the command line, hands it to one subcommand, words the errors.

Bad input exits 2 with one line that says what to change; `--debug` shows the traceback.
An interrupted command exits 130; a run has saved its state by then.
"""

import io
import os
import signal
import sys
import traceback
from pathlib import Path

import jax
from absl import flags

from dlerse_jax.commands import (
    bench,
    card,
    chat,
    data,
    evaluate,
    recommend,
    report,
    search,
    serve,
    sweep,
    train,
)
from dlerse_jax.commands.parsing import config_of, parse_command, start_processes
from dlerse_jax.commands.usage import HELP, USAGE
from dlerse_jax.experiment.build import build_dataset
from dlerse_jax.experiment.runner import Interrupted
from dlerse_jax.runtime import multihost
from dlerse_jax.runtime.backend import check_backend
from dlerse_jax.runtime.messages import one_line

USER_ERRORS = (ValueError, FileNotFoundError, OSError, flags.Error)
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Runs one command -> exit status.

    0 done, 1 done but a point of a sweep failed, 2 bad input, 3 another process of the
    run is lost, 130 interrupted.
    """
    is_process = arguments is None
    if is_process:  # without UTF-8 a terminal gets tables, and a chat goes on
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE + "\n")
        return 0
    if arguments[0] in HELP and {"-h", "--help"} & set(arguments[1:]):
        sys.stdout.write(HELP[arguments[0]] + "\n")
        return 0
    status = _status(arguments)
    if is_process:  # from here on Ctrl-C finds threads that are being joined
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        if status == INTERRUPTED and not multihost.are_many():
            _end_at_once(status)
    return multihost.leave(status)


def _end_at_once(status: int) -> None:
    """All is saved and told; what threads compile ahead, nobody will need."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _status(arguments: list[str]) -> int:
    try:
        _set_up_jax()
        return _command(arguments) or 0
    except Interrupted as stop:
        return _fail(str(stop), INTERRUPTED)
    except KeyboardInterrupt:
        again = "what was saved is intact, and the same command goes on from there"
        return _fail(f"interrupted; {again}", INTERRUPTED)
    except Exception as error:
        if multihost.is_loss(error):
            return multihost.LOST
        if "--debug" in arguments:
            raise
        return _fail(_worded(error), 2)


def _fail(line: str, status: int) -> int:
    sys.stderr.write(f"dlerse: {line}\n")
    return status


def _worded(error: Exception) -> str:
    """One line about an error; one that nobody foresaw says where it came up."""
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return (
            f"memory is full ({one_line(error)}); lower batch sizes, "
            "q_learning.replay_capacity or num_seeds, or take a larger machine"
        )
    if isinstance(error, USER_ERRORS):
        return one_line(error)
    if "home directory" in str(error):  # of pathlib: ~nobody/x
        return f"~ in a path: {one_line(error)} Write the path in full"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}, line {frame.lineno}"
    return (
        f"unexpected {type(error).__name__} in {place}: {one_line(error)}; "
        "--debug shows the way there, and a report of it is welcome"
    )


def _command(words: list[str]) -> int | None:
    if words[0] not in COMMANDS:
        raise ValueError(f"no command {words[0]!r}; there are {', '.join(COMMANDS)}")
    values, names = parse_command(words)
    if words[0] in TOGETHER:
        start_processes(values)
    return COMMANDS[words[0]](values, names)


def _train(values: flags.FlagValues, _: list[str]) -> None:
    config, workdir = config_of(values), _workdir(values)
    check_backend()
    train.train(config, workdir, quiet=values.quiet)


def _sweep(values: flags.FlagValues, _: list[str]) -> int:
    config = config_of(values)
    workdir = Path(values.workdir) if values.list else _workdir(values)
    check_backend()
    return sweep.sweep(values, config, workdir)


def _search(values: flags.FlagValues, _: list[str]) -> None:
    config, workdir = config_of(values), _workdir(values)
    check_backend()
    search.search(values, config, workdir)


def _evaluate(values: flags.FlagValues, names: list[str]) -> None:
    if not names:
        raise ValueError("usage: dlerse evaluate DIR --config.evaluation.protocol=WORD")
    check_backend()
    evaluate.evaluate(Path(names[0]).expanduser(), values["config"].override_values)


def _report(values: flags.FlagValues, names: list[str]) -> None:
    report.report(values, names)


def _recommend(values: flags.FlagValues, names: list[str]) -> None:
    run = _run(names, "recommend RUN --friends=ID,ID --liked=ID,ID")
    recommend.recommend(values, run)


def _chat(values: flags.FlagValues, names: list[str]) -> None:
    chat.chat(values, _run(names, "chat RUN --friends=ID,ID"))


def _card(_: flags.FlagValues, names: list[str]) -> None:
    card.card(_run(names, "card RUN"))


def _run(names: list[str], usage: str) -> Path:
    """The run that a command asks."""
    if not names:
        raise ValueError(f"usage: dlerse {usage}")
    check_backend()
    return Path(names[0]).expanduser()


def _bench(values: flags.FlagValues, _: list[str]) -> None:
    config = config_of(values)
    check_backend()
    bench.bench(config)


def _data(values: flags.FlagValues, names: list[str]) -> None:
    if names == ["stats"]:
        data.stats(build_dataset(config_of(values)), values.json)
    elif len(names) == 2 and names[0] == "fetch":
        data.fetch(names[1])
    else:
        raise ValueError("usage: dlerse data stats --config=FILE.py, data fetch NAME")


def _serve(values: flags.FlagValues, names: list[str]) -> None:
    serve.set_threads(names)
    check_backend()
    serve.serve(values, names)


def _events(values: flags.FlagValues, names: list[str]) -> None:
    serve.events(values, names)


def _workdir(values: flags.FlagValues) -> Path:
    if not values.workdir:
        raise ValueError("--workdir is missing: name the folder of the run")
    return Path(values.workdir).expanduser()


def _set_up_jax() -> None:
    """Keeps XLA's programs between runs, unless the user named a place for them.

    Nothing is kept where there is no home directory to keep it in.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(cache):
        jax.config.update("jax_compilation_cache_dir", f"{cache}/dlerse_jax/xla")


COMMANDS = {
    "train": _train,
    "sweep": _sweep,
    "search": _search,
    "evaluate": _evaluate,
    "report": _report,
    "recommend": _recommend,
    "chat": _chat,
    "card": _card,
    "bench": _bench,
    "data": _data,
    "serve": _serve,
    "events": _events,
}

TOGETHER = ("train", "sweep", "evaluate")  # what several processes can do as one

if __name__ == "__main__":
    sys.exit(main())
