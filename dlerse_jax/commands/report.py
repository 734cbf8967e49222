"""`dlerse report`, once the flags are parsed: a page, results as JSON, or their tables.

Matplotlib is imported here and not above, so that no other command waits for it.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from dlerse_jax.commands.output import say


def define_flags(values: flags.FlagValues) -> None:
    """The flags that only this command reads."""
    for name, words in {
        "export": "JSON file to write what the runs measured to",
        "question": "that the exported runs answer",
        "command": "that made the exported runs",
        "results": "folder of exported JSON files",
        "pages": "folder of Markdown pages with places for their tables",
    }.items():
        flags.DEFINE_string(name, "", words, flag_values=values)


def report(values: flags.FlagValues, names: Sequence[str]) -> None:
    """Makes what the flags ask for. ValueError for flags that do not belong together.

    Other errors are those of `write_report`, `export_results` and `render_pages`.
    """
    directories = [Path(name).expanduser() for name in names]
    if values.results or values.pages:
        _tables(values, directories)
    elif values.export:
        _export(values, directories)
    elif values.question or values.command:
        raise ValueError("--question and --command belong to --export=FILE.json")
    elif len(directories) != 1:
        raise ValueError("usage: dlerse report DIR")
    else:
        from dlerse_jax.reporting.build import write_report

        say(str(write_report(directories[0])))


def _export(values: flags.FlagValues, directories: Sequence[Path]) -> None:
    from dlerse_jax.reporting.results import export_results

    if not directories:
        raise ValueError("usage: dlerse report --export=FILE.json RUNS ...")
    path = Path(values.export).expanduser()
    if path.suffix != ".json":
        raise ValueError(f"--export is {path}, expected a file that ends in .json")
    given = {"question": values.question, "command": values.command}
    results = export_results(path, directories, **given)
    rows = sum(len(table["rows"]) for table in results["tables"])
    say(f"{path}: {len(results['tables'])} tables, {rows} rows")


def _tables(values: flags.FlagValues, directories: Sequence[Path]) -> None:
    from dlerse_jax.reporting.result_pages import missing_results, render_pages

    if not values.results or not values.pages or directories or values.export:
        raise ValueError("usage: dlerse report --results=FOLDER --pages=FOLDER")
    results, pages = Path(values.results), Path(values.pages)
    for folder in (results, pages):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder")
    for path in render_pages(results, pages):
        say(f"{path} is up to date now")
    for path in missing_results(results, pages):
        say(f"{path} is not there yet: its table is left as it is")
