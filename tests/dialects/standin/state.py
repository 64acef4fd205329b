"""What the stand-in's handlers share: the running scenario, and how an answer goes out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.dialects.truth import MODELS, SCENARIOS, Scenario, Usage, cost, usage

# So that a time to the first chunk in seconds, milliseconds or nanoseconds is told apart, and from the whole.
FIRST_CHUNK_S = 0.08
NEXT_CHUNK_S = 0.02
ANSWER_S = 0.03
MOST_CALLS = 6  # in one scenario
HANGING_S = 4.0  # clients give up before


@dataclass
class Call:
    """One request to a provider: what it was, and what it gets."""

    model: str
    stream: bool
    usage: Usage
    tool: bool
    error: int | str | None
    first_chunk_ms: float | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def answers(self) -> str | None:
        return MODELS[self.model].answers

    def record(self) -> dict[str, Any]:
        """The call as an index file has it."""
        model = MODELS[self.model]
        facts: dict[str, Any] = {
            "provider": model.provider,
            "model": self.model,
            "answered_model": model.answers,
            "kind": model.kind,
        }
        if self.error:
            return facts | {"error": self.error}
        dollars = cost(self.model, self.usage)
        facts["usage"] = {part: count for part, count in vars(self.usage).items() if count}
        facts["cost_usd"] = None if dollars is None else format(dollars, "f")
        if self.first_chunk_ms is not None:
            facts["first_chunk_ms"] = round(self.first_chunk_ms, 1)
        return facts


class ProblemError(Exception):
    """A request that the stand-in does not know: the recording is wrong."""


class State:
    """The running scenario, the calls made in it and what OTLP brought."""

    def __init__(self) -> None:
        self.begin("")

    def begin(self, scenario: str) -> None:
        self.name = scenario
        self.scenario = SCENARIOS.get(scenario, Scenario(""))
        self.calls: list[Call] = []
        self.traces: list[bytes] = []
        self.events: set[str] = set()
        self.problems: list[str] = []

    def call(self, provider: str, model: str, *, stream: bool = False, tools: bool = False) -> Call:
        """Note a request.

        Args:
            tools: the model may ask for a tool now: there are tools and none has answered yet.
        """
        if model not in MODELS or MODELS[model].provider != provider:
            self.problems.append(f"{provider} was asked for the model {model!r}")
            raise ProblemError(self.problems[-1])
        if len(self.calls) == MOST_CALLS:
            self.problems.append("calls without an end")
            raise ProblemError(self.problems[-1])
        answered = sum(not call.error for call in self.calls)
        call = Call(model, stream, usage(model, answered), tools and self.scenario.tool, self.scenario.error)
        self.calls.append(call)
        return call


def json_answer(
    body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


async def pause(call: Call) -> None:
    """The time a provider takes; where the scenario is a time-out, longer than the client waits."""
    await asyncio.sleep(HANGING_S if call.error == "timeout" else ANSWER_S)


async def stream_answer(
    request: web.Request, call: Call, chunks: Iterable[bytes], content_type: str
) -> web.StreamResponse:
    """Send chunks one by one."""
    response = web.StreamResponse(headers={"Content-Type": content_type})
    response.enable_chunked_encoding()
    await response.prepare(request)
    await asyncio.sleep(FIRST_CHUNK_S)
    call.first_chunk_ms = (time.monotonic() - call.started) * 1000
    # A client that has read the provider's last chunk need not wait for HTTP's.
    with contextlib.suppress(ConnectionResetError):
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(NEXT_CHUNK_S)
        await response.write_eof()
    return response


def pieces(text: str) -> list[str]:
    """A text in three parts, as a model's tokens come."""
    third = len(text) // 3
    return [text[:third], text[third : 2 * third], text[2 * third :]]
