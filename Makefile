# On a fresh machine, `make run` and `make test` install everything they need.
# Variables: PORT and DATA for `make run`; PYTHON (3.11 or later), which creates .venv.
PORT ?= 8000
DATA ?= data
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run install install-dev test test-long lint format docs lock audit bench dist clean

help: ## list the targets (default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

run: install ## serve sample data on port 8000: make run PORT=8080 DATA=data
	@exec $(BIN)/python server.py serve --sample --data "$(DATA)" --port "$(PORT)"

install: ## install the locked packages into .venv, unless done
	@$(PYTHON) deploy/install.py

install-dev: install
	@$(PYTHON) deploy/install.py --dev

# 1.5 processes per core, as tests of servers and browsers mostly wait.
test: install-dev ## run the tests in parallel: make test ARGS=tests/stories
	$(BIN)/python -m pytest -n $$(( $$(nproc) * 3 / 2 )) --dist loadfile --max-worker-restart 1 $(ARGS)

test-long: install-dev ## run the tests that take minutes each
	$(BIN)/python -m pytest -m long -o faulthandler_timeout=3600 $(ARGS)

# Every check runs, also after a failed one, so that one run lists all problems.
lint: install-dev ## check style, types and imports between layers
	@status=0; for check in "ruff check" "ruff format --check" "mypy" "lint-imports"; do \
		echo "$$check"; $(BIN)/$$check || status=1; \
	done; exit $$status

format: install-dev ## format the code and fix what ruff can fix
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format

docs: install ## write the generated pages and diagrams of docs/
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/diagrams.py
	$(BIN)/python docs/collection.py

lock: ## update the lock files to the newest versions that setup.cfg allows
	$(PYTHON) deploy/lock.py

audit: ## check locked packages for known vulnerabilities
	@$(PYTHON) deploy/audit.py

bench: install ## run the benchmarks (minutes): make bench ARGS=FOLDER
	$(BIN)/python -m bench $(ARGS)

dist: ## build dist/marquee, a single file that needs no Python
	@$(PYTHON) deploy/dist.py

clean: ## remove everything generated; keeps DATA
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
