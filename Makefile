# Every check has one name here and in CI. `make simulation` and `make test` set up what they need on a bare clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
# Tests start hundreds of processes: where bytecode may not be kept, each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup simulation test lint types unit slow all clean

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed; found $$($(PYTHON) --version). Say which: make PYTHON=python3.11 ..."; exit 78; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -e '.[dev]'
	@# pip would compile every file of torch and of all others, which takes a minute; an import compiles what is used.
	$(BIN)/python -c 'import simulation.run, simulation.worker'
	@touch $@

setup: $(STAMP)          ## make .venv with everything in it

simulation: $(STAMP)     ## the 13-hospital study, end to end; ARGS="--quick" passes options
	$(BIN)/python -m simulation $(ARGS)

test: lint types unit    ## every check that a change must pass

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy --num-workers=auto

unit: $(STAMP)
	$(BIN)/python -m pytest -q -n auto --dist loadfile

slow: $(STAMP)           ## minutes: whole simulations, real engines
	$(BIN)/python -m pytest -q -m slow -n 2 --dist loadfile --durations=12

all: test slow

clean:
	rm -rf $(VENV) runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
