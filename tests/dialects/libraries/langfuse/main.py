"""Langfuse: its wrapped OpenAI SDK; Anthropic's by its decorator, told the usage as its docs have it.

Scores go to Langfuse's own API, not into spans.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import calls_anthropic
import calls_openai
import langfuse.openai  # noqa: F401 (wraps the SDK)
from langfuse import Langfuse, observe, propagate_attributes
from langfuse.api import Prompt_Text
from langfuse.model import TextPromptClient
from scenarios import QUESTION, SESSION, STANDIN, USER, get_weather, run

os.environ["LANGFUSE_TRACING_ENVIRONMENT"] = "test"
client = Langfuse(public_key="pk-lf-none", secret_key="sk-lf-none", base_url=STANDIN, release="1.2.3")
prompt = TextPromptClient(
    Prompt_Text(
        name="weather-question",
        version=3,
        prompt="What is the weather in {{city}}?",
        config={},
        labels=["production"],
        tags=[],
    )
)
tool = observe(as_type="tool")(get_weather)


def agent(answer: Callable[[Callable[[str], str]], str]) -> Callable[[], str]:
    """The scenario of an agent that answers by `answer`, which gets the tool."""

    @observe(name="weather_agent", as_type="agent")
    def ask(question: str) -> str:
        return answer(tool)

    def scenario() -> str:
        with propagate_attributes(
            session_id=SESSION,
            user_id=USER,
            metadata={"plan": "pro"},
            tags=["test"],
            version="1.2.3",
            prompt=prompt,
        ):
            return ask(QUESTION)

    return scenario


create = calls_anthropic.client().messages.create


@observe(name="anthropic-message", as_type="generation")
def traced(**asked: Any) -> Any:
    client.update_current_generation(
        model=asked["model"], input=asked["messages"], model_parameters={"max_tokens": asked["max_tokens"]}
    )
    answer = create(**asked)
    client.update_current_generation(
        model=answer.model,
        usage_details={
            "input": answer.usage.input_tokens,
            "output": answer.usage.output_tokens,
            "cache_creation_input_tokens": answer.usage.cache_creation_input_tokens,
            "cache_read_input_tokens": answer.usage.cache_read_input_tokens,
        },
    )
    return answer


calls_anthropic.client().messages.create = traced
ANTHROPIC = {name: call for name, call in calls_anthropic.SCENARIOS.items() if "stream" not in name}
run(
    client.flush,
    calls_openai.SCENARIOS,
    {"openai_agent": agent(calls_openai.agent)},
    ANTHROPIC,
    {"anthropic_agent": agent(calls_anthropic.agent)},
)
