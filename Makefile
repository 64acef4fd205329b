# `make up` and `make test` are all that a newcomer needs; both build .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help up test bench clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

$(BIN)/.installed: pyproject.toml
	@echo "installing spanhouse into $(VENV), about a minute ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo]'
	@echo "compiling the decoder for this machine, once, about half a minute ..."
	@$(BIN)/python -c "from spanhouse.otlp.decode import warm_up; warm_up()"
	@touch $@

$(BIN)/.installed-test: $(BIN)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

up: $(BIN)/.installed  ## run everything on this machine, fed by a demo agent
	$(BIN)/spanhouse up --demo

test: $(BIN)/.installed-test  ## install what tests need, lint, type-check and run all tests
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest

bench: $(BIN)/.installed-test  ## measure ready time, memory and export to visible
	$(BIN)/python -m bench.laptop

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
