"""The demo agent: the shape of what it sends, its ledger, and the ledger against what is stored."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from spanhouse.demo import DemoTotals, run
from spanhouse.demo.send import Sender
from spanhouse.demo.totals import ModelTotals
from spanhouse.demo.trace import Usage
from spanhouse.demo.workflows import request
from spanhouse.demo.world import SERVICES, TENANTS, World
from spanhouse.errors import UserError
from tests.harness import Instance, eventually

REQUESTS = 400
MODEL_OPERATIONS = {"chat", "generate_content", "embeddings", "rerank"}


def sent(seed: int, requests: int = REQUESTS, users: int = 50) -> tuple[DemoTotals, list[ReadableSpan]]:
    exporters: list[InMemorySpanExporter] = []

    def exporter() -> InMemorySpanExporter:
        exporters.append(InMemorySpanExporter())
        return exporters[-1]

    world, totals, sender = World(users, random.Random(seed)), DemoTotals(), Sender(exporter)
    for _ in range(requests):
        root = request(world)
        totals.add(root)
        sender.send(root, time.time_ns())
    sender.close()
    totals.delivered = sender.delivered
    return totals, [span for e in exporters for span in e.get_finished_spans()]


@pytest.fixture(scope="module")
def demo() -> tuple[DemoTotals, list[ReadableSpan]]:
    return sent(seed=7)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def operation(span: ReadableSpan) -> str:
    return str(attributes(span).get("gen_ai.operation.name", ""))


def test_each_trace_has_one_root_and_every_parent_is_there(
    demo: tuple[DemoTotals, list[ReadableSpan]],
) -> None:
    totals, spans = demo
    traces: defaultdict[int, list[ReadableSpan]] = defaultdict(list)
    for span in spans:
        traces[span.context.trace_id].append(span)
    assert len(traces) == totals.traces == REQUESTS
    for trace in traces.values():
        by_id = {span.context.span_id: span for span in trace}
        assert len(by_id) == len(trace)
        (root,) = (span for span in trace if span.parent is None)
        assert attributes(root)["http.route"]
        for span in trace:
            if span.parent is None:
                continue
            parent = by_id[span.parent.span_id]
            assert parent.start_time <= span.start_time <= span.end_time <= parent.end_time
            other_service = span.resource != parent.resource
            assert span.parent.is_remote == other_service


def test_spans_end_in_the_just_past(demo: tuple[DemoTotals, list[ReadableSpan]]) -> None:
    now = time.time_ns()
    for span in demo[1]:
        assert now - 3600 * 10**9 < span.start_time < span.end_time <= now


def test_spans_say_whose_they_are(demo: tuple[DemoTotals, list[ReadableSpan]]) -> None:
    totals, spans = demo
    for span in spans:
        values = attributes(span)
        assert values["tenant.id"] in TENANTS
        assert values["user.id"] in totals.users
        assert values["gen_ai.conversation.id"]
    resources = {span.resource.attributes["service.name"]: span.resource.attributes for span in spans}
    assert set(resources) == set(SERVICES)
    for values in resources.values():
        assert values["service.version"]
        assert values["deployment.environment.name"] in {"production", "staging"}


def test_model_calls_carry_what_the_conventions_require(demo: tuple[DemoTotals, list[ReadableSpan]]) -> None:
    calls = [span for span in demo[1] if operation(span) in MODEL_OPERATIONS]
    for span in calls:
        values = attributes(span)
        assert span.name == f"{operation(span)} {values['gen_ai.request.model']}"
        assert values["gen_ai.provider.name"]
        if span.status.status_code is StatusCode.ERROR:
            assert values["error.type"]
            assert "gen_ai.usage.input_tokens" not in values
        elif operation(span) != "rerank":
            usage = {k.removeprefix("gen_ai.usage."): v for k, v in values.items() if "usage" in k}
            cached = usage.get("cache_read.input_tokens", 0) + usage.get("cache_creation.input_tokens", 0)
            assert cached < usage["input_tokens"]
            assert usage.get("reasoning.output_tokens", 0) <= usage.get("output_tokens", 0)
            assert values["gen_ai.response.model"]
        if "gen_ai.response.time_to_first_chunk" in values:
            seconds = (span.end_time - span.start_time) / 1e9
            assert 0 < values["gen_ai.response.time_to_first_chunk"] < seconds


def test_what_a_realistic_application_has_is_there(demo: tuple[DemoTotals, list[ReadableSpan]]) -> None:
    _, spans = demo
    seen: defaultdict[str, set[Any]] = defaultdict(set)
    for span in spans:
        for key, value in attributes(span).items():
            seen[key].add(value)
    assert {"openai", "anthropic", "gcp.gemini", "mistral_ai", "vllm"} <= seen["gen_ai.provider.name"]
    assert seen["gen_ai.operation.name"] >= MODEL_OPERATIONS | {
        "invoke_workflow", "invoke_agent", "execute_tool", "retrieval", "apply_guardrail", "evaluate",
    }  # fmt: skip
    for key in (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.response.time_to_first_chunk",
        "mcp.method.name",
        "db.system.name",
        "url.template",
    ):
        assert seen[key], key
    assert len(seen["gen_ai.agent.name"]) >= 4
    assert len(seen["gen_ai.workflow.name"]) == 3
    assert seen["experiment.variant"] == {"control", "treatment"}
    versions = {
        v["gen_ai.prompt.version"]
        for v in map(attributes, spans)
        if v.get("gen_ai.prompt.name") == "support-answer"
    }
    assert versions == {"v7", "v8"}
    turns = Counter(attributes(span)["gen_ai.conversation.id"] for span in spans if span.parent is None)
    assert max(turns.values()) > 2
    tenants = Counter(attributes(span)["tenant.id"] for span in spans if span.parent is None)
    assert tenants["acme"] > 5 * tenants["wonka"]


def test_errors_have_a_type_and_one_exception_where_they_arose(
    demo: tuple[DemoTotals, list[ReadableSpan]],
) -> None:
    _, spans = demo
    failed = [span for span in spans if span.status.status_code is StatusCode.ERROR]
    assert failed
    for span in spans:
        assert ("error.type" in attributes(span)) == (span.status.status_code is StatusCode.ERROR)
    raised = [span for span in failed if any(event.name == "exception" for event in span.events)]
    parents = {span.parent.span_id for span in failed if span.parent}
    leaves = [span for span in failed if span.context.span_id not in parents]
    assert {id(span) for span in leaves} <= {id(span) for span in raised}
    for span in raised:
        (event,) = span.events
        values = dict(event.attributes or {})
        assert values["exception.type"] == attributes(span)["error.type"]
        assert values["exception.message"]


def test_a_failed_call_is_tried_again(demo: tuple[DemoTotals, list[ReadableSpan]]) -> None:
    siblings: defaultdict[tuple[int, str], list[ReadableSpan]] = defaultdict(list)
    for span in demo[1]:
        if operation(span) == "chat" and span.parent:
            siblings[span.parent.span_id, span.name].append(span)
    retried = [
        calls for calls in siblings.values()
        if len(calls) > 1
        and calls[0].status.status_code is StatusCode.ERROR
        and calls[-1].status.status_code is not StatusCode.ERROR
    ]  # fmt: skip
    assert retried
    for calls in retried:
        for earlier, later in itertools.pairwise(sorted(calls, key=lambda span: span.start_time)):
            assert earlier.end_time < later.start_time


def ledger(spans: list[ReadableSpan]) -> DemoTotals:
    """The totals as somebody counts them who sees only the spans."""
    totals = DemoTotals(
        traces=len({span.context.trace_id for span in spans}),
        spans=len(spans),
        errors=sum(span.status.status_code is StatusCode.ERROR for span in spans),
        delivered=len(spans),
        users={attributes(span)["user.id"] for span in spans},
    )
    for span in spans:
        if operation(span) not in MODEL_OPERATIONS:
            continue
        values = attributes(span)
        name = values.get("gen_ai.response.model") or values["gen_ai.request.model"]
        model = totals.models.setdefault(name, ModelTotals())
        model.calls += 1
        model.errors += span.status.status_code is StatusCode.ERROR
        parts = ("input", "output", "cache_read.input", "cache_creation.input", "reasoning.output")
        model.usage += Usage(*(values.get(f"gen_ai.usage.{part}_tokens", 0) for part in parts))
    return totals


def test_the_ledger_is_what_was_sent(demo: tuple[DemoTotals, list[ReadableSpan]]) -> None:
    totals, spans = demo
    assert totals == ledger(spans)
    assert totals.tokens > 0


def test_agents_that_repeat_usage_are_not_counted_twice(demo: tuple[DemoTotals, list[ReadableSpan]]) -> None:
    totals, spans = demo
    repeated = [
        s for s in spans if operation(s) == "invoke_agent" and "gen_ai.usage.input_tokens" in attributes(s)
    ]
    assert repeated
    everything = sum(
        attributes(s).get("gen_ai.usage.input_tokens", 0) + attributes(s).get("gen_ai.usage.output_tokens", 0)
        for s in spans
    )
    assert everything > totals.tokens


def test_the_same_seed_gives_the_same_requests() -> None:
    def content(seed: int) -> list[tuple[Any, ...]]:
        _, spans = sent(seed, requests=30)
        return [(s.name, s.end_time - s.start_time, attributes(s), s.status.status_code) for s in spans]

    first = content(3)
    assert first == content(3)
    assert first != content(4)


class Endpoint(TraceServiceServicer):
    """An OTLP/gRPC endpoint that keeps what it gets."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []

    def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:  # noqa: N802
        self.requests.append(request)
        return ExportTraceServiceResponse()

    @property
    def spans(self) -> int:
        return sum(len(s.spans) for r in self.requests for rs in r.resource_spans for s in rs.scope_spans)


@pytest.fixture
def endpoint() -> Iterator[tuple[str, Endpoint]]:
    server = grpc.server(ThreadPoolExecutor(8))
    servicer = Endpoint()
    add_TraceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", servicer
    server.stop(None).wait()


def test_run_sends_as_many_requests_as_asked_for(endpoint: tuple[str, Endpoint]) -> None:
    address, servicer = endpoint
    progress: list[int] = []
    totals = run(
        address, qps=100, users=5, duration=0.5, seed=1, stop=threading.Event(),
        progress=lambda now: progress.append(now.traces),
    )  # fmt: skip
    assert totals.traces == 50
    assert totals.spans == totals.delivered == servicer.spans
    assert progress[0] == 1


def test_run_without_a_duration_ends_when_told_to_and_loses_nothing(endpoint: tuple[str, Endpoint]) -> None:
    address, servicer = endpoint
    stop = threading.Event()
    totals = run(address, qps=50, users=5, duration=None, seed=None, stop=stop, progress=lambda _: stop.set())
    assert totals.traces >= 1
    assert totals.spans == totals.delivered == servicer.spans


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_on_a_signal_with_everything_sent(
    endpoint: tuple[str, Endpoint], number: int
) -> None:
    address, servicer = endpoint
    command = [
        sys.executable,
        "-m",
        "spanhouse",
        "demo",
        "--endpoint",
        address,
        "--qps",
        "50",
        "--users",
        "9",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline().startswith("sending 50 requests a second")
    eventually(lambda: servicer.requests)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert f"{servicer.spans:,} spans ({servicer.spans:,} acknowledged)" in out


def test_the_command_says_when_spans_got_lost() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, and nobody listens
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "spanhouse", "demo", "--endpoint", address, "--duration=0.1"],
            env=os.environ | {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "1"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"were not acknowledged by {address}" in done.stderr


@pytest.mark.parametrize(
    "wrong", [{"qps": 0.0}, {"users": 0}, {"duration": 0.0}], ids=["qps", "users", "duration"]
)
def test_values_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    values: dict[str, Any] = {"qps": 1.0, "users": 1, "duration": 1.0} | wrong
    with pytest.raises(UserError, match="must be above 0"):
        run("127.0.0.1:1", seed=1, stop=threading.Event(), **values)


def test_without_the_sdk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spanhouse.demo.send", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(UserError, match=r"pip install 'spanhouse\[demo\]'"):
        run("127.0.0.1:1", qps=1, users=1, duration=1, seed=1, stop=threading.Event())


def test_what_is_stored_is_what_was_sent(tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        totals = run(
            instance.addresses["otlp-grpc"], qps=100, users=20, duration=3, seed=11, stop=threading.Event()
        )
        assert totals.delivered == totals.spans
        (stored,) = instance.sql(
            "SELECT count() AS spans, uniqExact(trace_id) AS traces, countIf(status = 'error') AS errors, "
            "uniqExact(user_id_hash) AS users, sum(tokens_prompt + tokens_completion) AS tokens, "
            "countIf(parent_span_id = '') AS roots FROM agent_events"
        )
        assert {k: int(v) for k, v in stored.items()} == {
            "spans": totals.spans,
            "traces": totals.traces,
            "errors": totals.errors,
            "users": len(totals.users),
            "tokens": totals.tokens,
            "roots": totals.traces,
        }
        assert (
            stored_models(instance, "agent_events", "count()", "countIf(status = 'error')") == totals.models
        )
        assert stored_models(instance, "agent_metrics_1m", "sum(calls)", "sum(errors)") == totals.models

        sources = instance.sql(
            "SELECT model, groupUniqArray(cost_source) AS sources, sum(cost_usd) AS cost FROM agent_events "
            "WHERE kind = 'llm' AND status != 'error' GROUP BY model"
        )
        for row in sources:
            priced = row["model"] != "helios-7b-support"
            assert row["sources"] == (["computed"] if priced else ["unpriced"]), row
            assert (float(row["cost"]) > 0) == priced, row
        rollup = "sum(calls) AS calls, sum(cost_usd) AS cost, sum(unpriced) AS unpriced FROM agent_metrics_1m"
        rows = (
            "count() AS calls, sum(cost_usd) AS cost, countIf(cost_source = 'unpriced') AS unpriced "
            "FROM agent_events"
        )
        assert instance.sql(f"SELECT {rollup}") == instance.sql(f"SELECT {rows}")

        kinds = instance.sql("SELECT DISTINCT splitByChar(' ', name)[1] AS what, kind FROM agent_events")
        assert sorted((row["what"], row["kind"]) for row in kinds) == [
            ("GET", "http"),
            ("POST", "http"),
            ("SELECT", "db"),
            ("apply_guardrail", "guardrail"),
            ("chat", "llm"),
            ("embeddings", "embedding"),
            ("evaluate", "evaluation"),
            ("execute_tool", "tool"),
            ("generate_content", "llm"),
            ("invoke_agent", "agent"),
            ("invoke_workflow", "workflow"),
            ("load", "other"),
            ("rerank", "rerank"),
            ("retrieval", "retrieval"),
            ("search", "retrieval"),
            ("tools/call", "mcp"),
        ]
        personal = instance.sql(
            "SELECT count() AS n FROM agent_events WHERE toString(attrs) LIKE '%.example%' "
            "OR toString(attrs) LIKE '%4111 1111%' OR user_id_hash LIKE 'user-%'"
        )
        assert int(personal[0]["n"]) == 0


def stored_models(instance: Instance, table: str, calls: str, errors: str) -> dict[str, ModelTotals]:
    rows = instance.sql(
        f"SELECT model, {calls} AS calls, {errors} AS errors, sum(tokens_prompt) AS prompt, "
        "sum(tokens_completion) AS completion, sum(tokens_cache_read) AS cache_read, "
        "sum(tokens_cache_write) AS cache_write, sum(tokens_reasoning) AS reasoning "
        f"FROM {table} WHERE kind IN ('llm', 'embedding', 'rerank') GROUP BY model"
    )
    parts = ("prompt", "completion", "cache_read", "cache_write", "reasoning")
    return {
        row["model"]: ModelTotals(int(row["calls"]), int(row["errors"]), Usage(*(int(row[p]) for p in parts)))
        for row in rows
    }
