# Everything a person or a machine runs here; `make` alone tells what there is.
# Settings come from HOLDFAST_* variables, in the environment or as `make run HOLDFAST_API_PORT=9000`.

.DEFAULT_GOAL := help
.PHONY: help run demo test quick flakes durations check format lint types imports crashtest bench reset engines setup

unexport PYTHONDONTWRITEBYTECODE # else each of hundreds of processes compiles all that it imports

BOOTSTRAP := deploy/bootstrap.sh
BIN := .venv/bin

help: ## Tell what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  \033[36m%-10s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The shell's $$PPID is make: should make be killed, the stack stops with it.
run: ## Bring up the whole local stack and keep it running (Ctrl-C stops it)
	@exec $(BOOTSTRAP) holdfast up --parent $$PPID

demo: ## Place one order through the HTTP API of the running stack
	@exec $(BOOTSTRAP) holdfast demo

engines: ## Bring up only PostgreSQL, Valkey and Temporal
	@exec $(BOOTSTRAP) python -m deploy.stack

# Each process has engines and a shop of its own; a third uses the time in which two wait for what they have set off.
PROCESSES := 3

test: check ## Everything: check, then all tests with coverage and its gates
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n $(PROCESSES) --durations=25 --junitxml=.test-results.xml
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage json --quiet -o .coverage.json
	@$(BIN)/coverage report
	@$(BIN)/python -m deploy.checks.coverage_gate .coverage.json

flakes: setup ## The whole suite N times in random order, then N times beside BUSY busy loops: N= BUSY= TESTS=
	@$(BIN)/python -m deploy.checks.flakes --runs $(or $(N),5) --busy $(or $(BUSY),2) --processes $(PROCESSES) $(TESTS)

durations: setup ## Write down how long every file of tests takes (tests/durations.json)
	$(BIN)/python -m pytest -q -n $(PROCESSES) --record-durations

quick: check ## What to run after each edit, in less than a minute: check, and the tests that need no engine
	$(BIN)/python -m pytest -q -n 2 tests/runtime tests/models tests/sandbox tests/workers/test_replay.py tests/workers/test_packages.py \
		tests/workflows/test_imports.py --ignore tests/models/db

check: lint types imports ## Format, lint, types and import contracts, as CI does

lint: setup ## Format and lint, changing nothing
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet

types: setup ## mypy, strict
	$(BIN)/mypy

imports: setup ## The import contracts between the rooms
	$(BIN)/lint-imports

format: setup ## Format and fix what can be fixed
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format

crashtest: ## Kill everything at random under load and prove the invariants: SEED= CHECKOUTS= KILLS=
	@exec $(BOOTSTRAP) holdfast crashtest $(if $(SEED),--seed $(SEED)) $(if $(CHECKOUTS),--checkouts $(CHECKOUTS)) $(if $(KILLS),--kills $(KILLS))

bench: ## Measure, with units: JSON=path
	@exec $(BOOTSTRAP) python -m bench $(if $(JSON),--json $(JSON))

reset: ## Delete the data of a stopped stack: the next run starts over
	@exec $(BOOTSTRAP) holdfast reset

setup:
	@$(BOOTSTRAP) --dev python -c ''
