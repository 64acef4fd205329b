"""Spans that providers' SDKs make by themselves: Anthropic's by default, Mistral's when told to."""

from __future__ import annotations

import os

os.environ["ANTHROPIC_OPEN_TELEMETRY"] = "true"
os.environ["MISTRAL_SDK_TELEMETRY"] = "global"

import calls_anthropic
import calls_mistral
from scenarios import SESSION, get_weather, run, tracing

provider = tracing()
tracer = provider.get_tracer("weather-app")


def tool(city: str) -> str:
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather"}
    with tracer.start_as_current_span("execute_tool get_weather", attributes=attributes):
        return get_weather(city)


def anthropic_agent() -> str:
    original = calls_anthropic.client()
    options = {**original.open_telemetry, "conversation_id": SESSION}
    client = original.with_options(open_telemetry=options)
    calls_anthropic.client = lambda: client
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather_agent"}
    with tracer.start_as_current_span("invoke_agent weather_agent", attributes=attributes):
        return calls_anthropic.agent(tool)


def mistral_agent() -> str:
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather_agent"}
    with tracer.start_as_current_span("invoke_agent weather_agent", attributes=attributes):
        return calls_mistral.agent(tool)


run(
    provider.force_flush,
    calls_anthropic.SCENARIOS,
    {"anthropic_agent": anthropic_agent},
    calls_mistral.SCENARIOS,
    {"mistral_agent": mistral_agent},
)
