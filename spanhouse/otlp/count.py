"""The first walk over the payloads: upper bounds for the sizes of the arrays."""

from __future__ import annotations

from spanhouse.otlp.state import (
    EVENT,
    EVENTS,
    LINK,
    LINKS,
    MAX_ATTRIBUTES,
    OWNERS,
    RESOURCE,
    RESOURCES,
    SCOPE,
    SCOPES,
    SPAN,
    SPANS,
)
from spanhouse.otlp.wire import (
    TOO_MANY_GATHERED,
    TOO_MANY_SPANS,
    Bytes,
    Ints,
    entry,
    kernel,
    length,
    pointer,
    skip,
    tag,
)


@kernel
def _check_entity(a: Bytes, p: int, end: int) -> int:
    # Of an EntityRef nothing is taken, but it must be one. Returns an error or 0.
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p
        p = skip(a, p, end, t, 3)
        if p < 0:
            return p
    return 0


@kernel
def _count_list(a: Bytes, p: int, end: int, depth: int, wanted: int, totals: Ints, owner: int) -> int:
    # Counts the fields with the tag `wanted` of one message.
    n = 0
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p
        n += t == wanted
        start = p
        p = skip(a, p, end, t, depth)
        if p < 0:
            return p
        if t == 26 and owner == RESOURCE:
            start, _ = length(a, start, end)
            error = _check_entity(a, start, p)
            if error < 0:
                return error
    totals[owner] += min(n, MAX_ATTRIBUTES) if owner in (SCOPE, RESOURCE) else n
    return n


@kernel
def _count_span(a: Bytes, p: int, end: int, totals: Ints) -> int:
    attributes = 0
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p
        if t == 90 or t == 106:
            start, p = length(a, p, end)
            if start < 0:
                return start
            owner = EVENT if t == 90 else LINK
            totals[EVENTS if t == 90 else LINKS] += 1
            error = _count_list(a, start, p, 4, 26 if t == 90 else 34, totals, owner)
            if error < 0:
                return error
        else:
            attributes += t == 74
            p = skip(a, p, end, t, 3)
            if p < 0:
                return p
    totals[SPAN] += min(attributes, MAX_ATTRIBUTES)
    totals[SPANS] += 1
    return 0


@kernel
def _count_scope(a: Bytes, p: int, end: int, totals: Ints) -> tuple[int, int]:
    # Returns (error or 0, attributes of the scope).
    totals[SCOPES] += 1
    attributes = 0
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p, attributes
        if t == 10 or t == 18:
            start, p = length(a, p, end)
            if start < 0:
                return start, attributes
            if t == 10:
                error = _count_list(a, start, p, 3, 26, totals, SCOPE)
                attributes += error
            else:
                error = _count_span(a, start, p, totals)
            if error < 0:
                return error, attributes
        else:
            p = skip(a, p, end, t, 2)
            if p < 0:
                return p, attributes
    return 0, attributes


@kernel
def _count_resource(a: Bytes, p: int, end: int, totals: Ints) -> tuple[int, int]:
    # Returns (error or 0, attributes that its spans repeat).
    totals[RESOURCES] += 1
    attributes, repeated, before = 0, 0, totals[SPANS]
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p, repeated
        if t == 10 or t == 18:
            start, p = length(a, p, end)
            if start < 0:
                return start, repeated
            if t == 10:
                error = _count_list(a, start, p, 2, 10, totals, RESOURCE)
                attributes += error
            else:
                spans = totals[SPANS]
                error, of_scope = _count_scope(a, start, p, totals)
                repeated += min(of_scope, MAX_ATTRIBUTES) * (totals[SPANS] - spans)
            if error < 0:
                return error, repeated
        else:
            p = skip(a, p, end, t, 1)
            if p < 0:
                return p, repeated
    return 0, repeated + min(attributes, MAX_ATTRIBUTES) * (totals[SPANS] - before)


@kernel
def _count_payload(a: Bytes, p: int, end: int, totals: Ints) -> int:
    size, before, repeated = end - p, totals[SPANS], 0
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p
        if t == 10:
            start, p = length(a, p, end)
            if start < 0:
                return start
            error, n = _count_resource(a, start, p, totals)
            if error < 0:
                return error
            repeated += n
        else:
            p = skip(a, p, end, t, 0)
            if p < 0:
                return p
    # A row takes some hundred bytes whatever it says, so few bytes must not make many rows.
    if totals[SPANS] - before > 10_000 + size // 24:
        return TOO_MANY_SPANS
    if repeated > 100_000 + size:
        return TOO_MANY_GATHERED
    return 0


@entry
def count(arena: Bytes, bounds: Ints, status: Ints, result: Ints, before: Ints) -> None:
    """Add up upper bounds for the first ten counters; payloads that cannot be read get their error.

    `before` is scratch of the same length as `result`.
    """
    a, totals = pointer(arena), pointer(result)
    for i in range(len(status)):
        for j in range(2 * OWNERS):
            before[j] = result[j]
        status[i] = _count_payload(a, bounds[i], bounds[i + 1], totals)
        if status[i] < 0:
            for j in range(2 * OWNERS):
                result[j] = before[j]
