"""OpenTelemetry's own GenAI instrumentations; workflow, agent and tool by its TelemetryHandler."""

from __future__ import annotations

from collections.abc import Callable

import calls_anthropic
import calls_bedrock
import calls_google
import calls_openai
from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
from opentelemetry.instrumentation.genai.bedrock import BedrockInstrumentor
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.instrumentation.google_genai import GoogleGenAiSdkInstrumentor
from opentelemetry.util.genai.handler import TelemetryHandler
from scenarios import SESSION, get_weather, logs, run, tracing

provider = tracing()
logger_provider = logs()
for instrumentor in (
    AnthropicInstrumentor,
    BedrockInstrumentor,
    GoogleGenAiSdkInstrumentor,
    OpenAIInstrumentor,
):
    instrumentor().instrument(tracer_provider=provider, logger_provider=logger_provider)
handler = TelemetryHandler(tracer_provider=provider)


def tool(city: str) -> str:
    with handler.tool("get_weather", tool_type="function", agent_name="weather_agent"):
        return get_weather(city)


def agent(answer: Callable[[Callable[[str], str]], str]) -> Callable[[], str]:
    """The scenario of an agent that answers by `answer`, which gets the tool."""

    def scenario() -> str:
        with (
            handler.workflow("weather", conversation_id=SESSION),
            handler.invoke_local_agent(agent_name="weather_agent"),
        ):
            return answer(tool)

    return scenario


PROVIDERS = (calls_openai, calls_anthropic, calls_google, calls_bedrock)
run(
    lambda: (provider.force_flush(), logger_provider.force_flush()),
    *(calls.SCENARIOS | {f"{calls.PROVIDER}_agent": agent(calls.agent)} for calls in PROVIDERS),
)
