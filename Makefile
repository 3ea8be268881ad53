# Two commands are enough: `make run` and `make test`. `make` alone lists the rest.
.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := /bin/sh

PY := .venv/bin/python
IMAGE ?= llm-gateway
# More words for pytest, for example: make test ARGS="-k stream -x", or ARGS="-n0 --pdb" in one process
ARGS ?=
# Files side by side, each file's tests in one process. A process that dies is not started again.
# One more than there are processors, for tests mostly wait; more than five would want too much memory.
WORKERS := $(shell n=$$(( $$(getconf _NPROCESSORS_ONLN) + 1 )); echo $$(( n < 5 ? n : 5 )))
BESIDE := -n $(WORKERS) --dist loadfile --max-worker-restart 0

step = @printf '==> %s\n' "$(1)"

.PHONY: help
help: ## list what make can do
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: venv ## set everything up and start the gateway on http://127.0.0.1:8080
	@exec $(PY) manage.py serve

.PHONY: test
test: venv-dev ## run all tests, with a real Valkey, PostgreSQL, Chromium and Prometheus
	@scripts/browser.sh
	@scripts/prometheus.sh
	$(call step,tests)
	@$(PY) -m pytest $(BESIDE) $(ARGS)

.PHONY: screenshots
screenshots: venv-dev ## take the pictures of the admin in docs/images anew
	@scripts/browser.sh
	@$(PY) -m scripts.screenshots

.PHONY: check
check: lint types imports migrations deploy-check test ## everything that must hold before a change lands

.PHONY: lint
lint: venv-dev ## check style, formatting and the house rules
	$(call step,lint)
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@$(PY) scripts/house_rules.py

.PHONY: types
types: venv-dev ## check the types
	$(call step,types)
	@.venv/bin/mypy .

.PHONY: imports
imports: venv-dev ## check that rooms import only downward
	$(call step,import directions)
	@.venv/bin/lint-imports --no-logo

.PHONY: migrations
migrations: venv-dev ## check that no migration is missing
	$(call step,missing migrations)
	@scripts/with_throwaway_settings.sh development $(PY) manage.py makemigrations --check --dry-run

.PHONY: deploy-check
deploy-check: venv-dev ## check the production settings as Django sees them
	$(call step,production settings)
	@scripts/with_throwaway_settings.sh production $(PY) manage.py check --deploy --fail-level WARNING

.PHONY: audit
audit: venv ## ask whether anything is known against the pinned packages; needs the network
	@scripts/audit.sh audit

.PHONY: sbom
sbom: venv ## write what the server is made of to sbom.json, as CycloneDX (SBOM=file)
	@scripts/audit.sh sbom $(SBOM)

.PHONY: fmt
fmt: venv-dev ## format the code and fix what can be fixed by itself
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format .

.PHONY: proto
proto: venv-dev ## write the code of the gRPC API from its .proto files
	@$(PY) -m scripts.proto

.PHONY: build
build: venv ## make what a release needs: compiled code and collected static files
	$(call step,byte code)
	@git ls-files -z '*.py' | xargs -0 $(PY) -m compileall -q
	$(call step,static files)
	@scripts/with_throwaway_settings.sh development $(PY) manage.py collectstatic --noinput --verbosity 0

.PHONY: docker-build
docker-build: ## build the container image (IMAGE=llm-gateway)
	docker build --tag $(IMAGE) .

.PHONY: bench
bench: venv-dev ## measure the gateway beside its peers, in ratios
	@$(PY) -m bench

.PHONY: bench-quick
bench-quick: venv-dev ## the same in about a minute, to see that it works
	@$(PY) -m bench --quick

.PHONY: soak
soak: venv-dev ## load on one gateway, every answer checked: docs/soak.md (ARGS="--short", ARGS="--only L5")
	@$(PY) -m soak soak $(ARGS)

.PHONY: chaos
chaos: venv-dev ## Redis, PostgreSQL and gateways killed and frozen under load: docs/soak.md
	@$(PY) -m soak chaos $(ARGS)

.PHONY: clients
clients: venv-dev ## run clients from npm and PyPI against the gateway (docs/clients.md; ARGS=--record)
	@$(PY) -m scripts.clients $(ARGS)

.PHONY: requirements
requirements: venv-dev ## pin requirements*.in anew (UPGRADE=1 takes the newest versions)
	@scripts/requirements.sh $(if $(UPGRADE),--upgrade)

.PHONY: prices
prices: venv-dev ## write the price list anew, after an update of the price library
	@$(PY) -m scripts.price_list

.PHONY: clean
clean: ## remove the environment, caches and built files; keeps var/, the gateway's data
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache staticfiles
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the others stand on.
.PHONY: venv venv-dev
venv:
	@scripts/venv.sh run
venv-dev:
	@scripts/venv.sh dev
