"""The whole job with vLLM behind it, in this machine's process and behind its server: `configs/pocket.toml` with another [engine]."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from engines.pocket import SHIPPED
from stepmark.records import Annotation
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, PROBLEMS, TRACES, annotations, rollouts

pytestmark = pytest.mark.vllm

ROOT = Path(__file__).parents[2]
RUN_FILE = ROOT / "configs" / "pocket.toml"
METHODS = ("monte_carlo", "binary_search", "formal", "judge")
SAMPLING_METHODS = ("monte_carlo", "binary_search")
COUNT, TRACES_PER_PROBLEM = 3, 4
# Two shards at once, so that an engine is started once for both.
SMALLER = [f"problems.count={COUNT}", "shards.problems_per_shard=2"]
RUN_SECONDS = 900


@pytest.fixture(scope="module", params=["in process", "behind its server"])
def engine(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """An [engine] table."""
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
    """What `stepmark run` makes of the demo's run file with that table."""
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
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return Dataset(str(folder / "data"))


def read(dataset: Dataset, method: str) -> Sequence[Annotation]:
    return list(dataset.read(annotations(method)))


def test_only_the_engine_differs_from_the_demo(dataset: Dataset, engine: Mapping[str, Any]) -> None:
    ran, demo = tomllib.loads(dataset.read_run_files()[0]), tomllib.loads(RUN_FILE.read_text())
    assert ran["engine"] == engine
    assert ran["annotators"] == demo["annotators"]
    assert ran["label"] == demo["label"]
    assert ran["generate"] == ran["generate"] | demo["generate"]
    assert ran["problems"] == demo["problems"] | {"count": COUNT}


def test_the_dataset_is_complete(dataset: Dataset) -> None:
    traces = list(dataset.read(TRACES))
    assert dataset.count(PROBLEMS) == COUNT
    assert len({trace.trace_id for trace in traces}) == len(traces) == COUNT * TRACES_PER_PROBLEM
    assert all(trace.steps and trace.generated_tokens for trace in traces)
    for method in (*METHODS, "oracle"):
        assert [(one.trace_id, len(one.steps)) for one in read(dataset, method)] == [
            (t.trace_id, len(t.steps)) for t in traces
        ]
        assert not [one.error for one in read(dataset, method) if one.error]
    labels = list(dataset.read(LABELS))
    assert [label.trace_id for label in labels] == [trace.trace_id for trace in traces]
    assert all(label.kept or label.reason for label in labels)


@pytest.mark.parametrize("method", METHODS)
def test_costs_are_what_was_spent(dataset: Dataset, method: str) -> None:
    costs = [one.cost for one in read(dataset, method)]
    tokens = sum(cost.generated_tokens for cost in costs)
    assert bool(tokens) is (method != "formal")
    assert all(cost.seconds > 0 for cost in costs)
    if method in SAMPLING_METHODS:
        spent = list(dataset.read(rollouts(method)))
        assert sum(cost.rollouts for cost in costs) == len(spent)
        assert tokens == sum(rollout.generated_tokens for rollout in spent)


@pytest.mark.parametrize("method", ["monte_carlo", "judge"])
def test_prompts_are_found_in_the_prefix_cache(dataset: Dataset, method: str) -> None:
    """The prefixes of one trace share their beginning; votes share the whole prompt."""
    costs = [one.cost for one in read(dataset, method)]
    cached, prompts = (
        sum(cost.cached_tokens for cost in costs),
        sum(cost.prompt_tokens for cost in costs),
    )
    assert 0 < cached <= prompts
