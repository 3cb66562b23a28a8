# `make demo` sets up and runs the main job; `make test` sets up and runs every check.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA   ?=

.PHONY: demo test test-all lint types layers doctest pytest format clean

demo: $(VENV)/.ready
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash demo.sh "$(DATA)"

test: lint types layers doctest pytest

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready
	$(BIN)/mypy

layers: $(VENV)/.ready
	$(BIN)/lint-imports

doctest: $(VENV)/.ready
	$(BIN)/pytest -q --doctest-modules embedstore heads cli

pytest: $(VENV)/.ready
	$(BIN)/pytest -n 2

# Every head through every battery as well: about twice as long.
test-all: lint types layers doctest
	$(BIN)/pytest -n 2 -m ""

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The constraints pin torch to one release: a range that admits newer ones pulls gigabytes of CUDA.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable .
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache demo
