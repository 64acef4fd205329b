"""OpenLIT, with all that it switches on by itself; agent and tool by its decorator.

It loads its price list from the Internet; prices.json stands in its place, in the same form.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import calls_anthropic
import calls_bedrock
import calls_cohere
import calls_google
import calls_mistral
import calls_ollama
import calls_openai
import openlit
from opentelemetry import _logs, trace
from scenarios import SESSION, USER, get_weather, run

openlit.init(
    service_name="weather-app",
    environment="test",
    pricing_json=str(Path(__file__).parent / "prices.json"),
)
tool = openlit.trace(get_weather)


def agent(answer: Callable[[Callable[[str], str]], str]) -> Callable[[], str]:
    """The scenario of an agent that answers by `answer`, which gets the tool."""

    def scenario() -> str:
        ids = {"gen_ai.conversation.id": SESSION, "user.id": USER}
        with (
            openlit.using_attributes(ids),
            openlit.agent_context("weather_agent"),
            openlit.start_trace("weather_agent") as span,
        ):
            text = answer(tool)
            openlit.log_score("helpfulness", 0.75, comment="to the point")
            span.set_result(text)
            span.set_metadata({"plan": "pro"})
            return text

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
    lambda: (trace.get_tracer_provider().force_flush(), _logs.get_logger_provider().force_flush()),
    *(calls.SCENARIOS | {f"{calls.PROVIDER}_agent": agent(calls.agent)} for calls in PROVIDERS),
)
