# Everything lives in .venv/ of this checkout; every target sets up what it needs.
#   make run     simulate the baseline scenario and write its report
#   make test    run the tests            make lint    style, types, import contracts
#   make app     the dashboard at http://127.0.0.1:8501
#   make bench   measure the speed        make setup   the environment only, with the tests' tools
#   make browser Debian's chromium, for the dashboard's tests that skip without one (needs root)
# PYTHON=python3.12 picks the interpreter, TESTS="-k router" is passed to pytest.

VENV := .venv
SIMULATOR := $(VENV)/.simulator
ALL := $(VENV)/.all
APP := $(VENV)/.app
PIP = $(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt
BASELINE := runs/baseline
TESTS ?=

# The first interpreter that is new enough.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: run app browser setup test lint bench clean
.DEFAULT_GOAL := run

run: $(SIMULATOR)
	@$(VENV)/bin/kaiju-sim run scenarios/baseline.yaml -o $(BASELINE)
	@echo "Report: $(BASELINE)/report.html (figures: $(BASELINE)/summary.json)"

# Streamlit and what it brings along: 190 MB that only it and the tests need.
app: $(APP)
	@echo "The dashboard: http://127.0.0.1:8501 (end it with Ctrl-C)"
	@$(VENV)/bin/python -m app

$(APP): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) with the dashboard: once, about half a minute" >&2
	@$(PIP) -e '.[app]'
	@touch $(SIMULATOR) $@

browser:
	@scripts/install_browser

setup: $(ALL)

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# What a run needs is there in half the time and a quarter of the space.
$(SIMULATOR): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV): once, about half a minute" >&2
	@$(PIP) -e .
	@touch $@

$(ALL): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) with the tests' tools and torch: once, a minute or more" >&2
	@$(PIP) -e '.[test,lint]'
	@touch $(SIMULATOR) $(APP) $@

# Compiled code is cached: made once here, not once in each of pytest's processes.
test: setup
	@$(VENV)/bin/python scripts/warm_cache.py
	@$(VENV)/bin/python -m pytest -n 2 $(TESTS)

lint: setup
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/check

bench: $(SIMULATOR)
	@$(VENV)/bin/python -m benchmarks.simulator

clean:
	rm -rf $(VENV) build runs *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
