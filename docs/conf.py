"""The documentation site: `make docs` builds it into docs/_build/html.

Warnings are errors there, so a link to a page or heading that does not exist stops the
build, as does a notebook that raises.
"""

import sys
from importlib import metadata
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import docstrings  # noqa: E402
import generate  # noqa: E402

project = "dlerse_jax"
author = "The dlerse_jax authors"
release = metadata.version("dlerse_jax")
extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
nitpicky = True
# Types of other packages and of annotations: nothing to link to.
nitpick_ignore_regex = [("py:.*", r".*")]

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
nb_execution_mode = "force"  # the code under them may have changed
nb_execution_timeout = 1200  # of one cell; they take seconds on an idle machine
nb_execution_raise_on_error = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"dlerse_jax {release}"
html_static_path = []
html_show_sphinx = False


def setup(app) -> None:
    generate.write_pages(DOCS / "generated")
    app.connect("autodoc-process-docstring", docstrings.as_restructured_text)
