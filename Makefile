# Everything a fresh Debian 12 needs, and everything a developer types. `make` alone lists it.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-compile
MEMBERS := shared services/root services/cluster services/node cli
TESTS := $(wildcard $(addprefix tests/,unit contracts simulation integration e2e))
SEEDS ?= 10000
ONLY ?=
ARGS ?=

.PHONY: help setup check test simulate bench demo up down lock protos clean
help:  ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup: $(VENV)/.dev  ## install what is missing: Debian packages (as root), Python packages, a mongod
	@:

demo: $(VENV)/.runtime  ## bring everything up, run a small application, break it, clean up
	@$(PYTHON) -m spinney demo $(ARGS)

up: $(VENV)/.runtime  ## start the local stack and leave it running until Ctrl-C
	@$(PYTHON) -m spinney up $(ARGS)

down: $(VENV)/.runtime  ## end the local stack that another terminal (or a crash) left running
	@$(PYTHON) -m spinney down $(ARGS)

test: setup  ## run all tests; ARGS="-k name" for some
	@$(PYTHON) -m pytest $(TESTS) $(ARGS)

check: setup  ## format, lint, types and layers; all of them, also when one fails
	@failed=; \
	$(VENV)/bin/ruff format --check --quiet . || { failed=1; echo "not formatted: run $(VENV)/bin/ruff format ."; }; \
	$(VENV)/bin/ruff check --quiet . || failed=1; \
	$(VENV)/bin/basedpyright || failed=1; \
	$(VENV)/bin/lint-imports --no-logo || failed=1; \
	test -z "$$failed"

simulate: setup  ## simulate all tiers with many random faults: SEEDS=10000
	@$(PYTHON) -m tests.simulation --seeds $(SEEDS) $(ARGS)

bench: setup  ## measure against the aims; ONLY=name for one
	@$(PYTHON) -m bench $(if $(ONLY),--only $(ONLY)) $(ARGS)

lock: setup  ## pin the newest allowed versions of all Python packages, with hashes
	@scripts/lock $(VENV)/bin/uv

protos: setup  ## generate containerd's messages again after changing a .proto file
	@$(PYTHON) -m spinney_node.drivers.containerd.pb.generate

clean:  ## end the stack; remove its state, the virtual environment and the caches
	@test ! -x $(PYTHON) || $(PYTHON) -m spinney.stack down
	rm -rf .spinney $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# To run: the Debian packages, the pinned Python packages, our own distributions (editable), a mongod.
$(VENV)/.runtime: requirements/debian.txt requirements/runtime.txt scripts/install-debian-packages $(MEMBERS:%=%/pyproject.toml)
	@scripts/install-debian-packages requirements/debian.txt
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	@echo "installing Python packages into $(VENV)"
	@$(PIP) --require-hashes --requirement requirements/runtime.txt
	@$(PIP) --no-deps --no-build-isolation $(MEMBERS:%=--editable ./%)
	@$(PYTHON) -m spinney.stack fetch
	@touch $@

# To develop: the tests' and checks' packages as well.
$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	@echo "installing development packages into $(VENV)"
	@$(PIP) --require-hashes --requirement requirements/dev.txt
	@touch $@
