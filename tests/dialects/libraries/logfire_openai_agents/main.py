"""Logfire (Pydantic) for OpenAI's Agents SDK."""

import logfire
from calls_openai_agents import SCENARIOS
from scenarios import run

logfire.configure(send_to_logfire=False, console=False, metrics=False)
logfire.instrument_openai_agents()
run(logfire.force_flush, SCENARIOS)
