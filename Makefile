# `make up` and `make test` are all that a newcomer needs; both build .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help up parts test chaos fuzz env bench bench-peers bench-backlog bench-reads clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

$(BIN)/.installed: pyproject.toml
	@echo "installing spanhouse into $(VENV), about a minute ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo]'
	@echo "compiling the decoder for this machine, once, about half a minute ..."
	@$(BIN)/python -m spanhouse.warm_up
	@touch $@

$(BIN)/.installed-test: $(BIN)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

up: $(BIN)/.installed  ## run everything on this machine, fed by a demo agent
	$(BIN)/spanhouse up --demo

# Tests whose part cannot be brought here are skipped; not so on CI.
parts: $(BIN)/.installed-test  ## bring the real Kafka, Collector, … that tests use into .cache/parts
	@$(BIN)/python -m tests.parts || test -z "$$CI"

test: parts  ## install what tests need, lint, type-check and run all tests
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 4 --dist loadfile

chaos: parts  ## break everything again and again under load for 5 minutes, then count
	$(BIN)/python -m tests.chaos

# Three quarters of the time for the decoder, a quarter for OTLP/JSON.
MINUTES ?= 60
fuzz: $(BIN)/.installed-test  ## fuzz the decoder and OTLP/JSON for an hour, or MINUTES=…
	@mkdir -p .cache/fuzz/decoder .cache/fuzz/json
	$(BIN)/python -m tests.otlp.fuzz decoder -max_total_time=$$(($(MINUTES) * 45)) \
	  -artifact_prefix=.cache/fuzz/ -print_final_stats=1 .cache/fuzz/decoder
	$(BIN)/python -m tests.otlp.fuzz json -max_total_time=$$(($(MINUTES) * 15)) \
	  -artifact_prefix=.cache/fuzz/ -print_final_stats=1 .cache/fuzz/json

env:  ## write .env for Docker Compose, with fresh secrets
	@umask 077; set -C; while read -r line; do \
	  case $$line in [A-Z]*=) line=$$line$$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n');; esac; \
	  printf '%s\n' "$$line"; \
	done < .env.example > .env

bench: $(BIN)/.installed-test  ## measure spanhouse by itself, a minute and a half
	$(BIN)/python -m bench.stages --ours --batches 1 512 8192 --rounds 1 --seconds 0.3
	$(BIN)/python -m bench.grpc_to_sink --systems spanhouse --shapes chat --batches 512 --rounds 1
	$(BIN)/python -m bench.laptop --starts 1 --seconds 10

bench-peers: parts  ## measure beside the Collector's clickhouseexporter and plain Python, half an hour
	$(BIN)/python -m bench.stages --save
	$(BIN)/python -m bench.grpc_to_sink --save
	$(BIN)/python -m bench.kafka_to_store --save
	$(BIN)/python -m bench.laptop --save
	$(BIN)/python -m bench.report

bench-backlog: parts  ## measure how fast translate drains an hour of backlog
	$(BIN)/python -m bench.backlog

EVENTS ?= 100000000
BENCH_DATA ?= /tmp/spanhouse-bench
bench-reads: $(BIN)/.installed-test  ## measure dashboards and storage over 30 days of EVENTS=100000000, an hour and 8 GB
	rm -rf $(BENCH_DATA)
	$(BIN)/python -m bench.fill --data $(BENCH_DATA) --events $(EVENTS)
	$(BIN)/python -m bench.storage --data $(BENCH_DATA) --save
	$(BIN)/python -m bench.reads --data $(BENCH_DATA) --save
	$(BIN)/python -m bench.report
	rm -rf $(BENCH_DATA)

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
