"""What was sent and what of it was acknowledged: the side of the comparison that spanhouse has no part in."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from tests.harness import attributes

TOKENS: Final = (
    "tokens_prompt",
    "tokens_completion",
    "tokens_cache_read",
    "tokens_cache_write",
    "tokens_reasoning",
)
TRACES: Final = 4  # of a request
SPANS: Final = 5  # of a trace
# Dollars per million tokens: (provider, model), new input, input read from the cache, output.
_PRICES: Final = {
    ("openai", "gpt-4o-mini"): (Decimal("0.15"), Decimal("0.075"), Decimal("0.6")),
    ("openai", "gpt-4o"): (Decimal("2.5"), Decimal("1.25"), Decimal(10)),
}
_DAY_NS: Final = 86_400_000_000_000
# Of this many requests one is of an earlier day, so that its insert is of several partitions of the table.
_LATE: Final = 25


@dataclass(slots=True)
class Totals:
    """Sums over spans: their number, tokens by TOKENS, and dollars."""

    spans: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOKENS, 0))
    cost: Decimal = Decimal(0)

    def add(self, other: Totals) -> None:
        self.spans += other.spans
        for name, count in other.tokens.items():
            self.tokens[name] += count
        self.cost += other.cost


@dataclass(frozen=True, slots=True)
class Request:
    """An export as an SDK makes it, repeated with the same bytes until it is acknowledged.

    Attributes:
        body: a serialized ExportTraceServiceRequest.
        spans: trace and span id of each span, in hex.
        totals: of its spans.
    """

    body: bytes
    spans: list[tuple[str, str]]
    totals: Totals


class Ledger:
    """Makes requests, and keeps the account of those that were acknowledged. Thread-safe."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.acknowledged = Totals()
        self.spans: dict[tuple[str, str], float] = {}  # when each was acknowledged
        self.requests = 0  # acknowledged
        self.attempts = 0  # sent, those included that failed or were repeated for no reason

    def make(self, traces: int = TRACES, start_ns: int | None = None) -> Request:
        """A request of so many traces of `SPANS` spans, that begin then, or now and sometimes late."""
        with self._lock:
            return self._make(traces, start_ns or self._start())

    def attempted(self) -> None:
        with self._lock:
            self.attempts += 1

    def confirm(self, request: Request) -> None:
        """The request was acknowledged."""
        now = time.time()
        with self._lock:
            self.requests += 1
            self.acknowledged.add(request.totals)
            self.spans.update(dict.fromkeys(request.spans, now))

    def _start(self) -> int:
        late = self._random.randrange(1, 4) if self._random.randrange(_LATE) == 0 else 0
        return time.time_ns() - late * _DAY_NS

    def _make(self, traces: int, start: int) -> Request:
        message = ExportTraceServiceRequest()
        totals = Totals()
        spans = []
        chance = self._random
        for _ in range(traces):
            resource_spans = message.resource_spans.add()
            resource_spans.resource.attributes.extend(
                attributes(
                    {"service.name": f"chaos-{chance.randrange(3)}", "deployment.environment.name": "test"}
                )
            )
            scope_spans = resource_spans.scope_spans.add()
            scope_spans.scope.name = "tests.chaos"
            totals.add(self._trace(scope_spans, start))
            spans += [(span.trace_id.hex(), span.span_id.hex()) for span in scope_spans.spans]
        totals.spans = len(spans)
        return Request(message.SerializeToString(), spans, totals)

    def _trace(self, scope_spans: ScopeSpans, start: int) -> Totals:
        """An agent's run: three model calls and a tool; one call tells its cost itself."""
        chance, totals = self._random, Totals()
        trace_id, root = chance.randbytes(16), chance.randbytes(8)
        everywhere = {"tenant.id": f"tenant-{chance.randrange(5)}", "user.id": f"user-{chance.randrange(50)}"}

        def add(name: str, span_id: bytes, parent: bytes, values: dict[str, Any]) -> Span:
            length = chance.randrange(1_000_000, 2_000_000_000)
            return scope_spans.spans.add(
                trace_id=trace_id, span_id=span_id, parent_span_id=parent, name=name, kind=3,
                start_time_unix_nano=start, end_time_unix_nano=start + length,
                attributes=attributes(everywhere | values),
            )  # fmt: skip

        add("invoke_agent", root, b"", {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"})
        tool = add("execute_tool search", chance.randbytes(8), root, {
            "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": f"tool-{chance.randrange(4)}",
        })  # fmt: skip
        if chance.randrange(4) == 0:
            tool.status.code = Status.STATUS_CODE_ERROR
            tool.status.message = "the tool failed"
        for tells_cost in (False, False, True):
            (provider, model), (new, cached, out) = chance.choice(list(_PRICES.items()))
            prompt, completion = chance.randrange(10, 5000), chance.randrange(1, 2000)
            read, reasoning = chance.randrange(prompt), chance.randrange(completion)
            usage = {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": provider,
                "gen_ai.request.model": model,
                "gen_ai.usage.input_tokens": prompt,
                "gen_ai.usage.output_tokens": completion,
                "gen_ai.usage.cache_read.input_tokens": read,
                "gen_ai.usage.reasoning.output_tokens": reasoning,
            }
            cost = ((prompt - read) * new + read * cached + completion * out) / 1_000_000
            if tells_cost:
                cost = Decimal(chance.randrange(1, 10_000)) / 65_536  # a float that is exact
                usage["gen_ai.usage.cost"] = float(cost)
                cost = cost.quantize(Decimal("1e-10"))
            add(f"chat {model}", chance.randbytes(8), root, usage)
            counts = dict(zip(TOKENS, (prompt, completion, read, 0, reasoning), strict=True))
            totals.add(Totals(0, counts, cost))
        return totals
