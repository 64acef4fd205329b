"""OpenTelemetry's own instrumentation of LangChain."""

from calls_langchain import SCENARIOS
from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor
from scenarios import run, tracing

provider = tracing()
LangChainInstrumentor().instrument(tracer_provider=provider)
run(provider.force_flush, SCENARIOS)
