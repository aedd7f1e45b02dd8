# make demo   pretrain on the built-in data, evaluate, export (TensorFlow)
# make test   all tests on the three backends
# make test-torch-models  weights to and from torchvision's and timm's networks
# make check  lint, formatting, types, whether the guides' pages are up to date
# make guides run the guides and write their pages, notebooks and pictures;
#             ARGS=guides/NAME.py: one of them
# make docs   the site, in build/site, with all its links checked
# make bench  speed and memory of the objective; bench-views, bench-step: of
#             the views, from images and from files, and of a training step
#
# Each sets up its own virtual environment first; all that is needed is Python
# 3.11 with pip and venv. KERAS_BACKEND chooses the backend of `make demo`.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
BACKENDS ?= tensorflow jax torch
# Of a backend's tests: one a core, as each is of one thread.
WORKERS ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); \
	echo $$((cores < 2 ? 2 : cores > 6 ? 6 : cores)))
export KERAS_BACKEND ?= tensorflow
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test test-torch-models check guides docs format bench bench-views bench-step clean $(BACKENDS:%=test-%)

demo: $(VENV)/.demo-$(KERAS_BACKEND)
	$(BIN)/python examples/scenes_demo.py $(ARGS)

# One process a backend. Threads fight over few cores when PyTorch and
# TensorFlow, which reads the data, each want all of them. A file stays with one
# worker: some of what its tests look at takes minutes to make. ALL_TESTS=1 adds
# what is left out for time. A worker that crashes ends the run: with another one
# in its place, pytest-xdist waits for ever.
test: $(BACKENDS:%=test-%)

$(BACKENDS:%=test-%): test-%: $(VENV)/.test
	KERAS_BACKEND=$* OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) \
		--max-worker-restart=0 --dist loadfile --no-loadscope-reorder \
		--durations=20 $(ARGS)

# The networks of torchvision and timm, in an environment of its own: beside a
# PyTorch without CUDA, PyPI's torchvision does not import by itself, and other
# packages stumble over that.
test-torch-models: $(VENV)-torch-models/.made
	ALL_TESTS=1 TORCH_MODELS=1 KERAS_BACKEND=torch OMP_NUM_THREADS=1 \
		PYTHONPATH=. $(VENV)-torch-models/bin/python -m pytest \
		tests/checkpoints/test_torch_models.py $(ARGS)

check: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python guides/render.py --check

guides: $(VENV)/.test
	$(BIN)/python guides/render.py $(ARGS)

# Sources are read, not imported: neither Keras nor a backend is needed.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python tools/site/check.py build/site

format: $(VENV)/.check
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.test
	$(BIN)/python benchmarks/objective.py $(ARGS)

bench-views: $(VENV)/.test
	$(BIN)/python benchmarks/views.py $(ARGS)
	$(BIN)/python benchmarks/files.py

bench-step: $(VENV)/.test
	$(BIN)/python benchmarks/step.py $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-torch-models build dist *.egg-info demo_output

# Stamps, so that the environment is made again when what it is made of changes.
$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	touch $@

# The PyTorch that the tests have been run with; its CPU build is enough.
$(VENV)/.torch: $(VENV)/.venv
	$(BIN)/python -m pip install --quiet torch==2.13.0
	touch $@

$(VENV)-torch-models/.made: Makefile
	$(PYTHON) -m venv $(VENV)-torch-models
	$(VENV)-torch-models/bin/python -m pip install --quiet torch==2.13.0 \
		torchvision==0.28.0
	$(VENV)-torch-models/bin/python -m pip install --quiet timm==1.0.31 \
		"keras>=3.15.1" hypothesis numpy pillow pytest pytest-xdist
	touch $@

$(VENV)/.demo-tensorflow: $(VENV)/.venv pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[examples]"
	touch $@

$(VENV)/.demo-jax: $(VENV)/.venv pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[examples,jax]"
	touch $@

$(VENV)/.demo-torch: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[examples,torch]"
	touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[jax,torch,test]"
	touch $@

# What the extra `check` lists, without the package and all it asks for.
$(VENV)/.check: $(VENV)/.venv pyproject.toml
	$(BIN)/python tools/requirements.py check | \
		xargs $(BIN)/python -m pip install --quiet
	touch $@

# What the extra `docs` lists, without the package and all it asks for.
$(VENV)/.docs: $(VENV)/.venv pyproject.toml
	$(BIN)/python tools/requirements.py docs | \
		xargs $(BIN)/python -m pip install --quiet
	touch $@
