"""OpenInference (Arize) for OpenAI's Agents SDK."""

from calls_openai_agents import SCENARIOS
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
from scenarios import run, tracing

provider = tracing()
OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)
run(provider.force_flush, SCENARIOS)
