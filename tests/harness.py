"""Runs the real `spanhouse up` for tests, and speaks OTLP to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

T = TypeVar("T")
# The flags of the ports of `spanhouse up`.
PORTS = ("page", "otlp-grpc", "otlp-http", "clickhouse-http", "metrics")
# Tables that have every span, and how many they count.
COUNTED = {
    "agent_events": "count()",
    "agent_metrics_1m": "sum(calls)",
    "agent_metrics_1h": "sum(calls)",
    "agent_metrics_1d": "sum(calls)",
}


def eventually(check: Callable[[], T], seconds: float = 60) -> T:
    """Wait until `check` returns something true, and return it."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)
    return value


class Instance:
    """A running `spanhouse up` on free ports."""

    def __init__(self, data: Path, *arguments: str, config: Path | None = None) -> None:
        self.data = data
        self.log = data.parent / f"{data.name}.log"
        ports = [f"--{name}=127.0.0.1:0" for name in PORTS]
        command = [sys.executable, "-m", "spanhouse", "up", "--data", str(data), *ports, *arguments]
        if config:
            command += ["--config", str(config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=data.parent
            )
        # What it printed before it was ready.
        self.announced = ""
        self.addresses = self._ready()

    def _ready(self) -> dict[str, str]:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("ready"):
                return dict(re.findall(r"(\S+)=(\S+)", line))
            self.announced += line
        raise AssertionError(f"spanhouse up ended: {self.log.read_text()}")

    def url(self, name: str, path: str = "") -> str:
        return f"http://{self.addresses[name]}{path}"

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Rows of `query` from the ClickHouse endpoint."""
        text = self.get(
            "clickhouse-http", "/?" + urllib.parse.urlencode({"query": query + " FORMAT JSONEachRow"})
        )
        return [json.loads(line) for line in text.splitlines()]

    def get(self, name: str, path: str) -> str:
        with urllib.request.urlopen(self.url(name, path), timeout=60) as response:
            return str(response.read().decode())

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels."""
        lines = self.get("metrics", "/metrics").splitlines()
        return sum(float(line.split()[-1]) for line in lines if re.match(rf"{name}(\{{|\s)", line))

    def post(self, body: bytes, content_type: str = "application/x-protobuf") -> tuple[int, bytes]:
        request = urllib.request.Request(
            self.url("otlp-http", "/v1/traces"), data=body, headers={"Content-Type": content_type}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        assert self.process.stdout
        self.process.stdout.close()


def attributes(values: dict[str, Any]) -> list[KeyValue]:
    fields = {
        bool: "bool_value",
        int: "int_value",
        float: "double_value",
        str: "string_value",
        bytes: "bytes_value",
    }
    return [KeyValue(key=k, value=AnyValue(**{fields[type(v)]: v})) for k, v in values.items()]


def request(
    count: int = 1,
    *,
    trace_id: bytes | None = None,
    start_ns: int | None = None,
    duration_ns: int = 250_000_000,
    service: str = "checkout",
    **span_attributes: Any,
) -> ExportTraceServiceRequest:
    """A request of `count` valid spans."""
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add()
    resource_spans.resource.attributes.extend(attributes({"service.name": service}))
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "tests"
    start = start_ns or time.time_ns() - duration_ns
    for _ in range(count):
        scope_spans.spans.add(
            trace_id=trace_id or os.urandom(16),
            span_id=os.urandom(8),
            name="chat gpt-4o-mini",
            kind=3,
            start_time_unix_nano=start,
            end_time_unix_nano=start + duration_ns,
            attributes=attributes({k.replace("__", "."): v for k, v in span_attributes.items()}),
        )
    return message
