# Two commands on a new machine: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RIVALS := litserve bentoml mosec
PIP := $(BIN)/pip install --disable-pip-version-check --constraint constraints.txt

# A process for each CPU, at most four; all tests of a file run in one of them.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: help demo test test-slow lint serve attack bench bench-serve fuzz hostile constraints clean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

demo: $(VENV)/.demo ## classify twenty photographs through the defence over HTTP
	@$(BIN)/python scripts/demo.py

test: $(VENV)/.test .venv-clients/.ready ## run the tests, except the slow ones
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-slow: $(VENV)/.test ## run the slow tests: long experiments and the image's build
	@$(BIN)/python -m pytest $(PARALLEL) -m slow $(ARGS)

# The stock clients need other versions of our dependencies. The tests run them as processes.
CLIENTS := tests/service/oip/clients/requirements.txt
.venv-clients/.ready: $(CLIENTS)
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/pip install --disable-pip-version-check --requirement $(CLIENTS)
	@touch $@

lint: $(VENV)/.test $(VENV)/.lint ## run ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

serve: $(VENV)/.serve ## start the service on http://127.0.0.1:8080
	@$(BIN)/warpguard serve $(ARGS)

attack: $(VENV)/.harness ## attack the server on port 8080, and print a verdict
	@$(BIN)/warpguard-harness quick --endpoint http://127.0.0.1:8080 $(ARGS)

bench: $(VENV)/.test ## measure speed: the defences beside Inception V3, and /healthz under load
	@$(BIN)/python -m benchmarks $(ARGS)

bench-serve: $(VENV)/.test $(RIVALS:%=.venv-%/.ready) ## measure the service and other serving frameworks under load
	@$(BIN)/python -m benchmarks serving $(ARGS)

# Each rival framework has its own environment, and the .pth file adds the packages of ours to it.
.venv-%/.ready: $(VENV)/.test
	$(PYTHON) -m venv .venv-$*
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > $$(.venv-$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/warpguard.pth
	.venv-$*/bin/pip install --disable-pip-version-check --requirement benchmarks/rivals/$*.txt
	@touch $@

fuzz: $(VENV)/.test $(VENV)/.fuzz ## send hundreds of thousands of malformed bodies
	@$(BIN)/python -m fuzz $(ARGS)

hostile: $(VENV)/.test ## send hostile files and requests, and measure what they cost
	@$(BIN)/python -m benchmarks.hostile $(ARGS)

constraints: $(VENV)/.test $(VENV)/.lint ## pin the versions that are installed now
	@{ echo "# The versions that warpguard is tested with. Made by: make constraints"; \
	   $(BIN)/pip freeze --all --exclude-editable | sed '/^pip==/d; s/+cpu$$//'; } > constraints.txt

clean: ## remove the environment and all caches of the tools
	rm -rf $(VENV) .venv-clients $(RIVALS:%=.venv-%) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "warpguard needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# What is installed with a set of extras is not installed again for a target that needs less.
INCLUDES_harness := demo
INCLUDES_test := demo harness
SIZE_demo := , about 320 MB
SIZE_harness := ; PyTorch is some gigabytes
SIZE_test := $(SIZE_harness)

$(VENV)/.serve: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo 'Installing warpguard into $(VENV); pip shows what it downloads$(SIZE_demo).'
	$(PIP) --editable .
	@touch $@

$(VENV)/.%: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo 'Installing warpguard[$*] into $(VENV); pip shows what it downloads$(SIZE_$*).'
	$(PIP) --editable '.[$*]'
	@touch $@ $(VENV)/.serve $(INCLUDES_$*:%=$(VENV)/.%)
