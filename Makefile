# A menu. The work is done by tools/set_up.py, by the fewseconds command and by the tools that
# pyproject.toml configures; every line here can be typed by hand instead.

PYTHON ?= python3
SCENARIO ?= ordinary_day
SET_UP = @$(PYTHON) tools/set_up.py
BIN = @.venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup run test slow check smoke clean

help:
	@echo "make run     pay by QR for some minutes, really and simulated: results/latest/report.html"
	@echo "             (another scenario: make run SCENARIO=due_date_evening)"
	@echo "make smoke   the same in a minute, with gates that hold on any machine"
	@echo "make test    the tests, in some minutes; make slow: those that take longer"
	@echo "make check   lint, format, types, who may import whom"
	@echo "make setup   .venv with the locked dependencies; the others call it when needed"
	@echo "make clean   remove .venv and the tools' caches; results stay"

setup:
	$(SET_UP) --asked
run:
	$(SET_UP)
	$(BIN)/fewseconds run $(SCENARIO)
smoke:
	$(SET_UP)
	$(BIN)/fewseconds run smoke
test slow:
	$(SET_UP)
	$(BIN)/python tools/run_tests.py $@
check:
	$(SET_UP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
