# Two commands do everything: `make search` and `make test`. Both set the project up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.PHONY: search test check reliability bench-eps bench-search bench-ship bench-int8 bench-data bench-layouts setup clean help

help:
	@echo "make search   set up, then run the default search (ARGS='--trials 48' passes flags on)"
	@echo "make test     set up, then check style and types and run the tests, up to four at a time (ARGS='-k front' passes flags on)"
	@echo "make setup    the environment only (.venv; about 7 GB)"
	@echo "make bench-eps EPS against Captum and SciPy sample by sample (ARGS=--memory: peak memory)"
	@echo "make bench-search the engine against Tune + OptunaSearch + MLflow and plain Optuna, part by part (twenty minutes; ARGS='--only a,d')"
	@echo "make bench-ship  what pruning, low rank, alignment, PTQ and QAT each give on the file that ships (after a search)"
	@echo "make bench-int8  how much faster int8 makes students of each backbone on this processor"
	@echo "make bench-data  how fast recorded videos become samples, against plain decoding, and in how much memory (two minutes)"
	@echo "make bench-layouts  every family from its data sets' layouts to a bundle that judges (seven minutes; ARGS=--every: every data set, thirteen)"
	@echo "make check    style and types only"
	@echo "make reliability  kill drivers, servers and machines for about twenty minutes and check what is promised (ARGS=kills for one)"
	@echo "make clean    remove the environment and what tools cache (runs/ stays)"

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Paretolens needs Python 3.11 or newer; this is %s. Name one: make PYTHON=python3.11 ..." % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(STAMP)

search: $(STAMP)
	@$(BIN)/paretolens search $(ARGS)

bench-eps: $(STAMP)
	@$(BIN)/python benchmarks/eps_speed.py $(ARGS)

bench-search: $(STAMP)
	@$(BIN)/python benchmarks/search_speed.py $(ARGS)

bench-ship: $(STAMP)
	@$(BIN)/python benchmarks/shipping.py $(ARGS)

bench-int8: $(STAMP)
	@$(BIN)/python benchmarks/int8_speed.py $(ARGS)

bench-data: $(STAMP)
	@$(BIN)/python benchmarks/data_speed.py $(ARGS)

bench-layouts: $(STAMP)
	@$(BIN)/python benchmarks/real_layouts.py $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

reliability: $(STAMP)
	$(BIN)/python benchmarks/reliability.py $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
