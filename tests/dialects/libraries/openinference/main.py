"""OpenInference (Arize), for the providers' own SDKs; agent and tool by its decorators."""

from __future__ import annotations

from collections.abc import Callable

import calls_openai
from openinference.instrumentation import OITracer, TraceConfig, using_attributes
from openinference.instrumentation.openai import OpenAIInstrumentor
from scenarios import QUESTION, SESSION, USER, get_weather, run, tracing

provider = tracing()
OpenAIInstrumentor().instrument(tracer_provider=provider)
tracer = OITracer(provider.get_tracer("weather-app"), config=TraceConfig())
tool = tracer.tool(get_weather)


def agent(answer: Callable[[Callable[[str], str]], str]) -> Callable[[], str]:
    """The scenario of an agent that answers by `answer`, which gets the tool."""

    @tracer.agent(name="weather_agent")
    def ask(question: str) -> str:
        return answer(tool)

    def scenario() -> str:
        with using_attributes(
            session_id=SESSION,
            user_id=USER,
            metadata={"plan": "pro"},
            tags=["test"],
            prompt_template="What is the weather in {city}?",
            prompt_template_version="3",
            prompt_template_variables={"city": "Paris"},
        ):
            return ask(QUESTION)

    return scenario


run(provider.force_flush, calls_openai.SCENARIOS, {"openai_agent": agent(calls_openai.agent)})
