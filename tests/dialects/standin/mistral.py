"""Mistral: /v1/chat/completions and /v1/embeddings.

Nothing is cached; a stream's last chunk has the usage unasked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.dialects.standin.state import Call, State, json_answer, pause, pieces, stream_answer
from tests.dialects.truth import ANSWER, CITY, TOOL

TOOL_ID = "wEaThEr01"  # nine letters and digits
_ERRORS = {
    400: ("invalid_request_invalid_args", "3051", "Prompt contains too many tokens"),
    429: ("rate_limited", "1300", "Rate limit exceeded"),
    500: ("internal_server_error", "1000", "Internal server error"),
}


def routes(state: State) -> list[web.RouteDef]:
    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        tools = bool(body.get("tools")) and body["messages"][-1]["role"] != "tool"
        call = state.call("mistral_ai", body["model"], stream=bool(body.get("stream")), tools=tools)
        await pause(call)
        if call.error:
            return _error(call)
        if call.stream:
            chunks = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in _chunks(call)]
            return await stream_answer(request, call, [*chunks, b"data: [DONE]\n\n"], "text/event-stream")
        message = {"role": "assistant", "content": "" if call.tool else ANSWER}
        message["tool_calls"] = [_tool_call()] if call.tool else None  # type: ignore[assignment]
        choice = {"index": 0, "message": message, "finish_reason": _finish(call)}
        return json_answer(_base(call, "chat.completion") | {"choices": [choice], "usage": _usage(call)})

    async def embeddings(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        call = state.call("mistral_ai", body["model"])
        await pause(call)
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [
            {"object": "embedding", "index": i, "embedding": [0.25, -0.5, 0.125]} for i in range(len(inputs))
        ]
        base = {"id": "emb-standin01", "object": "list", "model": call.answers}
        return json_answer(base | {"data": data, "usage": _usage(call)})

    return [web.post("/mistral/v1/chat/completions", chat), web.post("/mistral/v1/embeddings", embeddings)]


def _error(call: Call) -> web.Response:
    status = call.error if isinstance(call.error, int) else 500
    kind, code, message = _ERRORS[status]
    error = {"object": "error", "message": message, "type": kind, "param": None, "code": code}
    return json_answer(error, status)


def _usage(call: Call) -> dict[str, int]:
    used = call.usage
    return {
        "prompt_tokens": used.input,
        "total_tokens": used.total,
        "completion_tokens": used.output,
    }


def _finish(call: Call) -> str:
    return "tool_calls" if call.tool else "stop"


def _tool_call() -> dict[str, Any]:
    return {
        "id": TOOL_ID,
        "type": "function",
        "function": {"name": TOOL, "arguments": json.dumps({"city": CITY})},
        "index": 0,
    }


def _base(call: Call, kind: str) -> dict[str, Any]:
    return {"id": "cmpl-standin01", "object": kind, "created": int(time.time()), "model": call.answers}


def _chunks(call: Call) -> Iterator[dict[str, Any]]:
    base = _base(call, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return base | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    if call.tool:
        last: dict[str, Any] = {"content": "", "tool_calls": [_tool_call()]}
    else:
        *first, end = pieces(ANSWER)
        for piece in first:
            yield chunk({"content": piece})
        last = {"content": end}
    yield chunk(last, _finish(call)) | {"usage": _usage(call)}
