"""OpenAI: /chat/completions, /responses and /embeddings.

`prompt_tokens` and `input_tokens` have the cached tokens in them, `completion_tokens` and `output_tokens` the
reasoning. A chat stream gives its usage only on request, in a last chunk without choices.
"""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.dialects.standin.state import Call, State, json_answer, pause, pieces, stream_answer
from tests.dialects.truth import ANSWER, CITY, TOOL, TOOL_CALL_ID

ARGUMENTS = json.dumps({"city": CITY})
_ERRORS = {
    400: (
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 128000 tokens.",
    ),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests. Please try again in 20s."),
    500: ("server_error", None, "The server had an error while processing your request."),
}


def routes(state: State) -> list[web.RouteDef]:
    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        last = body["messages"][-1]["role"]
        call = state.call(
            "openai",
            body["model"],
            stream=body.get("stream", False),
            tools=bool(body.get("tools")) and last not in ("tool", "function"),
        )
        await pause(call)
        if call.error:
            return _error(call)
        if call.stream:
            include = (body.get("stream_options") or {}).get("include_usage", False)
            return await stream_answer(request, call, _sse(_chat_chunks(call, include), done=True), _SSE)
        return json_answer(_completion(call))

    async def responses(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        items = body["input"] if isinstance(body["input"], list) else []
        answered = any(item.get("type") == "function_call_output" for item in items)
        call = state.call(
            "openai",
            body["model"],
            stream=body.get("stream", False),
            tools=bool(body.get("tools")) and not answered,
        )
        await pause(call)
        if call.error:
            return _error(call)
        if call.stream:
            events = _response_events(call, body)
            return await stream_answer(request, call, _named_sse(events), _SSE)
        return json_answer(_response(call, body))

    async def embeddings(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        call = state.call("openai", body["model"])
        await pause(call)
        if call.error:
            return _error(call)
        vector: list[float] | str = [0.25, -0.5, 0.125]
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<3f", *vector)).decode()
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [{"object": "embedding", "index": i, "embedding": vector} for i in range(len(inputs))]
        usage = {"prompt_tokens": call.usage.input, "total_tokens": call.usage.input}
        return json_answer({"object": "list", "data": data, "model": call.answers, "usage": usage})

    return [
        web.post("/openai/v1/chat/completions", chat),
        web.post("/openai/v1/responses", responses),
        web.post("/openai/v1/embeddings", embeddings),
    ]


_SSE = "text/event-stream"


def _sse(chunks: Iterator[dict[str, Any]], *, done: bool) -> Iterator[bytes]:
    for chunk in chunks:
        yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
    if done:
        yield b"data: [DONE]\n\n"


def _named_sse(events: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    for event in events:
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _error(call: Call) -> web.Response:
    status = call.error if isinstance(call.error, int) else 500
    kind, code, message = _ERRORS[status]
    error = {"message": message, "type": kind, "param": None, "code": code}
    return json_answer({"error": error}, status, {"x-request-id": "req_standin"})


def _chat_usage(call: Call) -> dict[str, Any]:
    used = call.usage
    return {
        "prompt_tokens": used.input,
        "completion_tokens": used.output,
        "total_tokens": used.total,
        "prompt_tokens_details": {
            "cached_tokens": used.cache_read,
            "cache_write_tokens": used.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": used.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _tool_call() -> dict[str, Any]:
    return {"id": TOOL_CALL_ID, "type": "function", "function": {"name": TOOL, "arguments": ARGUMENTS}}


def _base(call: Call, kind: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-standin01",
        "object": kind,
        "created": int(time.time()),
        "model": call.answers,
        "service_tier": "default",
        "system_fingerprint": "fp_standin",
    }


def _completion(call: Call) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": ANSWER, "refusal": None, "annotations": []}
    if call.tool:
        message |= {"content": None, "tool_calls": [_tool_call()]}
    finish = "tool_calls" if call.tool else "stop"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return _base(call, "chat.completion") | {"choices": [choice], "usage": _chat_usage(call)}


def _chat_chunks(call: Call, include_usage: bool) -> Iterator[dict[str, Any]]:
    base = _base(call, "chat.completion.chunk")
    if include_usage:
        base["usage"] = None

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return base | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}

    if call.tool:
        start = _tool_call() | {"index": 0, "function": {"name": TOOL, "arguments": ""}}
        yield chunk({"role": "assistant", "content": None, "tool_calls": [start]})
        for piece in pieces(ARGUMENTS):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    else:
        yield chunk({"role": "assistant", "content": "", "refusal": None})
        for piece in pieces(ANSWER):
            yield chunk({"content": piece})
    yield chunk({}, "tool_calls" if call.tool else "stop")
    if include_usage:
        yield base | {"choices": [], "usage": _chat_usage(call)}


def _response(call: Call, body: dict[str, Any], *, status: str = "completed") -> dict[str, Any]:
    used = call.usage
    usage = {
        "input_tokens": used.input,
        "input_tokens_details": {"cached_tokens": used.cache_read, "cache_write_tokens": used.cache_write},
        "output_tokens": used.output,
        "output_tokens_details": {"reasoning_tokens": used.reasoning},
        "total_tokens": used.total,
    }
    complete = status == "completed"
    return {
        "id": "resp_standin01",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": None,
        "model": call.answers,
        "output": [_output_item(call)] if complete else [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "medium" if used.reasoning else None, "summary": None},
        "service_tier": "default" if complete else "auto",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage if complete else None,
        "user": None,
        "metadata": {},
    }


def _output_item(call: Call, *, done: bool = True) -> dict[str, Any]:
    status = "completed" if done else "in_progress"
    if call.tool:
        return {
            "id": "fc_standin01",
            "type": "function_call",
            "status": status,
            "call_id": TOOL_CALL_ID,
            "name": TOOL,
            "arguments": ARGUMENTS if done else "",
        }
    content = [{"type": "output_text", "text": ANSWER, "annotations": [], "logprobs": []}] if done else []
    return {
        "id": "msg_standin01",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def _response_events(call: Call, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    number = -1

    def event(kind: str, **values: Any) -> dict[str, Any]:
        nonlocal number
        number += 1
        return {"type": kind, "sequence_number": number, **values}

    item = _output_item(call)
    at = {"output_index": 0, "item_id": item["id"]}
    yield event("response.created", response=_response(call, body, status="in_progress"))
    yield event("response.in_progress", response=_response(call, body, status="in_progress"))
    yield event("response.output_item.added", output_index=0, item=_output_item(call, done=False))
    if call.tool:
        for piece in pieces(ARGUMENTS):
            yield event("response.function_call_arguments.delta", **at, delta=piece)
        yield event("response.function_call_arguments.done", **at, name=TOOL, arguments=ARGUMENTS)
    else:
        at["content_index"] = 0
        empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield event("response.content_part.added", **at, part=empty)
        for piece in pieces(ANSWER):
            yield event("response.output_text.delta", **at, delta=piece, logprobs=[])
        yield event("response.output_text.done", **at, text=ANSWER, logprobs=[])
        yield event("response.content_part.done", **at, part=item["content"][0])
    yield event("response.output_item.done", output_index=0, item=item)
    yield event("response.completed", response=_response(call, body))
