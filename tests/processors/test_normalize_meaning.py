"""What a count, a model's name and a provider's name mean, by the library that sent them."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from spanhouse.processors.models import one_form
from spanhouse.processors.normalize import Normalize

from .frames import make_batch

USAGE = {
    "input": "input_tokens",
    "output": "output_tokens",
    "read": "cache_read.input_tokens",
    "write": "cache_creation.input_tokens",
    "reasoning": "reasoning_tokens",
    "total": "total_tokens",
}
FIRST_TOKEN = "First Token Stream Event"


def tokens(scope: str = "", provider: str = "openai", **usage: int) -> tuple[int, int, int]:
    """Prompt, completion and reasoning of a chat by a library."""
    raws: dict[str, Any] = {f"span:gen_ai.usage.{USAGE[name]}": count for name, count in usage.items()}
    chat = {"scope": scope, "span:gen_ai.operation.name": "chat", "span:gen_ai.provider.name": provider}
    rows = Normalize()(make_batch([chat | raws]))
    return rows.select("tokens_prompt", "tokens_completion", "tokens_reasoning").row(0)


def test_cached_input_is_added_where_the_library_leaves_it_out() -> None:
    usage = {"input": 1000, "read": 100, "write": 20}
    assert tokens("openlit.instrumentation.anthropic", "anthropic", **usage) == (1120, 0, 0)
    assert tokens("opentelemetry.instrumentation.botocore.bedrock-runtime", **usage) == (1120, 0, 0)
    assert tokens("opentelemetry.instrumentation.anthropic", "anthropic", **usage) == (1000, 0, 0)


def test_reasoning_is_added_where_the_library_leaves_it_out() -> None:
    assert tokens("openlit.instrumentation.google_ai_studio", output=85, reasoning=64) == (0, 149, 64)
    assert tokens("openlit.instrumentation.openai", output=85, reasoning=64) == (0, 85, 64)


def test_reasoning_that_is_counted_twice_counts_once() -> None:
    adk = "gcp.vertex.agent"
    assert tokens(adk, "anthropic", output=465, reasoning=128) == (0, 337, 128)
    assert tokens(adk, "gemini", output=337, reasoning=128) == (0, 337, 128)
    assert tokens(adk, "anthropic", output=100, reasoning=128) == (0, 228, 128)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input": 1000, "output": 300, "read": 100, "total": 1400}, (1100, 300, 0)),
        ({"input": 1000, "output": 300, "read": 100, "total": 1300}, (1000, 300, 0)),
        ({"input": 1000, "output": 300, "reasoning": 50, "total": 1350}, (1000, 350, 50)),
        ({"input": 1000, "output": 300, "read": 100, "reasoning": 50, "total": 1450}, (1100, 350, 50)),
        ({"input": 1000, "output": 300, "read": 100, "total": 1377}, (1000, 300, 0)),
        ({"input": 1000, "output": 300, "total": 5}, (1000, 300, 0)),
    ],
)
def test_a_sum_shows_what_was_counted_beside(usage: dict[str, int], expected: tuple[int, int, int]) -> None:
    assert tokens(**usage) == expected


def test_a_sum_tells_the_thoughts_that_a_library_leaves_out() -> None:
    scope = "opentelemetry.instrumentation.google_generativeai"
    assert tokens(scope, input=1203, output=209, read=512, total=1540) == (1203, 337, 128)


def test_usage_in_json() -> None:
    def usage(text: str) -> dict[str, Any]:
        return {"span:langsmith.metadata.usage_metadata": text, "span:langsmith.span.kind": "llm"}

    writes = '{"cache_creation":0,"ephemeral_5m_input_tokens":200,"ephemeral_1h_input_tokens":56}'
    rows = Normalize()(
        make_batch(
            [
                usage(f'{{"input_tokens":1203,"input_token_details":{writes}}}'),
                usage('{"input_tokens":"12","input_token_details":{}}'),
                usage('{"input_tokens":-1}'),
                usage("no JSON"),
            ]
        )
    )
    assert rows["tokens_prompt"].to_list() == [1203, 12, 0, 0]
    assert rows["tokens_cache_write"].to_list() == [256, 0, 0, 0]


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("", "openai/gpt-4o", ("openai", "gpt-4o")),
        ("openai", "openai/gpt-4o", ("openai", "gpt-4o")),
        ("groq", "openai/gpt-oss-120b", ("groq", "openai/gpt-oss-120b")),
        ("openrouter", "openai/gpt-4o", ("openrouter", "openai/gpt-4o")),
        ("", "models/gemini-2.5-flash", ("", "gemini-2.5-flash")),
        ("gcp.vertex_ai", "models/gemini-2.5-flash", ("gcp.vertex_ai", "gemini-2.5-flash")),
        ("", "meta-llama/Llama-3.3-70B", ("", "meta-llama/Llama-3.3-70B")),
        ("", "bedrock/converse/us.anthropic.claude-v1:0", ("aws.bedrock", "us.anthropic.claude-v1:0")),
        ("", "openai/", ("", "openai/")),
        ("", "gpt-4o", ("", "gpt-4o")),
    ],
)
def test_a_model_has_one_name(provider: str, model: str, expected: tuple[str, str]) -> None:
    batch = pl.DataFrame({"provider": [provider, "x"], "model": [model, "y/z"]})
    assert one_form(batch).rows() == [expected, ("x", "y/z")]


def test_a_framework_is_no_provider() -> None:
    rows = Normalize()(
        make_batch(
            [
                {"span:gen_ai.system": "strands-agents", "span:gen_ai.request.model": "gpt-4o"},
                {"span:gen_ai.system": "strands-agents", "span:gen_ai.request.model": "llama3.2"},
                {"span:gen_ai.system": "my-own", "span:gen_ai.request.model": "gpt-4o"},
            ]
        )
    )
    assert rows["provider"].to_list() == ["openai", "", "my-own"]


def test_the_time_to_the_first_token_in_any_form() -> None:
    start = 1_800_000_000_123_456_789
    rows = Normalize()(
        make_batch(
            [
                {"start_ns": start, "events": [{"name": FIRST_TOKEN, "ts": start + 70_000_000}]},
                {"start_ns": start, "events": [{"name": FIRST_TOKEN, "ts": start - 1}]},
                {
                    "start_ns": start,
                    "span:langfuse.observation.completion_start_time": '"2027-01-15T08:00:00.623456Z"',
                },
                {"span:gen_ai.server.time_to_first_token": 0.25, "scope": "openlit.instrumentation.openai"},
                {"span:gen_ai.server.time_to_first_token": 250.0, "scope": "strands.telemetry.tracer"},
                {"span:langfuse.observation.completion_start_time": "soon"},
            ]
        )
    )
    assert rows["ttft_ms"].round(1).to_list() == [70.0, None, 500.0, 250.0, 250.0, None]


@pytest.mark.parametrize(
    ("server", "model", "told", "provider"),
    [
        ("api.openai.com", "ft:gpt-4o:acme", "", "openai"),
        ("acme.openai.azure.com", "gpt-4o", "", "azure.ai.openai"),
        ("acme.services.ai.azure.com", "DeepSeek-V3", "", "azure.ai.inference"),
        ("europe-west4-aiplatform.googleapis.com", "gemini-2.5-flash", "", "gcp.vertex_ai"),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "claude-sonnet-4-5", "", "aws.bedrock"),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "claude-sonnet-4-5", "anthropic", "anthropic"),
        ("localhost", "gpt-oss", "", "openai"),  # by its model's name
        ("not-api.openai.com.evil", "own-model", "", ""),
        ("api.openai.com", "", "", ""),  # a call, but not of a model
    ],
)
def test_the_server_tells_the_provider(server: str, model: str, told: str, provider: str) -> None:
    span = {
        "span:server.address": server,
        "span:gen_ai.request.model": model,
        "span:gen_ai.provider.name": told,
    }
    other = {"span:server.address": "example.com"}
    rows = Normalize()(make_batch([span, other]))
    assert rows["provider"].to_list() == [provider, ""]
