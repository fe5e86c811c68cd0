# One line a target: `make`. Everything runs in .venv, which is made on first use.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN_PYTHON := $(VENV)/bin/python
PORT ?= 5000

# Quoted for the shell and for Hydra: paths and names may have blanks, quotes and other letters.
quoted = '$(subst ','\'',$(1))'
text = '"$(subst ",\",$(subst ','\'',$(1)))"'

# MODEL=cnn DATA=digits EXPERIMENT=... DEVICES=2 SEED=1 ARGS="optimizer.lr=0.01 ..."
# Of your own data ROOT=folder of images, or FILE=path.csv TARGET=column.
# Of a sweep also TRIALS=20 WORKERS=2 STUDY=name STORAGE=postgresql://...
OVERRIDES = $(if $(EXPERIMENT),experiment=$(EXPERIMENT)) $(if $(DATA),data=$(DATA)) \
	$(if $(ROOT),data.root=$(call text,$(ROOT))) $(if $(FILE),data.file=$(call text,$(FILE))) \
	$(if $(TARGET),data.target=$(call text,$(TARGET))) $(if $(MODEL),model=$(MODEL)) \
	$(if $(DEVICES),trainer.devices=$(DEVICES)) $(if $(SEED),seed=$(SEED)) $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help install data find-lr train sweep compare lessons evaluate predict serve export runs diff reproduce ui dashboard test test-all test-gpu lint format bench bench-gpu clean

help:  ## this list
	@echo "make TARGET [MODEL= DATA= EXPERIMENT= DEVICES= SEED= ... ARGS=\"key=value ...\"]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: PYTHON: $(PYTHON): expected Python 3.11 or newer")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the packages of pyproject.toml at the versions of constraints.txt (some minutes, 2 GB)"
	@$(RUN_PYTHON) -m pip install --disable-pip-version-check --quiet --progress-bar on -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing the tools of the tests"
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

install: $(VENV)/.installed  ## set .venv up (the other targets do so themselves)

data: $(VENV)/.installed  ## look at a data set before training: DATA=images ROOT=folder, DATA=table ...
	@$(RUN_PYTHON) -m project data $(OVERRIDES)

find-lr: $(VENV)/.installed  ## suggest a learning rate: MODEL= DATA= ... as for train
	@$(RUN_PYTHON) -m project.training.lr_finder $(OVERRIDES)

train: $(VENV)/.installed  ## train a model; RESUME=<run id> goes on with an interrupted run
	@$(RUN_PYTHON) -m project.train $(if $(RESUME),resume=$(RESUME)) $(OVERRIDES)

sweep: $(VENV)/.installed  ## search learning rate, weight decay, dropout; again to go on
	@$(RUN_PYTHON) -m project.sweep.command $(OVERRIDES) $(if $(TRIALS),sweep.trials=$(TRIALS)) \
		$(if $(WORKERS),sweep.workers=$(WORKERS)) $(if $(STUDY),sweep.study=$(STUDY)) \
		$(if $(STORAGE),'sweep.storage="$(STORAGE)"')

compare: $(VENV)/.installed-onnx  ## compare variants over seeds: LESSON=<name>|<file.yaml>; again to go on
	@$(RUN_PYTHON) -m project.compare.command lesson=$(LESSON) $(OVERRIDES)

lessons: $(VENV)/.installed-onnx  ## all lessons, one after another, about 5 minutes on 2 cores
	@for file in lessons/*/lesson.yaml; do \
		$(RUN_PYTHON) -m project.compare.command lesson=$$(basename $$(dirname $$file)) $(OVERRIDES) || exit; done

evaluate: $(VENV)/.installed  ## open the test set for a finished run: RUN=<run id>|last; or ARGS=robustness=true
	@$(RUN_PYTHON) -m project.evaluate run=$(or $(RUN),last) $(ARGS)

predict: $(VENV)/.installed  ## predict for INPUT=folder|image|table with RUN=<run id>|models:/<name>@champion
	@$(RUN_PYTHON) -m project.serving.files run=$(or $(RUN),last) input=$(call quoted,$(INPUT)) \
		$(if $(OUTPUT),output=$(call quoted,$(OUTPUT))) $(if $(TOP_K),top_k=$(TOP_K)) $(ARGS)

export: $(VENV)/.installed-onnx  ## write the model and its card: RUN=<run id>|models:/..., FORMAT=onnx|pt2
	@$(RUN_PYTHON) -m project.serving.export run=$(or $(RUN),last) $(if $(FORMAT),format=$(FORMAT)) \
		$(if $(OUTPUT),output=$(call quoted,$(OUTPUT))) $(ARGS)

serve: $(VENV)/.installed  ## answer requests with RUN=<run id>|models:/<name>@champion, PORT=5001
	@$(RUN_PYTHON) -m project.serving.serve run=$(or $(RUN),last) \
		port=$(if $(filter file,$(origin PORT)),5001,$(PORT))

runs: $(VENV)/.installed  ## list the latest runs
	@$(RUN_PYTHON) -m project.runs.list $(ARGS)

diff: $(VENV)/.installed  ## what differs between two runs: RUNS="<id> <id>"
	@$(RUN_PYTHON) -m project.runs.diff $(RUNS)

reproduce: $(VENV)/.installed  ## train RUN=<run id> again from what it has logged, and compare
	@$(RUN_PYTHON) -m project.runs.reproduce run=$(or $(RUN),last)

ui: $(VENV)/.installed  ## look at the runs in MLflow on 127.0.0.1, PORT=5000
	@$(RUN_PYTHON) -m project.tracking.ui port=$(PORT)

dashboard: $(VENV)/.installed-dashboard  ## look at the searches in Optuna Dashboard, PORT=8080
	@$(RUN_PYTHON) -m project.sweep.dashboard $(if $(STORAGE),'storage=$(STORAGE)') \
		port=$(if $(filter file,$(origin PORT)),8080,$(PORT))

test: $(VENV)/.installed-dev  ## run the tests, under 12 minutes on 2 cores
	@$(RUN_PYTHON) -m pytest -q $(ARGS)

test-all: $(VENV)/.installed-dev  ## run the long tests too
	@$(RUN_PYTHON) -m pytest -q -m "not gpu" $(ARGS)

test-gpu: $(VENV)/.installed-dev  ## run the tests that need an NVIDIA GPU
	@$(RUN_PYTHON) -m pytest -q -m gpu $(ARGS)

lint: $(VENV)/.installed-dev  ## check style and types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

format: $(VENV)/.installed-dev  ## put style right
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

bench: $(VENV)/.installed-dev  ## time against a hand-written loop; writes benchmarks/RESULTS.md
	@$(RUN_PYTHON) -m benchmarks.run $(ARGS)

bench-gpu: $(VENV)/.installed-dev  ## the same on an NVIDIA GPU
	@$(RUN_PYTHON) -m benchmarks.run accelerator=gpu $(ARGS)

clean:  ## remove .venv and caches; runs and data stay
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
