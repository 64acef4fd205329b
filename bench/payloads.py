"""OTLP payloads for benchmarks: three shapes of GenAI spans, the same bytes for everybody who is measured.

`chat`: a model call with about 11 attributes in 500 bytes. `prompt`: the same with a prompt of 20 KB.
`wide`: the same with 60 attributes. Eight spans are a trace: an agent, six model calls, a tool. Values
differ from span to span; ids and times are made anew each time without making the spans anew.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

SHAPES: Final = ("chat", "prompt", "wide")
# About.
SPAN_BYTES: Final = {"chat": 500, "prompt": 20_600, "wide": 2_100}
# So many come before values are the same again, but for ids; about 5 MB of the long ones.
_DISTINCT: Final = {"chat": 1024, "prompt": 256, "wide": 1024}
_TRACE: Final = 8
# An SDK's request is of one resource; a Collector's larger ones are of many.
_RESOURCE: Final = 512
_AGE_NS: Final = 300_000_000_000
_PROMPT_BYTES: Final = 20_000
_ATTRIBUTES: Final = 60

_MODELS: Final = (
    ("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-4o", "gpt-4o-2024-08-06"),
    ("openai", "gpt-4.1", "gpt-4.1-2025-04-14"),
    ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ("anthropic", "claude-haiku-4-5", "claude-haiku-4-5-20251001"),
    ("gcp.gemini", "gemini-2.5-flash", "gemini-2.5-flash"),
)
_AGENTS: Final = ("support", "research", "billing", "triage", "writer")
_TOOLS: Final = ("search_orders", "get_weather", "create_ticket", "lookup_customer", "run_query", "send_mail")
_PROMPTS: Final = ("answer", "summarize", "route", "extract", "critique")
_SERVICES: Final = ("shop-assistant", "helpdesk", "report-writer")
_ERRORS: Final = (
    ("timeout", "the model did not answer in time"),
    ("rate_limit_exceeded", "429: too many requests"),
    ("ValidationError", "1 validation error for Answer: field required"),
)
_NAMES: Final = (
    "step", "branch", "attempt", "cohort", "region", "zone", "plan", "score", "budget_left", "queue_ms",
    "cached", "retries", "channel", "locale", "experiment_arm", "chunk_count", "source", "release",
)  # fmt: skip
_GROUPS: Final = ("app", "app.cart", "app.policy", "app.retrieval")

Places = NDArray[np.int64]


class Block:
    """Requests of `batch` spans of a shape, together whole traces; the same for the same seed.

    Attributes:
        batch: spans of a request.
        spans: of all its requests together.
        size: bytes of all its requests together.
    """

    def __init__(self, shape: str, batch: int, seed: int = 1) -> None:
        self.batch = batch
        chance = random.Random(f"{shape} {seed}")
        # Whole requests, and whole traces where that does not make a small batch large.
        self.spans = batch * max(1, _DISTINCT[shape] // batch)
        made = [span for _ in range(-(-self.spans // _TRACE)) for span in _trace(shape, chance)][: self.spans]
        body, starts = bytearray(), []
        self._bounds = [0]
        for first in range(0, self.spans, batch):
            request = b""
            for at in range(first, first + batch, _RESOURCE):
                part = made[at : min(at + _RESOURCE, first + batch)]
                framed, offsets = _resource_spans(part, chance)
                starts += [len(body) + len(request) + offset for offset in offsets]
                request += framed
            body += request
            self._bounds.append(len(body))
        self.size = len(body)
        self._body = np.frombuffer(bytes(body), np.uint8)
        self._find_places(made, starts)

    def _find_places(self, made: list[Span], starts: list[int]) -> None:
        """Where in the bytes the ids and times of the spans stand."""
        traces: dict[bytes, int] = {}
        numbers = {span.span_id: number for number, span in enumerate(made)}
        trace_of, parent_of = [], []
        trace_at, span_at, parent_at, time_at, times = [], [], [], [], []
        body = self._body.tobytes()
        for span, start in zip(made, starts, strict=True):
            trace_of.append(traces.setdefault(span.trace_id, len(traces)))
            trace_at.append(body.index(span.trace_id, start))
            span_at.append(body.index(span.span_id, start))
            if span.parent_span_id:
                parent_of.append(numbers[span.parent_span_id])
                parent_at.append(body.index(span.parent_span_id, start))
            events = [event.time_unix_nano for event in span.events]
            for time in (span.start_time_unix_nano, span.end_time_unix_nano, *events):
                times.append(time)
                time_at.append(body.index(time.to_bytes(8, "little"), start))
        self._traces = len(traces)
        self._trace_of, self._parent_of = np.array(trace_of), np.array(parent_of, np.int64)
        self._times = np.array(times, np.uint64)
        self._trace_at, self._span_at = _places(trace_at, 16), _places(span_at, 8)
        self._parent_at, self._time_at = _places(parent_at, 8), _places(time_at, 8)

    def requests(self, chance: np.random.Generator, now_ns: int) -> list[bytes]:
        """Its requests with ids never seen before, of the minutes before `now_ns`."""
        body = self._body.copy()
        trace_ids = chance.integers(0, 256, (self._traces, 16), np.uint8)
        span_ids = chance.integers(0, 256, (self.spans, 8), np.uint8)
        body[self._trace_at] = trace_ids[self._trace_of]
        body[self._span_at] = span_ids
        body[self._parent_at] = span_ids[self._parent_of]
        body[self._time_at] = (self._times + np.uint64(now_ns)).view(np.uint8).reshape(-1, 8)
        data = body.tobytes()
        return [data[a:b] for a, b in zip(self._bounds, self._bounds[1:], strict=False)]


def requests(shape: str, batch: int, now_ns: int, seed: int = 1) -> Iterator[bytes]:
    """Serialized ExportTraceServiceRequests of `batch` spans each, without end; ids differ by `now_ns`."""
    block, chance = Block(shape, batch, seed), np.random.default_rng(now_ns)
    while True:
        yield from block.requests(chance, now_ns)


def _places(starts: list[int], width: int) -> Places:
    return np.array(starts, np.int64).reshape(-1, 1) + np.arange(width)


def _field(number: int, body: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    length, head = len(body), bytearray([number << 3 | 2])
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + body


def _resource_spans(spans: list[Span], chance: random.Random) -> tuple[bytes, list[int]]:
    """A request's field `resource_spans` with these spans, and where each begins in it."""
    service = chance.choice(_SERVICES)
    resource = Resource(
        attributes=_attributes(
            {
                "service.name": service,
                "service.version": f"2.{chance.randrange(20)}.0",
                "deployment.environment.name": chance.choice(("production", "production", "staging")),
                "service.instance.id": f"{service}-{chance.getrandbits(32):08x}",
                "telemetry.sdk.language": "python",
                "telemetry.sdk.name": "opentelemetry",
                "telemetry.sdk.version": "1.38.0",
                "host.name": f"ip-10-0-{chance.randrange(255)}-{chance.randrange(255)}",
            }
        )
    )
    scope = InstrumentationScope(name="opentelemetry.instrumentation.genai", version="2.1b0")
    framed = [_field(2, span.SerializeToString()) for span in spans]
    in_scope = _field(1, scope.SerializeToString()) + b"".join(framed)
    in_resource = _field(1, resource.SerializeToString()) + _field(2, in_scope)
    whole = _field(1, in_resource)
    at = len(whole) - sum(map(len, framed))
    starts = []
    for span in framed:
        starts.append(at)
        at += len(span)
    return whole, starts


def _attributes(values: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_any(value)) for key, value in values.items()]


def _any(value: Any) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=map(_any, value)))
        case _:
            return AnyValue(string_value=value)


def _trace(shape: str, chance: random.Random) -> list[Span]:
    trace_id, root = chance.randbytes(16), chance.randbytes(8)
    agent = chance.choice(_AGENTS)
    everywhere = {
        "gen_ai.conversation.id": f"conv_{chance.getrandbits(64):016x}",
        "tenant.id": f"tenant-{chance.randrange(20)}",
        "user.id": f"user-{chance.randrange(5000)}",
    }
    begin = -chance.randrange(_AGE_NS // 10, _AGE_NS)  # the caller's now is added

    def add(name: str, parent: bytes, values: dict[str, Any]) -> Span:
        # Unsigned, so before now is modulo 2**64.
        start = begin + chance.randrange(1_000_000, 2_000_000_000)
        end = start + chance.randrange(1_000_000, 9_000_000_000)
        span = Span(
            trace_id=trace_id, span_id=chance.randbytes(8) if parent else root, parent_span_id=parent,
            name=name, kind=Span.SPAN_KIND_CLIENT if parent else Span.SPAN_KIND_INTERNAL, flags=0x101,
            start_time_unix_nano=start % 2**64, end_time_unix_nano=end % 2**64,
            attributes=_attributes(values | everywhere | _more(shape, name, len(values) + 3, chance)),
        )  # fmt: skip
        _ending(span, end, chance)
        return span

    provider, asked, answered = chance.choice(_MODELS)
    spans = [
        add(
            f"invoke_agent {agent}",
            b"",
            {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": agent,
                "gen_ai.provider.name": provider,
                "gen_ai.request.model": asked,
                "gen_ai.usage.input_tokens": chance.randrange(100, 50_000),
                "gen_ai.usage.output_tokens": chance.randrange(10, 9_000),
            },
        )
    ]
    for _ in range(_TRACE - 2):
        provider, asked, answered = chance.choice(_MODELS)
        usage = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": asked,
            "gen_ai.response.model": answered,
            "gen_ai.response.id": f"resp_{chance.getrandbits(64):016x}",
            "gen_ai.usage.input_tokens": chance.randrange(10, 8000),
            "gen_ai.usage.output_tokens": chance.randrange(1, 2000),
            "gen_ai.prompt.name": chance.choice(_PROMPTS),
            "gen_ai.prompt.version": str(chance.randrange(1, 9)),
        }
        spans.append(add(f"chat {asked}", root, usage))
    tool = chance.choice(_TOOLS)
    call = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool,
        "gen_ai.tool.call.id": f"call_{chance.getrandbits(64):016x}",
        "gen_ai.tool.type": "function",
    }
    spans.append(add(f"execute_tool {tool}", root, call))
    return spans


def _ending(span: Span, end: int, chance: random.Random) -> None:
    """Status and events: some succeed, most do not say, few fail."""
    fate = chance.random()
    if fate < 0.04:
        kind, message = chance.choice(_ERRORS)
        span.status.code, span.status.message = Status.STATUS_CODE_ERROR, message
        span.attributes.extend(_attributes({"error.type": kind}))
        frames = (f'  File "/app/steps/{chance.choice(_NAMES)}.py", line {chance.randrange(900)}\n' * 4,)
        event = span.events.add(time_unix_nano=(end - 1) % 2**64, name="exception")
        event.attributes.extend(
            _attributes(
                {
                    "exception.type": kind,
                    "exception.message": message,
                    "exception.stacktrace": "Traceback (most recent call last):\n" + "".join(frames),
                }
            )
        )
    elif fate < 0.3:
        span.status.code = Status.STATUS_CODE_OK


def _more(shape: str, name: str, others: int, chance: random.Random) -> dict[str, Any]:
    """What a shape's spans have besides."""
    if shape == "prompt":
        if name.startswith("execute_tool"):
            return {"gen_ai.tool.call.result": json.dumps({"rows": _text(_PROMPT_BYTES, chance)})}
        return {"gen_ai.input.messages": _messages(chance)}
    if shape == "wide":
        keys = [f"{group}.{name}" for group in _GROUPS for name in _NAMES]
        return {key: _value(key, chance) for key in chance.sample(keys, _ATTRIBUTES - others)}
    return {}


def _value(key: str, chance: random.Random) -> Any:
    match sum(key.encode()) % 6:  # a key's values are of one type
        case 0:
            return chance.randrange(100_000)
        case 1:
            return round(chance.random() * 100, 3)
        case 2:
            return chance.random() < 0.5
        case 3:
            return [chance.choice(_NAMES) for _ in range(chance.randrange(1, 4))]
        case _:
            return f"{chance.choice(_NAMES)}-{chance.randrange(500)}"


def _messages(chance: random.Random) -> str:
    """A conversation, in JSON as the conventions have it."""
    messages: list[dict[str, Any]] = []
    size = 0
    while size < _PROMPT_BYTES - 200:
        text = _text(min(chance.randrange(200, 4000), _PROMPT_BYTES - size), chance)
        role = ("user" if len(messages) % 2 else "assistant") if messages else "system"
        messages.append({"role": role, "parts": [{"type": "text", "content": text}]})
        size += len(text) + 70
    return json.dumps(messages)


def _vocabulary() -> tuple[list[str], list[float]]:
    chance = random.Random("words")
    syllables = [c + v + e for c in "bdfgklmnprstvw" for v in "aeiou" for e in ("", "n", "r", "s", "t")]
    words = ["".join(chance.choices(syllables, k=chance.choice((1, 1, 2, 2, 3)))) for _ in range(4000)]
    return words, list(np.cumsum(1 / np.arange(2, len(words) + 2)))


_WORDS, _WEIGHTS = _vocabulary()


def _text(size: int, chance: random.Random) -> str:
    """Words, frequent and rare ones as in a language; in one text of ten an address to mask."""
    words = chance.choices(_WORDS, cum_weights=_WEIGHTS, k=size // 5 + 1)
    if chance.random() < 0.1:
        words[0] = f"{words[0]}@example.com"
    for at in range(9, len(words), 12):
        words[at] += ".\n" if at % 5 == 0 else "."
    return " ".join(words)[:size]
