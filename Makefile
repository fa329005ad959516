# Every target sets up .venv by itself: nothing has to be installed by hand but Python 3.11 to 3.13.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: install demo test lint clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable . --group dev
	touch $@

# The street world: drawn, prepared, two methods trained on three domains and judged on a fourth.
demo: install build/street
	$(BIN)/raydg prepare street build/street
	$(BIN)/python jobs/quickstart.py train
	$(BIN)/python jobs/quickstart.py evaluate

build/street: | install
	$(BIN)/raydg world street $@

# Two processes, each with one thread of its own: files, not tests, are shared out, so that what a file sets up is set up once.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) build
