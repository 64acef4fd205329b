"""The scenarios of Mistral's SDK, for every library that instruments it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from scenarios import QUESTION, STANDIN, SYSTEM, TIMEOUT_S, TOOL_FUNCTION, get_weather

try:
    from mistralai.client import Mistral
except ImportError:  # before version 2, which some libraries want
    from mistralai import Mistral

PROVIDER = "mistral"
MODEL = "mistral-large-latest"
MESSAGES: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
TOOLS: list[Any] = [{"type": "function", "function": TOOL_FUNCTION}]


@lru_cache
def client(timeout_s: float = 30) -> Mistral:
    return Mistral(api_key="not-a-key", server_url=f"{STANDIN}/mistral", timeout_ms=int(timeout_s * 1000))


def chat(timeout_s: float = 30) -> None:
    client(timeout_s).chat.complete(model=MODEL, messages=MESSAGES)


def chat_stream() -> None:
    for _ in client().chat.stream(model=MODEL, messages=MESSAGES):
        pass


def chat_tool() -> None:
    client().chat.complete(model=MODEL, messages=MESSAGES, tools=TOOLS)


def embeddings() -> None:
    client().embeddings.create(model="mistral-embed", inputs=[QUESTION])


SCENARIOS: dict[str, Callable[[], None]] = {
    "mistral_chat": chat,
    "mistral_chat_stream": chat_stream,
    "mistral_chat_tool": chat_tool,
    "mistral_embeddings": embeddings,
    "mistral_error_400": chat,
    "mistral_error_429": chat,
    "mistral_error_500": chat,
    "mistral_timeout": lambda: chat(TIMEOUT_S),
}


def agent(tool: Callable[[str], str] = get_weather) -> str:
    """Ask the model, run the tool that it asks for, and ask again."""
    messages = list(MESSAGES)
    while True:
        message = client().chat.complete(model=MODEL, messages=messages, tools=TOOLS).choices[0].message
        if not message.tool_calls:
            return str(message.content)
        messages.append(message)
        for call in message.tool_calls:
            result = tool(**json.loads(call.function.arguments))
            messages.append(
                {"role": "tool", "tool_call_id": call.id, "name": "get_weather", "content": result}
            )
