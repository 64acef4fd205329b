"""What every library's program here needs: the stand-in's addresses, and a run of its scenarios one by one.

Runs in the library's own environment, where there is no spanhouse.
"""

from __future__ import annotations

import http.client
import logging
import os
import sys
from collections.abc import Callable, Mapping

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

STANDIN = os.environ["STANDIN"]
SESSION = os.environ["DIALECTS_SESSION"]
USER = os.environ["DIALECTS_USER"]
QUESTION = "What is the weather in Paris?"
SYSTEM = "You are a friendly weather assistant."
DESCRIPTION = "Get the weather in a city."
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
# As OpenAI, Mistral, Cohere and Ollama have it.
TOOL_FUNCTION = {"name": "get_weather", "description": DESCRIPTION, "parameters": PARAMETERS}
TIMEOUT_S = 1.0  # the stand-in answers a time-out later than that

Scenarios = Mapping[str, Callable[[], object]]


def tracing() -> TracerProvider:
    """The SDK's ordinary set-up: batches over OTLP/HTTP, all else from the environment."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def logs() -> LoggerProvider:
    """The same for logs, where a library makes events of a call's content."""
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    return provider


def run(flush: Callable[[], object], *scenarios: Scenarios) -> None:
    """Run the scenarios, one recording each; fails at the end where one went wrong.

    Args:
        flush: sends all spans that are over.
    """
    failed = []
    for name, scenario in {name: call for group in scenarios for name, call in group.items()}.items():
        _begin(name)
        try:
            scenario()
        except Exception:
            logging.exception(name)
            if "_error" not in name and not name.endswith("_timeout"):
                failed.append(name)
        finally:
            flush()
    _begin("")
    if failed:
        sys.exit(f"went wrong: {', '.join(failed)}")


def _begin(name: str) -> None:
    # Not with urllib, which some libraries trace.
    connection = http.client.HTTPConnection(STANDIN.removeprefix("http://"))
    connection.request("POST", f"/scenario/{name}")
    connection.getresponse().read()
    connection.close()


def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return "18 degrees and sunny"
