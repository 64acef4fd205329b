"""Cohere: /v2/chat, /v2/embed and /v2/rerank.

An answer tells twice: `billed_units` is what the invoice has, `tokens` what the model saw. Reranking is
billed by the search, and no answer names a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.dialects.standin.state import Call, State, json_answer, pause, pieces, stream_answer
from tests.dialects.truth import ANSWER, CITY, COHERE_SEEN, TOOL

TOOL_ID = "get_weather_standin01"
PLAN = "I will look up the weather in Paris."
_ERRORS = {
    400: "invalid request: total number of tokens is too large",
    429: "You are using a Trial key, which is limited to 40 API calls / minute.",
    500: "internal server error, this has been reported to our developers.",
}


def routes(state: State) -> list[web.RouteDef]:
    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        tools = bool(body.get("tools")) and body["messages"][-1]["role"] != "tool"
        call = state.call("cohere", body["model"], stream=bool(body.get("stream")), tools=tools)
        await pause(call)
        if call.error:
            return _error(call)
        if call.stream:
            if "application/json" in request.headers.get("Accept", ""):  # as LiteLLM asks
                lines = (json.dumps(event).encode() + b"\n" for event in _events(call))
                return await stream_answer(request, call, lines, "application/stream+json")
            events = (
                f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in _events(call)
            )
            return await stream_answer(request, call, events, "text/event-stream")
        message: dict[str, Any] = {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]}
        if call.tool:
            message = {"role": "assistant", "tool_plan": PLAN, "tool_calls": [_tool_call()]}
        answer = {"id": "chat-standin01", "finish_reason": _finish(call), "message": message}
        return json_answer(answer | {"usage": _usage(call)})

    async def embed(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        call = state.call("cohere", body["model"])
        await pause(call)
        texts = body["texts"]
        answer = {
            "id": "embed-standin01",
            "texts": texts,
            "embeddings": {"float": [[0.25, -0.5, 0.125] for _ in texts]},
            "response_type": "embeddings_by_type",
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": call.usage.input}},
        }
        return json_answer(answer)

    async def rerank(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        call = state.call("cohere", body["model"])
        await pause(call)
        results = [{"index": i, "relevance_score": 0.9 - i / 10} for i in range(len(body["documents"]))]
        meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
        return json_answer({"id": "rerank-standin01", "results": results, "meta": meta})

    return [
        web.post("/cohere/v2/chat", chat),
        web.post("/cohere/v2/embed", embed),
        web.post("/cohere/v2/rerank", rerank),
    ]


def _error(call: Call) -> web.Response:
    status = call.error if isinstance(call.error, int) else 500
    return json_answer({"id": "error-standin01", "message": _ERRORS[status]}, status)


def _usage(call: Call) -> dict[str, Any]:
    used = call.usage
    return {
        "billed_units": {"input_tokens": used.input, "output_tokens": used.output},
        "tokens": {"input_tokens": COHERE_SEEN[used.input], "output_tokens": COHERE_SEEN[used.output]},
        "cached_tokens": 0,
    }


def _finish(call: Call) -> str:
    return "TOOL_CALL" if call.tool else "COMPLETE"


def _tool_call() -> dict[str, Any]:
    return {
        "id": TOOL_ID,
        "type": "function",
        "function": {"name": TOOL, "arguments": json.dumps({"city": CITY})},
    }


def _events(call: Call) -> Iterator[dict[str, Any]]:
    message: dict[str, Any] = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}
    yield {"id": "chat-standin01", "type": "message-start", "delta": {"message": message}}
    if call.tool:
        yield {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": PLAN}}}
        yield {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": _tool_call()}}}
        yield {"type": "tool-call-end", "index": 0}
    else:
        start = {"message": {"content": {"type": "text", "text": ""}}}
        yield {"type": "content-start", "index": 0, "delta": start}
        for piece in pieces(ANSWER):
            delta = {"message": {"content": {"text": piece}}}
            yield {"type": "content-delta", "index": 0, "delta": delta}
        yield {"type": "content-end", "index": 0}
    yield {"type": "message-end", "delta": {"finish_reason": _finish(call), "usage": _usage(call)}}
