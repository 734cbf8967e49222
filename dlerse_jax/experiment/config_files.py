"""Python files that users name: configs, sweeps, searches; what they say in words.

Whatever is wrong with one is a ValueError of one line: the file, the line, what to do.
"""

import contextlib
import difflib
import functools
import importlib.machinery
import importlib.util
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from ml_collections import ConfigDict

from dlerse_jax.defaults import base_config
from dlerse_jax.former_keys import REMOVED_KEYS, RENAMED_KEYS
from dlerse_jax.runs.directory import flat_items
from dlerse_jax.runtime.messages import one_line, shorten

EXAMPLE = "experiments/synthetic.py"


def load_config(file_and_option: str) -> ConfigDict:
    """The config that `get_config` makes in `FILE.py` or `FILE.py:option`, locked.

    FileNotFoundError where there is no such file; ValueError where it makes no config.
    """
    file, _, option = file_and_option.partition(":")
    module = load_module(file, kind="config", example=EXAMPLE)
    if not callable(getattr(module, "get_config", None)):
        raise ValueError(
            f"{file} has no function get_config; {EXAMPLE} shows how it is written"
        )
    with errors_of(file):
        config = module.get_config(*([option] if option else []))
    if not isinstance(config, ConfigDict):
        raise ValueError(
            f"{file}: get_config returns {shorten(repr(config))}, expected the config "
            f"of dlerse_jax.base_config() with other values, as in {EXAMPLE}"
        )
    known = set(known_keys())
    found = set(dict(flat_items(config.to_dict())))
    for key in sorted(found ^ known):
        if key in found:
            raise ValueError(f"{file}: {unknown_key(key)}")
        raise ValueError(f"{file}: get_config returns a config without {key}")
    return config.lock()


def load_module(file: str, *, kind: str, example: str) -> ModuleType:
    """The file, run as a module of its own; errors as of `load_config`."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{file}: no such {kind} file; see {example}")
    if path.suffix != ".py":
        raise ValueError(f"{file} is no Python file: its name must end in .py")
    loader = _UserFile(f"loaded_{path.stem}", str(path))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader(loader.name, loader)
    )
    with errors_of(file):
        loader.exec_module(module)
    return module


def load_file(
    file_and_option: str, function: str, example: str
) -> tuple[ModuleType, str, str]:
    """A file of BASE, QUICK_BASE and a function -> module, name and option.

    FileNotFoundError where there is no such file, ValueError where it lacks one of
    these; `example` is a file that has them.
    """
    file, _, option = file_and_option.partition(":")
    if option not in ("", "quick"):
        raise ValueError(f"{file} has no option {option!r}; there is {file}:quick")
    module = load_module(file, kind=function, example=example)
    base = "QUICK_BASE" if option else "BASE"
    if missing := {base, function} - set(vars(module)):
        raise ValueError(
            f"{file} has no {' and no '.join(sorted(missing))}; it needs BASE, "
            f"QUICK_BASE and the function {function}, as {example} has them"
        )
    if not isinstance(vars(module)[base], str) or not callable(vars(module)[function]):
        raise ValueError(
            f"{file}: {base} should be the name of a config file and {function} a "
            f"function, as in {example}"
        )
    return module, "-".join(filter(None, [Path(file).stem, option])), option


class _UserFile(importlib.machinery.SourceFileLoader):
    """Compiles at every load: bytecode can miss an edit within a second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


@contextlib.contextmanager
def errors_of(file: str) -> Iterator[None]:
    """Turns what the user's file raises into one line with the place in it."""
    try:
        yield
    except (Exception, SystemExit) as error:  # the file may do anything
        if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
            raise
        kind = type(error).__name__
        raise ValueError(
            f"{file}{_line_in(file, error)}: {kind}: {one_line(error)}; correct it"
        ) from error


def _line_in(file: str, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f", line {error.lineno}"
    path = str(Path(file).expanduser())
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == path]
    return f", line {lines[-1]}" if lines else ""


@functools.cache
def known_keys() -> dict[str, Any]:
    """Every key with its default, flat."""
    return dict(flat_items(base_config().to_dict()))


def unknown_key(key: str) -> str:
    """Why there is no such key: its new name, its end, or the nearest that there is."""
    if key in REMOVED_KEYS:
        return f"the key {key} is gone since 0.2.0: leave it out, it gained nothing"
    for old in (key, key.partition(".")[0]):
        if old in RENAMED_KEYS:
            new = RENAMED_KEYS[old] + key.removeprefix(old)
            return f"the key {key} is called {new} now"
    known = known_keys()
    if inside := [other for other in known if other.startswith(f"{key}.")]:
        return f"{key} is a section, whose keys are set one by one, as {inside[0]}"
    near = difflib.get_close_matches(key, known, n=1)
    # A section that is right says more than letters that are alike.
    section, _, word = key.rpartition(".")
    words = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == section}
    if close := difflib.get_close_matches(word, words, n=1):
        near = [words[close[0]]]
    hint = f"; did you mean {near[0]}?" if near else "; defaults.py lists them all"
    return f"no config has the key {shorten(repr(key))}{hint}"


def plain_number(value: Any) -> Any:
    """Python's number for one of NumPy or JAX; anything else as it is."""
    is_number = hasattr(value, "item") and getattr(value, "ndim", None) == 0
    return value.item() if is_number else value
