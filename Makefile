# One virtual environment per CPython: `.venv` for the default, `.venv-3.13` for `make test PYTHON=python3.13`.
PYTHON ?= python3
VENV ?= $(if $(filter python3 python3.11,$(PYTHON)),.venv,.venv-$(patsubst python%,%,$(notdir $(PYTHON))))
BIN := $(VENV)/bin
STAMP := $(VENV)/.inaho-setup
TOOLS := mypy pyright ruff import-linter towncrier pytest-asyncio pytest-timeout pytest-xdist cryptography pydantic opentelemetry-sdk

# The coverage-guided fuzzer has wheels for these only; elsewhere `make fuzz` and `make acceptance` do without and say so.
FUZZER := atheris; sys_platform == "linux" and platform_machine == "x86_64" and python_version < "3.14"
INSTALL_FUZZER = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt '$(FUZZER)' || true

# Passed on to what the target runs, e.g. `make test ARGS="tests/unit -k codec"`.
ARGS ?=
# Processes that run the tests: one more than the two cores of the machine, as many tests wait for real time.
WORKERS ?= 3
# Budgets of `make fuzz` (examples per property; seconds of all coverage-guided targets) and `make soak` (seconds);
# `make acceptance` takes SECONDS and SEEDS where they are given, else four hours.
EXAMPLES ?= 2000
FUZZ_SECONDS ?= 180
SECONDS ?= 1800
SEEDS ?=

# The tests start hundreds of processes, which would each compile the package and its tests anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test lint types bench fuzz soak acceptance clean distclean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make the virtual environment; does nothing when it is up to date.

$(STAMP): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "inaho needs CPython 3.11 or newer: make setup PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[postgres,providers,redis,testing]' $(TOOLS)
	@touch $@

quickstart: setup ## Form a cluster of two processes on this machine and call grains across it.
	$(BIN)/inaho quickstart $(ARGS)

test: setup ## Run the tests; as root, with what they need of the system's packages (iproute2, Redis, PostgreSQL).
	@scripts/install_services.sh || true
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: setup ## Check style, formatting, import contracts and changelog fragments.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/towncrier build --draft > /dev/null

types: setup ## Check types, with mypy and pyright, of the package and of the README's examples.
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/python scripts/readme_examples.py build/readme_examples
	$(BIN)/mypy build/readme_examples
	$(BIN)/pyright build/readme_examples

bench: setup ## Run the benchmarks.
	$(BIN)/python benchmarks/run.py $(ARGS)

fuzz: setup ## Run the property tests with EXAMPLES examples each, new ones every time; then atheris for FUZZ_SECONDS.
	@$(INSTALL_FUZZER)
	INAHO_TEST_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -m 'hypothesis or fuzz' --timeout 1800 $(ARGS)
	$(BIN)/python tests/fuzz/run_atheris.py $(FUZZ_SECONDS)

soak: setup ## Repeat properties, simulations and process tests with new seeds, for SECONDS or up to SEEDS.
	$(BIN)/python scripts/soak.py --seconds $(SECONDS) $(if $(SEEDS),--until-seed $(SEEDS)) $(ARGS)

acceptance: setup ## Long repetitions with a report in docs/acceptance; SECONDS=600, SEEDS, ARGS="--only NAME" for less.
	@scripts/install_services.sh || true
	@$(INSTALL_FUZZER)
	$(BIN)/python scripts/acceptance.py $(if $(filter-out file,$(origin SECONDS)),--seconds $(SECONDS)) \
		$(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

clean: ## Remove caches and builds.
	rm -rf build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove the virtual environments too.
	rm -rf .venv .venv-*
