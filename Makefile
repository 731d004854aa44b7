# The one door to everything: `make run` and `make test` work from a fresh clone; each makes .venv when it is missing.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SPREAD := --numprocesses auto --dist loadfile

.PHONY: help run test check lint types layers coverage bench bench-compare bench-baseline plot campaign planted reference format build test-wheel clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[all]" --group dev
	@touch $@

run: $(READY) ## Run three agents through a working day in twenty seconds
	@$(BIN)/python examples/standalone.py

test: $(READY) ## Run the tests, on all cores
	$(BIN)/python -m pytest $(SPREAD)

check: lint types layers coverage ## Everything that must be green: lint, types, layers, tests with coverage

lint: $(READY) ## Lint and check the format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## Check types, strictly
	$(BIN)/mypy

layers: $(READY) ## Check that imports point down only
	$(BIN)/lint-imports --no-cache

# Tested as processes of their own, which are not measured.
PROCESSES := harborcal/__main__.py,harborcal/cli/*,harborcal/mcp_server.py

coverage: $(READY) ## Run the tests and hold coverage: 95 % of the library, 100 % of the pure rooms
	$(BIN)/python -m pytest $(SPREAD) --cov --cov-report=
	$(BIN)/coverage report --fail-under=95 --omit='$(PROCESSES)'
	$(BIN)/coverage report --fail-under=100 --include='harborcal/policy.py,harborcal/prompt.py,harborcal/wire.py,harborcal/ledger/*'

bench: $(READY) ## Measure cost against peers in one run; prints a table, writes bench/results/
	$(BIN)/python -m bench $(BENCH)

bench-compare: $(READY) ## Show the newest result (or RESULT=path) beside the last release's, as ratios
	$(BIN)/python -m bench.compare $(RESULT)

bench-baseline: $(READY) ## Keep the newest result (or RESULT=path) as this release's
	$(BIN)/python -m bench.compare --keep $(RESULT)

plot: $(READY) ## Draw docs/cost.svg from the newest result (or RESULT=path)
	$(BIN)/python -m bench.plot $(RESULT)

campaign: $(READY) ## Rehearse mishaps by the thousand; CAMPAIGN="name --share 0.1" runs part of one
	$(BIN)/python -m tests.campaigns --evidence docs/evidence.json $(CAMPAIGN)

planted: $(READY) ## Plant some thirty known bugs, one at a time: the campaigns must notice each
	$(BIN)/python -m tests.planted $(PLANTED)

reference: $(READY) ## Write docs/cli.md from the commands
	$(BIN)/python -m harborcal.cli.reference docs/cli.md

format: $(READY) ## Put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: $(READY) ## Build the source archive and the wheel into dist/
	rm -rf dist build
	$(BIN)/python -m build --outdir dist .

test-wheel: build ## Run the tests against the built wheel, away from the source
	rm -rf build/wheel-test && mkdir -p build/wheel-test
	$(PYTHON) -m venv build/wheel-test/venv
	build/wheel-test/venv/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	build/wheel-test/venv/bin/python -m pip install --quiet "$$(ls dist/*.whl)[all]" --group dev
	cp -r tests examples bench docs *.md llms.txt pyproject.toml setup.cfg build/wheel-test/
	cd build/wheel-test && HARBORCAL_INSTALLED=1 venv/bin/pytest -q $(SPREAD)

clean: ## Remove what was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
