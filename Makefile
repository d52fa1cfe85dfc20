# make demo and make test need python3 (3.11 or newer) with venv and pip, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# one thread per process: the tests run in two, and results must not depend on it anyway
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check bench soak docs clean

demo: $(READY)
	$(BIN)/bitline demo

test: $(READY)
	$(BIN)/python -m pytest -q -n 2

check: $(READY)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n 2

bench: $(READY)
	for program in $(wildcard benchmarks/[a-z]*.py); do $(BIN)/python $$program --quick || exit 1; done

soak: $(READY)
	BITLINE_HYPOTHESIS=soak $(BIN)/python -m pytest -q -n 2

# pages, and no link or name in them that leads nowhere; nothing is fetched
docs: $(READY)
	$(BIN)/sphinx-build -q -E -b html -W --keep-going docs docs/_build/html
	@echo docs/_build/html/index.html

clean:
	rm -rf $(VENV) .pytest_cache .hypothesis .ruff_cache .import_linter_cache build dist bitline-out docs/_build docs/generated
	find src -name '*.nb[ic]' -delete

# hashes pin every file; the build tool is in the lock as well, so nothing is fetched unpinned
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bitline needs Python 3.11 or newer")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@
