from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.harness import Instance, attributes
from tests.otlp import samples


@dataclass
class Browser:
    """Asks the page of an instance."""

    instance: Instance

    def get(self, path: str, headers: dict[str, str] | None = None, **params: Any) -> requests.Response:
        named = {name.rstrip("_"): value for name, value in params.items()}
        return requests.get(self.instance.url("page", path), params=named, headers=headers, timeout=60)

    def json(self, path: str, **params: Any) -> Any:
        answer = self.get(path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def error(self, path: str, status: int, **params: Any) -> str:
        answer = self.get(path, **params)
        assert answer.status_code == status, answer.text
        return str(answer.json()["error"])

    def post(self, body: Any, form: str = "json", **options: Any) -> requests.Response:
        return requests.post(
            self.instance.url("page", "/api/sql"), json=body, params={"format": form}, timeout=60, **options
        )

    def sql(self, query: str) -> Any:
        answer = self.post({"query": query})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def sql_error(self, query: str, status: int) -> str:
        answer = self.post({"query": query})
        assert answer.status_code == status, answer.text
        return str(answer.json()["error"])


def everything(trace_id: bytes) -> ExportTraceServiceRequest:
    """A trace that between its spans uses every field and type of value of OTLP, now."""
    message = samples.request()
    start = time.time_ns() - 1_000_000_000
    for resource_spans in message.resource_spans:
        for span in resource_spans.scope_spans[0].spans:
            length = span.end_time_unix_nano - span.start_time_unix_nano
            span.trace_id, span.span_id = trace_id, os.urandom(8)
            span.start_time_unix_nano, span.end_time_unix_nano = start, start + length // 10 + 1
            span.events[0].time_unix_nano = start + 7
    return message


def tree(trace_id: bytes, shape: dict[str, str], start_ns: int | None = None) -> ExportTraceServiceRequest:
    """Spans by their letter with their parents' letters, a millisecond after each other, 10 ms long."""
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add()
    resource_spans.resource.attributes.extend(attributes({"service.name": "trees"}))
    scope_spans = resource_spans.scope_spans.add()
    start = start_ns or time.time_ns() - 60_000_000_000
    for place, (letter, parent) in enumerate(shape.items()):
        begin = start + place * 1_000_000
        scope_spans.spans.add(
            trace_id=trace_id,
            span_id=letter.encode() * 8,
            parent_span_id=parent.encode() * 8,
            name=letter,
            kind=1,
            start_time_unix_nano=begin,
            end_time_unix_nano=begin + 10_000_000,
        )
    return message


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with Instance(tmp_path_factory.mktemp("page") / "data") as instance:
        yield instance
        assert instance.stop() == 0
        assert "Traceback" not in instance.log.read_text()


@pytest.fixture
def page(up: Instance) -> Browser:
    return Browser(up)
