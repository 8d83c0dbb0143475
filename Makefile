# `make help` lists everything. Nothing needs to be installed but Python 3.11+, git and make.
PYTHON ?= python3
STACK ?= mlops-local
PORT ?=
IMAGE ?= serverless-mlops-training
CONTAINERS ?= $(shell command -v podman || command -v docker)
BIN := .venv/bin
ENVS := $(PYTHON) local/envs.py
RUN := $(BIN)/python -m local

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit coverage integration e2e container bench bench-ingest matrix fuzz check lint types security \
        up down status logs \
        invoke build training-image deploy lock clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make the environments (.venv, tools, engine) from the lock files
	@$(ENVS) dev tools engine

demo: setup ## Run the whole story on this machine: build, deploy, data, training, traffic, drift, release, rollback
	@$(RUN) demo $(if $(PORT),--port $(PORT)) $(if $(KEEP),--keep)

test: setup ## Run all tests: lint, types, unit, AWS seams, template, and the deployed local stack
	@$(ENVS) security
	@$(RUN) test

check: setup lint types unit ## Quick: lint, types and unit tests

lint: setup ## ruff, formatting, and the linters of the template
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup ## mypy, strict
	@$(BIN)/mypy

unit: setup ## Unit tests, sockets off
	@$(BIN)/pytest tests/unit -q --numprocesses auto

coverage: setup ## Unit tests with coverage measured; takes twice as long
	@$(BIN)/pytest tests/unit -q --numprocesses auto --dist worksteal --cov --cov-report=term:skip-covered

.PHONY: bench-drift
bench-drift: setup ## Measure drift-check: make bench-drift WHAT=speed|known|whole|beside|history
	@$(BIN)/python -m benchmarks.drift $(or $(WHAT),speed)

.PHONY: bench-training
bench-training: setup ## Measure training beside others: make bench-training TABLES="flights wage" BUDGET=60
	@$(BIN)/python -m benchmarks.training $(TABLES) $(if $(BUDGET),--budget $(BUDGET))

integration: setup ## AWS seams on moto, template and state machine tests
	@$(ENVS) security
	@$(BIN)/pytest tests/integration -q --numprocesses auto

e2e: setup ## Whole flows on a stack deployed to the local engine
	@$(BIN)/pytest tests/e2e -q

container: setup ## Every function with every event file in a container (needs Docker or Podman)
	@$(BIN)/pytest tests/container -q

matrix: setup ## Every supported estimator against several versions of scikit-learn, each in its own environment
	@$(BIN)/python -m tests.matrix

bench: setup ## Measure predict against its peers: make bench ROUNDS=15
	@$(BIN)/python -m benchmarks.predict $(if $(ROUNDS),--rounds $(ROUNDS))

bench-ingest: setup ## Measure reading and checking a file against other tools: make bench-ingest ROUNDS=5 ROWS=1000000
	@$(BIN)/python -m benchmarks.ingest $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ROWS),--rows $(ROWS))

fuzz: setup ## Throw 20,000 requests and more at predict: make fuzz CASES=50000 EXAMPLES=500
	@$(ENVS) fuzz
	@$(BIN)/python -m tests.fuzz $(if $(CASES),--cases $(CASES)) $(if $(EXAMPLES),--examples $(EXAMPLES)) \
		$(if $(URL),--url $(URL))

security: ## checkov on the template
	@$(ENVS) security
	@.cache/envs/security/bin/checkov --config-file .checkov.yaml --file template.yaml

up: setup ## Start the local engine, build and deploy; keeps running
	@$(RUN) up --stack $(STACK) $(if $(PORT),--port $(PORT))

down: setup ## Stop the local stack and remove everything it wrote
	@$(RUN) down --stack $(STACK)

status: setup ## What runs locally: addresses, models, executions
	@$(RUN) status

logs: setup ## Follow a function's log: make logs F=predict
	@$(RUN) logs --stack $(STACK) $(F)

invoke: setup ## Run one function in a container with an event file: make invoke F=predict E=single
	@$(RUN) invoke --stack $(STACK) $(F) $(E)

build: setup ## Build the bundle for AWS (Python 3.13, x86_64 unless MLOPS_BUILD_PLATFORM says otherwise)
	@$(RUN) build

training-image: setup ## Build the image of SageMaker training jobs: make training-image IMAGE=name
	@$(PYTHON) scripts/build.py image .cache/training-image
	@$(CONTAINERS) build --tag $(IMAGE) .cache/training-image

deploy: setup ## Deploy to an account: make deploy ENV=staging|prod
	@$(RUN) deploy $(ENV)

lock: setup ## Renew the lock files
	@PATH="$(CURDIR)/.cache/envs/uv/bin:$$PATH" scripts/lock.sh --upgrade

clean: ## Remove environments, builds and caches
	@rm -rf .venv .cache .aws-sam .local .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov
