"""Logfire (Pydantic), for the SDKs of OpenAI, Anthropic and Google; agent and tool by its decorator.

It sends by OTLP because OTEL_EXPORTER_OTLP_ENDPOINT is set.
"""

from __future__ import annotations

from collections.abc import Callable

import calls_anthropic
import calls_google
import calls_openai
import logfire
from scenarios import SESSION, USER, get_weather, run

logfire.configure(send_to_logfire=False, console=False, metrics=False)
logfire.instrument_openai()
logfire.instrument_anthropic()
logfire.instrument_google_genai()
tool = logfire.instrument("get_weather", record_return=True)(get_weather)


def agent(answer: Callable[[Callable[[str], str]], str]) -> Callable[[], str]:
    """The scenario of an agent that answers by `answer`, which gets the tool."""

    def scenario() -> str:
        with (
            logfire.set_baggage(**{"gen_ai.conversation.id": SESSION, "user.id": USER}),
            logfire.span("weather_agent"),
        ):
            return answer(tool)

    return scenario


PROVIDERS = (calls_openai, calls_anthropic, calls_google)
run(
    logfire.force_flush,
    *(calls.SCENARIOS | {f"{calls.PROVIDER}_agent": agent(calls.agent)} for calls in PROVIDERS),
)
