# Two commands do everything a newcomer needs: `make demo` and `make test`.
# They need Python 3.11 or newer and make; all else goes into .venv.

# The first interpreter that is new enough; name another with `make demo PYTHON=python3.12`.
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$p; break; fi; done)
endif

VERSION := $(if $(PYTHON),$(shell $(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null))
EXTRAS := he,hub,network,parquet,pii,quantised,serve,test
BIN := .venv/bin
# Processes that share the tests; memory for each is up to 1.5 GiB. Threads that have nothing to do
# sleep, since the cores are shared as well.
WORKERS ?= 2
PASSIVE := OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0
PEERS := .venv-peers/bin

# The stamp says: for this Python version, everything that is pinned is installed. It is removed
# before an installation begins and written after it ended, so an interrupted one never counts.
STAMP := .venv/.installed-$(VERSION)
PEERS_STAMP := .venv-peers/.installed-$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help venv demo check test slow fuzz bench-peers constraints clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22

venv: $(STAMP) ## set up .venv with every extra, all versions pinned
	@echo ".venv is ready: Python $(VERSION)"

demo: $(STAMP) ## tell the whole story on the bundled model and marketplace
	$(BIN)/sotto demo

check: $(STAMP) ## format, lint, strict types, import contracts, executed docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest src README.md README.zh.md docs

test: $(STAMP) ## run the tests that take seconds
	$(PASSIVE) $(BIN)/pytest tests -n $(WORKERS) --dist loadfile

slow: $(STAMP) ## run the tests that take minutes
	$(PASSIVE) $(BIN)/pytest tests -m "slow and not fuzz"

fuzz: $(STAMP) ## made-up bytes for every parser, ten minutes each; SOTTO_FUZZ_SECONDS shortens it
	$(BIN)/pytest tests/fuzz -m fuzz --timeout=0

bench-peers: $(PEERS_STAMP) ## time a round against Flower and pfl-research, in .venv-peers
	$(PEERS)/python benchmarks/peers.py --json

constraints: $(STAMP) ## resolve all dependencies afresh and write constraints.txt
	$(BIN)/python scripts/pin_dependencies.py

clean: ## remove both environments and everything that can be made again
	rm -rf .venv .venv-peers build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(STAMP): pyproject.toml constraints.txt
	@$(if $(PYTHON),:,echo "No Python 3.11 or newer was found. Install one, or name it: make $(or $(MAKECMDGOALS),venv) PYTHON=/path/to/python3" >&2; exit 2)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is not Python 3.11 or newer. Name another: make $(or $(MAKECMDGOALS),venv) PYTHON=python3.12" >&2; exit 2; }
	@if test -f $@; then rm -f $@; else echo "Making .venv with Python $(VERSION)"; $(PYTHON) -m venv --clear .venv; fi
	@echo "Installing the pinned packages; the first time takes a minute or two"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[$(EXTRAS)]'
	@touch $@

# The peers hold other versions of some packages than the project's own environment does.
$(PEERS_STAMP): pyproject.toml benchmarks/peers-requirements.txt
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "pfl-research needs Python 3.11 or 3.12. Name one: make bench-peers PYTHON=python3.12" >&2; exit 2; }
	@if test -f $@; then rm -f $@; else echo "Making .venv-peers with Python $(VERSION)"; $(PYTHON) -m venv --clear .venv-peers; fi
	@echo "Installing Flower, pfl-research and the project; the first time takes some minutes"
	$(PEERS)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers-requirements.txt
	$(PEERS)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
