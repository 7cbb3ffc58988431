# Everything that people and CI do here. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON := .venv/bin/python
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/trainyard
# Bootstrapped below where the machine has none.
UV := $(or $(shell command -v uv 2>/dev/null),$(CACHE)/uv/bin/uv)
# uv brings its own list of authorities; a company's is in the system's.
export UV_NATIVE_TLS := true

# $(call patiently,<command>): again after a while where it fails, as an error of the network may pass
patiently = for pause in 5 20 60 last; do \
    if $(1); then break; elif [ $$pause = last ]; then exit 1; fi; \
    echo "that failed; trying again in $$pause s, as an error of the network may pass" >&2; sleep $$pause; \
  done
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/' | \
	  while IFS=$$'\t' read -r target text; do printf '  %-13s %s\n' "$$target" "$$text"; done

## Clusters

.PHONY: up
up: setup ## Start the embedded Kubernetes with this checkout's images and chart, or bring it up to date
	$(PYTHON) -m devcluster up

.PHONY: down
down: ## Take the embedded Kubernetes down; leaves no process, mount, interface or cgroup
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m devcluster down; fi

.PHONY: status
status: setup ## Tell what runs in the embedded Kubernetes
	@$(PYTHON) -m devcluster status

.PHONY: demo
demo: up ## Train MNIST in the embedded Kubernetes, follow the run, register the model
	$(PYTHON) -m demo

.PHONY: deploy
deploy: setup ## Install the chart into the cluster that KUBECONFIG names (OPERATOR_IMAGE, TRAINER_IMAGE, STORE_IMAGE, HELM_ARGS)
	$(PYTHON) -m devcluster deploy \
	  $(call image,image,$(OPERATOR_IMAGE)) \
	  $(call image,trainer.image,$(TRAINER_IMAGE)) \
	  $(call image,store.embedded.image,$(STORE_IMAGE)) \
	  $(if $(HELM_ARGS),-- $(HELM_ARGS))

# $(call image,<prefix of the chart's values>,<repository:tag>)
image = $(if $(2),--image $(1)=$(2))

## Checks

.PHONY: test
test: setup ## Run everything that CI runs; an embedded Kubernetes that was not up before is not up after
	$(PYTHON) -m devcluster programs >/dev/null
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory unit
	$(MAKE) --no-print-directory integration
	$(MAKE) --no-print-directory e2e

.PHONY: lint
lint: setup ## Check style, types and who imports whom
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

.PHONY: unit
unit: setup ## Run tests that need nothing but Python (and helm, built once)
	$(PYTHON) -m devcluster programs helm kubeconform >/dev/null
	.venv/bin/pytest tests/unit

.PHONY: integration
integration: setup ## Run tests against a real API server and a real S3 server
	$(PYTHON) -m devcluster programs >/dev/null
	.venv/bin/pytest tests/integration

.PHONY: e2e
e2e: setup ## Run tests with real pods in the embedded Kubernetes
	.venv/bin/pytest tests/e2e

.PHONY: soak
soak: setup ## Take random walks, try thousands of specs and register fifty models at once, for an hour or so (SEEDS, a list with commas)
	$(PYTHON) -m devcluster programs >/dev/null
	TRAINYARD_FUZZ=1000 .venv/bin/pytest tests/integration/test_any_spec.py
	TRAINYARD_ROUNDS=20 .venv/bin/pytest tests/integration/test_registry.py -k fifty
	TRAINYARD_WALK_SEEDS=$(or $(SEEDS),11,12,13,14,15,16) .venv/bin/pytest tests/e2e/test_walk.py

.PHONY: bench
bench: setup ## Measure the operator against a bare client, and its queues; writes .yard/bench.json
	$(PYTHON) -m devcluster programs etcd kube-apiserver kube-controller-manager kubectl versitygw >/dev/null
	$(PYTHON) -m tests.perf.bench

## Housekeeping

.PHONY: setup
setup: .venv/.complete ## Make the virtual environment from uv.lock

.venv/.complete: pyproject.toml uv.lock | $(UV)
	@$(call patiently,UV_HTTP_RETRIES=8 $(UV) sync --quiet --all-extras --frozen)
	@touch $@

$(CACHE)/uv/bin/uv:
	@# Debian keeps what makes a virtual environment in a package of its own.
	@if ! python3 -c 'import ensurepip' 2>/dev/null && [ -f /etc/debian_version ] && [ "$$(id -u)" = 0 ]; then \
	  echo 'installing python3-venv with apt-get'; \
	  $(call patiently,$(APT) update && $(APT) install -y --no-install-recommends python3-venv) </dev/null >/dev/null; \
	fi
	@python3 -c 'import ensurepip' 2>/dev/null || { \
	  echo 'there is no uv, and python3 cannot make virtual environments to install it into:' >&2; \
	  echo 'install uv (https://docs.astral.sh/uv) or your distribution'"'"'s python3-venv' >&2; exit 1; }
	python3 -m venv --clear $(CACHE)/uv
	@$(call patiently,$(CACHE)/uv/bin/python -m pip install --quiet --disable-pip-version-check uv)

.PHONY: docs
docs: setup ## Write the pages of the kinds anew from the CRDs, and those of the SDK from its docstrings
	$(PYTHON) -m tools.crd_docs
	$(PYTHON) -m tools.reason_docs
	$(PYTHON) -m tools.sdk_docs

.PHONY: clean
clean: down ## Remove everything that was made in this checkout, but not the cache in ~/.cache/trainyard
	rm -rf .venv .yard .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
