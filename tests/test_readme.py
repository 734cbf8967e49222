"""What the README tells people to type exists, and its Python example runs."""

import json
import re
import shlex
from pathlib import Path

import pytest

from dlerse_jax.commands.main import COMMANDS, main
from dlerse_jax.commands.parsing import parse_command
from dlerse_jax.commands.usage import HELP

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "docs/quickstart.md",
    "docs/recommend.md",
    "docs/own_data.md",
    "docs/commands.md",
    "docs/devices.md",
    "docs/protocols.md",
    "docs/performance.md",
    *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/results/*.md")),
)
MAX_README_LINES = 150


def code_blocks(page, language):
    text = (ROOT / page).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.S)


def command_lines():
    for page in PAGES:
        for block in code_blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.rstrip("& "), comments=True)
                if "dlerse" in words:
                    yield words[words.index("dlerse") + 1 :]


@pytest.mark.parametrize("words", [*command_lines()], ids=" ".join)
def test_commands_name_files_and_keys_that_exist(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert words[0] in COMMANDS
    values, _ = parse_command(words)
    if any(word.startswith("--config=") for word in words):
        assert values.config is not None


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"make ([a-z]+)", (ROOT / "README.md").read_text())
    assert targets
    for target in targets:
        assert f"\n{target}:" in makefile


def test_the_landing_page_has_the_example_of_the_readme():
    assert code_blocks("docs/index.md", "python") == code_blocks("README.md", "python")


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


def test_the_python_example_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = code_blocks("README.md", "python")
    # The same calls on shorter training: what is tested is that they work.
    short = re.sub(r"pretrain_updates=\d+", "pretrain_updates=1", example)
    short = re.sub(r"q_learning_updates=\d+", "q_learning_updates=0", short)
    assert short.count("_updates=1") == short.count("_updates=0") == 1
    exec(compile(short, "README.md", "exec"), {})  # noqa: S102
    printed = capsys.readouterr().out
    assert "mean" in printed
    assert printed.count("Because") + printed.count("No single reason") == 3
    assert (tmp_path / "my_agent" / "dataset.npz").exists()


def test_the_tables_shown_are_read_by_the_command_shown(tmp_path, monkeypatch, capsys):
    """Side by side in the README: a file name over each column."""
    tables = code_blocks("README.md", "text")[0]
    lines = (re.split(r"\s{2,}", line) for line in tables.splitlines())
    for name, *rows in zip(*lines, strict=True):
        (tmp_path / name).write_text("\n".join(rows))
    mine = "--config.data.path=my_folder"
    words, also, _ = (w for w in command_lines() if mine in w and w[0] == "data")
    assert words == also  # the README's and that of docs/own_data.md
    monkeypatch.chdir(ROOT)
    small = ["--config.data.min_items_per_user=1", "--config.data.min_users_per_item=1"]
    path = f"--config.data.path={tmp_path}"
    assert main([*words, path, *small, "--config.data.min_rating=1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == 2


def test_the_docs_name_every_command_and_every_flag():
    page = (ROOT / "docs/commands.md").read_text()
    for command in COMMANDS:
        assert f"\n## {command}\n" in page
    flags = set(re.findall(r"--([a-z-]+)", " ".join(HELP.values())))
    assert [flag for flag in sorted(flags) if f"--{flag}" not in page] == []


def test_the_readme_names_every_command():
    blocks = code_blocks("README.md", "bash")
    named = re.findall(r"^dlerse (\w+)", "\n".join(blocks), flags=re.M)
    assert set(COMMANDS) <= set(named)
