# Included by the Makefile of every layer; `sam build` calls `make build-<LogicalId>`.
PYTHON ?= python3
name := $(notdir $(CURDIR))

build-%:
	$(PYTHON) ../../scripts/build.py layer $(name) "$(ARTIFACTS_DIR)"
