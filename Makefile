# Targets that stand here need Python 3.11 or newer and make, nothing else. The line
# behind ## is what `make help` says of a target.
PYTHON ?= python3
VENV ?= .venv
INSTALLED := $(VENV)/installed

# What `make test-fast` runs, but for tests that are marked slow.
FAST := tests/data tests/environment tests/evaluation tests/graph tests/learning \
  tests/linear_models tests/retrieval tests/test_api.py tests/test_types.py

# uv takes a third of pip's time. It does not read pip's configuration: where that names
# an index, and where uv fails, pip installs.
define install
@echo "installing into $(VENV)"
@! $(VENV)/bin/pip config list | grep -q '\.index-url=' && \
	  $(VENV)/bin/pip install --quiet uv && \
	  $(VENV)/bin/uv pip install --quiet --compile-bytecode --system-certs \
	    --python $(VENV)/bin/python $(1) || \
	  $(VENV)/bin/pip install --quiet $(1)
endef

.PHONY: help quickstart test test-fast fuzz mutants kills lint docs wheel clean

help:  ## these lines
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 17

quickstart: $(INSTALLED)  ## trains on a synthetic data set, recommends, writes a report
	$(VENV)/bin/dlerse train --config=experiments/synthetic.py --workdir=runs/quickstart
	$(VENV)/bin/dlerse recommend runs/quickstart --friends=3,41,257 --liked=12 --k=3 --explain
	$(VENV)/bin/dlerse report runs/quickstart

test: $(INSTALLED)  ## all tests; no worker above 2 GiB
	$(VENV)/bin/python -m pytest

test-fast: $(INSTALLED)  ## data, metrics, losses, retrieval, one agent: a minute
	$(VENV)/bin/python -m pytest -m "not slow" $(FAST)

fuzz: $(INSTALLED)  ## thousands of inputs and damages; every agent served
	HYPOTHESIS_PROFILE=fuzz DLERSE_FUZZ=3000 $(VENV)/bin/python -m pytest \
	  tests/commands/test_fuzz.py tests/data/test_data_fuzz.py tests/serving/test_law.py \
	  tests/agents/test_relatives.py tests/server/test_api_fuzz.py

mutants: $(INSTALLED)  ## breaks lines one at a time: the tests that hold them must fail
	$(VENV)/bin/python tests/mutants.py

kills: $(INSTALLED)  ## kills runs at random moments: all must end as if undisturbed
	$(VENV)/bin/python tests/kills.py

lint: $(INSTALLED)  ## format, common mistakes, types
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy

docs: $(VENV)/installed-docs  ## the site; a warning or a notebook that fails is an error
	$(VENV)/bin/codespell
	$(VENV)/bin/python -m sphinx -W --keep-going -q docs docs/_build/html
	@echo "open docs/_build/html/index.html"

$(VENV)/installed-docs: $(INSTALLED)
	$(call install,--editable '.[docs]')
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
	$(call install,--editable '.[test]')
	@touch $@

clean:  ## removes the environment and all caches
	rm -rf $(VENV) build docs/_build docs/generated *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
