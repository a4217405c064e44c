# make serve and make test are all a newcomer needs; each installs what it wants first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 7866
ARGS ?=
# Two test processes, a file each at a time: half the time on two cores. JOBS=0 runs in one.
JOBS ?= 2
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

# The pages' scripts are checked with Node where it is installed. In CI no check is left out.
JS := tests/js/node_modules
HAVE_NODE := node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null
skipped = { echo "$(1) skipped: $(2)"; test -z "$(CI)"; }

.PHONY: serve setup test test-all test-js test-ray test-nodes lint lint-js browser bench clean

serve: $(VENV)/.run-stamp
	$(BIN)/python server.py --host $(HOST) --port $(PORT) $(ARGS)

setup: $(VENV)/.run-stamp

# What a newcomer relies on, in a few minutes; test-all adds the tests marked slow.
test: $(VENV)/.dev-stamp $(JS)/.stamp test-js
	$(PYTEST) -m "not slow" $(ARGS)

test-all: $(VENV)/.dev-stamp $(JS)/.stamp test-js
	$(PYTEST) $(ARGS)
	$(MAKE) test-ray

# Ray lies in a folder of its own: only the tests of its workers find it.
test-ray: $(VENV)/.dev-stamp build/ray/.stamp
	PYTHONPATH="$(CURDIR)/build/ray" $(BIN)/python -m pytest tests/ray --ignore=tests/ray/test_two_nodes.py

# A cluster of three raylets on one machine, in a process of its own: beside the cluster of test-ray it does not always come up.
test-nodes: $(VENV)/.dev-stamp build/ray/.stamp
	PYTHONPATH="$(CURDIR)/build/ray" $(BIN)/python -m pytest tests/ray/test_two_nodes.py

build/ray/.stamp: requirements-ray.txt requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --target build/ray \
		-c requirements.txt -r requirements-ray.txt
	touch $@

lint: $(VENV)/.dev-stamp lint-js
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports

browser: $(VENV)/.dev-stamp $(JS)/.stamp
	$(BIN)/python -m pytest -m browser tests/browser $(ARGS)

bench: $(VENV)/.dev-stamp
	$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) $(JS) .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.run-stamp: requirements.txt requirements-data.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-data.txt
	touch $@

$(VENV)/.dev-stamp: requirements-dev.txt requirements-vision.txt $(VENV)/.run-stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# ESLint for the pages' scripts, and axe-core for the browser tests.
$(JS)/.stamp: tests/js/package-lock.json
	@if command -v npm >/dev/null && npm ci --silent --no-fund --no-audit --prefix tests/js; then touch $@; \
	else $(call skipped,ESLint and axe-core,npm is not installed or cannot reach its registry); fi

test-js:
	@if $(HAVE_NODE); then node --test --test-reporter=spec tests/js/*.test.js; \
	else $(call skipped,$@,it needs Node 20.19 or newer); fi

lint-js: $(JS)/.stamp
	@if $(HAVE_NODE) && test -x $(JS)/.bin/eslint; then $(JS)/.bin/eslint --config tests/js/eslint.config.js static tests/js; \
	else $(call skipped,$@,it needs Node 20.19 or newer and ESLint); fi
