"""The scenarios of Cohere's SDK (its second API), for every library that instruments it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cohere
from scenarios import QUESTION, STANDIN, SYSTEM, TIMEOUT_S, TOOL_FUNCTION, get_weather

PROVIDER = "cohere"
ONCE: Any = {"max_retries": 0}
MODEL = "command-r-plus-08-2024"
MESSAGES: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
TOOLS: list[Any] = [{"type": "function", "function": TOOL_FUNCTION}]


@lru_cache
def client(timeout_s: float = 30) -> cohere.ClientV2:
    return cohere.ClientV2(api_key="not-a-key", base_url=f"{STANDIN}/cohere", timeout=timeout_s)


def chat(timeout_s: float = 30) -> None:
    client(timeout_s).chat(model=MODEL, messages=MESSAGES, request_options=ONCE)


def chat_stream() -> None:
    for _ in client().chat_stream(model=MODEL, messages=MESSAGES, request_options=ONCE):
        pass


def chat_tool() -> None:
    client().chat(model=MODEL, messages=MESSAGES, tools=TOOLS, request_options=ONCE)


def embeddings() -> None:
    client().embed(model="embed-v4.0", texts=[QUESTION], input_type="search_query", embedding_types=["float"])


def rerank() -> None:
    documents = ["Paris is sunny today.", "Bread is baked from flour."]
    client().rerank(model="rerank-v3.5", query=QUESTION, documents=documents, top_n=2)


SCENARIOS: dict[str, Callable[[], None]] = {
    "cohere_chat": chat,
    "cohere_chat_stream": chat_stream,
    "cohere_chat_tool": chat_tool,
    "cohere_embeddings": embeddings,
    "cohere_rerank": rerank,
    "cohere_error_400": chat,
    "cohere_error_429": chat,
    "cohere_error_500": chat,
    "cohere_timeout": lambda: chat(TIMEOUT_S),
}


def agent(tool: Callable[[str], str] = get_weather) -> str:
    """Ask the model, run the tool that it asks for, and ask again."""
    messages = list(MESSAGES)
    here = client()
    while True:
        message = here.chat(model=MODEL, messages=messages, tools=TOOLS).message
        if not message.tool_calls:
            return str(message.content[0].text)
        messages.append(message)
        for call in message.tool_calls:
            result = tool(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
