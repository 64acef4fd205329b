"""LiteLLM's own OpenTelemetry callback; agent and tool by hand, with LiteLLM's spans as children."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import calls_litellm
import litellm
from calls_litellm import PROVIDERS, SCENARIOS
from scenarios import SESSION, USER, get_weather, run, tracing

# Without it LiteLLM writes a call's facts over those of the span around it, and the next call's over these.
os.environ["USE_OTEL_LITELLM_REQUEST_SPAN"] = "true"
provider = tracing()
litellm.callbacks = ["otel"]
tracer = provider.get_tracer("weather-app")


def tool(city: str) -> str:
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather"}
    with tracer.start_as_current_span("execute_tool get_weather", attributes=attributes):
        return get_weather(city)


def agent(name: str) -> Callable[[], str]:
    def scenario() -> str:
        attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather_agent"}
        with tracer.start_as_current_span("invoke_agent weather_agent", attributes=attributes):
            metadata = {"session_id": SESSION, "tags": ["test"], "plan": "pro"}
            return calls_litellm.agent(name, tool, user=USER, metadata=metadata)

    return scenario


def flush() -> None:
    time.sleep(0.5)  # spans are made in LiteLLM's own threads, which nothing waits for
    provider.force_flush()


run(flush, SCENARIOS, {f"{name}_agent": agent(name) for name in PROVIDERS})
