"""The scenarios of LiteLLM's SDK, for its own telemetry and for libraries that instrument it."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its price list comes from the Internet otherwise

import litellm
from scenarios import QUESTION, STANDIN, SYSTEM, TIMEOUT_S, TOOL_FUNCTION, get_weather

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
MESSAGES: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
CACHED: list[Any] = [
    {
        "role": "system",
        "content": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
    },
    MESSAGES[1],
]
TOOLS: list[Any] = [{"type": "function", "function": TOOL_FUNCTION}]
GOOGLE = f"{STANDIN}/google/v1beta"
# What `completion` gets to reach each provider's stand-in.
PROVIDERS: dict[str, dict[str, Any]] = {
    "openai": {"model": "openai/gpt-4o-mini", "api_base": f"{STANDIN}/openai/v1"},
    "anthropic": {
        "model": "anthropic/claude-sonnet-4-5",
        "api_base": f"{STANDIN}/anthropic",
        "messages": CACHED,
    },
    "google": {"model": "gemini/gemini-2.5-flash", "api_base": GOOGLE},
    "bedrock": {"model": f"bedrock/converse/{CLAUDE}", "aws_bedrock_runtime_endpoint": STANDIN},
    "mistral": {"model": "mistral/mistral-large-latest", "api_base": f"{STANDIN}/mistral/v1"},
    "cohere": {"model": "cohere_chat/command-r-plus-08-2024", "api_base": f"{STANDIN}/cohere/v2/chat"},
    "ollama": {"model": "ollama_chat/llama3.2", "api_base": STANDIN},
}


def request(provider: str, **more: Any) -> dict[str, Any]:
    defaults = {"messages": MESSAGES, "max_retries": 0, "num_retries": 0, "timeout": 30}
    asked = defaults | PROVIDERS[provider] | more
    if provider == "openai" and "tools" in asked:
        asked["model"] = "openai/gpt-4.1"
    return asked


def chat(provider: str, **more: Any) -> None:
    litellm.completion(**request(provider, **more))


def chat_stream(provider: str) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    for _ in litellm.completion(**request(provider, **options)):
        pass


def agent(provider: str, tool: Callable[[str], str] = get_weather, **more: Any) -> str:
    """Ask the model, run the tool that it asks for, and ask again."""
    asked = request(provider, tools=TOOLS, **more)
    messages = list(asked.pop("messages"))
    while True:
        # LiteLLM keeps notes of a call in what it is given.
        message = litellm.completion(messages=messages, **copy.deepcopy(asked)).choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            result = tool(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def of(provider: str) -> Mapping[str, Callable[[], None]]:
    return {
        f"{provider}_chat": lambda: chat(provider),
        f"{provider}_chat_stream": lambda: chat_stream(provider),
        f"{provider}_chat_tool": lambda: chat(provider, tools=TOOLS),
        f"{provider}_error_400": lambda: chat(provider),
        f"{provider}_error_429": lambda: chat(provider),
        f"{provider}_error_500": lambda: chat(provider),
        f"{provider}_timeout": lambda: chat(provider, timeout=TIMEOUT_S),
    }


def embedding(model: str, **more: Any) -> None:
    litellm.embedding(model=model, input=[QUESTION], max_retries=0, **more)


SCENARIOS: dict[str, Callable[[], Any]] = {
    "openai_reasoning": lambda: chat("openai", model="openai/o4-mini"),
    "openai_responses": lambda: litellm.responses(
        model="openai/gpt-6-luna", input=QUESTION, api_base=f"{STANDIN}/openai/v1"
    ),
    "openai_embeddings": lambda: embedding("openai/text-embedding-3-small", api_base=f"{STANDIN}/openai/v1"),
    "bedrock_embeddings": lambda: embedding(
        "bedrock/amazon.titan-embed-text-v2:0", aws_bedrock_runtime_endpoint=STANDIN
    ),
    "mistral_embeddings": lambda: embedding("mistral/mistral-embed", api_base=f"{STANDIN}/mistral/v1"),
    "cohere_embeddings": lambda: embedding(
        "cohere/embed-v4.0", api_base=f"{STANDIN}/cohere/v2/embed", input_type="search_query"
    ),
}
for _provider in PROVIDERS:
    SCENARIOS.update(of(_provider))
