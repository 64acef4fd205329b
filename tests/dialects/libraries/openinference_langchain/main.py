"""OpenInference (Arize) for LangChain."""

from calls_langchain import SCENARIOS
from openinference.instrumentation.langchain import LangChainInstrumentor
from scenarios import run, tracing

provider = tracing()
LangChainInstrumentor().instrument(tracer_provider=provider)
run(provider.force_flush, SCENARIOS)
