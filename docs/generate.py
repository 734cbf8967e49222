"""Pages that are made from the code: the config reference and the table of modules.

`docs/conf.py` calls `write_pages` before each build; the files are not committed.
"""

import ast
import fnmatch
import shutil
from pathlib import Path

from config_comments import comments_of, returned_comments, section_comments

from dlerse_jax import baseline_defaults, defaults, offline_defaults
from dlerse_jax.config_ranges import RANGES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dlerse_jax"
CONFIG_INTRO = """# Every config key

Defaults and their meaning, made from `dlerse_jax/defaults.py`. A file in
`experiments/` starts from these and says only what differs; on the command line a key
is `--config.KEY=VALUE`, in Python `make_agent(..., KEY=VALUE)` by its last word. A key
that is not here is refused.
"""
MODULES_INTRO = """# Every module

The first sentence of each module, by folder. How the folders stand on each other is in
[the architecture](../architecture.md).
"""


def write_pages(folder: Path) -> None:
    """Writes config.md, modules.md and copies of the notebooks into folder."""
    folder.mkdir(exist_ok=True)
    (folder / "config.md").write_text(config_page())
    (folder / "modules.md").write_text(modules_page())
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        shutil.copyfile(notebook, folder / notebook.name)


def config_page() -> str:
    """A table of key, default and comment for each section of the config."""
    source = Path(defaults.__file__).read_text()
    comments, intros = config_comments(), section_comments(source)
    sections: dict[str, list[str]] = {}
    for key, value in flat_keys(defaults.base_config().to_dict()):
        section = key.rpartition(".")[0]
        meaning = _cell(comments.get(key, ""))
        cells = f"`{key}`", f"`{value!r}`", key_range(key), meaning
        sections.setdefault(section, []).append("| " + " | ".join(cells) + " |")
    return CONFIG_INTRO + "".join(
        _section(name, intros.get(name, ""), rows) for name, rows in sections.items()
    )


def config_comments() -> dict[str, str]:
    """Config key -> comment, "" where it has none."""
    comments = comments_of(Path(defaults.__file__).read_text())
    policies = {"baseline": baseline_defaults, "offline": offline_defaults}
    for section, module in policies.items():
        source = Path(module.__file__).read_text()
        found = returned_comments(source, f"{section}_defaults")
        comments |= {f"{section}.{key}": text for key, text in found.items()}
    return comments


def key_range(key: str) -> str:
    """The numbers that a key takes, in words; "" for a key without a number."""
    patterns = [pattern for pattern in RANGES if fnmatch.fnmatch(key, pattern)]
    return str(RANGES[key if key in patterns else patterns[0]]) if patterns else ""


def flat_keys(config: dict, prefix: str = "") -> list[tuple[str, object]]:
    """Keys with dots and their values, a section's own keys before its sections."""
    leaves = [(prefix + k, v) for k, v in config.items() if not isinstance(v, dict)]
    for key, value in config.items():
        if isinstance(value, dict):
            leaves += flat_keys(value, f"{prefix}{key}.")
    return leaves


def modules_page() -> str:
    """One table for each folder of the package: module and first sentence."""
    rooms: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        if docstring and path.name != "__init__.py":
            name = str(path.relative_to(PACKAGE))
            room = str(path.parent.relative_to(PACKAGE)).replace(".", "dlerse_jax")
            row = f"| `{name}` | {_cell(docstring.splitlines()[0])} |"
            rooms.setdefault(room, []).append(row)
    heads = "| module | what it is |\n|---|---|\n"
    return MODULES_INTRO + "".join(
        f"\n## {room}\n\n{heads}" + "\n".join(rows) + "\n"
        for room, rows in rooms.items()
    )


def _section(name: str, intro: str, rows: list[str]) -> str:
    title = f"\n## {name or 'The whole run'}\n"
    text = f"\n{intro}\n" if intro else ""
    return (
        f"{title}{text}\n| key | default | range | meaning |\n|---|---|---|---|\n"
        + ("\n".join(rows) + "\n")
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<").replace("*", "\\*")
