# Each target is a line or two that a person could type; CI runs the same. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 5000
COMMITS ?= 10
SEED ?= 0
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
PINNED = --quiet --disable-pip-version-check --no-deps --require-hashes --no-compile
LOCKED = --quiet --universal --upgrade --python-version 3.11 --no-emit-index-url --no-annotate --generate-hashes
export PATH := $(abspath $(BIN)):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install repro compare test test-label-studio test-rare test-ray test-s3 test-team test-faults test-fuzz check format bench lock licences audit ui picture

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(INSTALLED)  ## make .venv with everything in it

repro: $(INSTALLED)  ## run what has changed, from the images to the evaluated classifier; write the page; publish the run
	@graft repro
	@graft report
	@graft publish

compare: $(INSTALLED)  ## show the last commits and experiments by their test images: accuracy, and what differs (COMMITS=10)
	@graft compare --num $(COMMITS)

test: $(INSTALLED)  ## run the tests on all cores
	python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-rare: $(INSTALLED)  ## run the long tests of what seldom changes, such as pretraining and benchmarks (two minutes)
	python -m pytest -m rare

test-ray: $(INSTALLED)  ## run the tests that start a Ray cluster on this machine (minutes)
	python -m pytest -m ray

test-team: $(INSTALLED)  ## run the tests of two people who share a project, with S3, ssh and MLflow servers (minutes)
	python -m pytest -m team

test-s3: $(INSTALLED)  ## run the pipeline on images that stay in S3 (two minutes)
	python -m pytest -m s3

test-label-studio: $(INSTALLED)  ## take suggestions through a real Label Studio, which is installed for it (1 GB, ten minutes)
	python -m pytest -m label_studio

test-faults: $(INSTALLED)  ## run the tests that kill stages, fill disks and flip bits (SEED=0; an hour); ends with a count of what was lost
	FAULT_SEED=$(SEED) python -m pytest -m faults

test-fuzz: $(INSTALLED)  ## try damaged and hostile inputs (SEED=0; ten minutes); ends with counts of what became of them
	FUZZ_SEED=$(SEED) python -m pytest -m fuzz -n auto

check: $(INSTALLED)  ## check format and lint (ruff) and types (mypy)
	ruff format --check .
	ruff check .
	mypy stages

format: $(INSTALLED)  ## correct format and lint where ruff can
	ruff check --fix .
	ruff format .

ui: $(INSTALLED)  ## show the runs in MLflow (PORT=5000)
	@case "$$MLFLOW_TRACKING_URI" in \
	http*) echo "the MLflow UI is at $$MLFLOW_TRACKING_URI";; \
	*) echo "open http://127.0.0.1:$(PORT)/#/experiments?workflowType=machine_learning"; \
	MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --workers 1 --port $(PORT) \
	--backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlflow.db}";; esac

bench: $(INSTALLED)  ## measure speed on this machine: reports/bench.md, reports/bench_finetuning.md (two hours; run nothing else)
	python -m stages.benchmarks.bench $(PARTS)
	python -m stages.benchmarks.bench_finetuning

picture: $(INSTALLED)  ## draw docs/report.png, the README's picture of the page of results (needs Chromium)
	@graft report
	@browser=$$(command -v chromium || command -v chromium-browser || command -v google-chrome) \
	|| { echo "make picture: no Chromium on the PATH; install it first"; exit 1; }; \
	"$$browser" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --window-size=1200,1505 \
	--screenshot=docs/report.png "file://$(CURDIR)/reports/report.html" 2> /dev/null && ls -s docs/report.png

lock: $(INSTALLED)  ## write requirements.lock, with the hash of every file, from pyproject.toml (needs uv)
	uv pip compile $(LOCKED) --group dev pyproject.toml --output-file requirements.lock
	echo pip-audit | uv pip compile $(LOCKED) - --output-file .ci/audit.lock

licences: $(INSTALLED)  ## list the libraries and weights, with their licences: sbom.cdx.json, THIRD_PARTY.md
	python -m stages.commands.bill_of_materials

audit:  ## look for known weaknesses of the pinned versions (needs a connection)
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install $(PINNED) --requirement .ci/audit.lock
	$(VENV)-audit/bin/python -m pip_audit --strict --disable-pip --no-deps --requirement requirements.lock

# A second call installs nothing: the file .installed is newer than what was installed. setuptools comes first, for what
# is built here; the project itself last, editable, for its command `graft`. Python compiles a module when it is first
# imported: most never are, and compiling all of them takes a third of the installation.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Graft needs Python 3.11 or newer; give its name: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@awk '/^[^ ]/ {wanted = /^setuptools==/} wanted' requirements.lock > $(VENV)/setuptools.lock
	$(BIN)/python -m pip install $(PINNED) --requirement $(VENV)/setuptools.lock
	$(BIN)/python -m pip install $(PINNED) --no-build-isolation --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
