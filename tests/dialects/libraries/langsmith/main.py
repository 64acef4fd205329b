"""LangSmith's SDK with its OpenTelemetry export, tracing LangChain."""

from __future__ import annotations

import os

os.environ["LANGSMITH_TRACING"] = "true"
os.environ["LANGSMITH_TRACING_MODE"] = "otel"
os.environ["LANGSMITH_API_KEY"] = "not-a-key"
os.environ["LANGSMITH_PROJECT"] = "weather"

from calls_langchain import SCENARIOS
from langchain_core.tracers.langchain import get_client, wait_for_all_tracers
from scenarios import STANDIN, run, tracing

os.environ["LANGSMITH_ENDPOINT"] = STANDIN
provider = tracing()


def flush() -> None:
    wait_for_all_tracers()
    get_client().flush()
    provider.force_flush()


run(flush, SCENARIOS)
