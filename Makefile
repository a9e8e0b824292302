# README's two commands: make quickstart, make test.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STUDY ?= quickstart

.PHONY: quickstart test test-all soak lint types clean

SOURCES = pyproject.toml constraints.txt CMakeLists.txt $(wildcard kernels/*) $(wildcard recipes/*.toml recipes/*/*.toml) \
  $(shell find src -type f -not -path '*/__pycache__/*' -not -name '*.so')

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(SOURCES) | $(BIN)/python
	$(BIN)/pip install --quiet -c constraints.txt .
	touch $@

$(VENV)/installed-for-tests: $(SOURCES) | $(BIN)/python
	$(BIN)/pip install --quiet -c constraints.txt '.[test]'
	touch $@ $(VENV)/installed

quickstart: $(VENV)/installed
	$(BIN)/secateur run $(STUDY) --preset quick --store runs --verbose
	$(BIN)/secateur report $(STUDY) --store runs

test: $(VENV)/installed-for-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not soak" -n auto

test-all: $(VENV)/installed-for-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not soak" -n auto

soak: $(VENV)/installed-for-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m soak

lint: $(VENV)/installed-for-tests
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/lint-imports

types: $(VENV)/installed-for-tests
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build runs reports
