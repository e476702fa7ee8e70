# Every target that needs .venv sets it up by itself; see .ci/setup. A stamp says which lock was installed last.
# pyproject.toml is among the prerequisites because the installed command and version come from it.

PYTHON_IN_VENV := .venv/bin/python
# More than a small machine's two cores: many tests wait for a socket or a disk.
WORKERS ?= 4
SOAK_S ?= 900
LOCK := $(PYTHON_IN_VENV) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

# Interrupted, or its Python was upgraded or removed: then no stamp counts, and .ci/setup makes it anew.
$(shell [ -e .venv/.complete ] && $(PYTHON_IN_VENV) -c 'import pip' 2>/dev/null || \
    rm -f .venv/.complete .venv/.runtime .venv/.dev)

.DEFAULT_GOAL := help
.PHONY: help demo test test-system soak reliability format lock clean

help: ## show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.runtime ## watch a file go to a local BulkGPT and come back; no account, no network
	@$(PYTHON_IN_VENV) -m bulkgpt_watchd demo

test: .venv/.dev ## lint, types and all tests but the heavy beds
	$(PYTHON_IN_VENV) -m ruff check
	$(PYTHON_IN_VENV) -m ruff format --check
	$(PYTHON_IN_VENV) -m mypy
	$(PYTHON_IN_VENV) -m pytest -q -m "not system" -n $(WORKERS)

test-system: .venv/.dev ## the heavy beds; a missing one says why, and is an error where CI=true
	$(PYTHON_IN_VENV) -m pytest -q -m system -rs

soak: .venv/.dev ## live among random troubles for SOAK_S seconds (900); SEED=… chooses the same ones again
	SOAK_S=$(SOAK_S) SEED=$(SEED) $(PYTHON_IN_VENV) -m pytest -q -s -m system tests/soak

reliability: .venv/.dev ## run every test that shows a fault, heavy ones too, and write docs/reliability.md from them
	$(PYTHON_IN_VENV) -m pytest -q -m "fault and not system" -n $(WORKERS) --evidence
	$(PYTHON_IN_VENV) -m pytest -q -m "fault and system" --evidence
	$(PYTHON_IN_VENV) -m tests.reliability.page

format: .venv/.dev ## let ruff format the code and fix what it can
	$(PYTHON_IN_VENV) -m ruff format
	$(PYTHON_IN_VENV) -m ruff check --fix

lock: .venv/.dev ## pin the dependencies again; with UPGRADE=--upgrade to the newest allowed
	$(LOCK) $(UPGRADE) pyproject.toml -o requirements/runtime.txt
	$(LOCK) $(UPGRADE) --group build -c requirements/runtime.txt -o requirements/build.txt
	$(LOCK) $(UPGRADE) pyproject.toml --group dev -c requirements/runtime.txt -c requirements/build.txt -o requirements/dev.txt

clean: ## remove .venv, caches and built packages
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find bulkgpt_watchd tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml .ci/setup
	@.ci/setup requirements/runtime.txt requirements/build.txt
	@touch $@

.venv/.dev: requirements/dev.txt pyproject.toml .ci/setup
	@.ci/setup requirements/dev.txt
	@touch $@
