# `make quickstart` and `make test` need Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
INSTALLED := $(VENV)/installed

.PHONY: quickstart test fuzz mutants lint clean

quickstart: $(INSTALLED)
	$(VENV)/bin/dlerse train --config=experiments/synthetic.py --workdir=runs/quickstart
	$(VENV)/bin/dlerse report runs/quickstart

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest

# Thousands of config values, command lines and damaged folders: some minutes.
fuzz: $(INSTALLED)
	HYPOTHESIS_PROFILE=fuzz $(VENV)/bin/python -m pytest tests/commands/test_fuzz.py

# Breaks lines one at a time: the tests that hold them must fail.
mutants: $(INSTALLED)
	$(VENV)/bin/python tests/mutants.py

lint: $(INSTALLED)
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check

# The stamp is older than changed requirements, and so are they installed again.
$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
