# make demo | test | check | test-all | format | clean. Each sets up the environment it needs, once.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?= -n 2
STATES ?= 1000000
SEED ?= 1
JOBS ?= 2
VERSIONS ?= 3.11 3.12 3.13 3.14

BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test test-others test-all torture mutants check format clean

help:
	@echo "make demo         a trading loop on real trades is killed and recovers, several times"
	@echo "make test         every test, under $(PYTHON) (PYTHON=python3.12 VENV=.venv-3.12 for another)"
	@echo "make test-others  the tests under every other supported Python that is present"
	@echo "make test-all     test and test-others"
	@echo "make torture      crash states by the million: STATES=1000000 SEED=1 JOBS=2"
	@echo "make mutants      every sabotage of a list is applied in turn, and the tests must notice it"
	@echo "make check        formatting, lint, types, import rules, examples in the documentation"
	@echo "make format       put the code into the shape that check asks for"
	@echo "make clean        remove environments, caches and builds"

# The environment with the extras of its stem, such as .venv/.ready-test,cli
$(VENV)/.ready-%: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    found=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); \
	    echo "eventstore needs Python 3.11 or newer, and $(PYTHON) is $${found:-not there};" \
	         "name another one, such as: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	    exit 1; }
	@echo "setting up $(VENV) with [$*] (once; it takes a moment)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	    echo "$(PYTHON) -m venv failed: install your system's venv package (python3-venv)" >&2; \
	    exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

demo: $(VENV)/.ready-cli
	$(BIN)/eventstore demo

test: $(VENV)/.ready-test,cli,plot
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-others:
	@tested=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	for version in $(VERSIONS); do \
	    if [ "$$version" = "$$tested" ]; then continue; fi; \
	    if python=$$(.ci/find-python "$$version"); then \
	        echo "== Python $$version ($$python)"; \
	        $(MAKE) --no-print-directory test VENV=.venv-$$version PYTHON="$$python" || exit 1; \
	    else \
	        echo "== Python $$version: skipped, no such interpreter here"; \
	    fi; \
	done

test-all: test test-others

torture: $(VENV)/.ready-test,cli
	$(BIN)/python -m eventstore.testing.crash --states $(STATES) --seed $(SEED) --jobs $(JOBS)

mutants: $(VENV)/.ready-test,cli
	$(BIN)/python -m tests.mutants $(MUTANTS)

check: $(VENV)/.ready-dev,cli
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_import_rules.py tests/test_docs.py

format: $(VENV)/.ready-dev,cli
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-* build dist htmlcov .coverage .coverage.* \
	    .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find eventstore handlers tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} +
