# The whole companion behind a few words: `make` lists them. GNU make 3.81 or newer.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup lab test test-all lint reproduce table figures site publish readme lock clean

MODE ?= quick
TORCH ?= auto
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
export TORCH_CPU_INDEX

# ENV=active: work in the environment that is activated, conda's or a virtual one, and remove nothing from it.
ifeq ($(ENV),active)
VENV := $(or $(VIRTUAL_ENV),$(CONDA_PREFIX),$(error ENV=active, but no conda or virtual environment is activated here))
STAMP := .cache/active.ready
READY := $(CURDIR) in $(VENV)
else
VENV := $(CURDIR)/.venv
STAMP := .venv/.ready
READY := $(CURDIR)
endif
BIN := $(VENV)/bin
PY := "$(BIN)/python"
SNAKEMAKE = "$(BIN)/snakemake" --snakefile notebooks/Snakefile --config mode=$(MODE)
# A run that was killed leaves its lock behind. Where no run is going on, take it away.
FREE = if ls .snakemake/locks/* >/dev/null 2>&1 && ! pgrep -f '[s]nakemake --snakefile' >/dev/null; then $(SNAKEMAKE) --unlock --quiet; fi
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest -n 2

# A virtual environment holds absolute paths: one that was made elsewhere (a moved or copied folder) is made anew.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(READY))
.PHONY: $(STAMP)
endif
# asked for another PyTorch: install again, whatever is there
ifneq ($(and $(filter setup,$(MAKECMDGOALS)),$(filter-out file,$(origin TORCH))),)
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
	@echo "  TORCH=cpu (1.4 GB) or locked (on Linux with GPU libraries, 5.8 GB); by default cpu without NVIDIA's driver"
	@echo "  ENV=active, in every call: the activated conda or virtual environment in place of .venv"

setup: $(STAMP) ## install requirements.lock into .venv, every file checked against its hash

# The stamp goes first and comes back last, so an interrupted set-up is never taken for a finished one.
$(STAMP): requirements.lock pyproject.toml
	@set -e; mkdir -p .cache; \
	if [ "$$(cat $@ 2>/dev/null)" = "$(READY)" ]; then rm -f $@; \
	elif [ "$(ENV)" = active ]; then rm -f $@; $(PY) -c '$(USABLE)' || { echo "$(VENV) is not of Python 3.11 or 3.12" >&2; exit 1; }; \
	else $(FIND_PYTHON); rm -rf .venv; "$$found" -m venv .venv; fi; \
	sh .ci/install "$(VENV)" "$(TORCH)" $(filter active,$(ENV)); \
	echo "$(READY)" > $@

lab: $(STAMP) ## open the notebooks in JupyterLab (in a container as root: ARGS=--allow-root)
	@git config filter.notebook.clean '$(PY) .ci/clean_notebook' 2>/dev/null || true
	$(PY) -m jupyterlab --config .ci/jupyter_config.py $(ARGS) notebooks

test: $(STAMP) ## run the tests, except slow ones (ARGS="-k wavelet" picks some)
	$(PYTEST) -m "not slow" $(ARGS)

test-all: $(STAMP) ## run all tests, also those that train or start processes
	$(PYTEST) $(ARGS)

lint: $(STAMP) ## check style, formatting and the directions of imports
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	PYTHONPATH=notebooks "$(BIN)/lint-imports"

reproduce: $(STAMP) ## run the notebooks that are not up to date, then compute the certificate
	@$(FREE); $(SNAKEMAKE)

table: $(STAMP) ## run long experiments or notebooks again by name (NAME="tiling recipe", NAME=07_complexity)
ifeq ($(strip $(NAME)),)
	@echo 'Name what to run again, for example: make table NAME="tiling recipe". There is:' >&2
	@$(SNAKEMAKE) --list-rules --quiet >&2; exit 1
else
	@known=" $$($(SNAKEMAKE) --list-rules --quiet | tr '\n' ' ') "; for name in $(NAME); do case "$$known" in \
	  *" $$name "*) ;; *) echo "error: there is no $$name; make table says what there is." >&2; exit 1;; esac; done
	@$(FREE); $(SNAKEMAKE) --force $(NAME)
endif

figures: $(STAMP) ## run all notebooks again, even when up to date
	@$(SNAKEMAKE) --forceall

site: $(STAMP) ## build the site, offline, into build/site: the pages of docs/, the published chapters, the API
	@mkdir -p build/source
	PYTHONPATH=notebooks $(PY) -m sphinx -W --keep-going -q -j 2 -c docs $(ARGS) build/source build/site

publish: $(STAMP) ## (maintainers) run everything in full mode and make its results the release's
	@$(subst mode=$(MODE),mode=full,$(SNAKEMAKE)) 15_certificate
	cd notebooks && $(PY) -m lab.reproduce.publish

readme: $(STAMP) ## (maintainers) write the release's numbers into README.md and the model card
	cd notebooks && $(PY) -m lab.reproduce.fill_readme

lock: $(STAMP) ## resolve pyproject.toml into requirements.lock (known versions are kept where they fit)
	"$(BIN)/uv" pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	  --extra notebooks --extra dev --extra bench --extra site --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean: ## remove .venv, caches and what runs wrote (results/run); what the release published stays
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .cache .snakemake results/run
	find weconvene_core tests notebooks -name __pycache__ -prune -exec rm -rf {} +
