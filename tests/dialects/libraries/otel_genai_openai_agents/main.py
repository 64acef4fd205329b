"""OpenTelemetry's own instrumentation of OpenAI's Agents SDK, with that of OpenAI's SDK beneath it."""

from calls_openai_agents import SCENARIOS
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.instrumentation.genai.openai_agents import OpenAIAgentsInstrumentor
from scenarios import run, tracing

provider = tracing()
OpenAIInstrumentor().instrument(tracer_provider=provider)
OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)
run(provider.force_flush, SCENARIOS)
