# Two commands do everything: `make demo` and `make test`. Both set up an environment in .venv first, the
# demo with what it needs itself, the tests with all the rest.
# To use an environment of your own, give its interpreter: make test VENV=/path/to/env
# Without a GPU, TORCH_INDEX=https://download.pytorch.org/whl/cpu takes torch's build for CPUs, which is smaller.

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
BIN := $(VENV)/bin
READY := $(VENV)/.rankformer-ready
DEMO_READY := $(VENV)/.rankformer-demo-ready
# What the tests need holds what the demo needs.
DEMO_ENVIRONMENT := $(or $(wildcard $(READY)),$(DEMO_READY))
PIP_INSTALL := $(BIN)/python -m pip install --constraint constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
PYTEST_ARGS ?=

.PHONY: demo test test-all docs figures docs-check lint mutants clean

demo: $(DEMO_ENVIRONMENT)
	@echo "Embedding 700 blood cells with rankformer-mini, and drawing them."
	$(BIN)/python examples/demo.py --output demo-output

test: $(READY)
	$(BIN)/python -m pytest -n auto -m "not slow and not gpu" $(PYTEST_ARGS)

# Also the larger published shapes: needs 8 GB of memory and about 15 minutes on 4 cores.
test-all: $(READY)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# The docs as a site, in docs/_build/html; a warning is an error.
docs: $(READY)
	$(BIN)/python -m sphinx -b html --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "The docs are in docs/_build/html/index.html."

# Draws the pictures of the docs anew, into docs/figures.
figures: $(READY)
	$(BIN)/python docs/figures/draw.py

# Each block of the README and the docs runs, each public name and each link is there.
docs-check: $(READY)
	$(BIN)/python -m pytest tests/test_docs.py $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Looks up the versions of constraints.txt among those with known weaknesses, in an environment of its own.
# Needs the network: without it, or where some versions could not be looked up, it fails.
.PHONY: audit
audit:
	$(PYTHON) .ci/audit.py

# Runs the notebooks of the docs, and keeps their outputs in them. NOTEBOOKS: some of them, such as course.
.PHONY: notebooks
notebooks: $(READY)
	$(BIN)/python -m tests.notebooks $(NOTEBOOKS)

# Plants faults and says which of them no test noticed (docs/developing.md). MUTANTS: some of them.
# mutmut passes over functions with a decorator, so that in its copy kernels are plain Python.
mutants: $(READY)
	$(PIP_INSTALL) --quiet --group mutants
	rm -rf .mutants
	mkdir .mutants
	cp -r src tests pyproject.toml .mutants
	sed -i '/^@compile_kernel$$/d' .mutants/src/rankformer/*/*.py
	cd .mutants && OMP_NUM_THREADS=1 $(abspath $(BIN))/mutmut run $(MUTANTS)
	cd .mutants && $(abspath $(BIN))/python ../tests/mutation/report.py

$(BIN)/python:
	@echo "Making an environment in $(VENV)."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

$(DEMO_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing rankformer, torch and scanpy: once, for some minutes."
	$(PIP_INSTALL) --editable ".[demo]"
	touch $(DEMO_READY)

$(READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing rankformer, and what its tests and linters need: once, for some minutes."
	$(PIP_INSTALL) --editable ".[demo]" --group dev
	touch $(READY) $(DEMO_READY)

clean:
	rm -rf $(VENV) .audit demo-output docs/_build docs/api .mutants .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
