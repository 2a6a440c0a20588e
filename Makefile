# The commands of this repository. `make` lists them.
# The environment lives in .venv and is made from constraints.txt (docs/adr/0001).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The Python that .venv is made with: the first that fits, or `make setup PYTHON=/path/to/python`.
# An existing .venv keeps its own; `make clean ALL=1` removes it.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c "$(FITS)" 2> /dev/null && echo "$$python" && break; done)

BIN := .venv/bin
RUN := $(BIN)/python -m
PIP := $(RUN) pip install -qq --no-deps --disable-pip-version-check
STAMP := .venv/installed
PINS := constraints.txt constraints-cpu.txt constraints-cuda.txt

# One process for each of two cores; tests/conftest.py gives each of them one thread.
TEST_PROCESSES ?= 2

.PHONY: help
help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: $(STAMP) ## create .venv from constraints.txt and install kinegraph into it

# A failed or interrupted set-up leaves no stamp, so the next call goes on where it stopped.
$(STAMP): $(PINS) pyproject.toml
	@rm -f $(STAMP)
	@$(RUN) pip --version > /dev/null 2>&1 || { \
		"$(PYTHON)" -c "$(FITS)" 2> /dev/null || { \
			echo "kinegraph needs Python 3.11 to 3.13, found '$(PYTHON)'; set PYTHON=/path/to/one" >&2; \
			exit 1; }; \
		"$(PYTHON)" -m venv --clear .venv; }
	@echo "installing the pinned packages into .venv (minutes the first time)"
	@$(PIP) -r constraints-cpu.txt 2> /dev/null \
		|| echo "no CPU build of torch among pip's find-links: taking the index's build"
	@$(PIP) -r constraints.txt
	@if $(RUN) pip show torch | grep '^Requires:.*nvidia' > /dev/null; then \
		$(PIP) -r constraints-cuda.txt; fi
	@$(PIP) --no-build-isolation --editable .
	@$(RUN) pip check
	@touch $(STAMP)

$(BIN)/python:
	@$(MAKE) --no-print-directory setup

.PHONY: demo
demo: $(STAMP) ## make a data set, train two streams, test, ensemble, report (4 minutes)
	@$(BIN)/kinegraph demo

.PHONY: test
test: $(STAMP) ## run all tests; ARGS="-k store" chooses among them
	@$(RUN) pytest -n $(TEST_PROCESSES) $(ARGS)

.PHONY: test-fast
test-fast: $(STAMP) ## run the tests that take less than a minute together
	@$(RUN) pytest -n $(TEST_PROCESSES) -m "not slow" $(ARGS)

.PHONY: lint
lint: $(STAMP) type ## check style, format, types and pins
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(BIN)/python tools/pins.py check

.PHONY: type
type: $(STAMP) ## check types only (mypy --strict)
	@$(RUN) mypy

.PHONY: bench
bench: $(STAMP) ## run the benchmarks; results go to benchmarks/results
	@for script in $(filter-out %/bench_gpu.py,$(wildcard benchmarks/bench_*.py)); do \
		$(BIN)/python "$$script" || exit 1; done

# UCLA=STORE trains on real recordings; OUT=FILE.json writes elsewhere.
.PHONY: bench-gpu
bench-gpu: $(STAMP) ## measure everything that is aimed for on an H200 (9 minutes)
	@$(BIN)/python benchmarks/bench_gpu.py $(if $(UCLA),--ucla "$(UCLA)") $(if $(OUT),--out "$(OUT)")

.PHONY: performance
performance: $(STAMP) ## write docs/performance.md from benchmarks/results
	@$(BIN)/python tools/performance_page.py

# Not after `setup`, which fails as long as a new dependency is not pinned.
.PHONY: pins
pins: $(BIN)/python ## resolve pyproject.toml again; UPGRADE=1 takes the newest versions
	@$(BIN)/python tools/pins.py $(if $(UPGRADE),upgrade,write)

.PHONY: clean
clean: ## remove caches and builds; ALL=1 removes .venv as well
	@find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
	@rm -rf build dist .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@$(if $(ALL),rm -rf .venv)
