# Every command of the project's life. Needs python3 (3.11 to 3.13), make and git, nothing else:
# each target first installs what it needs into .venv, from hash-pinned locks.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first interpreter of a version that the locks are made for.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& command -v $$p && break; done)

BIN := .venv/bin
INSTALLED := .venv/.installed
SOURCES := exphil_tf models beam_pipelines tests
WORKERS ?= 2
PYTEST_ARGS ?=
ARGS ?=

export UV_PYTHON_DOWNLOADS := never
export UV_NO_CONFIG := 1
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help install quickstart test test-all cover lint types imports format bench docs lock clean

help:  ## Print this list
	@echo "ExPhil-TF: make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  %-12s %s\n", $$1, $$2}'

install: $(INSTALLED)  ## Install the locked dependencies into .venv
	@echo "install: .venv is up to date with requirements/dev.lock"

# uv, in a small environment of its own so that it is no part of the project's.
.uv/bin/uv: requirements/bootstrap.lock
	@test -n "$(PYTHON)" || { echo "error: want Python 3.11, 3.12 or 3.13. Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "install: uv, into .uv"
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

# All packages are hash-checked wheels but py-ubjson, which has none: it is built with the locked
# setuptools, which is therefore installed first, and in pure Python where there is no compiler.
BUILDER := --only-binary :all: --requirement requirements/build.lock
WHEELS := --only-binary :all: --no-binary py-ubjson --no-build-isolation

# The project itself is a path entry and not a build: nothing to download, and edits count at once.
# In ASCII, since Python reads such files in the locale's encoding, and the path may have any letters.
$(INSTALLED): requirements/dev.lock requirements/build.lock .uv/bin/uv
	@echo "install: $$(grep -c '^[a-z].*==' $<) packages of $<, into .venv"
	@.uv/bin/uv venv --quiet --allow-existing --python "$(PYTHON)" .venv
	@.uv/bin/uv pip install --quiet --python $(BIN)/python --require-hashes $(BUILDER)
	@.uv/bin/uv pip sync --quiet --python $(BIN)/python --require-hashes $(WHEELS) $<
	@$(BIN)/python -c 'import os, pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "exphil_tf.pth").write_text(f"import os, sys; sys.path.append(os.fsdecode({os.fsencode(os.getcwd())!r}))\n")'
	@touch $@

quickstart: $(INSTALLED)  ## From nothing to an evaluated policy, on sample replays
	@$(BIN)/python -m exphil_tf.quickstart $(ARGS)

test: $(INSTALLED)  ## Run the default tests (PYTEST_ARGS=... for more)
	@echo "test: pytest on $(WORKERS) processes; slow, gpu and dolphin tests are left out"
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

test-all: $(INSTALLED)  ## Run the slow tests too
	@echo "test-all: pytest on $(WORKERS) processes; gpu and dolphin tests are left out"
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadfile -m "not gpu and not dolphin" $(PYTEST_ARGS)

cover: $(INSTALLED)  ## Run the default tests and tell which lines and branches none reached
	@echo "cover: pytest on $(WORKERS) processes; the page is coverage/index.html"
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadfile --cov --cov-report=term:skip-covered --cov-report=html $(PYTEST_ARGS)

lint: $(INSTALLED)  ## Check style, formatting, Dockerfiles and banned text
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "error: not formatted. Run make format" >&2; exit 1; }
	@$(BIN)/hadolint Dockerfile.cpu Dockerfile.gpu Dockerfile.worker
	@$(BIN)/pytest -q --no-header -p no:cacheprovider tests/test_project.py -k banned
	@echo "lint: style, formatting, Dockerfiles and banned text are clean"

types: $(INSTALLED)  ## Check types
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@echo "types: pyright is content"

imports: $(INSTALLED)  ## Check that imports only point down the layers
	@$(BIN)/lint-imports --no-cache
	@echo "imports: the layers hold"

format: $(INSTALLED)  ## Format the code and apply the safe fixes
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

bench: $(INSTALLED)  ## Run the benchmarks (ARGS=... chooses)
	@$(BIN)/python -m exphil_tf.benchmark preprocess input training $(ARGS)

docs: $(INSTALLED)  ## Write the generated pages of docs/ anew
	@$(BIN)/python -m exphil_tf.docs $(ARGS)

# No uv.lock: it records the addresses of one machine's registry. Versions in dev.lock are kept
# where they still satisfy pyproject.toml; the other two follow it, so that what ships was tested.
COMPILE = .uv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--no-header --no-emit-index-url --no-emit-find-links $(ARGS)
lock: .uv/bin/uv  ## Renew requirements/*.lock after a change of pyproject.toml (ARGS=--upgrade)
	@$(COMPILE) pyproject.toml --extra dev --extra dask --extra umi --extra cloud --extra gym --output-file requirements/dev.lock
	@$(COMPILE) pyproject.toml --no-annotate --constraint requirements/dev.lock --extra cloud --output-file requirements/runtime.lock
	@$(COMPILE) pyproject.toml --no-annotate --constraint requirements/dev.lock --extra gpu --extra wandb --extra cloud --output-file requirements/gpu.lock
	@$(COMPILE) requirements/bootstrap.in --no-annotate --output-file requirements/bootstrap.lock
	@$(COMPILE) requirements/build.in --no-annotate --constraint requirements/dev.lock --output-file requirements/build.lock
	@echo "lock: requirements/{dev,runtime,gpu,bootstrap,build}.lock are up to date; review the difference"

clean:  ## Remove the environments and caches (not data, not runs)
	@rm -rf .venv .uv .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist coverage .coverage
	@find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
	@echo "clean: removed .venv, .uv and the tools' caches"
