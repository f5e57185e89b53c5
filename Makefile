# make demo   a new .venv, a pinned install, the whole pipeline and a backtest on the built-in sample
# make test   the test suite
# make coverage  the tests with the lines that none reaches; fails under the floor (97 % on 26 November 2026)
# make system kills, broken logs, damaged artifacts, what takes a minute each: an hour; sizes by LLMREC_SYSTEM_KILLS, _LOGS, _DAMAGES, _SEED
# make lock   requirements.lock: every package with its hash
# make check  format, lint, types, fast tests (walls and docs among them)

PYTHON ?= python3
BIN := .venv/bin
DEMO := work/demo

.DELETE_ON_ERROR:
.PHONY: demo test coverage system lint check format docs lock

demo: .venv/installed
	$(BIN)/llmrec run --config configs/retail.toml --work $(DEMO)
	$(BIN)/llmrec evaluate --config configs/retail.toml --work $(DEMO)
	@echo
	@echo "Look at the page:  $(CURDIR)/$(DEMO)/report/report.html"
	@echo "Look at a user:    $(BIN)/llmrec show user 17048 --work $(DEMO)"

# two processes: most tests use one core; a file stays in one process, for its tests share what is costly to make
test: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

coverage: .venv/installed-dev
	$(BIN)/python -m pytest --cov=llmrec_cli --cov-report=term:skip-covered --cov-fail-under=96

system: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m system -rA

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest -m "not slow and not system"

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# writes the generated parts of the documentation anew
docs: .venv/installed-dev
	$(BIN)/python docs/generate.py

# pins every package with its sha256, for this machine's platform
lock: .venv/installed
	$(BIN)/python -m pip install --quiet --dry-run --ignore-installed --report .venv/report.json --constraint constraints.txt \
	  --editable '.[models,peft,privacy,zh,xlsx,dev]'
	$(BIN)/python docs/lock.py .venv/report.json

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "python3 has no venv: apt-get install python3-venv"; exit 5; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "llmrec needs Python 3.11 or newer: make demo PYTHON=python3.11"; exit 5; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[models]'
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[models,peft,privacy,zh,xlsx,dev]'
	@touch $@
