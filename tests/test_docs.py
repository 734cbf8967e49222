"""Pages made from the code are whole, and what the docs name exists."""

import json
import re
import sys
from pathlib import Path

import jax
import pytest

import dlerse_jax
from dlerse_jax.defaults import base_config
from dlerse_jax.former_keys import RENAMED_KEYS

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "docs"))

import config_comments  # noqa: E402
import docstrings  # noqa: E402
import generate  # noqa: E402

PAGES = sorted(
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
    if not {"generated", "_build"} & set(path.parts)
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ +(.+)$", re.M)
READERS_CANNOT_OPEN = re.compile(r"\b(METHOD|RECIPE|HOUSE|REVIEW)\b|\b[Ii]ssue \d")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The pages that the build makes, in a folder of their own."""
    folder = tmp_path_factory.mktemp("site") / "generated"
    generate.write_pages(folder)
    return folder


def anchors(text):
    """Anchors that MyST and GitHub make of the headings of a page."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    kept = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(text))
    return {title.strip().replace(" ", "-") for title in kept}


def test_the_config_page_has_every_key_once():
    page, config = generate.config_page(), base_config().to_dict()
    leaves = jax.tree_util.tree_leaves_with_path(
        config, is_leaf=lambda value: not isinstance(value, dict)
    )
    for path, value in leaves:
        key = ".".join(step.key for step in path)
        line = f"| `{key}` | `{value!r}` | {generate.key_range(key)} |"
        assert page.count(line) == 1


@pytest.mark.parametrize(
    ("line", "key", "comment"),
    [
        ("config.seed = 0  # of the first", "seed", "of the first"),
        ("# Above,\n    # twice.\n    config.seed = 0", "seed", "Above, twice."),
        ("config.e = ConfigDict({'n': 3})  # T", "e.n", "T"),
        ("config.e = {\n        'n': 3,  # T\n    }", "e.n", "T"),
        (
            "t = {\n        'n': 3,  # T\n    }\n    config.e = {**t, 'm': 1}",
            "e.n",
            "T",
        ),
        ("config.net = _net()", "net.width", "D"),
    ],
)
def test_a_comment_belongs_to_its_key(line, key, comment):
    source = f"def base_config():\n    {line}\n\ndef _net():\n    n.width = 1  # D\n"
    assert config_comments.comments_of(source)[key] == comment


def test_most_keys_have_a_comment():
    comments = generate.config_comments()
    assert sum(map(bool, comments.values())) > 0.6 * len(comments)


def test_a_returned_dictionary_lends_its_comments():
    source = "A = {\n    'n': 1,  # T\n}\n\ndef f():\n    return {'e': {**A, 'm': 2}}\n"
    found = config_comments.returned_comments(source, "f")
    assert found == {"e.n": "T", "e.m": ""}


def test_every_renamed_key_is_in_the_changelog():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    for old, new in RENAMED_KEYS.items():
        line = re.search(rf"^\| `{re.escape(old)}(\.\*)?` \|.*", changelog, flags=re.M)
        assert line and f"`{new}" in line[0], f"{old} -> {new}"


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("One line\nand more.", ["One line and more.", ""]),
        ("`x_` is *x*.", [r"``x_`` is \*x\*.", ""]),
        (
            "Text:\n\n    a  b\n    c",
            ["Text:", "", "::", "", "        a  b", "        c", ""],
        ),
        ("Text:\n    a", ["::", "", "    Text:", "        a", ""]),
    ],
)
def test_docstrings_are_read_as_plain_text(docstring, expected):
    lines = docstring.splitlines()
    docstrings.as_restructured_text(None, "function", "f", None, None, lines)
    assert lines == expected


def test_the_api_page_has_every_public_name():
    page = (ROOT / "docs/api.md").read_text()
    documented = set(re.findall(r"^.. auto\w+:: (\w+)$", page, flags=re.M))
    assert set(dlerse_jax.__all__) - documented == set()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_a_file_and_a_heading(page, made):
    text = (ROOT / page).read_text()
    for target, anchor in LINK.findall(text):
        path = (ROOT / page).parent / target if target else ROOT / page
        if "generated" in Path(target).parts:
            path = made / path.name
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text()), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_page_cites_what_its_reader_cannot_open(page):
    assert not READERS_CANNOT_OPEN.findall((ROOT / page).read_text())


@pytest.mark.parametrize("page", ["config.md", "modules.md"])
def test_no_page_made_from_code_cites_it_either(page, made):
    assert not READERS_CANNOT_OPEN.findall((made / page).read_text())


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.ipynb")), ids=str)
def test_notebooks_are_executed_and_small(path):
    cells = json.loads(path.read_text())["cells"]
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in codes)
    assert not any(out["output_type"] == "error" for c in codes for out in c["outputs"])
    assert path.stat().st_size < 60_000


def test_hosted_checks_call_targets_that_exist():
    makefile = (ROOT / "Makefile").read_text()
    hosted = (ROOT / ".github/workflows/ci.yml").read_text()
    targets = {*re.findall(r"make (\w+)", hosted), "lint", "docs", "wheel"}
    for target in targets:
        assert f"\n{target}:" in makefile


def test_citation_and_package_have_one_version():
    versions = re.findall(
        r"^version(?:: | = )(.+)$",
        (ROOT / "CITATION.cff").read_text() + (ROOT / "setup.cfg").read_text(),
        flags=re.M,
    )
    assert len(versions) == 2
    assert len(set(versions)) == 1
