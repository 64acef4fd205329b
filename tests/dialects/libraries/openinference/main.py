"""OpenInference (Arize), for the providers' own SDKs; agent and tool by its decorators."""

from __future__ import annotations

import os
from collections.abc import Callable

import calls_anthropic
import calls_bedrock
import calls_cohere
import calls_google
import calls_mistral
import calls_ollama
import calls_openai
from openinference.instrumentation import OITracer, TraceConfig, using_attributes
from openinference.instrumentation.anthropic import AnthropicInstrumentor
from openinference.instrumentation.bedrock import BedrockInstrumentor
from openinference.instrumentation.cohere import CohereInstrumentor
from openinference.instrumentation.google_genai import GoogleGenAIInstrumentor
from openinference.instrumentation.mistralai import MistralAIInstrumentor
from openinference.instrumentation.ollama import OllamaInstrumentor
from openinference.instrumentation.openai import OpenAIInstrumentor
from scenarios import QUESTION, SESSION, USER, get_weather, run, tracing

provider = tracing()
for instrumentor in (
    AnthropicInstrumentor,
    BedrockInstrumentor,
    CohereInstrumentor,
    GoogleGenAIInstrumentor,
    MistralAIInstrumentor,
    OllamaInstrumentor,
    OpenAIInstrumentor,
):
    instrumentor().instrument(tracer_provider=provider)
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


def anthropic_agent_twice() -> None:
    os.environ["ANTHROPIC_OPEN_TELEMETRY"] = "true"
    calls_anthropic.client.cache_clear()
    agent(calls_anthropic.agent)()


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
    provider.force_flush,
    *(calls.SCENARIOS | {f"{calls.PROVIDER}_agent": agent(calls.agent)} for calls in PROVIDERS),
    {"anthropic_agent_twice": anthropic_agent_twice},
)
