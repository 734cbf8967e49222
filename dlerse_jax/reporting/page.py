"""One HTML page that holds everything it shows: no other file, no network.

It makes the text of report.html from headings, tables and figures. Every name is
escaped; figures are SVG images inside the page; tables and wide figures scroll in their
own box, so the page fits a phone.
"""

import base64
import dataclasses
from html import escape

from dlerse_jax.reporting.style import FigureGroup, Panel
from dlerse_jax.reporting.tables import ReportTable

WIDE_PANEL = 6.0  # inches: from here on a panel scrolls rather than shrinks

CSS = """
:root { color-scheme: light; --ink: #1b1f24; --soft: #5a636e; --line: #d9dee4;
  --paper: #ffffff; --tint: #f5f7f9; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 78rem;
  color: var(--ink); background: var(--paper);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 .5rem; padding-top: 1rem;
  border-top: 2px solid var(--ink); }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p, figcaption, .caption { max-width: 48rem; }
figcaption, .caption { color: var(--soft); font-size: .875rem; margin: .5rem 0 0; }
.lead { font-size: 1.05rem; }
nav ul { padding-left: 1.1rem; }
a { color: var(--accent); }
figure { margin: 0; }
.panels { display: grid; gap: 1.25rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 23rem), 1fr)); }
.panels > * { min-width: 0; }
.panels img { display: block; width: 100%; height: auto; }
.panels .scroll { grid-column: 1 / -1; border: 0; }
.panels .scroll img { width: auto; max-width: none; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
.scroll:focus-visible { outline: 2px solid var(--accent); }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .4rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
thead th, thead th:first-child { background: var(--tint); font-weight: 600; }
tbody tr:last-child > * { border-bottom: 0; }
th:first-child { text-align: left; font-weight: 500; max-width: 16rem;
  white-space: normal; }
td small { display: block; color: var(--soft); font-size: .78rem; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--accent); }
@media (max-width: 40rem) {
  body { padding: 1rem .9rem 3rem; }
  th:first-child { max-width: 9rem; }
}
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page: its heading, one sentence, tables and figures."""

    title: str
    slug: str  # starts the names of its files, and is its anchor
    lead: str
    tables: list[ReportTable]  # the first stands open, the rest unfold
    figures: list[FigureGroup]


def render_page(title: str, lead: str, sections: list[Section]) -> str:
    """The whole page as text."""
    links = "".join(
        f'<li><a href="#{escape(section.slug)}">{escape(section.title)}</a></li>'
        for section in sections
    )
    body = "".join(map(_render_section, sections))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f'<header>\n<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n'
        f"<nav><ul>{links}</ul></nav>\n</header>\n<main>\n{body}</main>\n"
        "</body>\n</html>\n"
    )


def _render_section(section: Section) -> str:
    lead = f'<p class="lead">{escape(section.lead)}</p>\n' if section.lead else ""
    first, *rest = [_render_table(table) for table in section.tables] or [""]
    folded = "".join(
        f"<details><summary>{escape(table.title)}</summary>\n{text}</details>\n"
        for table, text in zip(section.tables[1:], rest, strict=True)
    )
    return (
        f'<section id="{escape(section.slug)}">\n<h2>{escape(section.title)}</h2>\n'
        f"{lead}{first}{folded}{''.join(map(_render_figure, section.figures))}"
        "</section>\n"
    )


def _render_table(table: ReportTable) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    body = "".join(map(_render_row, table.rows))
    grid = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return (
        f"{_scroll_box(escape(table.title), grid)}\n"
        f'<p class="caption">{escape(table.caption)}</p>\n'
    )


def _render_row(row: list[str]) -> str:
    name, *cells = row
    return (
        f'<tr><th scope="row">{escape(name)}</th>'
        f"{''.join(map(_render_cell, cells))}</tr>"
    )


def _render_cell(cell: str) -> str:
    """A cell; the interval of `mean [low, high]` goes below its mean."""
    mean, bracket, bounds = escape(cell).partition(" [")
    interval = f"<small>[{bounds}</small>" if bracket else ""
    return f"<td>{mean}{interval}</td>"


def _render_figure(group: FigureGroup) -> str:
    images = "".join(map(_render_panel, group.panels))
    return (
        f"<h3>{escape(group.title)}</h3>\n<figure>\n"
        f'<div class="panels">{images}</div>\n'
        f"<figcaption>{escape(group.caption)}</figcaption>\n</figure>\n"
    )


def _render_panel(panel: Panel) -> str:
    content = base64.b64encode(panel.svg).decode()
    alt = escape(panel.description)
    image = f'<img alt="{alt}" src="data:image/svg+xml;base64,{content}">'
    if panel.width < WIDE_PANEL:
        return image
    return _scroll_box(alt, image)


def _scroll_box(label: str, content: str) -> str:
    """Content that may be wider than the page; the keyboard can scroll it too."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f"{content}</div>"
    )
