# make serve and make test are all a newcomer needs; each installs what it wants first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 7866
ARGS ?=

.PHONY: serve test setup check lint browser bench clean

serve: $(VENV)/.run-stamp
	$(BIN)/python server.py --host $(HOST) --port $(PORT) $(ARGS)

test: $(VENV)/.dev-stamp $(VENV)/.axe-stamp
	$(BIN)/python -m pytest $(ARGS)

setup: $(VENV)/.run-stamp

check: $(VENV)/.dev-stamp $(VENV)/.axe-stamp lint
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev-stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports

browser: $(VENV)/.dev-stamp $(VENV)/.axe-stamp
	$(BIN)/python -m pytest -m browser tests/browser $(ARGS)

bench: $(VENV)/.dev-stamp
	$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

# clip-anytorch would pull in torchvision; only its BPE table is read, so it comes without dependencies.
$(VENV)/.run-stamp: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps clip-anytorch==2.6.0
	touch $@

$(VENV)/.dev-stamp: requirements-dev.txt requirements-vision.txt $(VENV)/.run-stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# axe-core looks over the pages in the browser tests; where it cannot be had they are skipped, with a reason.
$(VENV)/.axe-stamp: $(VENV)/.run-stamp
	if command -v npm >/dev/null; then \
	  npm install --silent --no-fund --no-audit --prefix $(VENV)/axe axe-core@4.14.1 || echo "no axe-core: its tests are skipped"; \
	fi
	touch $@
