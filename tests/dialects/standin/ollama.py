"""Ollama: /api/chat, /api/embed and /api/show.

A stream is lines of JSON whose last one has the counts. Nobody is billed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.dialects.standin.state import Call, State, json_answer, pause, pieces, stream_answer
from tests.dialects.truth import ANSWER, CITY, TOOL

_ERRORS = {
    400: "invalid option provided",
    429: "server busy, please try again.  maximum pending requests exceeded",
    500: "model runner has unexpectedly stopped",
}


def routes(state: State) -> list[web.RouteDef]:
    async def chat(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        tools = bool(body.get("tools")) and body["messages"][-1]["role"] != "tool"
        call = state.call("ollama", body["model"], stream=body.get("stream", True), tools=tools)
        await pause(call)
        if call.error:
            status = call.error if isinstance(call.error, int) else 500
            return json_answer({"error": _ERRORS[status]}, status)
        if call.stream:
            lines = (json.dumps(part).encode() + b"\n" for part in _parts(call))
            return await stream_answer(request, call, lines, "application/x-ndjson")
        return json_answer(_part(call, _message(call), last=True))

    async def embed(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        call = state.call("ollama", body["model"])
        await pause(call)
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        answer = {
            "model": call.answers,
            "embeddings": [[0.25, -0.5, 0.125] for _ in inputs],
            "total_duration": 30_000_000,
            "load_duration": 1_000_000,
            "prompt_eval_count": call.usage.input,
        }
        return json_answer(answer)

    async def show(request: web.Request) -> web.StreamResponse:
        info = {"general.architecture": "llama", "llama.context_length": 131072}
        return json_answer({"capabilities": ["completion", "tools"], "details": {}, "model_info": info})

    return [
        web.post("/api/chat", chat),
        web.post("/api/embed", embed),
        web.post("/api/show", show),
    ]


def _message(call: Call, text: str = ANSWER) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "" if call.tool else text}
    if call.tool:
        message["tool_calls"] = [{"function": {"name": TOOL, "arguments": {"city": CITY}}}]
    return message


def _part(call: Call, message: dict[str, Any], *, last: bool) -> dict[str, Any]:
    created = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    part: dict[str, Any] = {"model": call.answers, "created_at": created, "message": message, "done": last}
    if last:
        part |= {
            "done_reason": "stop",
            "total_duration": 150_000_000,
            "load_duration": 1_000_000,
            "prompt_eval_count": call.usage.input,
            "prompt_eval_duration": 80_000_000,
            "eval_count": call.usage.output,
            "eval_duration": 60_000_000,
        }
    return part


def _parts(call: Call) -> Iterator[dict[str, Any]]:
    texts = [""] if call.tool else pieces(ANSWER)
    for text in texts:
        yield _part(call, _message(call, text), last=False)
    yield _part(call, {"role": "assistant", "content": ""}, last=True)
