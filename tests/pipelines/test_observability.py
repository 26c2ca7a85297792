"""Watching a run: the metrics for Prometheus, the dashboard that shows them, and the spans."""

import asyncio
import contextlib
import json
import re
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from engines.base import Completion, Prompt
from engines.scripted import Scripted
from pipelines.run import tracing
from pipelines.run.config import Budget, Prices, RunFile, RunSettings, load
from pipelines.run.execution import run_without_server
from pipelines.run.meter import Meter
from pipelines.run.metrics import METRICS, serve_metrics
from pipelines.run.options import RunOptions
from pipelines.run.preparation import prepare
from pipelines.run.spending import Spending
from pipelines.run.token_budget import MeteredEngine, TokenBudget
from pipelines.run.tracing import NO_TRACING, Tracing, configured_tracing
from stepmark.errors import ConfigError, EngineError, InstallError
from stepmark.records import Sampling
from tests.pipelines.running import free_port, run_file

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "docs" / "grafana-dashboard.json"
COMPLETION: Mapping[str, Any] = {
    "text": "x",
    "finish_reason": "stop",
    "prompt_tokens": 2,
    "cached_tokens": 0,
    "generated_tokens": 1,
}
SECRET_WORDS = "What is the canary?"


def metrics_at(port: int) -> Mapping[tuple[str, tuple[str, ...]], float]:
    """Return the served values by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    values: dict[tuple[str, tuple[str, ...]], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values[sample.name, tuple(sample.labels.values())] = sample.value
    return values


def spending_of(meter: Meter) -> Spending:
    prices = Prices(prompt=1.0, generated=2.0)
    return Spending(budget=Budget(tokens=1000), prices=prices, meter=meter)


async def test_metrics_follow_the_meter() -> None:
    meter = Meter()
    engine = MeteredEngine(
        engine=Scripted(replies={"": ("one two three",)}, delay=0.4),
        budget=TokenBudget(1000),
        meter=meter,
        first_request=asyncio.Event(),
    )
    port = free_port()
    with serve_metrics(RunSettings(metrics_port=port), spending_of(meter)):
        assert ("stepmark_kept_share", ()) not in metrics_at(port), "there are no labels yet"
        request = asyncio.create_task(engine.complete(Prompt(user="Q"), Sampling(n=2)))
        await asyncio.sleep(0.05)
        values = await asyncio.to_thread(metrics_at, port)
        assert values["stepmark_requests_in_flight", ("engine",)] == 1
        await request
        meter.add_faults("judge_engine", {"busy": 3})
        meter.expect("traces", 8)
        meter.skip("traces", 2)
        meter.finish("traces", failed=True)
        meter.finish("labels", 4)
        meter.kept = 1
        values = await asyncio.to_thread(metrics_at, port)
    assert values["stepmark_requests_in_flight", ("engine",)] == 0
    assert values["stepmark_generated_tokens_total", ("engine",)] == meter.generated_tokens
    assert values["stepmark_prompt_tokens_total", ("engine",)] == meter.prompt_tokens
    assert values["stepmark_faults_total", ("judge_engine", "busy")] == 3
    assert values["stepmark_items", ("traces",)] == 3
    assert values["stepmark_items_expected", ("traces",)] == 8
    assert values["stepmark_items_failed_total", ("traces",)] == 1
    assert values["stepmark_kept_share", ()] == 0.25
    assert values["stepmark_request_seconds_bucket", ("engine", "0.3")] == 0
    assert values["stepmark_request_seconds_bucket", ("engine", "+Inf")] == 1
    assert values["stepmark_request_seconds_count", ("engine",)] == 1
    assert values["stepmark_request_seconds_sum", ("engine",)] >= 0.4
    assert values["stepmark_cost_total", ()] == pytest.approx(
        (meter.prompt_tokens + 2 * meter.generated_tokens) / 1e6
    )
    with pytest.raises(urllib.error.URLError):
        metrics_at(port)


def test_metrics_are_off_by_default() -> None:
    assert RunFile(dataset="data/x").run == RunSettings(metrics_port=0, metrics_host="127.0.0.1")
    assert "[run]" not in RunFile(dataset="data/x").to_toml()
    on = RunFile(dataset="data/x", run=RunSettings(metrics_port=9100))
    assert "metrics_port = 9100" in on.to_toml()


def test_used_port_is_one_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = RunSettings(metrics_port=other.getsockname()[1])
        with (
            pytest.raises(ConfigError, match=r"run\.metrics_port: cannot serve metrics at 127"),
            serve_metrics(settings, spending_of(Meter())),
        ):
            pass


def test_missing_client_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with (
        pytest.raises(InstallError, match=r"pip install 'stepmark\[metrics\]'"),
        serve_metrics(RunSettings(metrics_port=1), spending_of(Meter())),
    ):
        pass


async def test_workers_are_summed(tmp_path: Path) -> None:
    """The coordinator serves the sum of two workers, and no worker serves anything."""
    port = free_port()
    path = run_file(tmp_path, run={"metrics_port": port})
    job = prepare(load(Path(path)), RunOptions(workers=2), makes_traces=True)
    values: list[Mapping[tuple[str, tuple[str, ...]], float]] = []
    await_end = asyncio.Event()

    async def watch() -> None:
        while not await_end.is_set():
            with contextlib.suppress(urllib.error.URLError):
                values.append(await asyncio.to_thread(metrics_at, port))
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    await run_without_server(job, makes_traces=True)
    await_end.set()
    await watching
    assert values[-1]["stepmark_items_expected", ("traces",)] == 8
    seen = [value.get(("stepmark_generated_tokens_total", ("engine",)), 0.0) for value in values]
    assert seen == sorted(seen)
    assert job.meter.generated_tokens_by_engine["engine"] == job.meter.generated_tokens > 0
    assert sum(job.meter.open_requests.values()) == 0


def expressions(value: Any) -> Iterator[str]:
    """Yield all queries of a dashboard."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("expr", "query") and isinstance(inner, str):
                yield inner
            else:
                yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


def served_names() -> set[str]:
    """Return the names of all metrics that a run with labels and faults serves."""
    meter = Meter()
    with meter.timed_request("engine"):
        pass
    meter.add_results([Completion(**COMPLETION)], "engine")
    meter.add_faults("engine", {"busy": 1})
    meter.expect("labels", 2)
    meter.finish("labels", failed=True)
    port = free_port()
    with serve_metrics(RunSettings(metrics_port=port), spending_of(meter)):
        return {name for name, _ in metrics_at(port)}


def test_dashboard_shows_existing_metrics() -> None:
    names = served_names()
    # Prometheus adds the names of the program and of the bucket.
    labels = {"le", "instance"}
    for metric in METRICS.values():
        labels.update(metric.labels)
    queries = list(expressions(json.loads(DASHBOARD.read_text(encoding="utf-8"))))
    used = set(re.findall(r"stepmark_\w+", " ".join(queries)))
    assert len(queries) >= 8
    assert used <= names
    for query in queries:
        for group in re.findall(r"by \(([^)]*)\)", query):
            assert set(group.split(", ")) <= labels, query
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for name in names:
        if not name.startswith("stepmark_request_seconds_"):
            assert f"`{name}`" in page, "every metric is documented"
    assert "`stepmark_request_seconds_bucket`" in page


def traced() -> tuple[Tracing, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider.get_tracer("test")), exporter


def parent_name(span: ReadableSpan, spans: Mapping[int, ReadableSpan]) -> str:
    return spans[span.parent.span_id].name if span.parent else ""


async def test_spans_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine_traces, exporter = traced()
    monkeypatch.setattr("pipelines.run.preparation.configured_tracing", lambda: engine_traces)
    replies = {"": [f"{SECRET_WORDS}\nThe answer is \\boxed{{2}}."]}
    path = run_file(
        tmp_path,
        engine={"use": "scripted", "replies": replies},
        annotators=[{"use": "judge", "votes": 1}],
    )
    await run_without_server(prepare(load(Path(path)), makes_traces=True), makes_traces=True)
    finished = exporter.get_finished_spans()
    spans = {span.context.span_id: span for span in finished if span.context is not None}
    parents = {(span.name, parent_name(span, spans)) for span in finished}
    assert parents == {
        ("stepmark.run", ""),
        ("stepmark.shard", "stepmark.run"),
        ("stepmark.method", "stepmark.shard"),
        ("stepmark.request", "stepmark.shard"),
        ("stepmark.request", "stepmark.method"),
    }
    assert len({span.context.trace_id for span in finished if span.context is not None}) == 1
    requests = [span for span in finished if span.name == "stepmark.request"]
    assert all((span.attributes or {})["gen_ai.usage.output_tokens"] for span in requests)
    text = "".join(span.to_json() for span in finished)
    assert SECRET_WORDS not in text
    assert "question" not in text.lower()


async def test_failed_spans_have_no_message() -> None:
    engine_traces, exporter = traced()
    engine = MeteredEngine(
        engine=Scripted(error=SECRET_WORDS),
        budget=TokenBudget(1000),
        meter=Meter(),
        first_request=asyncio.Event(),
        tracing=engine_traces,
    )
    with pytest.raises(EngineError):
        await engine.complete(Prompt(user="Q"), Sampling(n=1))
    (span,) = exporter.get_finished_spans()
    assert (span.attributes or {})["error.type"] == "EngineError"
    assert not span.status.is_ok
    assert SECRET_WORDS not in span.to_json()


def test_workers_continue_the_trace() -> None:
    coordinator, exporter = traced()
    with coordinator.span("stepmark.run"):
        environment = coordinator.environment()
    worker, worker_exporter = traced()
    with worker.parent(environment), worker.span("stepmark.shard"):
        pass
    (run,) = exporter.get_finished_spans()
    (shard,) = worker_exporter.get_finished_spans()
    assert run.context is not None
    assert shard.parent is not None
    assert shard.parent.span_id == run.context.span_id
    with NO_TRACING.parent(environment), NO_TRACING.span("x") as span:
        span.set_usage([])
    assert NO_TRACING.environment() == {}


def test_tracing_needs_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tracing.ENDPOINT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert configured_tracing() is NO_TRACING
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(tracing, "EXPORTER", "no_such_package.exporter")
    assert configured_tracing() is NO_TRACING, "the SDK is optional"
