# make test, make demo and make check set up everything they need in .venv; nothing outside it is touched.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: demo test test-extras check clean

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# PyTorch, ONNX, Grain and Hugging Face's libraries, which are large: the tests that need them, and the examples in full.
test-extras: $(STAMP)
	$(BIN)/python -m pip install -q -e '.[torch,onnx,datasets,grain,hub]'
	MTNETS_SLOW_TESTS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/adapters tests/test_adapted.py tests/test_hub.py tests/test_state_dict.py tests/tasks/test_host.py tests/tasks/test_hugging_face.py tests/test_examples.py
	for example in examples/wrap_*.py examples/data_*.py; do echo $$example; $(BIN)/python $$example || exit 1; done

check: $(STAMP)
	$(BIN)/python -m pip install -q -e '.[dev]'
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/pyright

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "mtnets needs Python 3.11 or newer; $(PYTHON) is older: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@

clean:
	rm -rf .venv demo.png
