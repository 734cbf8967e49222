"""Tables of the documentation, made from the JSON files of `results.py`.

In a page, `<!-- table: NAME -->` says where the tables of results/NAME.json belong;
what is made is between it and `<!-- end of table: NAME -->`. So the numbers of a
page cannot be other than those of the file, which a test checks.
"""

import re
from pathlib import Path

from dlerse_jax.evaluation.multiple_tests import LEVEL, MOST_ROWS
from dlerse_jax.evaluation.summary import interval_text, metric_title
from dlerse_jax.reporting.effects import signed
from dlerse_jax.reporting.results import read_results
from dlerse_jax.reporting.tables import markdown_table
from dlerse_jax.runtime.atomic_files import write_atomically

START = re.compile(r"<!-- table: ([\w-]+) -->")


def render_pages(results: Path, pages: Path) -> list[Path]:
    """Brings the tables of all pages up to date -> pages that were changed.

    A table whose JSON file does not exist yet is left as it is: `missing_results`.
    """
    changed = stale_pages(results, pages)
    for path in changed:
        write_atomically(path, _rendered(path, results).encode())
    return changed


def stale_pages(results: Path, pages: Path) -> list[Path]:
    """Pages whose tables are not what the JSON files say; nothing is written."""
    found = sorted(pages.rglob("*.md"))
    return [path for path in found if path.read_text() != _rendered(path, results)]


def missing_results(results: Path, pages: Path) -> list[Path]:
    """JSON files that pages have a place for, and that do not exist."""
    texts = (path.read_text() for path in sorted(pages.rglob("*.md")))
    named = dict.fromkeys(name for text in texts for name in START.findall(text))
    return [path for n in named if not (path := results / f"{n}.json").exists()]


def _rendered(path: Path, results: Path) -> str:
    text = path.read_text()
    for name in dict.fromkeys(START.findall(text)):
        source = results / f"{name}.json"
        if source.exists():
            text = _replaced(text, name, render_results(read_results(source)))
    return text


def _replaced(text: str, name: str, tables: str) -> str:
    start, end = f"<!-- table: {name} -->", f"<!-- end of table: {name} -->"
    before, _, after = text.partition(start)
    if end in after:
        after = after.partition(end)[2]
    return f"{before}{start}\n\n{tables}\n{end}{after}"


def render_results(results: dict) -> str:
    """The tables of one file of results, each with what it was measured on below."""
    return "\n".join(_render_table(table, results) for table in results["tables"])


def _render_table(table: dict, results: dict) -> str:
    many = sum(row["less_bar"] is not None for row in table["rows"]) > MOST_ROWS
    p_value = ("p_holm", "p (Holm)") if many else ("p", "p")
    precision = list(table["columns"].values())
    precision = [title for title in precision if title.startswith("P@")][-1:]
    header = ["agent", *table["columns"].values()]
    if table["bar"]:
        header += [f"{metric_title(table['sorted_by'])} less the bar's"]
        header += [f"{title} to the bar's" for title in precision] + [p_value[1]]
    header += ["taken at", "reads"]
    rows = [_cells(row, table, p_value[0], bool(precision)) for row in table["rows"]]
    return f"{markdown_table(header, rows)}\n{_caption(table, results, many)}\n"


def _cells(row: dict, table: dict, p_value: str, has_ratio: bool) -> list[str]:
    bar, less = table["bar"], row["less_bar"]
    is_bar = bool(bar) and row["agent"] == bar["agent"]
    cells = [row["agent"] + " (bar)" * is_bar]
    cells += [interval_text(row["metrics"].get(metric)) for metric in table["columns"]]
    if bar:
        cells.append(signed(less))
        cells += [interval_text(row["ratio_to_bar"])] * has_ratio
        has_p = less is not None and less[p_value] is not None
        cells.append(f"{less[p_value]:.3f}" if has_p else "-")
    return [*cells, row["taken_at"], row["reads"]]


def _caption(table: dict, results: dict, many: bool) -> str:
    task = f" ({table['task']})" if table["task"] else ""
    splits = ", ".join(map(str, table["splits"]))
    versions = ", ".join(
        f"{name} {' and '.join(found)}" for name, found in results["versions"].items()
    )
    return (
        f"{table['dataset']}, protocol {table['protocol']}{task}:"
        f" {table['num_users']:,} test users of"
        f" split{'s' * (len(table['splits']) > 1)} {splits}. Sorted by"
        f" {metric_title(table['sorted_by'])}; 95% intervals {table['intervals']}."
        f"{_bar_words(table['bar'])}{_holm_words(table['rows']) if many else ''}\n\n"
        f"Commit {', '.join(results['commit'])}; {', '.join(results['date'])};"
        f" {'; '.join(results['machine'])}; {versions}."
    )


def _bar_words(bar: dict | None) -> str:
    if not bar:
        return ""
    users = "validation users" if bar["on_validation"] else "these test users"
    return (
        f" The bar, {bar['agent']}, is the best policy without learning on {users};"
        " differences and ratios are paired by user."
    )


def _holm_words(rows: list[dict]) -> str:
    compared = [row for row in rows if row["less_bar"]]
    clear = sum((row["less_bar"]["p_holm"] or 1) < LEVEL for row in compared)
    return (
        f" {len(compared)} agents are compared at once: by Holm's p-values, {clear}"
        f" differ from the bar at the {LEVEL:.0%} level."
    )
