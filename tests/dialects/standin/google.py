"""Gemini: generateContent, streamGenerateContent, embedContent and batchEmbedContents.

`promptTokenCount` has the cached content in it; `candidatesTokenCount` leaves out the thoughts, which
`totalTokenCount` has. Each chunk of a stream has the usage so far. Embeddings tell no usage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.dialects.standin.state import Call, State, json_answer, pause, pieces, stream_answer
from tests.dialects.truth import ANSWER, CITY, TOOL

_ERRORS = {
    400: ("INVALID_ARGUMENT", "The input token count exceeds the maximum number of tokens allowed."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota."),
    500: ("INTERNAL", "An internal error has occurred."),
}


def routes(state: State) -> list[web.RouteDef]:
    async def generate(request: web.Request) -> web.StreamResponse:
        model, _, method = request.match_info["call"].partition(":")
        body = await request.json()
        if "mbedContent" in method:
            call = state.call("gcp.gemini", model)
            await pause(call)
            values = {"values": [0.25, -0.5, 0.125]}
            if method == "embedContent":
                return json_answer({"embedding": values})
            return json_answer({"embeddings": [values for _ in body["requests"]]})
        last = body["contents"][-1]["parts"]
        # The API takes JSON's names of the fields and protobuf's.
        answered = any("functionResponse" in part or "function_response" in part for part in last)
        stream = method == "streamGenerateContent"
        call = state.call("gcp.gemini", model, stream=stream, tools=bool(body.get("tools")) and not answered)
        await pause(call)
        if call.error:
            code = call.error if isinstance(call.error, int) else 500
            status, message = _ERRORS[code]
            return json_answer({"error": {"code": code, "message": message, "status": status}}, code)
        if stream:
            chunks = (b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in _chunks(call))
            return await stream_answer(request, call, chunks, "text/event-stream")
        return json_answer(_answer(call, _parts(call)[-1:], whole=True))

    return [web.post("/google/{version}/models/{call:[^/]+}", generate)]


def _parts(call: Call) -> list[dict[str, Any]]:
    """What the stream's chunks bring; the last of them is the whole answer for a call without stream."""
    if call.tool:
        return [{"functionCall": {"name": TOOL, "args": {"city": CITY}}}]
    return [{"text": piece} for piece in pieces(ANSWER)] if call.stream else [{"text": ANSWER}]


def _answer(call: Call, parts: list[dict[str, Any]], *, whole: bool) -> dict[str, Any]:
    used = call.usage
    usage: dict[str, Any] = {
        "promptTokenCount": used.input,
        "cachedContentTokenCount": used.cache_read,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": used.input}],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": used.cache_read}],
        "totalTokenCount": used.input + used.reasoning,
    }
    if used.reasoning:
        usage["thoughtsTokenCount"] = used.reasoning
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if whole:
        usage["candidatesTokenCount"] = used.output - used.reasoning
        usage["totalTokenCount"] = used.total
        candidate["finishReason"] = "STOP"
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": call.answers,
        "responseId": "resp-standin01",
    }


def _chunks(call: Call) -> Iterator[dict[str, Any]]:
    parts = _parts(call)
    for number, part in enumerate(parts, 1):
        yield _answer(call, [part], whole=number == len(parts))
