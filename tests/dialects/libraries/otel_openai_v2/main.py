"""OpenTelemetry's older instrumentations: openai-v2, and botocore's of Bedrock; agent and tool by hand."""

from __future__ import annotations

from collections.abc import Callable

import calls_bedrock
import calls_openai
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from scenarios import SESSION, get_weather, logs, run, tracing

provider = tracing()
logger_provider = logs()
OpenAIInstrumentor().instrument(tracer_provider=provider, logger_provider=logger_provider)
BotocoreInstrumentor().instrument(tracer_provider=provider, logger_provider=logger_provider)
tracer = provider.get_tracer("weather-app")


def tool(city: str) -> str:
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather"}
    with tracer.start_as_current_span("execute_tool get_weather", attributes=attributes):
        return get_weather(city)


def agent(answer: Callable[[Callable[[str], str]], str]) -> Callable[[], str]:
    """The scenario of an agent that answers by `answer`, which gets the tool."""

    def scenario() -> str:
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "weather_agent",
            "gen_ai.conversation.id": SESSION,
        }
        with tracer.start_as_current_span("invoke_agent weather_agent", attributes=attributes):
            return answer(tool)

    return scenario


PROVIDERS = (calls_openai, calls_bedrock)
run(
    lambda: (provider.force_flush(), logger_provider.force_flush()),
    *(calls.SCENARIOS | {f"{calls.PROVIDER}_agent": agent(calls.agent)} for calls in PROVIDERS),
)
