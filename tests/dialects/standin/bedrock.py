"""Amazon Bedrock: Converse, ConverseStream, InvokeModel and InvokeModelWithResponseStream.

`inputTokens` leaves out what was read from and written to the cache, `totalTokens` has all. InvokeModel has
the model's own body and the counts in headers; its stream has them in the last chunk's
`amazon-bedrock-invocationMetrics`.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.dialects.standin import anthropic
from tests.dialects.standin.state import Call, State, json_answer, pause, pieces, stream_answer
from tests.dialects.truth import ANSWER, CITY, TOOL, TOOL_CALL_ID

_EVENT_STREAM = "application/vnd.amazon.eventstream"
_REQUEST = {"x-amzn-RequestId": "00000000-0000-4000-8000-000000000001"}
_ERRORS = {
    400: ("ValidationException", "Input is too long for requested model."),
    429: ("ThrottlingException", "Too many requests, please wait before trying again."),
    500: ("InternalServerException", "The system encountered an unexpected error during processing."),
}


def routes(state: State) -> list[web.RouteDef]:
    async def converse(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        answered = any("toolResult" in part for part in body["messages"][-1]["content"])
        tools = bool((body.get("toolConfig") or {}).get("tools")) and not answered
        stream = request.path.endswith("-stream")
        call = state.call("aws.bedrock", request.match_info["model"], stream=stream, tools=tools)
        await pause(call)
        if call.error:
            return _error(call)
        if stream:
            return await stream_answer(request, call, _converse_events(call), _EVENT_STREAM)
        content = {"toolUse": _tool_use() | {"input": {"city": CITY}}} if call.tool else {"text": ANSWER}
        answer = {
            "output": {"message": {"role": "assistant", "content": [content]}},
            "stopReason": _stop(call),
            "usage": _usage(call),
            "metrics": {"latencyMs": 30},
        }
        return json_answer(answer, headers=_REQUEST)

    async def invoke(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        model = request.match_info["model"]
        if "messages" not in body:
            call = state.call("aws.bedrock", model)
            await pause(call)
            answer = {"embedding": [0.25, -0.5, 0.125], "inputTextTokenCount": call.usage.input}
            return json_answer(answer, headers=_REQUEST | _counts(call))
        stream = request.path.endswith("-stream")
        call = state.call("aws.bedrock", model, stream=stream, tools=anthropic.asks_for_tool(body))
        await pause(call)
        if call.error:
            return _error(call)
        own_name = model.partition("anthropic.")[2].removesuffix("-v1:0")
        if stream:
            events = _invoke_events(call, own_name)
            return await stream_answer(request, call, events, _EVENT_STREAM)
        return json_answer(anthropic.message(call, own_name), headers=_REQUEST | _counts(call))

    return [
        web.post("/model/{model}/converse", converse),
        web.post("/model/{model}/converse-stream", converse),
        web.post("/model/{model}/invoke", invoke),
        web.post("/model/{model}/invoke-with-response-stream", invoke),
    ]


def _error(call: Call) -> web.Response:
    status = call.error if isinstance(call.error, int) else 500
    kind, message = _ERRORS[status]
    return json_answer({"message": message}, status, _REQUEST | {"x-amzn-ErrorType": kind})


def _usage(call: Call) -> dict[str, int]:
    used = call.usage
    return {
        "inputTokens": used.uncached,
        "outputTokens": used.output,
        "totalTokens": used.total,
        "cacheReadInputTokens": used.cache_read,
        "cacheWriteInputTokens": used.cache_write,
    }


def _counts(call: Call) -> dict[str, str]:
    used = call.usage
    counts = {"Input": used.uncached, "Output": used.output}
    if used.cache_read or used.cache_write:
        counts |= {"Cache-Read-Input": used.cache_read, "Cache-Write-Input": used.cache_write}
    return {f"X-Amzn-Bedrock-{name}-Token-Count": str(count) for name, count in counts.items()}


def _stop(call: Call) -> str:
    return "tool_use" if call.tool else "end_turn"


def _tool_use() -> dict[str, Any]:
    return {"toolUseId": TOOL_CALL_ID, "name": TOOL}


def _converse_events(call: Call) -> Iterator[bytes]:
    yield _frame("messageStart", {"role": "assistant"})
    if call.tool:
        yield _frame("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": _tool_use()}})
        deltas = [{"toolUse": {"input": piece}} for piece in pieces(json.dumps({"city": CITY}))]
    else:
        deltas = [{"text": piece} for piece in pieces(ANSWER)]  # type: ignore[dict-item]
    for delta in deltas:
        yield _frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": delta})
    yield _frame("contentBlockStop", {"contentBlockIndex": 0})
    yield _frame("messageStop", {"stopReason": _stop(call)})
    yield _frame("metadata", {"usage": _usage(call), "metrics": {"latencyMs": 150}})


def _invoke_events(call: Call, model: str) -> Iterator[bytes]:
    for event in anthropic.stream_events(call, model):
        if event["type"] == "message_stop":
            used = call.usage
            event["amazon-bedrock-invocationMetrics"] = {
                "inputTokenCount": used.uncached,
                "outputTokenCount": used.output,
                "invocationLatency": 150,
                "firstByteLatency": 80,
                "cacheReadInputTokenCount": used.cache_read,
                "cacheWriteInputTokenCount": used.cache_write,
            }
        yield _frame("chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode()})


def _frame(event: str, payload: dict[str, Any]) -> bytes:
    """A message of AWS' event stream: lengths, headers, payload and two checksums."""
    values = {":event-type": event, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in values.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    start = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return start + struct.pack(">I", zlib.crc32(start))
