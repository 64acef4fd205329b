"""OpenLLMetry (Traceloop) for LangChain."""

from calls_langchain import SCENARIOS
from opentelemetry.instrumentation.langchain import LangchainInstrumentor
from scenarios import run, tracing

provider = tracing()
LangchainInstrumentor().instrument(tracer_provider=provider)
run(provider.force_flush, SCENARIOS)
