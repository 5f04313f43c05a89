# Every target sets up what it needs in a virtual environment of this folder; nothing outside it is touched.
# The default Python has .venv; another one has its own: make test PYTHON=python3.13 uses .venv-3.13.
PYTHON ?= python3
VENV := $(if $(filter-out python3,$(PYTHON)),.venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'),.venv)
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
INSTALL := $(BIN)/uv pip install -q --python $(BIN)/python
PYTEST := python -m pytest -n 2 --dist loadfile
FAST := tests/inner/rules tests/inner/test_losses.py tests/networks/test_layers.py tests/outer/test_program.py \
	tests/learner/test_layouts.py tests/test_house.py
PACKED := tests/inner/test_losses.py tests/learner/test_layouts.py tests/shipped tests/test_house.py

# Without compiled modules each process, of which the tests start many, would take seconds more to import JAX.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: docs demo test test-fast test-wheel test-oldest test-extras faults audit check lint types clean

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: $(STAMP)
	$(BIN)/$(PYTEST)

# A small part of the tests, in about two minutes.
test-fast: $(STAMP)
	$(BIN)/$(PYTEST) $(FAST)

# A few tests with what would be published (a source archive, and the wheel that is built from it), in an environment
# outside the checkout.
test-wheel: $(STAMP)
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && set -e; \
	$(BIN)/uv build -q --out-dir "$$folder" .; \
	$(PYTHON) -m venv "$$folder/venv"; \
	$(BIN)/uv pip install -q --python "$$folder/venv/bin/python" "$$folder"/mtnets-*.whl --group test; \
	"$$folder/venv/bin/python" -c 'import mtnets; assert "site-packages" in mtnets.__file__, mtnets.__file__'; \
	"$$folder"/venv/bin/$(PYTEST) $(PACKED)

# The lower bounds in pyproject.toml, with the newest of what those packages need in turn. (Matplotlib 3.9 uses names
# that pyparsing 3.3 deprecated, and warnings are errors here. Python 3.11 and 3.12 have wheels of all of them.)
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install -q --disable-pip-version-check uv
	.venv-oldest/bin/uv pip install -q --python .venv-oldest/bin/python --resolution lowest-direct \
		-e '.[plot,sklearn,export,table,serve,experiments]' --group test 'pyparsing>=3.2,<3.3'
	.venv-oldest/bin/$(PYTEST)

# Everything, also what is slow, and what needs PyTorch, ONNX, Grain, Hugging Face's libraries, Optuna and Ray, which are
# large. An hour or more.
test-extras: $(STAMP)
	$(INSTALL) -e '.[torch,onnx,datasets,grain,hub,optuna,ray,tensorboard,wandb,mlflow]' trackio playwright
	$(BIN)/$(PYTEST) -m 'slow or not slow'
	for example in examples/*_*.py; do echo $$example; $(BIN)/python $$example || exit 1; done

# Kills, failing writes, signals; foreign files, guided by coverage; long runs. Hours; reports go to results/faults.
faults: $(STAMP)
	$(INSTALL) 'atheris>=3'
	$(BIN)/python -m tests.faults.campaign --trials 100 --replays 2000 --report results/faults/campaign.json
	$(BIN)/python -m tests.faults.fuzz --runs 100000 --report results/faults/fuzz.json
	$(BIN)/python -m tests.faults.long_runs --report results/faults/long-runs.json
	$(BIN)/python -m tests.faults.numerics --report results/faults/numerics.json

# Known weaknesses of what is installed, and a bill of materials (CycloneDX).
audit: $(STAMP)
	$(INSTALL) pip-audit cyclonedx-bom
	$(BIN)/pip-audit
	$(BIN)/cyclonedx-py environment $(BIN)/python --of JSON -o sbom.json

# The site, in docs/_build/html. Warnings are errors; notebooks run (some minutes).
docs: $(STAMP)
	$(INSTALL) -e '.[plot,sklearn,table,torch]' --group docs
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html

check: lint types

lint: $(BIN)/ruff
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(BIN)/ruff
	$(BIN)/pyright --pythonpath $(BIN)/python

$(BIN)/ruff: $(STAMP)
	$(INSTALL) --group check
	@touch $@

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "mtnets needs Python 3.11 or newer; $(PYTHON) is older or missing: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(INSTALL) -e . --group test
	@touch $@

clean:
	rm -rf .venv .venv-* demo.png sbom.json docs/_build
