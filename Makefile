# Each target makes .venv first where it is missing or older than the lists of packages.
# make demo DEMO_ARGS="--budget updates=4" is a short form; PYTHON names the interpreter that .venv is made from.

PYTHON ?= python3
DEMO_ARGS ?=
PAPER_ARGS ?=
PYTEST_ARGS ?=

BIN := .venv/bin
STAMP := .venv/.installed
DOCS_STAMP := .venv/.installed-docs
PIP := $(BIN)/python -m pip --disable-pip-version-check
# One torch thread for each of the two test processes: more of them only wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: install demo paper reference docs test test-slow test-long lint format clean
.DELETE_ON_ERROR:

install: $(STAMP)

# setuptools comes first, so that the build uses the pinned one and downloads none.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install --constraint constraints.txt setuptools
	$(PIP) install --constraint constraints.txt --no-build-isolation --editable ".[dev]"
	touch $@

demo: $(STAMP)
	$(BIN)/harness run --method egspo-sa,egspo,d1,agrpo,espo --task sudoku --seed 0,1,2 $(DEMO_ARGS)
	$(BIN)/harness run --method egspo-sa --task sudoku --seed 0,1,2 --reward random $(DEMO_ARGS)
	$(BIN)/harness report

# Every table and figure of EGSPO's paper with the tiny model: hours on two cores; what is there is not made again.
paper: $(STAMP)
	$(BIN)/harness reproduce 2603.12554 --with tiny --jobs 2 $(PAPER_ARGS)

# The runs in results/reference, without weights, and the report made from them.
reference: $(STAMP)
	$(BIN)/harness run --method egspo-sa,egspo,d1,agrpo,espo --task sudoku,countdown --seed 0,1,2 --runs results/reference
	$(BIN)/harness run --method egspo-sa --task sudoku,countdown --seed 0,1,2 --reward random --runs results/reference
	find results/reference -name checkpoints -prune -exec rm -rf {} +
	find results/reference '(' -name 'samples-step*' -o -name 'samples-base*' -o -name .lock ')' -delete
	find results/reference -name metrics.jsonl -exec gzip -9n {} +
	$(BIN)/harness report results/reference --out docs/example-report

include results/study/study.mk

# The pages of docs/ as a site in site/; a link to nowhere is an error. `site/index.html` needs no server.
docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(DOCS_STAMP): $(STAMP)
	$(PIP) install --constraint constraints.txt --no-build-isolation --editable ".[docs]"
	touch $@

test: $(STAMP)
	$(PYTEST) -m "not slow and not long" $(PYTEST_ARGS)

test-slow: $(STAMP)
	$(PYTEST) -m slow $(PYTEST_ARGS)

# Seventy kills and ten collisions of runs, for which `make test-slow` has ten and two.
test-long: $(STAMP)
	$(PYTEST) -m long $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Results and .venv stay: they cost time to make again.
clean:
	rm -rf build dist site .pytest_cache .hypothesis .mypy_cache .ruff_cache *.egg-info
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
