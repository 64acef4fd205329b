"""Anthropic: /v1/messages.

`input_tokens` leaves out what was read from and written to the cache; `output_tokens` has the thinking in it.
A stream's first event has the input and the last but one has all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.dialects.standin.state import Call, State, json_answer, pause, pieces, stream_answer
from tests.dialects.truth import ANSWER, CITY, TOOL, Usage

TOOL_USE_ID = "toolu_weather01"
_ERRORS = {
    400: ("invalid_request_error", "prompt is too long: 215000 tokens > 200000 maximum"),
    429: ("rate_limit_error", "This request would exceed your rate limit."),
    500: ("api_error", "Internal server error"),
}


def routes(state: State) -> list[web.RouteDef]:
    async def messages(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        call = state.call(
            "anthropic", body["model"], stream=body.get("stream", False), tools=asks_for_tool(body)
        )
        await pause(call)
        if call.error:
            status = call.error if isinstance(call.error, int) else 500
            kind, text = _ERRORS[status]
            error = {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_standin01"}
            return json_answer(error, status, {"request-id": "req_standin01"})
        if call.stream:
            events = (
                f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
                for event in stream_events(call, call.answers)
            )
            return await stream_answer(request, call, events, "text/event-stream")
        return json_answer(message(call, call.answers), headers={"request-id": "req_standin01"})

    return [web.post("/anthropic/v1/messages", messages)]


def asks_for_tool(body: dict[str, Any]) -> bool:
    """Whether the model may ask for a tool: there are tools and the last message is no tool's result."""
    last = body["messages"][-1]["content"]
    answered = isinstance(last, list) and any(part.get("type") == "tool_result" for part in last)
    return bool(body.get("tools")) and not answered


def _usage(used: Usage, output: int | None = None) -> dict[str, Any]:
    usage = {
        "input_tokens": used.uncached,
        "cache_creation_input_tokens": used.cache_write,
        "cache_read_input_tokens": used.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": used.cache_write,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": used.output if output is None else output,
        "service_tier": "standard",
    }
    if used.reasoning and output is None:
        usage["output_tokens_details"] = {"thinking_tokens": used.reasoning}
    return usage


def message(call: Call, model: str | None) -> dict[str, Any]:
    """A whole answer."""
    content: list[dict[str, Any]] = [{"type": "text", "text": ANSWER}]
    if call.tool:
        content = [{"type": "tool_use", "id": TOOL_USE_ID, "name": TOOL, "input": {"city": CITY}}]
    return {
        "id": "msg_standin01",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": "tool_use" if call.tool else "end_turn",
        "stop_sequence": None,
        "usage": _usage(call.usage),
    }


def stream_events(call: Call, model: str | None) -> Iterator[dict[str, Any]]:
    """A streamed answer's events."""
    start = message(call, model) | {"content": [], "stop_reason": None, "usage": _usage(call.usage, 1)}
    yield {"type": "message_start", "message": start}
    if call.tool:
        block: dict[str, Any] = {"type": "tool_use", "id": TOOL_USE_ID, "name": TOOL, "input": {}}
        deltas = [
            {"type": "input_json_delta", "partial_json": piece}
            for piece in pieces(json.dumps({"city": CITY}))
        ]
    else:
        block = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(ANSWER)]
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    yield {"type": "ping"}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    usage = _usage(call.usage)
    del usage["cache_creation"], usage["service_tier"]
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use" if call.tool else "end_turn", "stop_sequence": None},
        "usage": usage,
    }
    yield {"type": "message_stop"}
