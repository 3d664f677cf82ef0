# linkspan. `make` alone says what there is to make; README.md says what to use it for.
#
# Everything Python runs from .venv in the checkout, which is made from the pinned versions in requirements/.
# Debian packages are installed by name where one is missing, which needs root; no service is started by that.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo demo-cluster test bench bench-cluster dev lint fmt lock install uninstall clean
.PHONY: demo-packages cluster-packages test-packages bench-packages
# One after the other: each target's output is meant to be read.
.NOTPARALLEL:

VENV := .venv/bin
CLIENT ?=
PREFIX ?= /usr/local
# Arguments for pytest, the demo or the bench: make test ARGS='tests/ipam -k ports'
ARGS ?=
PYTHON_TREES := $(wildcard src tests demo bench)

# What a privileged run writes into somebody's checkout would be in their way later.
ifeq ($(shell id -u),0)
export PYTHONDONTWRITEBYTECODE := 1
endif

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: demo-packages dev ## the whole scenario on test hosts, with real databases (root); CLIENT=docker|linkspan
	@$(VENV)/python -m demo $(if $(CLIENT),--client $(CLIENT)) $(ARGS)

demo-cluster: cluster-packages dev ## many hosts, one network: each driver on three test hosts with etcd (root)
	@$(VENV)/python -m demo.cluster $(if $(CLIENT),--client $(CLIENT)) $(ARGS)

test: test-packages dev lint ## every test; without root, those that need none
	@$(VENV)/python -m pytest $(ARGS)

bench: bench-packages dev ## measure against Docker, netavark and the CNI plugins (root)
	@$(VENV)/python -m bench $(ARGS)

bench-cluster: cluster-packages bench-packages dev ## measure the ways between hosts, side by side (root)
	@$(VENV)/python -m bench.cluster $(ARGS)

dev: ## .venv with pinned dependencies, linkspand and linkspan
	@setup/venv

lint: dev ## ruff, mypy, import contracts
	@$(VENV)/ruff check $(PYTHON_TREES)
	@$(VENV)/mypy
	@$(VENV)/mypy demo
	@$(VENV)/mypy bench
	@$(VENV)/lint-imports

fmt: dev ## format the code, and repair what ruff can
	@$(VENV)/ruff format $(PYTHON_TREES)
	@$(VENV)/ruff check --fix $(PYTHON_TREES)

lock: ## renew requirements/ from pyproject.toml
	@setup/lock

install: ## install linkspand and linkspan for this machine (root); PREFIX=/usr/local
	@setup/packages run
	@setup/install '$(PREFIX)'

uninstall: ## take away what `make install` has put there (root); containers and images stay
	@setup/install --remove '$(PREFIX)'

clean: ## remove what was made in the checkout; `sudo make clean` also the demo's images and the bench's peers
	@rm -rf .venv build dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@if [ "$$(id -u)" = 0 ]; then rm -rf --one-file-system /var/lib/linkspan/{demo,bench}; fi

demo-packages:
	@setup/packages run demo

cluster-packages:
	@setup/packages run demo cluster

test-packages:
	@setup/packages run demo test
	@setup/docker-client
	@setup/neighbours

bench-packages:
	@setup/packages run bench
