"""AWS' Strands Agents with their own telemetry. Strands ask every model for a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botocore.config import Config
from opentelemetry import trace
from scenarios import QUESTION, SESSION, STANDIN, SYSTEM, TIMEOUT_S, USER, get_weather, run
from strands import Agent, tool
from strands.models.anthropic import AnthropicModel
from strands.models.bedrock import BedrockModel
from strands.models.gemini import GeminiModel
from strands.models.mistral import MistralModel
from strands.models.ollama import OllamaModel
from strands.models.openai import OpenAIModel
from strands.telemetry import StrandsTelemetry

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
StrandsTelemetry().setup_otlp_exporter()


def bedrock(timeout_s: float = 30) -> BedrockModel:
    config = Config(retries={"total_max_attempts": 1}, read_timeout=timeout_s)
    return BedrockModel(
        model_id=CLAUDE,
        endpoint_url=STANDIN,
        region_name="us-east-1",
        boto_client_config=config,
        cache_prompt="default",
    )


def openai(timeout_s: float = 30, model: str = "gpt-4o-mini") -> OpenAIModel:
    options = {
        "api_key": "not-a-key",
        "base_url": f"{STANDIN}/openai/v1",
        "max_retries": 0,
        "timeout": timeout_s,
    }
    return OpenAIModel(client_args=options, model_id=model)


def anthropic(timeout_s: float = 30) -> AnthropicModel:
    options = {
        "api_key": "not-a-key",
        "base_url": f"{STANDIN}/anthropic",
        "max_retries": 0,
        "timeout": timeout_s,
    }
    return AnthropicModel(client_args=options, model_id="claude-sonnet-4-5", max_tokens=1000)


def gemini(timeout_s: float = 30) -> GeminiModel:
    options = {"base_url": f"{STANDIN}/google", "timeout": int(timeout_s * 1000)}
    return GeminiModel(
        client_args={"api_key": "not-a-key", "http_options": options}, model_id="gemini-2.5-flash"
    )


def mistral(timeout_s: float = 30) -> MistralModel:
    options = {"server_url": f"{STANDIN}/mistral", "timeout_ms": int(timeout_s * 1000)}
    return MistralModel(api_key="not-a-key", client_args=options, model_id="mistral-large-latest")


def ollama(timeout_s: float = 30) -> OllamaModel:
    return OllamaModel(STANDIN, ollama_client_args={"timeout": timeout_s}, model_id="llama3.2")


def ask(model: Any, tools: list[Any] | None = None) -> None:
    agent = Agent(
        model=model,
        name="weather_agent",
        system_prompt=SYSTEM,
        tools=tools or [],
        callback_handler=None,
        retry_strategy=None,
        trace_attributes={"session.id": SESSION, "user.id": USER, "plan": "pro"} if tools else None,
    )
    agent(QUESTION)


def of(
    name: str, model: Callable[..., Any], tool_model: Callable[..., Any] | None = None
) -> Mapping[str, Any]:
    return {
        f"{name}_chat_stream": lambda: ask(model()),
        f"{name}_error_400": lambda: ask(model()),
        f"{name}_error_429": lambda: ask(model()),
        f"{name}_error_500": lambda: ask(model()),
        f"{name}_timeout": lambda: ask(model(TIMEOUT_S)),
        f"{name}_agent": lambda: ask((tool_model or model)(), [tool(get_weather)]),
    }


run(
    trace.get_tracer_provider().force_flush,
    of("bedrock", bedrock),
    of("openai", openai, lambda: openai(model="gpt-4.1")),
    of("anthropic", anthropic),
    of("google", gemini),
    of("mistral", mistral),
    of("ollama", ollama),
)
