"""OpenInference (Arize) for LiteLLM's SDK; agent and tool by its decorators."""

from __future__ import annotations

from collections.abc import Callable

import calls_litellm
from calls_litellm import PROVIDERS, SCENARIOS
from openinference.instrumentation import OITracer, TraceConfig, using_attributes
from openinference.instrumentation.litellm import LiteLLMInstrumentor
from scenarios import QUESTION, SESSION, USER, get_weather, run, tracing

provider = tracing()
LiteLLMInstrumentor().instrument(tracer_provider=provider)
tracer = OITracer(provider.get_tracer("weather-app"), config=TraceConfig())
tool = tracer.tool(get_weather)


def agent(name: str) -> Callable[[], str]:
    @tracer.agent(name="weather_agent")
    def ask(question: str) -> str:
        return calls_litellm.agent(name, tool)

    def scenario() -> str:
        with using_attributes(session_id=SESSION, user_id=USER, metadata={"plan": "pro"}):
            return ask(QUESTION)

    return scenario


run(provider.force_flush, SCENARIOS, {f"{name}_agent": agent(name) for name in PROVIDERS})
