"""Spans of OpenTelemetry: the run, its shards, the methods of a shard, and their requests.

They are made only where an exporter is configured. No attribute contains text of a prompt, an
answer or an error: those can be long, private, or secret.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from engines.base import Completion, Scored

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["NO_TRACING", "Attributes", "Span", "Tracing", "configured_tracing"]

Attributes = Mapping[str, str | int]

# The variables of the OpenTelemetry specification that name a collector.
ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SERVICE_VARIABLE = "OTEL_SERVICE_NAME"
# How a process passes its span to those that it starts, as in the header of HTTP.
PARENT_VARIABLE = "TRACEPARENT"
SDK = "opentelemetry.sdk.trace"
EXPORTER = "opentelemetry.exporter.otlp.proto.http"


class Span:
    """A span, or none where nothing is traced."""

    def __init__(self, span: "trace.Span | None" = None) -> None:
        self._span = span

    def set_usage(self, results: Sequence[Completion | Scored]) -> None:
        """Set the tokens of a request."""
        if self._span is None:
            return
        generated = 0
        for result in results:
            if isinstance(result, Completion):
                generated += result.generated_tokens
        prompt = sum(result.prompt_tokens for result in results)
        self._span.set_attribute("gen_ai.usage.input_tokens", prompt)
        self._span.set_attribute("gen_ai.usage.output_tokens", generated)


# The block of a span that is not made, which every request of most runs needs.
NO_SPAN_BLOCK = nullcontext(Span())


class Tracing:
    """The tracer of a process.

    Args:
        tracer: Makes the spans; None where nothing is traced.
        provider: The provider that this process has set up, and ends.
    """

    def __init__(
        self, tracer: "trace.Tracer | None" = None, provider: "TracerProvider | None" = None
    ) -> None:
        self._tracer = tracer
        self._provider = provider

    def span(self, name: str, attributes: Attributes | None = None) -> AbstractContextManager[Span]:
        """Trace the block as a span of the current one."""
        if self._tracer is None:
            return NO_SPAN_BLOCK
        return _traced(self._tracer, name, attributes)

    @contextmanager
    def parent(self, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
        """Let the spans of the block belong to that of the process that has started this one."""
        header = environment.get(PARENT_VARIABLE)
        if self._tracer is None or not header:
            yield
            return
        from opentelemetry import context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        outer = TraceContextTextMapPropagator().extract({"traceparent": header})
        token = context.attach(outer)
        try:
            yield
        finally:
            context.detach(token)

    def environment(self) -> Mapping[str, str]:
        """Return the variables that make the current span the parent of another process's spans."""
        if self._tracer is None:
            return {}
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        headers: dict[str, Any] = {}
        TraceContextTextMapPropagator().inject(headers)
        if "traceparent" not in headers:
            return {}
        return {PARENT_VARIABLE: headers["traceparent"]}

    def close(self) -> None:
        """Export the last spans; waits for the collector."""
        if self._provider is not None:
            self._provider.shutdown()


NO_TRACING = Tracing()


@contextmanager
def _traced(tracer: "trace.Tracer", name: str, attributes: Attributes | None) -> Iterator[Span]:
    from opentelemetry.trace import Status, StatusCode

    # The message of an exception can quote a prompt.
    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield Span(span)
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise


def configured_tracing() -> Tracing:
    """Return the tracing that the environment configures.

    A program that has set up the SDK, such as `opentelemetry-instrument`, is used as it is.
    Otherwise spans are sent by OTLP over HTTP if a variable names the collector and the SDK is
    installed.
    """
    if _has_provider():
        from opentelemetry import trace

        return Tracing(trace.get_tracer("stepmark"))
    if not any(os.environ.get(name) for name in ENDPOINT_VARIABLES) or not _is_installed():
        return NO_TRACING
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    service = os.environ.get(SERVICE_VARIABLE) or "stepmark"
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider.get_tracer("stepmark"), provider)


def _has_provider() -> bool:
    """Return whether the program has set up the SDK."""
    # Without this the API, which takes a tenth of a second, would be imported in each run.
    if SDK not in sys.modules:
        return False
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    return isinstance(trace.get_tracer_provider(), TracerProvider)


def _is_installed() -> bool:
    for name in (SDK, EXPORTER):
        try:
            if importlib.util.find_spec(name) is None:
                return False
        except ModuleNotFoundError:
            return False
    return True
