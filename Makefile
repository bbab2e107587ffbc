# The whole companion behind a few words: `make` lists them. GNU make 3.81 or newer.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup lab test reproduce figures bench-complexity bench-wavelets ablations resolution modern-codecs larger-sets evidence fuzz readme clean lock

MODE ?= quick
PY := .venv/bin/python
LAB = cd notebooks && ../$(PY) -m lab
RUN = $(LAB).reproduce.run_notebooks --mode $(MODE)
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

test: $(STAMP) ## run the tests (ARGS="-k wavelet" picks some)
	$(PY) -m pytest $(ARGS)

reproduce: $(STAMP) ## run the notebooks that are not up to date, then compute the certificate
	@$(RUN)

figures: $(STAMP) ## run the notebooks that draw figures again, even when up to date
	@$(RUN) --figures

bench-complexity: $(STAMP) ## measure MACs, memory and latency on this machine again
	@$(RUN) --force 07

bench-wavelets: $(STAMP) ## time every DWT library and the 3DM-WeConv layer side by side (keep the machine idle)
	$(LAB).wavelet_analysis.dwt_speed

fuzz: $(STAMP) ## decode N=5000 damaged files of every sort (some minutes)
	FUZZ_EXAMPLES=$(or $(N),5000) .venv/bin/python -m pytest -q tests/test_fuzz.py

ablations: $(STAMP) ## train the ablations that are missing (most of an hour on one core)
	$(LAB).studies.ablations

resolution: $(STAMP) ## measure the gain at four scales of the high-resolution photographs (some minutes)
	$(LAB).studies.resolution

modern-codecs: $(STAMP) ## measure HEVC, VVC, AV1 and JPEG XL (extra `codecs`; VVC takes most of an hour)
	$(LAB).studies.video_intra_codecs

larger-sets: $(STAMP) ## measure whatever of CLIC 2020 and Tecnick is at hand, whole images
	$(LAB).studies.larger_sets

evidence: $(STAMP) ## make all tables that notebooks only show (NAMES="recipe tiling" picks some; a working day on two cores)
	$(LAB).reproduce.long_measurements $(NAMES)

readme: $(STAMP) ## write the tables' numbers into README.md
	$(LAB).reproduce.fill_readme

lock: $(STAMP) ## resolve pyproject.toml into requirements.lock (known versions are kept where they fit)
	.venv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev --extra bench \
	  --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean: ## remove .venv, caches and the run stamps; figures, tables and executed notebooks stay
	rm -rf .venv *.egg-info .pytest_cache .ruff_cache .hypothesis .cache
	rm -f results/notebooks/*.json results/notebooks/*.partial.ipynb
	find weconvene_core tests notebooks -name __pycache__ -prune -exec rm -rf {} +
