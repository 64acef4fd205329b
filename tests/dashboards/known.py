"""Spans of which everything is known: what is sent, and the same as a table to count in."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.harness import attributes

# None of them is a tenant of the demo; `(none)` has no name at all.
QUOTED: Final = "o'neil \\ sons"
TENANTS: Final = (QUOTED, "north", "")
CHOSEN: Final = [QUOTED, "north", "(none)"]
MODELS: Final = (("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-5"), ("vllm", "nobody-knows-it"))
ROUTES: Final = ("/known/ask", "/known/plan")

_SERVER, _CLIENT, _INTERNAL = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_INTERNAL


@dataclass
class Sent:
    """A span: its columns in `agent_events`, and whether it is an entry and its trace's first."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    ts: datetime
    latency_ms: float
    span_kind: int
    service: str
    tenant_id: str
    session_id: str
    kind: str = "other"
    agent: str = ""
    workflow: str = ""
    provider: str = ""
    model: str = ""
    route: str = ""
    tool_name: str = ""
    prompt_name: str = ""
    prompt_version: str = ""
    error_type: str = ""
    ttft_ms: float | None = None
    tokens_prompt: int = 0
    tokens_completion: int = 0
    tokens_cache_read: int = 0
    cost_usd: float = 0.0
    cost_source: str = "none"

    @property
    def root(self) -> bool:
        return not self.parent_span_id

    @property
    def entry(self) -> bool:
        return self.root or self.span_kind == _SERVER

    @property
    def attributes(self) -> dict[str, Any]:
        operations = {"llm": "chat", "agent": "invoke_agent", "tool": "execute_tool"}
        values: dict[str, Any] = {
            "tenant.id": self.tenant_id,
            "gen_ai.conversation.id": self.session_id,
            "gen_ai.operation.name": operations.get(self.kind),
            "gen_ai.agent.name": self.agent,
            "gen_ai.workflow.name": self.workflow,
            "gen_ai.provider.name": self.provider,
            "gen_ai.request.model": self.model,
            "http.route": self.route,
            "gen_ai.tool.name": self.tool_name,
            "gen_ai.prompt.name": self.prompt_name,
            "gen_ai.prompt.version": self.prompt_version,
            "error.type": self.error_type,
            "gen_ai.response.time_to_first_chunk": self.ttft_ms and self.ttft_ms / 1000,
            "gen_ai.usage.input_tokens": self.tokens_prompt,
            "gen_ai.usage.output_tokens": self.tokens_completion,
            "gen_ai.usage.cache_read.input_tokens": self.tokens_cache_read,
            "gen_ai.usage.cost": self.cost_usd,
            "known.number": int(self.span_id, 16),
        }
        return {name: value for name, value in values.items() if value}


def _starts(end: datetime) -> list[datetime]:
    """An hour that is busy, the same a week before, and five weeks with little."""
    second = timedelta(seconds=1)
    now = [end - 50 * second * number - 7 * second for number in range(72)]
    before = [end - timedelta(days=7) - 75 * second * number - 7 * second for number in range(48)]
    rest = [end - timedelta(hours=8, minutes=17) * number - timedelta(hours=3) for number in range(100)]
    return now + before + rest


def known(end: datetime) -> list[Sent]:
    """Spans of traces up to `end`, always the same but for their time."""
    chance = random.Random(5)
    spans: list[Sent] = []
    for number, start in enumerate(_starts(end)):
        spans += _trace(chance, number, start)
    return spans


def _trace(chance: random.Random, number: int, start: datetime) -> list[Sent]:
    failed = number % 9 == 4
    common: dict[str, Any] = {
        "trace_id": f"{0xFEED0000 + number:032x}",
        "tenant_id": TENANTS[number % 7 % 3],
        "session_id": f"known-session-{number // 3}",
    }
    made: list[Sent] = []

    def add(parent: str, name: str, after_ms: int, latency_ms: float, **columns: Any) -> str:
        span_id = f"{(number + 1) * 16 + len(made):016x}"
        ts = start + timedelta(milliseconds=after_ms)
        made.append(Sent(span_id=span_id, parent_span_id=parent, name=name, ts=ts, latency_ms=latency_ms,
                         **common, **columns))  # fmt: skip
        return span_id

    total = float(chance.randint(900, 4000) * (3 if number < 72 else 1))
    error = {"error_type": "500"} if failed else {}
    root = add(
        "", "POST", 0, total, span_kind=_SERVER, service="known-gateway", route=ROUTES[number % 2], **error
    )
    work = {"workflow": "known-flow"}
    inner = add(root, "work", 5, total - 20, span_kind=_SERVER, service="known-agent",
                kind="workflow", **work, **error)  # fmt: skip
    agent = f"known-{'planner' if number % 4 else 'writer'}"
    run = add(inner, f"invoke_agent {agent}", 6, total - 30, span_kind=_INTERNAL, service="known-agent",
              kind="agent", agent=agent, **work, **error)  # fmt: skip
    for call in range(1 + number % 3):
        provider, model = MODELS[(number + call) % 3]
        prompt = chance.randint(100, 2000)
        priced = provider != "vllm"
        add(run, f"chat {model}", 10 + call, float(chance.randint(200, 800)), span_kind=_CLIENT,
            service="known-agent", kind="llm", agent=agent, provider=provider, model=model, **work,
            prompt_name="known-prompt", prompt_version=f"v{1 + number % 2}",
            ttft_ms=float(chance.randint(50, 150)), tokens_prompt=prompt, tokens_cache_read=prompt // 4,
            tokens_completion=chance.randint(10, 300),
            cost_usd=chance.randint(1, 40) / 1000 if priced else 0.0,
            cost_source="reported" if priced else "unpriced")  # fmt: skip
    broken = {"error_type": "timeout"} if number % 5 == 1 else {}
    add(run, "execute_tool search", 400, float(chance.randint(20, 300)), span_kind=_INTERNAL,
        service="known-agent", kind="tool", agent=agent, tool_name="known-search",
        **work, **broken)  # fmt: skip
    return made


def payload(spans: list[Sent]) -> bytes:
    """The spans as a request."""
    message = ExportTraceServiceRequest()
    services: dict[str, Any] = {}
    for sent in spans:
        if sent.service not in services:
            resource_spans = message.resource_spans.add()
            resource = {"service.name": sent.service, "deployment.environment.name": "known"}
            resource_spans.resource.attributes.extend(attributes(resource))
            services[sent.service] = resource_spans.scope_spans.add()
        start = int(sent.ts.timestamp() * 1e6) * 1000
        span = services[sent.service].spans.add(
            trace_id=bytes.fromhex(sent.trace_id),
            span_id=bytes.fromhex(sent.span_id),
            parent_span_id=bytes.fromhex(sent.parent_span_id),
            name=sent.name,
            kind=sent.span_kind,
            start_time_unix_nano=start,
            end_time_unix_nano=start + int(sent.latency_ms * 1_000_000),
            attributes=attributes(sent.attributes),
        )
        if sent.error_type:
            span.status.code = 2
            event = span.events.add(name="exception", time_unix_nano=span.end_time_unix_nano)
            event.attributes.extend(attributes({"exception.message": f"{sent.name} broke"}))
    return message.SerializeToString()


def table(spans: list[Sent]) -> pl.DataFrame:
    """The spans as rows, with `entry`, `root` and `failed`."""
    rows = [
        asdict(span) | {"entry": span.entry, "root": span.root, "failed": bool(span.error_type)}
        for span in spans
    ]
    return pl.DataFrame(rows, infer_schema_length=None)
