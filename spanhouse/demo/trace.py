"""One request as the application's code sees it: spans that nest, a clock that only the request moves."""

from __future__ import annotations

import operator
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from typing import Final

Value = str | int | float | bool | list[str]
MS: Final = 1_000_000


class Failure(Exception):  # noqa: N818
    """A call that did not work out; marks every span it leaves."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


@dataclass(slots=True)
class Usage:
    """Tokens as OpenTelemetry counts them: cached input is part of `prompt`, reasoning of `completion`."""

    prompt: int = 0
    completion: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*map(operator.add, astuple(self), astuple(other)))

    def attributes(self) -> dict[str, Value]:
        """The conventions' attributes; the parts only where there are some, as libraries do."""
        values: dict[str, Value] = {"gen_ai.usage.input_tokens": self.prompt}
        if self.completion:
            values["gen_ai.usage.output_tokens"] = self.completion
        if self.cache_read:
            values["gen_ai.usage.cache_read.input_tokens"] = self.cache_read
        if self.cache_write:
            values["gen_ai.usage.cache_creation.input_tokens"] = self.cache_write
        if self.reasoning:
            values["gen_ai.usage.reasoning.output_tokens"] = self.reasoning
        return values


@dataclass(slots=True)
class PlannedSpan:
    """A span before it is sent; times are nanoseconds after the start of the request."""

    service: str
    name: str
    kind: str  # name of an OpenTelemetry SpanKind
    attributes: dict[str, Value]
    start: int
    end: int = 0
    error: Failure | None = None
    raised: bool = False  # whether the error arose here and did not come from a child
    model: str = ""  # the model that was called, as it answered; '' for spans that call none
    usage: Usage = field(default_factory=Usage)
    children: list[PlannedSpan] = field(default_factory=list)

    def walk(self) -> Iterator[PlannedSpan]:
        """This span and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


class Trace:
    """Collects the spans of one request.

    `common` are attributes that every span carries, as an application's baggage puts them there.
    """

    def __init__(self, chance: random.Random, common: dict[str, Value]) -> None:
        self.chance = chance
        self.common = common
        self.now = 0
        self.root: PlannedSpan | None = None
        self._open: list[PlannedSpan] = []

    def wait(self, milliseconds: float, spread: float = 0.35) -> None:
        """Let about `milliseconds` pass."""
        self.now += int(milliseconds * MS * self.chance.lognormvariate(0, spread))

    @contextmanager
    def span(
        self, name: str, attributes: dict[str, Value], kind: str = "INTERNAL", *, service: str = ""
    ) -> Iterator[PlannedSpan]:
        """A span around the block, in the parent's service unless `service` names another."""
        values = self.common | attributes
        span = PlannedSpan(service or self._open[-1].service, name, kind, values, self.now)
        if self._open:
            self._open[-1].children.append(span)
        else:
            self.root = span
        self._open.append(span)
        try:
            yield span
        except Failure as failure:
            span.error = failure
            span.raised = not any(child.error is failure for child in span.children)
            span.attributes["error.type"] = failure.error_type
            raise
        finally:
            # Calls that ran side by side may have ended later than the last one.
            self.now = max(self.now, *(child.end for child in span.children), 0) + MS // 20
            span.end = self.now
            self._open.pop()
