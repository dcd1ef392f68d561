# Two commands do everything: `make demo` and `make test`. Both set up an environment in .venv first.
# To use an environment of your own, give its interpreter: make test VENV=/path/to/env

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.rankformer-ready
PYTEST_ARGS ?=
MUTANTS ?=

.PHONY: demo test test-all lint mutants docs-check clean

demo: $(READY)
	$(BIN)/python examples/demo.py --output demo-output

test: $(READY)
	$(BIN)/python -m pytest -n auto -m "not slow and not gpu" $(PYTEST_ARGS)

# Also the larger published shapes: needs 8 GB of memory and about 15 minutes on 4 cores.
test-all: $(READY)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Plants faults and says which of them no test noticed (docs/developing.md). MUTANTS: some of them.
# mutmut passes over functions with a decorator, so that in its copy kernels are plain Python.
mutants: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group mutants
	rm -rf .mutants
	mkdir .mutants
	cp -r src tests pyproject.toml .mutants
	sed -i '/^@compile_kernel$$/d' .mutants/src/rankformer/data/*.py
	cd .mutants && OMP_NUM_THREADS=1 nice -n 19 $(abspath $(BIN))/mutmut run $(MUTANTS)
	cd .mutants && $(abspath $(BIN))/python ../tests/mutation/report.py

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo]" --group dev
	touch $(READY)

clean:
	rm -rf $(VENV) demo-output .mutants .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
