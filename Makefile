# make book   set up, execute the notebooks, build the site       make test   set up, lint, type-check, test
# make setup  only the virtual environment                        make lab    JupyterLab on notebooks/
# make clean  remove what was built, keep data and trained runs
# make layouts  execute every notebook at smoke on drawn copies of the datasets, in the files of each
#
#   PROFILE    stored (default): draw the pages from the committed runs; smoke, laptop, gpu, paper: that profile
#   RECOMPUTE  no, missing, core or all: which runs to train (default: no for stored, missing for the others)
#   DATASET    synthetic (default), real, or one dataset's name      DATA_ROOT  the folder with the real datasets
#   DEVICE     auto (default: the best one there is), cpu or cuda    RUNS_DIR   read and write runs only there
#   JOBS       notebooks executed at once (default: 2, and 1 for the trainings of gpu and paper); `make -j` goes first
#   PYTHON     the Python to create .venv with, 3.11 or newer

enough = import sys; sys.exit(sys.version_info < (3, 11))

PROFILE   ?= stored
RECOMPUTE ?= $(if $(filter stored,$(PROFILE)),no,missing)
DATASET   ?=
DATA_ROOT ?=
DEVICE    ?=
RUNS_DIR  ?=
JOBS      ?= $(if $(filter gpu paper,$(PROFILE)),1,2)
ifndef PYTHON
PYTHON    := $(shell for p in python3.11 python3 python; do "$$p" -c '$(enough)' 2>/dev/null && command -v "$$p" && break; done)
endif

PROFILES   := stored smoke laptop gpu paper
RECOMPUTES := no missing core all
one_of = $(if $(and $(filter 1,$(words $($(1)))),$(filter $($(1)),$(2))),,$(error $(1)=$($(1)); choose one of: $(2)))
$(call one_of,PROFILE,$(PROFILES))
$(call one_of,RECOMPUTE,$(RECOMPUTES))
$(if $(DEVICE),$(call one_of,DEVICE,auto cpu cuda))

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: setup book test lab layouts clean site on-copies FORCE
unexport PYTHONPATH JUPYTER_PATH JUPYTER_PREFER_ENV_PATH
export PYDEVD_DISABLE_FILE_VALIDATION := 1

PY := .venv/bin/python
# Whatever changes files under .venv or build does it while it holds this lock: a second `make` waits, then finds
# everything done. The lock belongs to the recipe's process and goes when that ends, however it ends.
locked = @"$(PYTHON)" -c '$(enough)' 2>/dev/null || { echo "$(too_old)" >&2; exit 1; }; \
    mkdir -p build && exec 9>build/.lock && "$(PYTHON)" -c "$$take_lock" && exec
too_old = reidlib needs Python 3.11 or newer, and $(if $(PYTHON),$(PYTHON) is not,none was found); \
    install one or name it: make PYTHON=/path/to/python3.11
define take_lock
import fcntl
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("waiting for another make in this folder to finish", flush=True)
    fcntl.flock(9, fcntl.LOCK_EX)
endef
export take_lock
at_once = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS))

book:
	$(locked) $(MAKE) --no-print-directory $(at_once) site
	@echo "The book is at $(CURDIR)/build/site/$(PROFILE)/index.html"

setup:
	$(locked) $(MAKE) --no-print-directory --silent .venv/.ready

test: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/nbstripout --verify --keep-id notebooks/*.ipynb
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal

lab: setup
	.venv/bin/jupyter lab --notebook-dir=notebooks

layouts:
	$(locked) $(MAKE) --no-print-directory $(at_once) on-copies
	@echo "Every notebook ran on a drawn copy of each of: $(COPIES)"

clean:
	rm -rf build/notebooks build/book build/site build/.values .mypy_cache .pytest_cache .ruff_cache
	@echo "Kept: .venv, build/data and build/copies (generated images), build/runs (trained runs)"

# -- set-up ----------------------------------------------------------------------------------------------------

.venv/.ready: requirements.lock pyproject.toml
	@$(PY) -c 'import pip; $(enough)' 2>/dev/null || { \
	    echo "creating .venv with $(PYTHON)"; "$(PYTHON)" -m venv --clear .venv; }
	$(PY) -m pip install --disable-pip-version-check -r requirements.lock
	$(PY) -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# -- the book --------------------------------------------------------------------------------------------------

EXECUTED  := build/notebooks/$(PROFILE)
NOTEBOOKS := $(patsubst notebooks/%,$(EXECUTED)/%,$(wildcard notebooks/*.ipynb))
LIBRARY   := $(shell find reidlib -name '*.py')
PAGES     := $(shell find book -type f -not -path '*/.*' -not -path '*/__pycache__/*')
# Without training, the pages depend on the runs there are; with it, the notebooks make those runs themselves.
RUNS      := $(wildcard data/*.csv) $(shell find data/runs \
             $(if $(filter no,$(RECOMPUTE)),$(or $(RUNS_DIR),build/runs)) -name run.json 2>/dev/null)
# Of datasets: which files there are, and when those that hold labels were changed.
DATA      := $(if $(DATA_ROOT),$(shell cd "$(patsubst ~/%,$(HOME)/%,$(DATA_ROOT))" && { find -L . -maxdepth 3 | LC_ALL=C sort; \
             find -L . -maxdepth 2 -type f -exec ls -l {} +; } 2>/dev/null | cksum))
VALUES    := build/.values/$(PROFILE)
ARGUMENTS := -p profile $(PROFILE) -p recompute $(RECOMPUTE) $(if $(DATASET),-p dataset '$(DATASET)') \
             $(if $(DATA_ROOT),-p data_root '$(DATA_ROOT)') $(if $(DEVICE),-p device '$(DEVICE)') \
             $(if $(RUNS_DIR),-p runs_dir '$(RUNS_DIR)')

site: build/site/$(PROFILE)/index.html

build/site/$(PROFILE)/index.html: $(NOTEBOOKS) $(PAGES) $(VALUES) .venv/.ready
	$(PY) book/build.py $(EXECUTED) $(@D)

$(EXECUTED)/%.ipynb: notebooks/%.ipynb $(LIBRARY) $(RUNS) $(VALUES) .venv/.ready
	OMP_NUM_THREADS=1 $(PY) -m reidlib notebook $* --out $@ $(ARGUMENTS)

# Holds the variables and the names of all inputs, so that another value or a removed file counts as a change.
$(VALUES): export INPUTS = $(strip $(ARGUMENTS) $(DATA) $(sort $(NOTEBOOKS) $(LIBRARY) $(PAGES) $(RUNS)))
$(VALUES): FORCE
	@mkdir -p $(@D) && printf '%s\n' "$$INPUTS" > $@.new && \
	if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# -- drawn copies of the datasets ------------------------------------------------------------------------------

# One in each layout, and CUHK03 by both protocols. Every notebook starts from an empty store.
COPIES    := market1501 market1501-500k dukemtmc msmt17 cuhk03-labeled cuhk03-np-detected cuhk01 viper folders
ON_COPY    = $(patsubst notebooks/%,build/notebooks/copies/$(1)/%,$(wildcard notebooks/*.ipynb))

on-copies: $(foreach name,$(COPIES),$(call ON_COPY,$(name)))

define on_copy
copy_$(1) := build/copies/$(if $(filter cuhk03-%,$(1)),cuhk03,$(1))
build/notebooks/copies/$(1)/%.ipynb: notebooks/%.ipynb $$(LIBRARY) .venv/.ready | $$(copy_$(1))/.drawn
	rm -rf $$(@D)/$$*.runs
	OMP_NUM_THREADS=1 $$(PY) -m reidlib notebook $$* --out $$@ -p profile smoke -p dataset $(1) \
	    -p data_root $$(copy_$(1)) -p runs_dir $$(@D)/$$*.runs
endef
$(foreach name,$(COPIES),$(eval $(call on_copy,$(name))))

$(sort $(foreach name,$(COPIES),$(copy_$(name))/.drawn)): build/copies/%/.drawn: | .venv/.ready
	$(PY) -m reidlib data make $(if $(filter dukemtmc,$*),campus,plaza) --size tiny --layout $* --root $(@D)
	@touch $@
