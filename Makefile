# What a newcomer needs: `make serve`, `make test`, `make check`. Each sets the environment up first, if it must.
#   BACKEND=cpu|gpu   which build of vLLM to install (they can't be installed together)

BACKEND ?= cpu
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
STAMP := $(VENV)/.installed-$(BACKEND)

# pip reads PIP_FIND_LINKS, uv does not: hand it on. Without such a folder uv is told to look for CPU builds of torch.
ifdef PIP_FIND_LINKS
UV := UV_FIND_LINKS="$(PIP_FIND_LINKS)" UV_LINK_MODE=copy $(BIN)/uv
TORCH_BACKEND :=
else
UV := UV_LINK_MODE=copy $(BIN)/uv
TORCH_BACKEND := $(if $(filter cpu,$(BACKEND)),--torch-backend cpu,)
endif

SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)

.PHONY: serve test test-unit browser check format score bench lock clean help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

serve: $(STAMP) ## Run the bundle on http://127.0.0.1:8000 until Ctrl-C
	@$(BIN)/python -m sagaforge.launch

test: $(STAMP) ## Run every test (integration tests share one running bundle)
	$(BIN)/python -m pytest

test-unit: $(STAMP) ## Run the tests that need no bundle: seconds
	$(BIN)/python -m pytest -m unit

# Debian's own build, so that nothing comes from one host more.
browser: ## Install Chromium, which the gallery page's tests drive, where apt is there and Chromium is not
	@command -v chromium >/dev/null || { $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; }

check: $(STAMP) ## Format, lint, types and what may import what, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	cd src && ../$(BIN)/mypy -p sagaforge
	$(BIN)/lint-imports

format: $(STAMP) ## Format the code and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

score: $(STAMP) ## Score the language model of the running bundle (docs/models.md says how)
	$(BIN)/holodeck models score

bench: $(STAMP) ## Run the benchmarks; results go to benchmarks/results/
	$(BIN)/python -m benchmarks

# The pinned lists are complete, overrides and extras included, so nothing is resolved at installation.
$(STAMP): requirements/$(BACKEND).txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(UV) pip install --python $(BIN)/python --no-deps --compile-bytecode $(TORCH_BACKEND) -r requirements/$(BACKEND).txt
	$(UV) pip install --python $(BIN)/python --no-deps --quiet -e .
	@touch $@

lock: $(STAMP) ## Resolve the pinned lists anew
	$(UV) pip compile -q pyproject.toml --extra cpu --extra dev --extra distill --override requirements/overrides-cpu.txt $(TORCH_BACKEND) --no-header --no-annotate -o requirements/cpu.txt
	$(UV) pip compile -q pyproject.toml --extra gpu --extra dev --extra distill --no-header --no-annotate -o requirements/gpu.txt

clean: ## Remove the environment and caches (never the storage)
	rm -rf $(VENV) build src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
