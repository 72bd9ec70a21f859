# Everything runs in virtual environments that these targets make; nothing is installed outside of them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test check test-all delivery bench bench-check clean

help:
	@echo "make demo      stream a multi-turn answer from a scripted model over a real WebSocket"
	@echo "make test      run every test on $(PYTHON)"
	@echo "make check     ruff, mypy, and the layers"
	@echo "make test-all  run the quick tests on every installed Python from 3.10 on"
	@echo "make delivery  print how many requests each fault costs, counted by a scripted server"
	@echo "make bench     measure against the peers (installs them) and write docs/benchmarks"
	@echo "make bench-check  the same, and fail when a bar is missed"
	@echo "make clean     forget the virtual environments and caches"

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) --editable '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/python examples/demo.py $(ARGS)

test: $(READY)
	.ci/packages
	$(BIN)/python -m pytest $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_layers.py tests/test_exports.py

delivery: $(READY)
	$(BIN)/python tests/delivery_table.py

test-all:
	.ci/test-all $(ARGS)

bench: .venv-bench/ready
	.venv-bench/bin/python benchmarks/run.py $(ARGS)

bench-check: .venv-bench/ready
	.venv-bench/bin/python benchmarks/run.py --check $(ARGS)

.venv-bench/ready: setup.cfg benchmarks/requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "the benchmarks want Python 3.11")'
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python $(PIP_INSTALL) --requirement benchmarks/requirements.txt --editable .
	touch $@

clean:
	rm -rf .venv .venv-* build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
