"""The scenarios of Ollama's SDK, for every library that instruments it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ollama import Client
from scenarios import QUESTION, STANDIN, SYSTEM, TIMEOUT_S, TOOL_FUNCTION, get_weather

PROVIDER = "ollama"
MODEL = "llama3.2"
MESSAGES: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
TOOLS: list[Any] = [{"type": "function", "function": TOOL_FUNCTION}]


@lru_cache
def client(timeout_s: float = 30) -> Client:
    return Client(host=STANDIN, timeout=timeout_s)


def chat(timeout_s: float = 30) -> None:
    client(timeout_s).chat(model=MODEL, messages=MESSAGES)


def chat_stream() -> None:
    for _ in client().chat(model=MODEL, messages=MESSAGES, stream=True):
        pass


def chat_tool() -> None:
    client().chat(model=MODEL, messages=MESSAGES, tools=TOOLS)


def embeddings() -> None:
    client().embed(model="nomic-embed-text", input=QUESTION)


SCENARIOS: dict[str, Callable[[], None]] = {
    "ollama_chat": chat,
    "ollama_chat_stream": chat_stream,
    "ollama_chat_tool": chat_tool,
    "ollama_embeddings": embeddings,
    "ollama_error_400": chat,
    "ollama_error_429": chat,
    "ollama_error_500": chat,
    "ollama_timeout": lambda: chat(TIMEOUT_S),
}


def agent(tool: Callable[[str], str] = get_weather) -> str:
    """Ask the model, run the tool that it asks for, and ask again."""
    messages = list(MESSAGES)
    while True:
        message = client().chat(model=MODEL, messages=messages, tools=TOOLS).message
        if not message.tool_calls:
            return str(message.content)
        messages.append(message)
        for call in message.tool_calls:
            result = tool(**call.function.arguments)
            messages.append({"role": "tool", "tool_name": call.function.name, "content": result})
