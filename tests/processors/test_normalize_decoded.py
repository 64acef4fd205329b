"""From OTLP bytes through decoding, normalize and price to rows."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanhouse.otlp.decode import Decoder
from spanhouse.processors.normalize import Normalize
from spanhouse.processors.price import Price
from spanhouse.rows import finish
from tests.harness import attributes

from .frames import START_NS


def request(*spans: dict[str, Any]) -> bytes:
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add()
    resource_spans.resource.attributes.extend(
        attributes({"service.name": "planner", "deployment.environment": "prod"})
    )
    scope_spans = resource_spans.scope_spans.add()
    for i, values in enumerate(spans, 1):
        span = scope_spans.spans.add(
            trace_id=bytes([1] * 16),
            span_id=bytes([i] * 8),
            name="span",
            kind=3,  # type: ignore[arg-type]
            start_time_unix_nano=START_NS,
            end_time_unix_nano=START_NS + 1_500_000,
        )
        span.attributes.extend(attributes(values))
        if "error.type" not in values and "fails" in values:
            span.status.code = 2  # type: ignore[assignment]
            event = span.events.add(name="exception")
            event.attributes.extend(attributes({"exception.type": "Boom", "exception.message": "no"}))
    return message.SerializeToString()


def test_spans_as_libraries_send_them_become_priced_rows() -> None:
    chat = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}
    payload = request(
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "a",
            "gen_ai.usage.input_tokens": 1000,
        },
        chat
        | {
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 100,
            "gen_ai.response.time_to_first_chunk": 0.25,
        },
        # Counts as text and as doubles, a version as a number: read all the same.
        chat
        | {
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.input_tokens": "1000",
            "gen_ai.usage.output_tokens": 100.0,
            "prompt.version": 3,
        },
        {"db.system.name": "postgresql", "fails": True},
    )
    step = Normalize()
    rows = Price()(step(Decoder(step.wanted).decode([payload]).batch))

    assert rows["service"].to_list() == ["planner"] * 4
    assert rows["env"].to_list() == ["prod"] * 4
    assert rows["kind"].to_list() == ["agent", "llm", "llm", "db"]
    assert rows["model"].to_list() == ["", "gpt-4o-2024-08-06", "gpt-4o", ""]
    assert rows["tokens_prompt"].to_list() == [0, 1000, 1000, 0]
    assert rows["tokens_completion"].to_list() == [0, 100, 100, 0]
    assert rows["cost_usd"].to_list() == [0, Decimal("0.0035"), Decimal("0.0035"), 0]
    assert rows["cost_source"].to_list() == ["none", "computed", "computed", "none"]
    assert rows["ttft_ms"].to_list() == [None, 250.0, None, None]
    assert rows["prompt_version"].to_list() == ["", "", "3", ""]
    assert rows["error_type"].to_list() == ["", "", "", "Boom"]
    assert rows["error_message"].to_list() == ["", "", "", "no"]
    assert rows["latency_ms"].to_list() == [1.5] * 4
    assert rows["span_kind"].to_list() == ["client"] * 4

    table = finish(rows, step.targets).rows
    promoted = [json.loads(text) for text in table["promoted"].to_list()]
    assert promoted[1]["span:gen_ai.response.model"] == "model"
    left = [{pair["key"]: pair["value"] for pair in pairs} for pairs in table["attrs"].to_list()]
    # What did not count, lost to another name or has another unit or type stays an attribute.
    assert left[0] == {"gen_ai.usage.input_tokens": "1000"}
    assert left[1] == {"gen_ai.request.model": "gpt-4o", "gen_ai.response.time_to_first_chunk": "0.25"}
    assert left[2] == {
        "gen_ai.usage.input_tokens": "1000",
        "gen_ai.usage.output_tokens": "100.0",
        "prompt.version": "3",
    }


def test_spans_of_openinference_become_priced_rows() -> None:
    """Attributes as openinference-instrumentation-openai 0.1.66 set them."""
    usage = {
        "llm.token_count.total": 1300,
        "llm.token_count.prompt": 1000,
        "llm.token_count.completion": 300,
        "llm.token_count.prompt_details.cache_read": 600,
        "llm.token_count.completion_details.reasoning": 120,
    }
    embedding = {"embedding.model_name": "text-embedding-3-small", "llm.token_count.prompt": 50}
    payload = request(
        {"openinference.span.kind": "LLM", "llm.system": "openai", "llm.model_name": "gpt-4o-2024-08-06"}
        | usage,
        {"openinference.span.kind": "EMBEDDING", "llm.system": "openai"} | embedding,
        {"openinference.span.kind": "AGENT", "agent.name": "planner", "session.id": "s1"} | usage,
        {"openinference.span.kind": "TOOL", "tool.name": "weather"},
    )
    step = Normalize()
    rows = Price()(step(Decoder(step.wanted).decode([payload]).batch))

    assert rows["kind"].to_list() == ["llm", "embedding", "agent", "tool"]
    assert rows["provider"].to_list() == ["openai", "openai", "", ""]
    assert rows["model"].to_list() == ["gpt-4o-2024-08-06", "text-embedding-3-small", "", ""]
    assert rows["agent"].to_list() == ["", "", "planner", ""]
    assert rows["tool_name"].to_list() == ["", "", "", "weather"]
    assert rows["session_id"].to_list() == ["", "", "s1", ""]
    assert rows["tokens_prompt"].to_list() == [1000, 50, 0, 0]
    assert rows["tokens_completion"].to_list() == [300, 0, 0, 0]
    assert rows["tokens_cache_read"].to_list() == [600, 0, 0, 0]
    assert rows["tokens_reasoning"].to_list() == [120, 0, 0, 0]
    # 400 at $2.50, 600 cached at $1.25, 300 out at $10 a million; 50 at $0.02.
    assert rows["cost_usd"].to_list() == [Decimal("0.00475"), Decimal("0.000001"), 0, 0]
