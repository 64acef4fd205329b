"""The scenarios of Amazon Bedrock by boto3, for every library that instruments it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import boto3
from botocore.config import Config
from scenarios import DESCRIPTION, PARAMETERS, QUESTION, STANDIN, SYSTEM, TIMEOUT_S, get_weather

PROVIDER = "bedrock"
MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CACHED: list[Any] = [{"text": SYSTEM}, {"cachePoint": {"type": "default"}}]
SPEC = {"name": "get_weather", "description": DESCRIPTION, "inputSchema": {"json": PARAMETERS}}
TOOLS: dict[str, Any] = {"tools": [{"toolSpec": SPEC}]}


@lru_cache
def client(timeout_s: float = 30) -> Any:
    config = Config(retries={"total_max_attempts": 1}, read_timeout=timeout_s)
    return boto3.client("bedrock-runtime", endpoint_url=STANDIN, config=config)


def request(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": [{"text": QUESTION}]}]
    limits = {"maxTokens": 1000}
    return {"modelId": MODEL, "system": CACHED, "messages": messages, "inferenceConfig": limits, **more}


def chat(timeout_s: float = 30) -> None:
    client(timeout_s).converse(**request())


def chat_stream() -> None:
    for _ in client().converse_stream(**request())["stream"]:
        pass


def chat_tool() -> None:
    client().converse(**request(toolConfig=TOOLS))


def _claude() -> str:
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 1000,
        "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": QUESTION}],
    }
    return json.dumps(body)


def invoke() -> None:
    client().invoke_model(modelId=MODEL, body=_claude())["body"].read()


def invoke_stream() -> None:
    for _ in client().invoke_model_with_response_stream(modelId=MODEL, body=_claude())["body"]:
        pass


def embeddings() -> None:
    body = json.dumps({"inputText": QUESTION})
    client().invoke_model(modelId="amazon.titan-embed-text-v2:0", body=body)["body"].read()


SCENARIOS: dict[str, Callable[[], None]] = {
    "bedrock_chat": chat,
    "bedrock_chat_stream": chat_stream,
    "bedrock_chat_tool": chat_tool,
    "bedrock_invoke": invoke,
    "bedrock_invoke_stream": invoke_stream,
    "bedrock_embeddings": embeddings,
    "bedrock_error_400": chat,
    "bedrock_error_429": chat,
    "bedrock_error_500": chat,
    "bedrock_timeout": lambda: chat(TIMEOUT_S),
}


def agent(tool: Callable[[str], str] = get_weather) -> str:
    """Ask the model, run the tool that it asks for, and ask again."""
    asked = request(toolConfig=TOOLS)
    here = client()
    while True:
        answer = here.converse(**asked)
        message = answer["output"]["message"]
        if answer["stopReason"] != "tool_use":
            return str(message["content"][0]["text"])
        uses = [part["toolUse"] for part in message["content"] if "toolUse" in part]
        results = [
            {"toolResult": {"toolUseId": use["toolUseId"], "content": [{"text": tool(**use["input"])}]}}
            for use in uses
        ]
        asked["messages"] += [message, {"role": "user", "content": results}]
