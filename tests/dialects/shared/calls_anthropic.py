"""The scenarios of Anthropic's SDK, for every library that instruments it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from anthropic import Anthropic
from scenarios import DESCRIPTION, PARAMETERS, QUESTION, STANDIN, SYSTEM, TIMEOUT_S, get_weather

PROVIDER = "anthropic"
MODEL = "claude-sonnet-4-5"
CACHED: list[Any] = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
TOOLS: list[Any] = [{"name": "get_weather", "description": DESCRIPTION, "input_schema": PARAMETERS}]


@lru_cache
def client() -> Anthropic:
    return Anthropic(base_url=f"{STANDIN}/anthropic", api_key="not-a-key", max_retries=0, timeout=30)


def request(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": QUESTION}]
    return {"model": MODEL, "max_tokens": 1000, "system": CACHED, "messages": messages, **more}


def chat() -> None:
    client().messages.create(**request())


def chat_stream() -> None:
    for _ in client().messages.create(**request(), stream=True):
        pass


def chat_tool() -> None:
    client().messages.create(**request(tools=TOOLS))


def timeout() -> None:
    client().with_options(timeout=TIMEOUT_S).messages.create(**request())


SCENARIOS: dict[str, Callable[[], None]] = {
    "anthropic_chat": chat,
    "anthropic_chat_stream": chat_stream,
    "anthropic_chat_tool": chat_tool,
    "anthropic_error_400": chat,
    "anthropic_error_429": chat,
    "anthropic_error_500": chat,
    "anthropic_timeout": timeout,
}


def agent(tool: Callable[[str], str] = get_weather) -> str:
    """Ask the model, run the tool that it asks for, and ask again."""
    asked = request(tools=TOOLS)
    while True:
        answer = client().messages.create(**asked)
        if answer.stop_reason != "tool_use":
            return str(answer.content[0].text)
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": tool(**block.input)}
            for block in answer.content
            if block.type == "tool_use"
        ]
        asked["messages"] += [
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": results},
        ]
