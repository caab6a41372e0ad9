# Two commands do everything on a fresh machine: `make run` and `make test`.
# Variables: PORT and DATA of `make run`, PYTHON (3.11 or later) that .venv is made with.
PORT ?= 8000
DATA ?= data
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run install install-dev test test-long lint format lock audit bench dist clean

help: ## say what there is (also plain `make`)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

run: install ## serve on port 8000 with sample data: make run PORT=8080 DATA=data
	@exec $(BIN)/python server.py serve --sample --data "$(DATA)" --port "$(PORT)"

install: ## make .venv hold what serves; downloads only what is not there
	@$(PYTHON) deploy/install.py

install-dev: install
	@$(PYTHON) deploy/install.py --dev

# Half as many again as there are cores: tests of servers and browsers wait much.
test: install-dev ## run the tests, some files at once: make test ARGS=tests/stories
	$(BIN)/python -m pytest -n $$(( $$(nproc) * 3 / 2 )) --dist loadfile $(ARGS)

test-long: install-dev ## run the tests that take minutes
	$(BIN)/python -m pytest -m long $(ARGS)

# All four, whatever the first ones say: one run then shows all there is to mend.
lint: install-dev ## check style, types and who imports whom
	@status=0; for check in "ruff check" "ruff format --check" "mypy" "lint-imports"; do \
		echo "$$check"; $(BIN)/$$check || status=1; \
	done; exit $$status

format: install-dev ## bring all code into the one form
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format

lock: ## choose the newest versions that setup.cfg allows, and lock them
	$(PYTHON) deploy/lock.py

audit: ## look locked packages up among the known vulnerabilities
	@$(PYTHON) deploy/audit.py

bench: install ## measure on this machine (minutes): make bench ARGS=FOLDER
	$(BIN)/python -m bench $(ARGS)

dist: ## make dist/marquee, one file that needs no Python where it runs
	@$(PYTHON) deploy/dist.py

clean: ## remove what can be made again; keeps DATA
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
