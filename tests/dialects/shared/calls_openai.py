"""The scenarios of OpenAI's SDK, for every library that instruments it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from openai import OpenAI
from scenarios import QUESTION, STANDIN, SYSTEM, TIMEOUT_S, TOOL_FUNCTION, get_weather

PROVIDER = "openai"
MESSAGES: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
TOOLS: list[Any] = [{"type": "function", "function": TOOL_FUNCTION}]


@lru_cache
def client() -> OpenAI:
    return OpenAI(base_url=f"{STANDIN}/openai/v1", api_key="not-a-key", max_retries=0, timeout=30)


def chat(model: str = "gpt-4o-mini") -> None:
    client().chat.completions.create(model=model, messages=MESSAGES)


def chat_stream() -> None:
    stream = client().chat.completions.create(
        model="gpt-4o-mini", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    for _ in stream:
        pass


def chat_tool() -> None:
    client().chat.completions.create(model="gpt-4.1", messages=MESSAGES, tools=TOOLS)


def responses() -> None:
    client().responses.create(model="gpt-6-luna", instructions=SYSTEM, input=QUESTION)


def responses_stream() -> None:
    for _ in client().responses.create(model="gpt-6-luna", instructions=SYSTEM, input=QUESTION, stream=True):
        pass


def embeddings() -> None:
    client().embeddings.create(model="text-embedding-3-small", input=QUESTION)


def timeout() -> None:
    client().with_options(timeout=TIMEOUT_S).chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)


SCENARIOS: dict[str, Callable[[], None]] = {
    "openai_chat": chat,
    "openai_chat_stream": chat_stream,
    "openai_chat_tool": chat_tool,
    "openai_reasoning": lambda: chat("o4-mini"),
    "openai_responses": responses,
    "openai_responses_stream": responses_stream,
    "openai_embeddings": embeddings,
    "openai_error_400": chat,
    "openai_error_429": chat,
    "openai_error_500": chat,
    "openai_timeout": timeout,
}


def agent(tool: Callable[[str], str] = get_weather) -> str:
    """Ask the model, run the tool that it asks for, and ask again."""
    messages = list(MESSAGES)
    while True:
        answer = client().chat.completions.create(model="gpt-4.1", messages=messages, tools=TOOLS)
        message = answer.choices[0].message
        if not message.tool_calls:
            return message.content or ""
        messages.append(message)
        for call in message.tool_calls:
            result = tool(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
