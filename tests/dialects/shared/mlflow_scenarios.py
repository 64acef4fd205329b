"""MLflow's tracing: its automatic tracing of the providers' SDKs; agent and tool by its decorator."""

from __future__ import annotations

from collections.abc import Callable

import calls_anthropic
import calls_bedrock
import calls_google
import calls_mistral
import calls_openai
import mlflow
from opentelemetry import trace
from scenarios import QUESTION, SESSION, USER, get_weather, run

tool = mlflow.trace(name="get_weather", span_type="TOOL")(get_weather)


def agent(answer: Callable[[Callable[[str], str]], str]) -> Callable[[], str]:
    """The scenario of an agent that answers by `answer`, which gets the tool."""

    @mlflow.trace(name="weather_agent", span_type="AGENT")
    def ask(question: str) -> str:
        mlflow.update_current_trace(
            session_id=SESSION, user=USER, tags={"plan": "pro"}, metadata={"region": "eu"}
        )
        return answer(tool)

    return lambda: ask(QUESTION)


def flush() -> None:
    mlflow.flush_trace_async_logging()
    for provider in (mlflow.tracing.provider.provider.get(), trace.get_tracer_provider()):
        if hasattr(provider, "force_flush"):
            provider.force_flush()


def main() -> None:
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.openai.autolog()
    mlflow.anthropic.autolog()
    mlflow.gemini.autolog()
    mlflow.bedrock.autolog()
    mlflow.mistral.autolog()
    providers = (calls_openai, calls_anthropic, calls_google, calls_bedrock, calls_mistral)
    run(
        flush,
        *(calls.SCENARIOS | {f"{calls.PROVIDER}_agent": agent(calls.agent)} for calls in providers),
    )
