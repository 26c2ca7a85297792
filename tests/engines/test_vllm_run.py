"""Run `configs/pocket.toml` with vLLM, in the process and behind a server."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from engines.pocket import SHIPPED
from stepmark.records import Annotation, Cost
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, annotations, rollouts

pytestmark = pytest.mark.vllm

ROOT = Path(__file__).parents[2]
RUN_FILE = ROOT / "configs" / "pocket.toml"
METHODS = ("monte_carlo", "binary_search", "formal", "judge")
SAMPLING_METHODS = ("monte_carlo", "binary_search")
COUNT = 3
TRACES_PER_PROBLEM = 4
# Two shards at once, so that an engine is started once for both.
SMALLER = [f"problems.count={COUNT}", "shards.problems_per_shard=2"]
RUN_SECONDS = 900


@pytest.fixture(scope="module", params=["in process", "behind its server"])
def engine(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """Return an [engine] table."""
    if request.param == "in process":
        return {"use": "vllm", "model": str(SHIPPED), "dtype": "float32"}
    return {
        "use": "openai",
        "model": "pocket",
        "api": "completions",
        "base_urls": [request.getfixturevalue("vllm_server")],
    }


@pytest.fixture(scope="module")
def dataset(engine: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Return the dataset of `stepmark run` on the demo's run file with that table."""
    folder = tmp_path_factory.mktemp("run")
    table = ", ".join(f"{key} = {value!r}" for key, value in engine.items())
    changes = [f"dataset={folder / 'data'}", *SMALLER, f"engine={{{table}}}"]
    command = [
        sys.executable,
        "-m",
        "pipelines",
        "run",
        str(RUN_FILE),
        *(f"--set={change}" for change in changes),
    ]
    environment = os.environ | {"PREFECT_HOME": str(folder / "prefect")}
    process = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "Traceback" not in process.stderr
    return Dataset(str(folder / "data"))


def read(dataset: Dataset, method: str) -> Sequence[Annotation]:
    return list(dataset.read(annotations(method)))


def costs_of(dataset: Dataset, method: str) -> list[Cost]:
    return [annotation.cost for annotation in read(dataset, method)]


def test_only_the_engine_differs(dataset: Dataset, engine: Mapping[str, Any]) -> None:
    ran = tomllib.loads(dataset.read_run_files()[0])
    demo = tomllib.loads(RUN_FILE.read_text())
    assert ran["engine"] == engine
    assert ran["annotators"] == demo["annotators"]
    assert ran["label"] == demo["label"]
    assert ran["generate"] == ran["generate"] | demo["generate"]
    assert ran["problems"] == demo["problems"] | {"count": COUNT}


def test_dataset_is_complete(dataset: Dataset) -> None:
    traces = list(dataset.read(TRACES))
    assert dataset.count(PROBLEMS) == COUNT
    assert len({trace.trace_id for trace in traces}) == len(traces) == COUNT * TRACES_PER_PROBLEM
    for trace in traces:
        assert trace.steps
        assert trace.generated_tokens
    for method in (*METHODS, "oracle"):
        for trace, annotation in zip(traces, read(dataset, method), strict=True):
            assert annotation.trace_id == trace.trace_id
            assert len(annotation.steps) == len(trace.steps)
            assert not annotation.error
    labels = list(dataset.read(LABELS))
    for trace, label in zip(traces, labels, strict=True):
        assert label.trace_id == trace.trace_id
        assert label.kept or label.reason


@pytest.mark.parametrize("method", METHODS)
def test_costs_match_rollouts(dataset: Dataset, method: str) -> None:
    costs = costs_of(dataset, method)
    tokens = sum(cost.generated_tokens for cost in costs)
    assert bool(tokens) is (method != "formal")
    assert min(cost.seconds for cost in costs) > 0
    if method in SAMPLING_METHODS:
        stored_rollouts = list(dataset.read(rollouts(method)))
        assert sum(cost.rollouts for cost in costs) == len(stored_rollouts)
        assert tokens == sum(rollout.generated_tokens for rollout in stored_rollouts)


@pytest.mark.parametrize("method", ["monte_carlo", "judge"])
def test_prompts_hit_the_prefix_cache(dataset: Dataset, method: str) -> None:
    """Prefixes of one trace share their beginning, and votes share the complete prompt."""
    cached_tokens = 0
    prompt_tokens = 0
    for cost in costs_of(dataset, method):
        cached_tokens += cost.cached_tokens
        prompt_tokens += cost.prompt_tokens
    assert 0 < cached_tokens <= prompt_tokens
