PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup setup-dev setup-bench setup-docs demo test lint bench bench-gpu reproduce docs

setup: $(VENV)/installed
setup-dev: $(VENV)/installed-dev
setup-bench: $(VENV)/installed-bench
setup-docs: $(VENV)/installed-docs

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $@ $(VENV)/installed

$(VENV)/installed-bench: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet -e .
	-$(BIN)/pip install --quiet -e '.[bench]'
	touch $@

$(VENV)/installed-docs: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet -e '.[docs]'
	touch $@ $(VENV)/installed

demo: setup
	$(BIN)/python run.py experiment=demo

test: setup-dev
	$(BIN)/python -m pytest -m ''

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

bench: setup-bench
	$(BIN)/python -m benchmarks $(ARGS)

bench-gpu: setup-bench
	$(BIN)/python -m benchmarks --device cuda --rows tutorial plain vaelab --json outputs/bench-gpu.json $(ARGS)
	$(BIN)/python run.py trainer.batch_size=32 trainer.max_steps=500 trainer.profile=true
	$(BIN)/python run.py trainer.batch_size=1024 trainer.max_steps=500 trainer.profile=true

reproduce: setup
	$(BIN)/python -m benchmarks.published $(NAME) $(ARGS)

docs: setup-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
