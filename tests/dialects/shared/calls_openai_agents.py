"""The scenarios of OpenAI's Agents SDK, for every library that traces it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    RunConfig,
    Runner,
    function_tool,
    set_default_openai_client,
)
from openai import AsyncOpenAI
from scenarios import QUESTION, SESSION, STANDIN, SYSTEM, TIMEOUT_S, USER, get_weather


def client(timeout_s: float = 30) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{STANDIN}/openai/v1", api_key="not-a-key", max_retries=0, timeout=timeout_s)


def agent(model: Any, tools: list[Any] | None = None) -> Agent:
    return Agent(
        name="weather_agent",
        instructions=SYSTEM,
        model=model,
        tools=tools or [],
        model_settings=ModelSettings(include_usage=True),
    )


def ask(model: str, *, chat_api: bool = False, timeout_s: float = 30) -> None:
    set_default_openai_client(client(timeout_s), use_for_tracing=False)
    chosen = OpenAIChatCompletionsModel(model, openai_client=client(timeout_s)) if chat_api else model
    asyncio.run(Runner.run(agent(chosen), QUESTION))


def stream(model: str, *, chat_api: bool = False) -> None:
    async def run() -> None:
        set_default_openai_client(client(), use_for_tracing=False)
        chosen = OpenAIChatCompletionsModel(model, openai_client=client()) if chat_api else model
        async for _ in Runner.run_streamed(agent(chosen), QUESTION).stream_events():
            pass

    asyncio.run(run())


def with_tool() -> None:
    set_default_openai_client(client(), use_for_tracing=False)
    config = RunConfig(
        workflow_name="weather", group_id=SESSION, trace_metadata={"user_id": USER, "plan": "pro"}
    )
    asyncio.run(Runner.run(agent("gpt-4.1", [function_tool(get_weather)]), QUESTION, run_config=config))


SCENARIOS: dict[str, Callable[[], None]] = {
    "openai_chat": lambda: ask("gpt-4o-mini", chat_api=True),
    "openai_chat_stream": lambda: stream("gpt-4o-mini", chat_api=True),
    "openai_responses": lambda: ask("gpt-6-luna"),
    "openai_responses_stream": lambda: stream("gpt-6-luna"),
    "openai_error_400": lambda: ask("gpt-4o-mini"),
    "openai_error_429": lambda: ask("gpt-4o-mini"),
    "openai_error_500": lambda: ask("gpt-4o-mini"),
    "openai_timeout": lambda: ask("gpt-4o-mini", timeout_s=TIMEOUT_S),
    "openai_agent": with_tool,
}
