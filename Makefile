# `make quickstart` and `make test` need Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
INSTALLED := $(VENV)/installed

.PHONY: quickstart test mutants lint docs wheel clean

quickstart: $(INSTALLED)
	$(VENV)/bin/dlerse train --config=experiments/synthetic.py --workdir=runs/quickstart
	$(VENV)/bin/dlerse report runs/quickstart

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest

# Breaks lines one at a time: the tests that hold them must fail.
mutants: $(INSTALLED)
	$(VENV)/bin/python tests/mutants.py

lint: $(INSTALLED)
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check

docs: $(VENV)/installed-docs  ## the site; a warning or a notebook that fails is an error
	$(VENV)/bin/codespell
	$(VENV)/bin/python -m sphinx -W --keep-going -q docs docs/_build/html
	@echo "open docs/_build/html/index.html"

$(VENV)/installed-docs: $(INSTALLED)
	$(VENV)/bin/pip install --quiet --editable '.[docs]'
	@touch $@

wheel:  ## builds the wheel, installs it apart, trains from another folder
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && set -e && \
	rm -rf build && $(PYTHON) -m venv $$folder/venv && \
	$$folder/venv/bin/pip wheel --quiet --no-deps --wheel-dir $$folder . && \
	$$folder/venv/bin/pip install --quiet $$folder/dlerse_jax-*.whl && \
	cd $$folder && WANDB_MODE=disabled venv/bin/dlerse train --workdir=run --quiet \
	  --config=$(CURDIR)/experiments/synthetic.py:quick && \
	venv/bin/dlerse report run

# The stamp is older than changed requirements, and so are they installed again.
$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build docs/_build docs/generated *.egg-info .pytest_cache .ruff_cache .hypothesis
