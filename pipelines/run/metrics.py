"""Metrics of a run in the format of Prometheus, over HTTP.

They are read from the meter of the run when they are requested, and cost nothing otherwise. With
several workers it is the coordinator's meter, which adds up those of the workers.
"""

import importlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipelines.run.config import RunSettings
from pipelines.run.meter import DURATION_BOUNDS, MILLISECONDS, Meter
from pipelines.run.spending import Spending
from stepmark.errors import ConfigError, InstallError

__all__ = ["METRICS", "Metric", "serve_metrics"]

Values = Mapping[Sequence[str], float]
"""The values of a metric by the values of its labels."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A counter or gauge, and how it is read."""

    help: str
    labels: Sequence[str]
    read: Callable[[Meter, Spending], Values]
    is_counter: bool = True


def _by(name: str) -> Callable[[Meter, Spending], Values]:
    """Return a function that reads a counter of the meter with one label."""

    def read(meter: Meter, spending: Spending) -> Values:
        del spending
        counter: Counter[str] = getattr(meter, name)
        # Copied first: the run adds keys in another thread.
        return {(key,): float(count) for key, count in dict(counter).items()}

    return read


def _single(name: str) -> Callable[[Meter, Spending], Values]:
    """Return a function that reads a number of the meter."""
    return lambda meter, spending: {(): float(getattr(meter, name))}


def _faults(meter: Meter, spending: Spending) -> Values:
    del spending
    values = dict[Sequence[str], float]()
    for name, count in dict(meter.faults).items():
        engine, _, kind = name.partition(": ")
        values[engine, kind] = float(count)
    return values


def _finished(meter: Meter, spending: Spending) -> Values:
    del spending
    stages = dict.fromkeys([*dict(meter.done), *dict(meter.total)])
    return {(stage,): float(meter.finished(stage)) for stage in stages}


def _kept_share(meter: Meter, spending: Spending) -> Values:
    del spending
    labels = meter.done["labels"]
    return {(): meter.kept / labels} if labels else {}


def _cost(meter: Meter, spending: Spending) -> Values:
    del meter
    return {} if spending.cost is None else {(): spending.cost}


def _used_share(meter: Meter, spending: Spending) -> Values:
    del meter
    return {(): spending.used_share}


METRICS: Mapping[str, Metric] = {
    "stepmark_prompt_tokens": Metric(
        help="Tokens that engines read in this run.",
        labels=("engine",),
        read=_by("prompt_tokens_by_engine"),
    ),
    "stepmark_generated_tokens": Metric(
        help="Tokens that engines wrote in this run.",
        labels=("engine",),
        read=_by("generated_tokens_by_engine"),
    ),
    "stepmark_requests_in_flight": Metric(
        help="Requests without an answer.",
        labels=("engine",),
        read=_by("open_requests"),
        is_counter=False,
    ),
    "stepmark_faults": Metric(
        help="Faults of engines, by kind as in the table of faults.",
        labels=("engine", "kind"),
        read=_faults,
    ),
    "stepmark_items": Metric(
        help="Finished items of a stage: problems, traces, traces of a method, or labels.",
        labels=("stage",),
        read=_finished,
        is_counter=False,
    ),
    "stepmark_items_expected": Metric(
        help="Items of a stage in the whole run, where the number is known.",
        labels=("stage",),
        read=_by("total"),
        is_counter=False,
    ),
    "stepmark_items_failed": Metric(
        help="Items of a stage that failed in this run.",
        labels=("stage",),
        read=_by("failed"),
    ),
    "stepmark_rollouts": Metric(help="Rollouts of this run.", labels=(), read=_single("rollouts")),
    "stepmark_completions_reused": Metric(
        help="Completions that were stored before.", labels=(), read=_single("reused")
    ),
    "stepmark_labels_kept": Metric(
        help="Labels of this run that were kept.", labels=(), read=_single("kept")
    ),
    "stepmark_kept_share": Metric(
        help="Share of the labels of this run that were kept.",
        labels=(),
        read=_kept_share,
        is_counter=False,
    ),
    "stepmark_cost": Metric(
        help="Price of the tokens of this run, in the currency of [prices].",
        labels=(),
        read=_cost,
    ),
    "stepmark_budget_used_share": Metric(
        help="Used share of the limit of [budget] that is nearest.",
        labels=(),
        read=_used_share,
        is_counter=False,
    ),
    "stepmark_run_seconds": Metric(
        help="Time since the start of the run.", labels=(), read=_single("seconds")
    ),
}
"""The metrics by name; that of a counter gets the suffix `_total`."""
DURATIONS = "stepmark_request_seconds"


class _Collector:
    """Reads all metrics at each request."""

    def __init__(self, core: Any, spending: Spending) -> None:
        self._core = core
        self._spending = spending

    def collect(self) -> Iterator[Any]:
        """Yield each metric with its present values."""
        meter = self._spending.meter
        for name, metric in METRICS.items():
            family_class = self._core.GaugeMetricFamily
            if metric.is_counter:
                family_class = self._core.CounterMetricFamily
            family = family_class(name, metric.help, labels=metric.labels)
            for labels, value in metric.read(meter, self._spending).items():
                family.add_metric(labels, value)
            yield family
        yield self._durations(meter)

    def _durations(self, meter: Meter) -> Any:
        family = self._core.HistogramMetricFamily(
            DURATIONS, "Time of a request, from its start to its answer.", labels=("engine",)
        )
        counts = defaultdict[str, Counter[int]](Counter)
        for name, count in dict(meter.request_durations).items():
            engine, _, bucket = name.partition(": ")
            counts[engine][int(bucket)] += count
        bounds = [*map(str, DURATION_BOUNDS), "+Inf"]
        for engine, by_bucket in counts.items():
            buckets: list[tuple[str, float]] = []
            total = 0
            for index, bound in enumerate(bounds):
                total += by_bucket[index]
                buckets.append((bound, float(total)))
            seconds = meter.request_milliseconds[engine] / MILLISECONDS
            family.add_metric((engine,), buckets, sum_value=seconds)
        return family


@contextmanager
def serve_metrics(settings: RunSettings, spending: Spending) -> Iterator[None]:
    """Serve the metrics of a run at `/metrics` while the block runs, if a port is set.

    Raises:
        InstallError: The client library of Prometheus is not installed.
        ConfigError: The port cannot be used.
    """
    if not settings.metrics_port:
        yield
        return
    try:
        prometheus: Any = importlib.import_module("prometheus_client")
        core: Any = importlib.import_module("prometheus_client.core")
    except ModuleNotFoundError as error:
        raise InstallError(
            "run.metrics_port needs the package prometheus_client: pip install 'stepmark[metrics]'"
        ) from error
    # The default registry also has metrics of the process, and of Prefect.
    registry = prometheus.CollectorRegistry()
    registry.register(_Collector(core, spending))
    address = f"{settings.metrics_host}:{settings.metrics_port}"
    try:
        server, thread = prometheus.start_http_server(
            settings.metrics_port, addr=settings.metrics_host, registry=registry
        )
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"run.metrics_port: cannot serve metrics at {address}: {error}; choose another port"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
