# README's two commands: make quickstart, make test.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STUDY ?= quickstart

.PHONY: quickstart test test-all soak lint types clean

$(VENV)/installed: pyproject.toml constraints.txt CMakeLists.txt $(wildcard kernels/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt .
	touch $@

$(VENV)/installed-for-tests: $(VENV)/installed $(shell find src -name '*.py' 2>/dev/null)
	$(BIN)/pip install --quiet -c constraints.txt '.[test]'
	touch $@

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
