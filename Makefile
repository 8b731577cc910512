# doms: every command a person or CI needs.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: bench-routing install install-bench demo test test-parts test-whole test-contract check lock bench-lifecycle bench-edd bench-reserve bench-promise clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH: install Python 3.11, or run make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@echo "compiling the routing kernel for this machine: about a minute, once"
	$(BIN)/python -m domain.routing
	@touch $@

# What only benchmarks need: a second solver to check against, real baskets.
install-bench: $(VENV)/.installed-bench

$(VENV)/.installed-bench: $(VENV)/.installed requirements-bench.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@

demo: install
	$(BIN)/doms demo $(ARGS)

# All tests in two halves side by side, since those of the whole system mostly wait; with ARGS, one
# run of what they choose.
test: install
ifeq ($(strip $(ARGS)),)
	@$(MAKE) --no-print-directory --jobs 2 test-parts test-whole
else
	$(BIN)/python -m pytest --cov --cov-report=term-missing $(ARGS)
endif

test-parts: install
	$(BIN)/python -m pytest --cov --cov-report=term-missing --ignore=tests/e2e --ignore=tests/chaos

test-whole: install
	$(BIN)/python -m pytest -q tests/e2e tests/chaos

# Suites that need Java or Node beside Python.
test-contract: install
	$(BIN)/python -m pytest tests/contract -m "contract or not contract" $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Exactness, speed and quality of routing; ARGS="--data FOLDER" names real sites and postal codes.
bench-routing: install-bench
	$(BIN)/python -m benchmarks.routing $(ARGS)

bench-lifecycle: install
	$(BIN)/python -m benchmarks.lifecycle $(ARGS)

bench-promise: install
	$(BIN)/python -m benchmarks.promise $(ARGS)

bench-edd: install
	$(BIN)/python -m benchmarks.edd $(ARGS)

bench-reserve: install
	$(BIN)/python -m benchmarks.reserve $(ARGS)

# Pins every dependency with its hashes: for development, for running alone (the image), and for
# benchmarks; needs uv on the PATH.
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --no-emit-index-url --no-emit-find-links -o requirements.lock
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --no-emit-index-url --no-emit-find-links \
		-c requirements.lock -o requirements-run.lock
	uv pip compile pyproject.toml --extra dev --extra bench --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --no-emit-index-url --no-emit-find-links \
		-c requirements.lock -o requirements-bench.lock

clean:
	rm -rf $(VENV) .doms .mypy_cache .ruff_cache .pytest_cache
