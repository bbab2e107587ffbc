# The whole companion behind a few words: `make` lists them. GNU make 3.81 or newer.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup lab test test-all lint reproduce table figures publish readme lock clean

MODE ?= quick
PY := .venv/bin/python
SNAKEMAKE = .venv/bin/snakemake --snakefile notebooks/Snakefile --config mode=$(MODE)
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest -n 2
STAMP := .venv/.ready

# A virtual environment holds absolute paths: one that was made elsewhere (a moved or copied folder) is made anew.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

# The first Python that really runs, is 3.11 or 3.12 and can make virtual environments.
CANDIDATES = $(or $(PYTHON),python3.12 python3.11 python3 python)
USABLE = import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
define FIND_PYTHON
found=; for p in $(CANDIDATES); do if "$$p" -c '$(USABLE)' >/dev/null 2>&1; then found=$$p; break; fi; done; \
if [ -z "$$found" ]; then \
  echo "No Python 3.11 or 3.12 with its venv module among: $(CANDIDATES); install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; \
  exit 1; \
fi
endef

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' Makefile
	@echo "  MODE=quick (default, minutes on a CPU) or MODE=full; PYTHON=... names the interpreter for .venv"

setup: $(STAMP) ## build .venv from requirements.lock, every file checked against its hash

# The stamp goes first and comes back last, so an interrupted set-up is never taken for a finished one.
$(STAMP): requirements.lock pyproject.toml
	@set -e; \
	if [ "$$(cat $@ 2>/dev/null)" = "$(CURDIR)" ]; then rm -f $@; \
	else $(FIND_PYTHON); rm -rf .venv; "$$found" -m venv .venv; fi; \
	echo "Installing the locked packages into .venv (on Linux several GB: torch brings its GPU libraries)"; \
	quiet=$$([ -t 1 ] || echo --quiet); \
	awk '/^[^ #]/ {keep = /^uv==/} keep' requirements.lock > .venv/uv.lock; \
	if $(PY) -m pip install --quiet --no-deps --require-hashes -r .venv/uv.lock \
	  && .venv/bin/uv pip sync $$quiet --python $(PY) --require-hashes requirements.lock; then :; \
	else echo "uv could not do it; installing the same lock with pip"; \
	  $(PY) -m pip install $$quiet --require-hashes -r requirements.lock; fi; \
	$(PY) -m pip install --quiet --no-deps --no-build-isolation --no-index -e .; \
	echo "$(CURDIR)" > $@

lab: $(STAMP) ## open the notebooks in JupyterLab
	$(PY) -m jupyterlab notebooks

test: $(STAMP) ## run the tests, except slow ones (ARGS="-k wavelet" picks some)
	$(PYTEST) -m "not slow" $(ARGS)

test-all: $(STAMP) ## run all tests, also those that train or start processes
	$(PYTEST) $(ARGS)

lint: $(STAMP) ## check style, formatting and the directions of imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	PYTHONPATH=notebooks .venv/bin/lint-imports

reproduce: $(STAMP) ## run the notebooks that are not up to date, then compute the certificate
	@$(SNAKEMAKE)

table: $(STAMP) ## run long experiments or notebooks again by name (NAME="tiling recipe", NAME=07_complexity)
ifeq ($(strip $(NAME)),)
	@echo 'Name what to run again, for example: make table NAME="tiling recipe". There is:' >&2
	@$(SNAKEMAKE) --list-rules --quiet >&2; exit 1
else
	@$(SNAKEMAKE) --force $(NAME)
endif

figures: $(STAMP) ## run all notebooks again, even when up to date
	@$(SNAKEMAKE) --forceall

publish: $(STAMP) ## (maintainers) run everything in full mode and make its results the release's
	@$(SNAKEMAKE:mode=$(MODE)=mode=full) 08_certificate
	cd notebooks && ../$(PY) -m lab.reproduce.publish

readme: $(STAMP) ## (maintainers) write the release's numbers into README.md and the model card
	cd notebooks && ../$(PY) -m lab.reproduce.fill_readme

lock: $(STAMP) ## resolve pyproject.toml into requirements.lock (known versions are kept where they fit)
	.venv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev --extra bench \
	  --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean: ## remove .venv, caches and what runs wrote (results/run); what the release published stays
	rm -rf .venv *.egg-info .pytest_cache .ruff_cache .hypothesis .cache .snakemake results/run
	find weconvene_core tests notebooks -name __pycache__ -prune -exec rm -rf {} +
