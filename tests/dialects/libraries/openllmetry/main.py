"""OpenLLMetry (Traceloop), for the providers' own SDKs; workflow, agent and tool by its decorators."""

from __future__ import annotations

from collections.abc import Callable

import calls_anthropic
import calls_bedrock
import calls_cohere
import calls_google
import calls_mistral
import calls_ollama
import calls_openai
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from scenarios import QUESTION, SESSION, USER, get_weather, run
from traceloop.sdk import Traceloop
from traceloop.sdk.decorators import agent as agent_decorator
from traceloop.sdk.decorators import tool as tool_decorator
from traceloop.sdk.decorators import workflow
from traceloop.sdk.instruments import Instruments
from traceloop.sdk.tracing.tracing import TracerWrapper

Traceloop.init(
    app_name="weather-app",
    exporter=OTLPSpanExporter(),
    telemetry_enabled=False,
    instruments={
        Instruments.ANTHROPIC,
        Instruments.BEDROCK,
        Instruments.COHERE,
        Instruments.GOOGLE_GENERATIVEAI,
        Instruments.MISTRAL,
        Instruments.OLLAMA,
        Instruments.OPENAI,
    },
)
tool = tool_decorator(name="get_weather")(get_weather)


def agent(answer: Callable[[Callable[[str], str]], str]) -> Callable[[], str]:
    """The scenario of an agent that answers by `answer`, which gets the tool."""

    @agent_decorator(name="weather_agent")
    def ask(question: str) -> str:
        return answer(tool)

    @workflow(name="weather")
    def scenario() -> str:
        Traceloop.set_association_properties({"session_id": SESSION, "user_id": USER, "plan": "pro"})
        Traceloop.set_prompt("What is the weather in {city}?", {"city": "Paris"}, 3)
        return ask(QUESTION)

    return scenario


PROVIDERS = (
    calls_openai,
    calls_anthropic,
    calls_google,
    calls_bedrock,
    calls_mistral,
    calls_cohere,
    calls_ollama,
)
run(
    TracerWrapper().flush,
    *(calls.SCENARIOS | {f"{calls.PROVIDER}_agent": agent(calls.agent)} for calls in PROVIDERS),
)
