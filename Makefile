# One line per target: `make` lists them. Everything runs in .venv, which is created on first use.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN_PYTHON := $(VENV)/bin/python
PORT ?= 5000

# Quoted for the shell and for Hydra: paths and names may contain blanks, quotes and any letters.
quoted = '$(subst ','\'',$(1))'
text = '"$(subst ",\",$(subst ','\'',$(1)))"'

# MODEL=cnn DATA=digits EXPERIMENT=... DEVICES=2 SEED=1 ARGS="optimizer.lr=0.01 ..."
# Own data: ROOT=folder of images, or FILE=path.csv TARGET=column.
# Sweeps: TRIALS=20 WORKERS=2 STUDY=name STORAGE=postgresql://...
# Labels of a run, a sweep or a comparison: NAME="first try" NOTE="why" TAGS="owner=ann,paper=fig3".
# JSON=1 prints the result as JSON, one object per line.
OVERRIDES = $(if $(EXPERIMENT),experiment=$(EXPERIMENT)) $(if $(DATA),data=$(DATA)) \
	$(if $(ROOT),data.root=$(call text,$(ROOT))) $(if $(FILE),data.file=$(call text,$(FILE))) \
	$(if $(TARGET),data.target=$(call text,$(TARGET))) $(if $(MODEL),model=$(MODEL)) \
	$(if $(DEVICES),trainer.devices=$(DEVICES)) $(if $(SEED),seed=$(SEED)) $(ARGS)

# From the command line only: some systems set NAME in the environment, to the machine's name.
label = $(if $(findstring command,$(origin $(1))),$(2)=$(call quoted,$($(1))))
LABELS = $(call label,NAME,name) $(call label,NOTE,note) $(call label,TAGS,tags)
PROJECT = $(RUN_PYTHON) -m project
FLAGS = $(if $(JSON),--json)

.DEFAULT_GOAL := help
.PHONY: help install data find-lr train sweep compare lessons evaluate predict serve export runs diff reproduce ui dashboard test test-all test-gpu lint format bench bench-gpu clean

help:  ## list the targets
	@echo "make TARGET [MODEL= DATA= EXPERIMENT= DEVICES= SEED= NAME= NOTE= TAGS= ... ARGS=\"key=value ...\"]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: PYTHON: $(PYTHON): expected Python 3.11 or newer")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the packages of pyproject.toml at the versions of constraints.txt (some minutes, 2 GB)"
	@$(RUN_PYTHON) -m pip install --disable-pip-version-check --quiet --progress-bar on -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing the development tools"
	@$(RUN_PYTHON) -m pip install --disable-pip-version-check --quiet --progress-bar on -c constraints.txt -e ".[dev,postgres,dashboard,onnx]"
	@touch $@

$(VENV)/.installed-onnx: $(VENV)/.installed
	@echo "installing ONNX and its runtime"
	@$(RUN_PYTHON) -m pip install --disable-pip-version-check --quiet --progress-bar on -c constraints.txt -e ".[onnx]"
	@touch $@

$(VENV)/.installed-dashboard: $(VENV)/.installed
	@echo "installing Optuna Dashboard"
	@$(RUN_PYTHON) -m pip install --disable-pip-version-check --quiet --progress-bar on -c constraints.txt -e ".[dashboard]"
	@touch $@

install: $(VENV)/.installed  ## set up .venv (the other targets do this when needed)

data: $(VENV)/.installed  ## inspect a data set before training: DATA=images ROOT=folder, DATA=table ...
	@$(PROJECT) data $(OVERRIDES) $(FLAGS)

find-lr: $(VENV)/.installed  ## suggest a learning rate: MODEL= DATA= ... as for train
	@$(PROJECT) find-lr $(OVERRIDES) $(FLAGS)

train: $(VENV)/.installed  ## train a model; RESUME=<run id> resumes one; NAME= NOTE= TAGS="a=b,c=d"
	@$(PROJECT) train $(if $(RESUME),resume=$(RESUME)) $(OVERRIDES) $(LABELS) $(FLAGS)

sweep: $(VENV)/.installed  ## search learning rate, weight decay, dropout; re-run to resume
	@$(PROJECT) sweep $(OVERRIDES) $(if $(TRIALS),sweep.trials=$(TRIALS)) \
		$(if $(WORKERS),sweep.workers=$(WORKERS)) $(if $(STUDY),sweep.study=$(STUDY)) \
		$(if $(STORAGE),'sweep.storage="$(STORAGE)"') $(LABELS) $(FLAGS)

compare: $(VENV)/.installed-onnx  ## compare variants over seeds: LESSON=<name>|<file.yaml>; re-run to resume
	@$(PROJECT) compare lesson=$(LESSON) $(OVERRIDES) $(LABELS) $(FLAGS)

lessons: $(VENV)/.installed-onnx  ## run all lessons one after another, most in under a minute each
	@for file in lessons/*/lesson.yaml; do \
		$(PROJECT) compare lesson=$$(basename $$(dirname $$file)) $(OVERRIDES) $(FLAGS) || exit; done

evaluate: $(VENV)/.installed  ## open the test set for a finished run: RUN=<run id>|last; or ARGS=robustness=true
	@$(PROJECT) evaluate run=$(or $(RUN),last) $(ARGS) $(FLAGS)

predict: $(VENV)/.installed  ## predict for INPUT=folder|image|table with RUN=<run id>|models:/<name>@champion
	@$(PROJECT) predict run=$(or $(RUN),last) input=$(call quoted,$(INPUT)) \
		$(if $(OUTPUT),output=$(call quoted,$(OUTPUT))) $(if $(TOP_K),top_k=$(TOP_K)) $(ARGS) $(FLAGS)

export: $(VENV)/.installed-onnx  ## write the model and its card: RUN=<run id>|models:/..., FORMAT=onnx|pt2
	@$(PROJECT) export run=$(or $(RUN),last) $(if $(FORMAT),format=$(FORMAT)) \
		$(if $(OUTPUT),output=$(call quoted,$(OUTPUT))) $(ARGS) $(FLAGS)

serve: $(VENV)/.installed  ## serve RUN=<run id>|models:/<name>@champion on 127.0.0.1, PORT=5001
	@$(PROJECT) serve run=$(or $(RUN),last) port=$(if $(filter file,$(origin PORT)),5001,$(PORT))

runs: $(VENV)/.installed  ## list runs: ARGS="data=digits sort=score since=7d tag.a=b"
	@$(PROJECT) runs $(ARGS) $(FLAGS)

diff: $(VENV)/.installed  ## list the differences between two runs: RUNS="<id> <id>"
	@$(PROJECT) diff first=$(word 1,$(RUNS)) second=$(word 2,$(RUNS)) $(ARGS) $(FLAGS)

reproduce: $(VENV)/.installed  ## train RUN=<run id> again from its own code and config, and compare
	@$(PROJECT) reproduce run=$(or $(RUN),last) $(FLAGS)

ui: $(VENV)/.installed  ## show the runs in MLflow on 127.0.0.1, PORT=5000
	@$(PROJECT) ui port=$(PORT)

dashboard: $(VENV)/.installed-dashboard  ## show the searches in Optuna Dashboard on 127.0.0.1, PORT=8080
	@$(PROJECT) dashboard $(if $(STORAGE),'storage=$(STORAGE)') \
		port=$(if $(filter file,$(origin PORT)),8080,$(PORT))

test: $(VENV)/.installed-dev  ## run the tests, about 10 minutes on 2 cores
	@$(RUN_PYTHON) -m pytest -q $(ARGS)

test-all: $(VENV)/.installed-dev  ## run the long tests too
	@$(RUN_PYTHON) -m pytest -q -m "not gpu" $(ARGS)

test-gpu: $(VENV)/.installed-dev  ## run the tests that need an NVIDIA GPU
	@$(RUN_PYTHON) -m pytest -q -m gpu $(ARGS)

lint: $(VENV)/.installed-dev  ## check style, types, layers and sizes
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(RUN_PYTHON) tools/check_source.py
	@$(VENV)/bin/lint-imports --no-cache

format: $(VENV)/.installed-dev  ## fix style
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

bench: $(VENV)/.installed-dev  ## measure speed; writes benchmarks/RESULTS.md
	@$(RUN_PYTHON) -m benchmarks.run $(ARGS)

bench-gpu: $(VENV)/.installed-dev  ## measure speed on an NVIDIA GPU
	@$(RUN_PYTHON) -m benchmarks.run accelerator=gpu $(ARGS)

clean:  ## remove .venv and caches; runs and data stay
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
