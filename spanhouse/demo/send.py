"""Planned spans out through the OpenTelemetry SDK, one tracer provider per service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    set_span_in_context,
)

from spanhouse import __version__
from spanhouse.demo.trace import PlannedSpan
from spanhouse.demo.world import SERVICES, Service

# Spans that wait for a slow endpoint; beyond it the SDK drops them and says so.
MAX_QUEUE: Final = 50_000


class CountingExporter(SpanExporter):
    """Counts the spans that the wrapped exporter got acknowledged."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.exporter = exporter
        self.delivered = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export with the wrapped exporter."""
        result = self.exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.delivered += len(spans)
        return result

    def shutdown(self) -> None:
        """Shut the wrapped exporter down."""
        self.exporter.shutdown()


class Sender:
    """Sends requests as the company's services would: each with its own resource, queue and connection."""

    def __init__(self, make_exporter: Callable[[], SpanExporter]) -> None:
        self._exporters = {name: CountingExporter(make_exporter()) for name in SERVICES}
        self._providers = {
            name: _provider(name, service, self._exporters[name]) for name, service in SERVICES.items()
        }
        self._tracers = {
            name: provider.get_tracer("spanhouse.demo", __version__)
            for name, provider in self._providers.items()
        }

    def send(self, root: PlannedSpan, end_ns: int) -> None:
        """Send the spans of a request that ends at `end_ns` (Unix time); queues them, does not block."""
        self._send(root, end_ns - root.end, None, "")

    def _send(self, plan: PlannedSpan, origin: int, parent: Span | None, parent_service: str) -> None:
        span = self._tracers[plan.service].start_span(
            plan.name,
            context=_context(parent, remote=plan.service != parent_service),
            kind=SpanKind[plan.kind],
            attributes=plan.attributes,
            start_time=origin + plan.start,
        )
        for child in plan.children:
            self._send(child, origin, span, plan.service)
        end = origin + plan.end
        if plan.error:
            span.set_status(Status(StatusCode.ERROR, str(plan.error)))
            if plan.raised:
                span.add_event("exception", _exception(plan), timestamp=end)
        span.end(end)

    @property
    def delivered(self) -> int:
        """Spans that the endpoint has acknowledged."""
        return sum(exporter.delivered for exporter in self._exporters.values())

    def close(self) -> None:
        """Send what is queued, for at most the SDK's 30 seconds, and close."""
        with ThreadPoolExecutor(len(self._providers)) as pool:
            list(pool.map(TracerProvider.shutdown, self._providers.values()))


def _provider(name: str, service: Service, exporter: SpanExporter) -> TracerProvider:
    resource = Resource.create(
        {
            "service.name": name,
            "service.version": service.version,
            "service.namespace": "demo",
            "deployment.environment.name": service.env,
        }
    )
    provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
    # Half a second instead of the default five, so that a demo is seen at once.
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=MAX_QUEUE, schedule_delay_millis=500)
    )
    return provider


def _context(parent: Span | None, *, remote: bool) -> Context:
    if parent is None:
        return Context()
    if not remote:
        return set_span_in_context(parent, Context())
    # What a service knows of its caller: the ids that came in the traceparent header.
    caller = parent.get_span_context()
    context = SpanContext(caller.trace_id, caller.span_id, is_remote=True, trace_flags=caller.trace_flags)
    return set_span_in_context(NonRecordingSpan(context), Context())


def _exception(plan: PlannedSpan) -> dict[str, str]:
    assert plan.error
    return {
        "exception.type": plan.error.error_type,
        "exception.message": str(plan.error),
        "exception.stacktrace": f"Traceback (most recent call last):\n  {plan.name}\n"
        f"{plan.error.error_type}: {plan.error}",
    }
