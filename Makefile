# `make demo`, `make test` and `make benchmark`: each makes .venv and installs what it needs.
PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
BENCHMARKS := steps folder predictions growth
PHOTOS :=
CIFAR :=

.PHONY: demo test benchmark clean

demo: .venv/installed
	@rm -rf $(DEMO)
	@$(BIN)/python examples/demo.py $(DEMO)

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

# make benchmark [PHOTOS=folder] [CIFAR=folder] [BENCHMARKS="steps folder"] [QUICK=--quick]
benchmark: .venv/installed-dev
	@set -e; for name in $(BENCHMARKS); do \
		photos=; case $$name in folder|predictions) photos="$(if $(PHOTOS),--photos $(PHOTOS))";; esac; \
		echo "== $$name"; $(BIN)/python benchmarks/$$name.py $(QUICK) $$photos; \
	done
	@set -e; for name in $(if $(CIFAR),accuracy ablation); do \
		echo "== $$name"; $(BIN)/python benchmarks/$$name.py $(CIFAR) $(QUICK); \
	done
	@$(if $(CIFAR),,echo "skipped: accuracy and ablation, for which CIFAR-10 is needed: CIFAR=folder")

clean:
	rm -rf .venv $(DEMO) .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "resnets needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch .venv/installed $@
