# Lanework: `make up` runs it, `make test` tests it; each does its own set-up in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(shell command -v uv 2>/dev/null)
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help up test coverage check chaos bench proto lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

ifdef UV
make_venv = $(UV) venv -q --allow-existing --python $(PYTHON) $(VENV)
install   = $(UV) pip install -q --python $(BIN)/python
else
make_venv = $(PYTHON) -m venv $(VENV)
install   = $(BIN)/python -m pip install -q --disable-pip-version-check
endif

$(VENV)/run.stamp: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lanework needs Python 3.11 or newer; set PYTHON=")'
	@echo "installing into $(VENV) …"
	@$(make_venv)
	@$(install) --require-hashes -r requirements.txt
	@$(install) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	@$(install) --require-hashes -r requirements-dev.txt
	@touch $@

up: $(VENV)/run.stamp  ## embedded Valkey, gateway and worker on http://localhost:8080
	@exec $(BIN)/lanework up $(ARGS)

test: $(VENV)/dev.stamp  ## every test, against real servers (ARGS='-k lanes' for some)
	@$(BIN)/pytest $(ARGS)

coverage: $(VENV)/dev.stamp  ## the tests, and which lines no test reaches, in any process
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report

check: $(VENV)/dev.stamp  ## ruff and mypy --strict
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

chaos: $(VENV)/dev.stamp  ## kill, stop and restart everything under load, then account for every job
	@$(BIN)/python -m tests.chaos $(ARGS)

bench: $(VENV)/dev.stamp  ## throughput, latency, growth and memory, beside peers where installed
	@$(BIN)/python -m tests.benchmarks $(ARGS)

proto: $(VENV)/dev.stamp  ## generate the messages of gRPC from their .proto files, and check these
	@cd $(PROTO) && $(abspath $(BIN))/buf lint
	@cd $(PROTO) && $(abspath $(BIN))/buf breaking --against $(CURDIR)/tests/rpc/released.binpb
	@mkdir -p $(GENERATED)
	@$(BIN)/python -m grpc_tools.protoc -I $(PROTO) --python_out=$(GENERATED) --pyi_out=$(GENERATED) \
	    $$(find $(PROTO) -name '*.proto' -printf '%P ')
	@find $(GENERATED) -name '*_pb2.py*' | xargs sed -i 's/^from lanework\.v1 import/from runtime.rpc.generated.lanework.v1 import/'

PROTO     := runtime/rpc/proto
GENERATED := runtime/rpc/generated

lock: $(VENV)/dev.stamp  ## renew requirements*.txt from pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip -q
	@$(BIN)/python -m pip install -q uv
	@$(BIN)/uv pip compile -q --upgrade $(LOCK) --all-extras -o requirements.txt pyproject.toml
	@$(BIN)/uv pip compile -q --upgrade $(LOCK) --all-extras --group dev -o requirements-dev.txt pyproject.toml

LOCK := --universal --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
        --custom-compile-command 'make lock' --group build

clean:  ## remove .venv and caches; data in .lanework stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
