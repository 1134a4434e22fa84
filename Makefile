# make demo | test | check | docs | test-all | bench | format | clean. Each sets up the environment it needs, once.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?= -n 2
STATES ?= 1000000
SEED ?= 1
JOBS ?= 2
BENCH_VENV ?= .venv-bench
SECONDS ?= 600
BENCH ?=
EXTRAS ?= test,cli,plot,browser
VERSIONS ?= 3.11 3.12 3.13 3.14
COVERED ?= tests/log tests/test_store.py tests/snapshot/test_snapshots.py tests/snapshot/test_format.py \
    tests/snapshot/test_snapshots_only.py tests/test_in_memory.py tests/test_recovery_words.py \
    tests/reading/test_replay.py tests/history/test_branch_and_compare.py tests/reading/test_subscription.py tests/torture/test_found.py tests/test_event_log.py \
    tests/test_moments.py tests/test_missing_await.py tests/test_bad_arguments.py

BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo bench bench-quick .bench .bench-quick test test-others test-all coverage fuzz torture torture-replication demo-failover mutants check docs format clean

help:
	@echo "make demo         a trading loop on real trades is killed and recovers, several times"
	@echo "make test         every test, under $(PYTHON) (PYTHON=python3.12 VENV=.venv-3.12 for another)"
	@echo "make test-others  the tests under every other supported Python that is present"
	@echo "make test-all     test and test-others"
	@echo "make coverage     no line or branch of the log, the snapshots and the store is without a test"
	@echo "make torture      crash states by the million: STATES=1000000 SEED=1 JOBS=2, RESUME=1 to go on"
	@echo "make torture-replication  a cluster, a writer and a standby under faults: SECONDS=600 SEED=1"
	@echo "make demo-failover  the tape on a primary with a standby; the primary and its server are killed"
	@echo "make fuzz         changed and forged bytes for whatever reads a file, until stopped: SEED=1"
	@echo "make mutants      every sabotage of a list is applied in turn, and the tests must notice it"
	@echo "make bench        measured side by side with its peers, into benchmarks/results (more than an hour)"
	@echo "make bench-quick  the same in small sizes: under three minutes"
	@echo "make check        formatting, lint, types, import rules, examples in the documentation"
	@echo "make docs         the documentation as a site, in site/: warnings are errors, links are checked"
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

test: $(VENV)/.ready-$(EXTRAS)
	@.ci/browser
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-others:
	@tested=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	for version in $(VERSIONS); do \
	    if [ "$$version" = "$$tested" ]; then continue; fi; \
	    if python=$$(.ci/find-python "$$version"); then \
	        echo "== Python $$version ($$python)"; \
	        $(MAKE) --no-print-directory test VENV=.venv-$$version PYTHON="$$python" EXTRAS=test,cli,plot || exit 1; \
	    else \
	        echo "== Python $$version: skipped, no such interpreter here"; \
	    fi; \
	done

test-all: test test-others

# The tests that are about what is measured; the others reach it too, and show nothing more there.
coverage: $(VENV)/.ready-test,cli
	$(BIN)/python -m pytest $(PYTEST_ARGS) --quiet $(COVERED) --cov

torture-replication: $(VENV)/.ready-test,cli
	$(BIN)/python -m tests.replication.checker --seconds $(SECONDS) --seed $(SEED)

demo-failover: $(VENV)/.ready-test,cli
	$(BIN)/python -m tests.replication.failover_demo

torture: $(VENV)/.ready-test,cli
	$(BIN)/python -m tests.torture --states $(STATES) --seed $(SEED) --jobs $(JOBS) \
	    $(if $(RESUME),--resume)

fuzz: $(VENV)/.ready-test,cli
	$(BIN)/python -m tests.fuzz $(TARGETS) --seed $(SEED) $(if $(RUNS),--runs $(RUNS))

mutants: $(VENV)/.ready-test,cli
	$(BIN)/python -m tests.mutants $(MUTANTS)

# In an environment of its own: peers are no business of the tests.
bench bench-quick:
	@$(MAKE) --no-print-directory VENV=$(BENCH_VENV) .$@

.bench: $(VENV)/.ready-bench
	$(BIN)/python -m benchmarks $(BENCH)

.bench-quick: $(VENV)/.ready-bench
	$(BIN)/python -m benchmarks --quick $(BENCH)

check: $(VENV)/.ready-dev,cli
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --quiet tests/project/test_code_rules.py tests/project/test_docs.py
	$(BIN)/python -m pytest --quiet tests/typing

docs: $(VENV)/.ready-docs
	$(BIN)/properdocs build --strict --clean --quiet --config-file mkdocs.yml
	@echo "the documentation is in site/index.html"

format: $(VENV)/.ready-dev,cli
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-* build dist site htmlcov .coverage .coverage.* \
	    .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find eventstore handlers tests benchmarks examples docs -name __pycache__ -prune -exec rm -rf {} +
